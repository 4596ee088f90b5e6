//! The thread that owns the lifecycle. It belongs to no loop, and performs the actions of the
//! [lifecycle](crate::lifecycle).
//!
//! It never waits for other code: it does no I/O and runs no user code. Such work goes to another thread: see
//! [`outside`].

mod blocked;
mod deadline;
mod deaf;
mod farewell;
pub(crate) mod outside;
mod slow_start;
pub(crate) mod stalls;
mod stuck;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(feature = "testing")]
use std::future::Future;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use log::Level;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::{
    blocked::Attention,
    deaf::Hearing,
    outside::{Label, Lane, Outside, PATIENCE},
    stalls::StallWatch,
    stuck::Stuck,
};
use crate::{
    Reason, Report, ServiceHandle, State,
    channel::shared::Shared,
    control::{
        events::{Events, MainJob, Message, Told},
        report::EndedTask,
        status_board::TaskRow,
        task_info::TaskInfo,
        watch::WatchQueue,
    },
    kit::{
        clock::{Busy, clock},
        coalesced::Coalesced,
        discard::DISCARD_TIMEOUT,
        panics::catch,
        sync::{Mutex, lock},
    },
    lifecycle::{Action, Ending, Event, Lifecycle, LoopId, Outcome, Plan, TaskId, TaskPlan},
    options::OptionCell,
    service::{
        Phase, StuckLoop, Transition,
        inspection::{HAS_STACKS, Inspection},
    },
    task::{
        erased::{ErasedLoop, ErasedTask, PANICKED},
        incarnation::Incarnation,
    },
    words::{
        names,
        restart::When,
        state::{Cause, Seconds},
    },
};

pub(super) struct SupervisedTask {
    name: Arc<str>,
    event_loop: LoopId,
    value: Arc<Mutex<Option<Box<dyn ErasedTask>>>>,
    options: Arc<OptionCell>,
    info: Arc<TaskInfo>,
    start_timeout: Duration,
    restartable: bool,
    incarnation: Option<Arc<Incarnation>>,
}

impl SupervisedTask {
    /// Returns this task of the plan.
    pub(super) fn new(
        plan: &TaskPlan,
        value: Box<dyn ErasedTask>,
        options: Arc<OptionCell>,
        info: Arc<TaskInfo>,
    ) -> Self {
        Self {
            name: plan.name.clone(),
            event_loop: plan.event_loop,
            value: Arc::new(Mutex::new(Some(value))),
            options,
            info,
            start_timeout: plan.start_timeout,
            restartable: plan.restartable,
            incarnation: None,
        }
    }

    /// Takes the parts of the task that belong to the user: its value if it never started, or the closure that makes
    /// one.
    fn take_value(&self) -> Option<Box<dyn ErasedTask>> {
        // A stuck loop may hold the lock forever; then the value stays with its thread.
        let value = self.value.try_lock().ok().and_then(|mut value| value.take());
        value.filter(|value| value.holds())
    }
}

pub(super) struct SupervisedLoop {
    /// Locked only by work in the loop's lane: it runs user code.
    runner: Arc<Mutex<Box<dyn ErasedLoop>>>,
    main_thread: bool,
    options: Arc<OptionCell>,
    shared: Arc<Shared>,
    /// Stored by the work that starts the thread, and joined by other work.
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    start_timeout: Duration,
    /// When it must have ended, once it was told to.
    stop_by: Option<Instant>,
    /// The loop has returned and its thread must end by then: its incarnation, and how it ended.
    leaves: Option<(Instant, u32, Result<(), String>, Busy)>,
    /// The loop was stuck when it had to act on a cancel or a stop.
    stuck: Option<Stuck>,
    /// Whether the loop reacts to its notify.
    hearing: Hearing,
    /// The loop was found busy; the supervisor watches whether it is blocked.
    attention: Attention,
    /// Held while its thread starts or ends.
    busy: Busy,
}

impl SupervisedLoop {
    pub(super) fn new(
        runner: Box<dyn ErasedLoop>,
        options: Arc<OptionCell>,
        shared: Arc<Shared>,
        start_timeout: Duration,
    ) -> Self {
        Self {
            main_thread: runner.needs_main_thread(),
            runner: Arc::new(Mutex::new(runner)),
            options,
            shared,
            thread: Arc::default(),
            start_timeout,
            stop_by: None,
            leaves: None,
            stuck: None,
            hearing: Hearing::default(),
            attention: Attention::default(),
            busy: Busy::default(),
        }
    }
}

/// How long the destructors of a loop's thread-locals may take once the loop has ended.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);

/// Called at the end if a thread had to be left behind; `run()` exits the process then. The log has been flushed if
/// possible.
pub(crate) type OnAbandoned = Box<dyn FnOnce(&Report) + Send>;

/// What the supervisor waits by.
#[cfg(feature = "testing")]
enum Alarmed {
    /// A fake clock, and the deadline is due.
    Rings,
    Fake,
    Real,
}

/// The parts of a supervisor.
pub(super) struct Parts {
    pub(super) handle: ServiceHandle,
    pub(super) messages: mpsc::Receiver<Told>,
    pub(super) plan: Plan,
    pub(super) tasks: Vec<SupervisedTask>,
    pub(super) loops: Vec<SupervisedLoop>,
}

pub(crate) struct Supervisor {
    lifecycle: Lifecycle,
    messages: mpsc::Receiver<Told>,
    /// Held while the supervisor doesn't wait.
    busy: Busy,
    handle: ServiceHandle,
    /// When the service started, by its own clock.
    started: Instant,
    /// The same moment by the real clock, which threads are timed by.
    begun: Instant,
    /// The next deadline, by a fake clock.
    #[cfg(feature = "testing")]
    alarm: Option<crate::kit::clock::Alarm>,
    tasks: Vec<SupervisedTask>,
    ids: HashMap<Arc<str>, TaskId>,
    loops: Vec<SupervisedLoop>,
    /// The loops without a restart policy that have a task with one: users may expect that it restarts the loop.
    unrestarted: BTreeMap<LoopId, Arc<str>>,
    /// Sends jobs to the main thread, if it takes any.
    main: Option<mpsc::Sender<MainJob>>,
    on_abandoned: Option<OnAbandoned>,
    stuck: Vec<StuckLoop>,
    /// What is found out about the stuck loops, one for each.
    inspections: Vec<Arc<Inspection>>,
    stalls: StallWatch,
    outside: Outside,
    /// By when each loop must have said that it is started.
    starting: BTreeMap<LoopId, (Instant, u32)>,
    /// Reopens the log, on HUP.
    reopenings: Arc<Coalesced>,
    reloads: Arc<Coalesced>,
    /// When unfilled slots are checked, as time since the start by the service's clock.
    slots_due: Option<Duration>,
    /// Shows the status, on USR1.
    shows: Arc<Coalesced>,
    /// When the present phase is over, in seconds since the start by the service's clock, as last told.
    phase_ends: u64,
}

impl Supervisor {
    /// Returns a supervisor; the service's time begins here.
    pub(super) fn new(Parts { handle, messages, plan, tasks, loops }: Parts) -> Self {
        let begun = Instant::now();
        #[cfg(feature = "testing")]
        let started = handle.clock().fake().map_or(begun, |fake| fake.now());
        #[cfg(not(feature = "testing"))]
        let started = begun;
        let outside = Outside::new(handle.board().clone());
        let with_policy = plan.tasks.iter().filter(|task| task.restart.when != When::Never);
        let unrestarted = with_policy.filter(|task| plan.loops[task.event_loop].restart.when == When::Never);
        let unrestarted = unrestarted.map(|task| (task.event_loop, task.name.clone())).collect();
        Self {
            lifecycle: Lifecycle::new(plan),
            unrestarted,
            messages,
            // Held until the supervisor waits for the first time.
            busy: handle.clock().busy(),
            stalls: StallWatch::new(handle.clone(), outside.clone()),
            outside,
            handle,
            started,
            begun,
            #[cfg(feature = "testing")]
            alarm: None,
            ids: tasks.iter().enumerate().map(|(id, task)| (task.name.clone(), id)).collect(),
            tasks,
            loops,
            main: None,
            on_abandoned: None,
            stuck: Vec::new(),
            inspections: Vec::new(),
            starting: BTreeMap::new(),
            reopenings: Coalesced::new("reopen"),
            reloads: Coalesced::new("reload"),
            slots_due: None,
            shows: Coalesced::new("status"),
            phase_ends: 0,
        }
    }

    pub(super) fn handle(&self) -> &ServiceHandle {
        &self.handle
    }

    pub(super) fn outside(&self) -> &Outside {
        &self.outside
    }

    pub(super) fn stalls(&self) -> &StallWatch {
        &self.stalls
    }

    /// Returns when the service's time began, by its clock.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Returns the receiver of jobs for the main thread, which drives the loop that claims it.
    pub(super) fn main_jobs(&mut self) -> mpsc::Receiver<MainJob> {
        let (sender, receiver) = mpsc::channel();
        self.main = Some(sender);
        receiver
    }

    /// Sets the closure that is called at the end if a thread had to be left behind.
    pub(super) fn on_abandoned(&mut self, leave: OnAbandoned) {
        self.on_abandoned = Some(leave);
    }

    /// Runs the service from start to end.
    pub(crate) fn run(mut self) -> Report {
        let ending = catch(|| self.supervise());
        let ending = ending.unwrap_or_else(|panic| self.die(&panic));
        self.finish(&ending)
    }

    fn supervise(&mut self) -> Ending {
        // Requests made before the start take effect before it: after a stop, nothing starts.
        let mut actions = Vec::new();
        while let Ok((message, _busy)) = self.messages.try_recv() {
            actions.extend(self.take(message));
        }
        actions.extend(self.handle_event(Event::Start));
        loop {
            for action in actions {
                if let Action::Finished(ending) = action {
                    return ending;
                }
                self.perform(action);
            }
            actions = match self.next_message() {
                Some(message) => self.take(message),
                None => self.handle_event(Event::Tick),
            };
            actions.extend(self.give_up_starting());
            actions.extend(self.give_up_leaving());
            actions.extend(self.give_up_stuck());
            self.wake_the_deaf();
            self.look_at_busy_loops();
            self.tell_unfilled_slots();
        }
    }

    /// Asks all tasks to stop, in no order, and gives them their time: the last resort after a fault of the supervisor.
    /// The service has failed.
    fn die(&mut self, panic: &str) -> Ending {
        let reason = Reason::Requested(format!("the supervisor has died: {panic}").into());
        self.log(Level::Error, || reason.to_string());
        self.stopping(reason.clone());
        let deadline = Instant::now() + DYING;
        let live = |row: &crate::control::status_board::TaskRow| {
            matches!(row.state, State::Starting | State::Running | State::Stopping)
        };
        let live = self.handle.board().task_rows(|rows| rows.iter().map(live).collect::<Vec<_>>());
        let mut tasks = (0..self.tasks.len()).filter(|&id| live.get(id) == Some(&true)).collect::<BTreeSet<_>>();
        for &id in &tasks {
            self.ask(id, reason.clone(), Some(deadline));
        }
        while !tasks.is_empty()
            && let Some(message) = self.message_until(deadline)
        {
            if let Message::Life(Event::TaskEnded(id, number, outcome)) = message {
                tasks.remove(&id);
                let cause = match outcome {
                    Outcome::Error(why) | Outcome::Suspect(why) => Cause::Error(why.into()),
                    Outcome::Panicked(why) => Cause::Panicked(why.into()),
                    _ => Cause::Ended,
                };
                self.end_of(id, number, if cause == Cause::Ended { State::Stopped } else { State::Failed }, cause);
            }
        }
        let mut loops = BTreeSet::new();
        for (id, l) in self.loops.iter().enumerate().filter(|(_, l)| lock(&l.thread).is_some()) {
            loops.insert(id);
            let wakers = l.shared.stop_quietly(reason.clone(), Some(deadline));
            self.ring(id);
            self.outside.wake(&Label::of("a waker of loop", l.shared.name()), wakers);
        }
        let deadline = deadline.max(Instant::now() + LEAVES_WITHIN);
        while !loops.is_empty()
            && let Some(message) = self.message_until(deadline)
        {
            if let Message::LoopIsGone(id, _) = message {
                loops.remove(&id);
                self.join(id);
            }
        }
        for &id in &tasks {
            let number = self.tasks[id].incarnation.as_ref().map_or(1, |incarnation| incarnation.number);
            self.end_of(id, number, State::Cancelled, Cause::Asked(reason.clone()));
        }
        Ending { reason, failed: true, overdue: !tasks.is_empty(), abandoned: !loops.is_empty(), forced: None }
    }

    fn message_until(&self, deadline: Instant) -> Option<Message> {
        loop {
            let now = Instant::now();
            let look = self.outside.look().map_or(deadline, |look| look.min(deadline));
            match self.messages.recv_timeout(look.saturating_duration_since(now)) {
                Ok((message, _busy)) => return Some(message),
                Err(_) if now >= deadline => return None,
                Err(_) => {}
            }
        }
    }

    /// Records a transition of a task that the lifecycle no longer tracks.
    fn end_of(&mut self, id: TaskId, incarnation: u32, to: State, cause: Cause) {
        let task = self.tasks[id].name.clone();
        let at = self.now();
        self.announce(&Transition { task, incarnation, from: State::Stopping, to, cause, at });
    }

    fn take(&mut self, message: Message) -> Vec<Action> {
        match message {
            Message::Life(event) => return self.handle_event(event),
            Message::LoopLeaves(id, incarnation, ended) => {
                // The loop has returned in time: its thread-locals don't count against its deadline.
                let limit = Instant::now() + LEAVES_WITHIN;
                let stop_by = self.loops[id].stop_by.and_then(|by| by.checked_sub(LEAVES_WITHIN / 10));
                let deadline = stop_by.map_or(limit, |by| by.min(limit));
                self.loops[id].leaves = Some((deadline, incarnation, ended, self.handle.clock().busy()));
            }
            Message::LoopIsGone(id, incarnation) => {
                self.join(id);
                let leaves = self.loops[id].leaves.take_if(|(_, leaving, ..)| *leaving == incarnation);
                if let Some((_, _, ended, _busy)) = leaves {
                    return self.handle_event(Event::LoopEnded(id, incarnation, ended));
                }
            }
            Message::NotifyPanicked(id, panic) => self.notify_panicked(id, &panic),
            Message::LoopIsBusy(id) => self.watch_busy_loop(id),
            Message::ForMain(job) => {
                if let Some(main) = &self.main
                    && let Err(mpsc::SendError(job)) = main.send(job)
                {
                    self.outside.push(Lane::Alone, Label::new("the drop of a loop for the main thread"), || drop(job));
                }
            }
            Message::ShowStatus => {
                // The status reads gauges, which may run user code.
                let (handle, outside, shows) = (self.handle.clone(), self.outside.clone(), self.shows.clone());
                let show = move || outside.log(Level::Info, handle.name(), || handle.status().to_string());
                self.ask_thread("to show the status", &shows, show);
            }
            Message::Reload => {
                // Files may be slow, and validation may run user code. The reload logs its own result.
                let (handle, reloads) = (self.handle.clone(), self.reloads.clone());
                let reload = move || {
                    its_lines_are_the_service_s();
                    handle.reopen_log("HUP received, ");
                    // The reload gets its own thread, so that the next HUP's log doesn't wait for a file that hangs.
                    let reloading = handle.clone();
                    let asked = reloads.ask(move || {
                        its_lines_are_the_service_s();
                        drop(reloading.reload_options("HUP received, "));
                    });
                    no_thread(&handle, "to reload", asked);
                };
                self.ask_thread("to reload", &self.reopenings, reload);
            }
            #[cfg(test)]
            Message::Panic => panic!("on purpose"),
            Message::Timing { drain_delay, shutdown_timeout, stall_after } => {
                self.lifecycle.set_timing(drain_delay, shutdown_timeout);
                self.stalls.set(stall_after);
                let (stalls, handle) = (self.stalls.clone(), self.handle.clone());
                self.outside.push(Lane::Alone, Label::new("a thread"), move || {
                    no_thread(&handle, "to watch for stalls", stalls.start());
                });
            }
        }
        Vec::new()
    }

    /// Returns the next message, or `None` when a deadline is due. Without a deadline it sleeps: an idle service never
    /// wakes.
    fn next_message(&mut self) -> Option<Message> {
        let (due, for_threads) = self.lifecycle.next_deadlines();
        let due = due.into_iter().chain(self.slots_due).min().and_then(|due| self.started.checked_add(due));
        let for_threads = for_threads.and_then(|due| self.begun.checked_add(due));
        #[cfg(feature = "testing")]
        let due = match self.set_alarm(due) {
            Alarmed::Rings => return None,
            Alarmed::Fake => None,
            Alarmed::Real => due,
        };
        let late = self.starting.values().map(|(deadline, _)| *deadline);
        let leaving = self.loops.iter().filter_map(|l| l.leaves.as_ref().map(|(deadline, ..)| *deadline));
        let stuck = self.loops.iter().filter_map(|l| l.stuck.as_ref().map(|stuck| stuck.until));
        let deaf = self.loops.iter().filter_map(|l| l.hearing.next());
        let busy = self.loops.iter().filter_map(|l| l.attention.next());
        let late = late.chain(leaving).chain(stuck).chain(deaf).chain(busy).chain(self.outside.look()).min();
        self.busy = Busy::default();
        let told = match due.into_iter().chain(for_threads).chain(late).min() {
            // The handle held here keeps the channel open, so this can't fail.
            None => self.messages.recv().ok(),
            Some(deadline) => self.messages.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok(),
        };
        let (message, busy) = match told {
            Some((message, busy)) => (Some(message), busy),
            None => (None, self.handle.clock().busy()),
        };
        self.busy = busy;
        message
    }

    /// Sets the fake clock's alarm for this deadline.
    #[cfg(feature = "testing")]
    fn set_alarm(&mut self, due: Option<Instant>) -> Alarmed {
        struct Ticks(crate::control::events::Events);
        impl std::task::Wake for Ticks {
            fn wake(self: Arc<Self>) {
                self.0.send(Event::Tick);
            }
        }
        let Some(fake) = self.handle.clock().fake() else { return Alarmed::Real };
        if self.alarm.as_ref().and_then(|alarm| alarm.at()) != due {
            self.alarm = due.map(|due| fake.alarm_at(due));
        }
        let Some(alarm) = &mut self.alarm else { return Alarmed::Fake };
        let waker = std::task::Waker::from(Arc::new(Ticks(self.handle.events().clone())));
        let polled = std::pin::Pin::new(alarm).poll(&mut std::task::Context::from_waker(&waker));
        if polled.is_ready() { Alarmed::Rings } else { Alarmed::Fake }
    }

    /// Fails the service if a loop never says that it is started; it would hold up everything in silence. Its restart
    /// policy doesn't apply, since its thread still lives.
    fn give_up_starting(&mut self) -> Vec<Action> {
        let now = Instant::now();
        let mut late = self.starting.iter().filter(|(_, (deadline, _))| *deadline <= now);
        let Some((&id, &(_, incarnation))) = late.next() else { return Vec::new() };
        self.starting.remove(&id);
        let (name, timeout) = (self.loops[id].shared.name().clone(), self.loops[id].start_timeout);
        let why = format!("it has not said that it is started within {}", Seconds(timeout));
        self.abandon_loop(id, &why);
        let mut actions = self.handle_event(Event::ShutdownRequested(Reason::LoopFailed(name)));
        actions.extend(self.handle_event(Event::LoopEnded(id, incarnation, Err(why))));
        actions
    }

    fn handle_event(&mut self, event: Event) -> Vec<Action> {
        match &event {
            Event::LoopStarted(id, incarnation) => {
                self.starting.remove(id);
                self.loops[*id].busy = Busy::default();
                self.handle.board().set_loop(*id, true, *incarnation);
            }
            Event::LoopEnded(id, incarnation, _) => {
                self.starting.remove(id);
                self.loops[*id].busy = Busy::default();
                self.handle.board().set_loop(*id, false, *incarnation);
                // A start that is still queued in the mailbox is void: the loop's next incarnation gets its own.
                (0..self.tasks.len())
                    .filter(|&task| self.tasks[task].event_loop == *id)
                    .for_each(|task| self.cancel(task));
            }
            // The same request may come from a second sender; a HUP may come any number of times.
            Event::ShutdownRequested(reason @ Reason::Signal(SIGINT | SIGTERM))
                if self.handle.shutdown().is_requested() =>
            {
                self.log(Level::Info, || format!("{reason} received, stopping already; once more stops hard"));
            }
            Event::HardStop(signal) => {
                self.log(Level::Warn, || format!("{} received again, stopping hard", Reason::Signal(*signal)));
            }
            _ => {}
        }
        let now = self.now();
        // Both clocks must be read at the same moment if they are the same.
        let threads_now = if self.started == self.begun { now } else { self.begun.elapsed() };
        self.lifecycle.handle_apart(now, threads_now, event)
    }

    fn now(&self) -> Duration {
        self.handle.clock().now().saturating_duration_since(self.started)
    }

    /// Logs a line under the service's own name.
    fn log(&self, level: Level, text: impl FnOnce() -> String) {
        self.outside.log(level, self.handle.name(), text);
    }

    /// Joins the loop's thread, which has nothing left to do, until the system has ended it.
    fn join(&mut self, id: LoopId) {
        let l = &self.loops[id];
        let thread = l.thread.clone();
        // In the lane of the work that stored it.
        self.outside.push(Lane::Loop(id), Label::of("the end of thread", l.shared.name()), move || {
            let thread = lock(&thread).take();
            // Panics of the thread are caught inside it.
            thread.into_iter().for_each(|thread| drop(thread.join()));
        });
    }

    /// Leaves behind threads that user code keeps alive after their loop has ended.
    fn give_up_leaving(&mut self) -> Vec<Action> {
        let now = Instant::now();
        let is_late = |l: &SupervisedLoop| l.leaves.as_ref().is_some_and(|(deadline, ..)| *deadline <= now);
        let Some(id) = self.loops.iter().position(is_late) else { return Vec::new() };
        let l = &mut self.loops[id];
        let Some((_, incarnation, ended, _busy)) = l.leaves.take() else { return Vec::new() };
        let name = l.shared.name().clone();
        let thread = l.thread.clone();
        self.outside.push(Lane::Loop(id), Label::of("the thread of loop", &name), move || drop(lock(&thread).take()));
        self.log(Level::Warn, || format!("loop {name}: its thread does not end, and is left behind"));
        self.handle_event(Event::LoopEnded(id, incarnation, ended))
    }

    /// Leaves behind loops that were stuck when they were cancelled, and still are.
    fn give_up_stuck(&mut self) -> Vec<Action> {
        let now = Instant::now();
        let mut actions = Vec::new();
        for id in 0..self.loops.len() {
            let l = &mut self.loops[id];
            if let Some(stuck) = l.stuck.take_if(|stuck| stuck.until <= now)
                && stuck.still_holds(&l.shared)
            {
                actions.extend(self.handle_event(Event::LoopStuck(id, stuck.incarnation)));
            }
        }
        actions
    }

    /// Checks whether this loop is stuck; it must act on a cancel, or on a stop that can't wait.
    fn look_whether_stuck(&mut self, id: LoopId) {
        let incarnation = self.incarnation_of(id);
        let l = &mut self.loops[id];
        if l.stuck.is_none() {
            l.stuck = Stuck::find(&l.shared, incarnation);
        }
        if HAS_STACKS && l.stuck.is_some() {
            // It may have to be left behind soon.
            let shared = l.shared.clone();
            self.inspect(&shared);
        }
    }

    /// Has it found out what the thread of this loop is in.
    fn inspect(&self, shared: &Arc<Shared>) -> Arc<Inspection> {
        let inspection = Inspection::of(shared, shared.turns());
        self.outside.push(Lane::Alone, Label::new("a thread"), Inspection::serve);
        inspection
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::StartLoop(id, incarnation) => self.start_loop(id, incarnation),
            Action::StopLoop(id, _, reason, deadline) => {
                // The deadline of a thread, so by the real clock.
                let deadline = Instant::now().checked_add(deadline.saturating_sub(self.now()));
                self.loops[id].busy = self.handle.clock().busy();
                self.loops[id].stop_by = deadline;
                if deadline.is_some_and(|by| by <= Instant::now() + LEAST) {
                    self.look_whether_stuck(id);
                }
                let shared = &self.loops[id].shared;
                let wakers = shared.stop_quietly(reason, deadline);
                self.ring(id);
                self.outside.wake(&Label::of("a waker of loop", shared.name()), wakers);
            }
            Action::AbandonLoop(id, _) => self.abandon_loop(id, "it is stuck"),
            Action::CloseLoop(id) => self.terminate(id),
            Action::StartTask(id, incarnation) => self.start_task(id, incarnation),
            Action::AskTask(id, _, reason, deadline) => self.ask(id, reason, self.started.checked_add(deadline)),
            Action::CancelTask(id, _) => {
                self.cancel(id);
                self.look_whether_stuck(self.tasks[id].event_loop);
            }
            Action::CloseTask(id) => self.close_task(id),
            Action::Transition(transition) => self.announce(&transition),
            Action::SlowStart(id, time, waiting) => self.tell_slow_start(id, time, &waiting),
            Action::AllStarted => {
                self.phase_ends = 0;
                let wakers = self.handle.board().set_phase(Phase::Running);
                self.wake_waiters(wakers);
                // If it has panicked by now, that has been logged, and its end is on its way.
                let level = if self.outside.has_fresh_panic_of_task() { Level::Debug } else { Level::Info };
                self.log(level, || "all tasks started".to_owned());
                self.note_unfilled_slots();
            }
            Action::SetReady(ready) => {
                self.handle.board().set_ready(ready);
                self.wake_watchers(self.handle.board().watchers());
            }
            Action::Stopping(reason) => self.stopping(reason),
            Action::LoopDied(id, why, tasks, restart) => self.tell_loop_died(id, &why, &tasks, restart),
            Action::Warn(text) => self.log(Level::Warn, || text),
            Action::Finished(_) => {}
        }
    }

    /// Wakes callers that wait for a phase, or for the stop, of the service.
    fn wake_waiters(&self, wakers: Vec<std::task::Waker>) {
        self.outside.wake(&Label::new("a waker of the service"), wakers);
    }

    fn wake_watchers(&self, watchers: Vec<Arc<WatchQueue<Transition>>>) {
        let wakes = watchers.into_iter().map(|queue| move || queue.wake());
        self.outside.push_all(&Label::new("a waker of a watch"), wakes);
    }

    fn ask(&self, id: TaskId, reason: Reason, deadline: Option<Instant>) {
        let task = &self.tasks[id];
        let Some(incarnation) = &task.incarnation else { return };
        let wakers = incarnation.shutdown.latch(reason, deadline).unwrap_or_default();
        self.outside.wake(&Label::of("a waker of task", &task.name), wakers);
    }

    fn cancel(&self, id: TaskId) {
        let task = &self.tasks[id];
        let Some(incarnation) = &task.incarnation else { return };
        let wakes = incarnation.cancel().into_iter().map(|control| move || control.wake());
        self.outside.push_all(&Label::of("a waker of task", &task.name), wakes);
    }

    /// Ends the loop for good: closes its mailbox and notifies all callers that wait for it.
    fn terminate(&self, id: LoopId) {
        let shared = &self.loops[id].shared;
        let deeds = shared.terminate_quietly();
        self.ring(id);
        self.outside.push_all(&Label::of("a waiter for loop", shared.name()), deeds);
    }

    fn start_loop(&mut self, id: LoopId, incarnation: u32) {
        let busy = self.handle.clock().busy();
        let l = &mut self.loops[id];
        l.busy = busy;
        let timeout = l.start_timeout;
        if let Some(deadline) = Instant::now().checked_add(timeout) {
            self.starting.insert(id, (deadline, incarnation));
        }
        self.start_takes(timeout);
        let l = &mut self.loops[id];
        l.hearing = Hearing::default();
        l.attention = Attention::default();
        l.shared.queue.bell.heed();
        let events = self.handle.events().clone();
        let (told, busy) = (events.clone(), events.clone());
        l.shared.queue.bell.on_busy(move || busy.tell(Message::LoopIsBusy(id)));
        l.shared.queue.bell.on_panic(move |panic| told.tell(Message::NotifyPanicked(id, panic)));
        if l.main_thread && self.main.is_none() {
            let why = "it needs the main thread: use Service::run".to_owned();
            return events.send(Event::LoopEnded(id, incarnation, Err(why)));
        }
        let start = StartLoop {
            id,
            incarnation,
            runner: l.runner.clone(),
            main_thread: l.main_thread,
            options: l.options.clone(),
            shared: l.shared.clone(),
            thread: l.thread.clone(),
            service: self.handle.clone(),
        };
        self.outside.push(Lane::Loop(id), Label::of("the start of loop", l.shared.name()), move || {
            if let Err(why) = catch(|| start.run()).unwrap_or_else(|panic| Err(format!("its start panicked: {panic}")))
            {
                events.send(Event::LoopEnded(id, incarnation, Err(why)));
            }
        });
    }

    fn abandon_loop(&mut self, id: LoopId, why: &str) {
        let shared = self.loops[id].shared.clone();
        let seen = shared.doing();
        // Called by the thread outside, or by any other caller with a request for the loop.
        let notify = || {
            let held = shared.queue.bell.inside_for().filter(|held| *held >= PATIENCE)?;
            Some((Label::of("the notify of loop", shared.name()).to_string(), held))
        };
        let (polling, held) = match (self.outside.stuck_in(id).or_else(notify), seen.number) {
            // The loop's thread has nothing to do with this.
            (Some(stuck), 0) => stuck,
            (_, number) => {
                let polling = match number {
                    0 if self.loops[id].hearing.is_deaf() => {
                        "a sleep from which its notify, which panics, does not wake it".to_owned()
                    }
                    number => self.at(number),
                };
                (polling, clock().saturating_sub(seen.since))
            }
        };
        let thread = self.thread_name(id);
        self.log(Level::Error, || {
            let (name, held) = (shared.name(), Seconds(held));
            format!("loop {name}: {why}: thread {thread} has been in {polling} for {held}; it is left behind")
        });
        self.stuck.push(StuckLoop { name: shared.name().clone(), thread, polling, held, stack: None });
        if HAS_STACKS {
            self.inspections.push(self.inspect(&shared));
        }
        self.terminate(id);
        self.handle.board().set_loop(id, false, self.incarnation_of(id));
        // Not joined: the thread may never end.
        let thread = self.loops[id].thread.clone();
        self.outside
            .push(Lane::Loop(id), Label::of("the thread of loop", shared.name()), move || drop(lock(&thread).take()));
        self.loops[id].busy = Busy::default();
    }

    /// Returns what this [number](crate::channel::this_thread::Label::number) stands for: `task http`, `a job`, `its own events`.
    fn at(&self, number: usize) -> String {
        self.handle.board().polling(number)
    }

    fn thread_name(&self, id: LoopId) -> Arc<str> {
        let l = &self.loops[id];
        if l.main_thread { "main".into() } else { l.shared.name().clone() }
    }

    fn incarnation_of(&self, id: LoopId) -> u32 {
        self.handle.board().incarnation_of(id)
    }

    fn start_task(&mut self, id: TaskId, number: u32) {
        self.tasks[id].info.set_starting(None);
        let task = &mut self.tasks[id];
        let shared = self.loops[task.event_loop].shared.clone();
        let events = self.handle.events().clone();
        let incarnation = Incarnation::new(id, number, &task.name, shared.clone(), task.info.clone(), events);
        let before = task.incarnation.replace(incarnation.clone());
        let label = Label::of("the drop of task", &task.name);
        let (value, options, service) = (task.value.clone(), task.options.clone(), self.handle.clone());
        // A closed mailbox: the loop has just ended, and its tasks with it.
        let refused = shared.errand_quietly(move |local| {
            incarnation.arrive();
            if incarnation.is_closing() {
                return incarnation.end_unbegun(Outcome::Dropped);
            }
            match &mut *lock(&value) {
                Some(value) => value.start(local, &options, &incarnation, service),
                None => incarnation.end_unbegun(Outcome::Error("it was skipped, and can't be made anew".into())),
            }
        });
        let event_loop = task.event_loop;
        self.ring(event_loop);
        if before.is_some() || refused.is_err() {
            self.outside.push(Lane::Alone, label, move || drop((before, refused)));
        }
    }

    fn close_task(&mut self, id: TaskId) {
        let task = &mut self.tasks[id];
        let (name, incarnation) = (task.name.clone(), task.incarnation.take());
        let closes = task.info.slots().into_iter().map(|slot| move || slot.close());
        self.outside.push_all(&Label::of("a waiter for task", &name), closes);
        let ends = self.handle.offers_of(Some(&name)).into_iter().map(|offer| move || offer.tell_ended());
        self.outside.push_all(&Label::of("the handle of task", &name), ends);
        self.outside.push(Lane::Alone, Label::of("the drop of task", &name), move || drop(incarnation));
        let skipped = self.handle.board().task_rows(|rows| rows.get(id).is_some_and(|row| row.state == State::Skipped));
        if self.tasks[id].restartable && !skipped && !self.handle.shutdown().is_requested() {
            // The task may be started again. If it was skipped, it never fills its slots, so callers that wait there
            // are told.
            return;
        }
        self.drop_value(id);
    }

    /// Drops what is left of a task, outside.
    fn drop_value(&self, id: TaskId) {
        let task = &self.tasks[id];
        if let Some(value) = task.take_value() {
            self.outside
                .push(Lane::Alone, Label::of("the drop of what did not run of task", &task.name), || drop(value));
        }
    }

    /// Runs this on a separate thread, since it may take long.
    fn ask_thread(&self, what: &'static str, of: &Arc<Coalesced>, work: impl Fn() + Send + 'static) {
        let (handle, of) = (self.handle.clone(), of.clone());
        self.outside.push(Lane::Alone, Label::new("a thread"), move || no_thread(&handle, what, of.ask(work)));
    }

    fn stopping(&mut self, reason: Reason) {
        let handle = self.handle.clone();
        match &reason {
            Reason::Signal(_) => self.log(Level::Info, || format!("{reason} received, stopping")),
            // The reason has been logged.
            _ => self.log(Level::Info, || format!("stopping: {reason}")),
        }
        self.wake_waiters(handle.board().stopping(&reason));
        self.tell_stop_deadline();
        self.wake_watchers(handle.board().watchers());
        self.wake_waiters(handle.shutdown().latch(reason, None).unwrap_or_default());
    }

    fn announce(&mut self, transition: &Transition) {
        let Some(&id) = self.ids.get(&transition.task) else { return };
        self.tell_start_deadline(id, transition);
        self.wake_watchers(self.handle.board().step(id, transition));
        let Transition { task, incarnation, from, to, cause, .. } = transition;
        let target = self.tasks[id].info.target();
        let log = |level, text: std::fmt::Arguments<'_>| self.outside.log(level, target, || text.to_string());
        match (to, cause) {
            // The panic hook has logged it, with its location.
            (State::Failed, Cause::Panicked(said)) if self.outside.take_panic_of(&format!("task {task}"), said) => {
                log(Level::Debug, format_args!("task {task}: {cause}"));
            }
            // Likewise the panic of a thread or a call whose error the task has returned.
            (State::Failed, Cause::Error(error)) if self.outside.take_panic_in(error) => {
                log(Level::Debug, format_args!("task {task}: {cause}"));
            }
            // The loop's death has been logged, with all tasks that were on it.
            (State::Failed, Cause::LoopDied(_)) => log(Level::Info, format_args!("task {task}: {cause}")),
            (State::Failed, Cause::StartTimeout(_)) => {
                log(Level::Error, format_args!("task {task}: {cause}{}", self.tasks[id].info.starting()));
            }
            (State::Failed, _) => log(Level::Error, format_args!("task {task}: {cause}")),
            (State::Cancelled | State::Abandoned, _) => log(Level::Warn, format_args!("task {task} {to}: {cause}")),
            (State::Skipped, _) => log(Level::Info, format_args!("task {task} {cause}")),
            (State::Waiting, Cause::Restart(_)) => log(Level::Warn, format_args!("task {task}: {cause}")),
            _ => log(Level::Debug, format_args!("task {task} (run {incarnation}): {from} -> {to}: {cause}")),
        }
    }

    /// Logs once why a loop has died: its tasks have the same cause.
    fn tell_loop_died(&self, id: LoopId, why: &str, tasks: &[TaskId], restart: Option<Duration>) {
        let name = self.loops[id].shared.name();
        let panicked =
            why.strip_prefix(PANICKED).is_some_and(|said| self.outside.take_panic_of(&format!("loop {name}"), said));
        // A loop that was left behind has been logged as stuck.
        let is_told = panicked || self.stuck.iter().any(|stuck| stuck.name == *name);
        self.log(if is_told { Level::Info } else { Level::Error }, || {
            let mut text = format!("loop {name}: {why}");
            match tasks {
                [] => {}
                [task] => text += &format!("; task {} ends with it", self.tasks[*task].name),
                _ => {
                    let tasks = names::listed(tasks.iter().map(|&task| &*self.tasks[task].name));
                    text += &format!("; tasks {tasks} end with it");
                }
            }
            if let Some(pause) = restart {
                text += &format!("; restart in {}", Seconds(pause));
            } else if let Some(task) = self.unrestarted.get(&id).filter(|_| !self.handle.shutdown().is_requested()) {
                text += &format!("; loop {name} has no restart policy: that of task {task} is for the task's own end");
            }
            text
        });
    }

    /// Drops everything that is left or queued: these threads must end too, unless a Drop blocks.
    fn clear(&mut self, deadline: Instant) {
        (0..self.loops.len()).for_each(|id| self.terminate(id));
        (0..self.tasks.len()).for_each(|id| self.drop_value(id));
        let ends = self.handle.offers_of(None).into_iter().map(|offer| move || offer.tell_ended());
        self.outside.push_all(&Label::new("a handle of a task"), ends);
        let (handle, outside) = (self.handle.clone(), self.outside.clone());
        let label = Label::new("the drop of a job that nobody ran");
        self.outside.push(Lane::Alone, label.clone(), move || {
            let jobs = handle.close_addresses();
            outside.push_all(&label, jobs.into_iter().map(|job| move || drop(job)));
        });
        let loops = self.loops.iter().map(|l| l.shared.clone()).collect::<Vec<_>>();
        let (handle, outside) = (self.handle.clone(), self.outside.clone());
        self.outside.push(Lane::Alone, Label::new("the drop of what was queued"), move || {
            handle.board().asker().close(deadline);
            for shared in loops.iter().filter(|shared| !shared.await_discards(deadline)) {
                let text = || format!("loop {}: the drop of its queue still runs", shared.name());
                outside.log(Level::Warn, handle.name(), text);
            }
        });
        // The plans and options that are left belong to the user too.
        for task in std::mem::take(&mut self.tasks) {
            self.outside.push(Lane::Alone, Label::of("the drop of task", &task.name.clone()), || drop(task));
        }
        for (id, l) in std::mem::take(&mut self.loops).into_iter().enumerate() {
            self.outside.push(Lane::Loop(id), Label::of("the drop of loop", &l.shared.name().clone()), || drop(l));
        }
    }

    fn finish(mut self, ending: &Ending) -> Report {
        // The main thread has nothing more to wait for.
        self.main = None;
        // Clients are refused from now on, or wait for whoever else has the sockets.
        #[cfg(feature = "net")]
        self.tasks.iter().for_each(|task| task.info.inherits(Vec::new()));
        let deadline = Instant::now() + DISCARD_TIMEOUT;
        self.clear(deadline);
        self.outside.settle(deadline);
        let until = Instant::now() + STACKS;
        for (stuck, inspection) in self.stuck.iter_mut().zip(&self.inspections) {
            stuck.stack = inspection.wait(until.saturating_duration_since(Instant::now())).into_stack();
        }
        self.stalls.close(deadline);
        let tasks = self.handle.board().task_rows(|rows| {
            rows.iter().map(|row| EndedTask::new(row.name.clone(), row.state, row.cause.clone())).collect()
        });
        let mut left_behind = self.outside.left_behind();
        let left = ending.abandoned || !self.stuck.is_empty() || !left_behind.is_empty();
        // Threads of tasks hold nothing of the service: they are named in the log, and the process continues.
        let of_tasks =
            |rows: &[TaskRow]| rows.iter().flat_map(|row| row.info.threads_left_behind()).collect::<Vec<_>>();
        left_behind.extend(self.handle.board().task_rows(of_tasks));
        let report = Report {
            code: ending.code(),
            reason: ending.reason.clone(),
            tasks,
            stuck: std::mem::take(&mut self.stuck),
            left_behind,
            lost_lines: self.handle.board().lost_lines(),
        };
        // Each problem has been logged, as an error or a warning of its own.
        match report.code {
            0 => self.log(Level::Info, || report.in_short().to_string()),
            code => self.log(Level::Warn, || format!("{}, exit code {code}", report.in_short())),
        }
        if let Some(leave) = self.on_abandoned.take() {
            self.outside.flush();
            if left {
                self.outside.settle(Instant::now() + LAST_WORDS);
                leave(&report);
            }
        }
        let (waiters, watchers) = self.handle.board().end(report.clone());
        self.wake_waiters(waiters);
        self.wake_watchers(watchers);
        // The last handle owns the options, which may hold user values.
        let outside = self.outside.clone();
        outside.push(Lane::Alone, Label::new("the drop of the service"), move || drop(self));
        outside.close(Instant::now() + DISCARD_TIMEOUT);
        report
    }
}

/// What starts a loop: user code, except for the last step.
struct StartLoop {
    id: LoopId,
    incarnation: u32,
    runner: Arc<Mutex<Box<dyn ErasedLoop>>>,
    main_thread: bool,
    options: Arc<OptionCell>,
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    service: ServiceHandle,
}

impl StartLoop {
    fn run(self) -> Result<(), String> {
        let Self { id, incarnation, runner, main_thread, options, shared, thread, service } = self;
        let events: Events = service.events().clone();
        let started = events.clone();
        let started = Box::new(move || started.send(Event::LoopStarted(id, incarnation)));
        let name = shared.name().clone();
        let drive = lock(&runner).incarnation(&options.latest().1, shared.clone(), service, started);
        // It may have taken so long that the loop has been left behind.
        if shared.is_dead() {
            return Ok(());
        }
        if main_thread {
            let drive = {
                let events = events.clone();
                move || events.send(Event::LoopEnded(id, incarnation, drive()))
            };
            events.tell(Message::ForMain(Box::new(drive)));
            return Ok(());
        }
        let run = move || {
            let gone = events.clone();
            farewell::at_the_end_of_this_thread(move || gone.tell(Message::LoopIsGone(id, incarnation)));
            let ended = drive();
            #[cfg(feature = "logging")]
            crate::logging::ends_in_order();
            events.tell(Message::LoopLeaves(id, incarnation, ended));
        };
        let spawned = thread::Builder::new().name(name.to_string()).spawn(run);
        let spawned = spawned.map_err(|error| format!("no thread for it: {error}"))?;
        let before = lock(&thread).replace(spawned);
        drop(before);
        Ok(())
    }
}

/// Gives this thread's log lines the capacity that no other thread can use.
fn its_lines_are_the_service_s() {
    #[cfg(feature = "logging")]
    crate::logging::never_wait();
}

fn no_thread(handle: &ServiceHandle, what: &str, asked: std::io::Result<()>) {
    if let Err(error) = asked {
        log::error!(target: handle.name(), "there is no thread {what}: {error}");
    }
}
/// How long the service waits at its end for the stacks of loops that were left behind.
const STACKS: Duration = Duration::from_secs(3);
/// How long the log has to flush at the end if a thread was left behind: the service has used up its time already.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How long a loop has at least to act on a cancel, or on a stop that can't wait.
const LEAST: Duration = Duration::from_secs(1);
/// How long tasks have to stop after the supervisor has died.
const DYING: Duration = Duration::from_secs(10);
