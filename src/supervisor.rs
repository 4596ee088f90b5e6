//! The thread that owns the lifecycle. It belongs to no loop, runs no user code, and performs what the [lifecycle](crate::lifecycle) says.

#[cfg(feature = "testing")]
use std::future::Future;
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    Phase, Reason, Report, ServiceHandle, State, StuckLoop, Transition,
    body::{Body, Runner},
    clock::Busy,
    coalesced::Coalesced,
    current,
    discard::Discards,
    events::{Message, Told},
    incarnation::Incarnation,
    lifecycle::{Action, Ending, Event, Lifecycle, LoopId, Outcome, TaskId},
    mailbox::{Shared, clock},
    options::OptionCell,
    state::{Cause, Seconds},
    status::TaskInfo,
    sync::{Mutex, lock},
};

/// What the main thread is asked to do: to drive the loop that claims it.
pub(crate) type MainJob = Box<dyn FnOnce() + Send>;

pub(crate) struct SupervisedTask {
    pub(crate) name: Arc<str>,
    pub(crate) event_loop: LoopId,
    pub(crate) body: Arc<Mutex<Option<Box<dyn Body>>>>,
    pub(crate) options: Arc<OptionCell>,
    pub(crate) info: Arc<TaskInfo>,
    pub(crate) restartable: bool,
    pub(crate) incarnation: Option<Arc<Incarnation>>,
}

impl SupervisedTask {
    /// What is left of the task, if that is the user's: its value, if it never started, or what makes one.
    fn take_body(&self) -> Option<Box<dyn Body>> {
        // A stuck loop may hold the lock for ever; then it stays with its thread.
        let body = self.body.try_lock().ok().and_then(|mut body| body.take());
        body.filter(|body| body.holds())
    }
}

pub(crate) struct SupervisedLoop {
    pub(crate) runner: Box<dyn Runner>,
    pub(crate) options: Arc<OptionCell>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) thread: Option<LoopThread>,
    pub(crate) start_timeout: Duration,
    /// While its thread starts, or is to end.
    pub(crate) busy: Busy,
}

/// A loop's own thread.
pub(crate) struct LoopThread {
    thread: JoinHandle<()>,
    /// Disconnected when all is over there but the thread itself.
    leaving: mpsc::Receiver<()>,
}

impl LoopThread {
    /// How long the destructors of its thread-locals may take once the loop has ended.
    const PATIENCE: Duration = Duration::from_secs(1);

    fn spawn(name: &str, drive: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        // The first of the thread's locals is destroyed last.
        thread_local!(static LEAVES: RefCell<Option<mpsc::Sender<()>>> = const { RefCell::new(None) });
        let (leaves, leaving) = mpsc::channel();
        let run = move || {
            LEAVES.set(Some(leaves));
            drive();
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { thread, leaving })
    }

    /// Waits for a thread that is about to end; false if something of the user's keeps it.
    fn join(self) -> bool {
        let over = self.leaving.recv_timeout(Self::PATIENCE) == Err(mpsc::RecvTimeoutError::Disconnected);
        // Its panics are caught inside.
        over && self.thread.join().is_ok()
    }
}

/// Called at the end if a thread had to be left behind: `run()` leaves the process then.
pub(crate) type OnAbandoned = Box<dyn FnOnce(&Report) + Send>;

/// By which clock the supervisor waits.
#[cfg(feature = "testing")]
enum Alarmed {
    /// A fake one, and it is due.
    Rings,
    Fake,
    Real,
}

pub(crate) struct Supervisor {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) messages: mpsc::Receiver<Told>,
    /// While it doesn't wait.
    pub(crate) busy: Busy,
    pub(crate) handle: ServiceHandle,
    /// By the service's clock.
    pub(crate) started: Instant,
    /// The same moment, by the real one: the time of threads.
    pub(crate) begun: Instant,
    /// The next deadline by a fake clock.
    #[cfg(feature = "testing")]
    pub(crate) alarm: Option<crate::clock::Alarm>,
    pub(crate) tasks: Vec<SupervisedTask>,
    pub(crate) ids: HashMap<Arc<str>, TaskId>,
    pub(crate) loops: Vec<SupervisedLoop>,
    /// To the main thread, if it takes jobs.
    pub(crate) main: Option<mpsc::Sender<MainJob>>,
    pub(crate) on_abandoned: Option<OnAbandoned>,
    pub(crate) stuck: Vec<StuckLoop>,
    pub(crate) stop_reason: Reason,
    /// What is left of tasks that have ended: to be dropped elsewhere, once there is nothing more urgent.
    pub(crate) leftovers: Vec<Box<dyn Body>>,
    /// Until when loops are to have said that they are started.
    pub(crate) starting: BTreeMap<LoopId, (Instant, u32)>,
    pub(crate) discards: Discards,
    /// Of the log, on HUP.
    pub(crate) reopenings: Arc<Coalesced>,
    pub(crate) reloads: Arc<Coalesced>,
}

impl Supervisor {
    /// Runs the service from start to end.
    pub(crate) fn run(mut self) -> Report {
        // What was asked for before the start comes before it: a stop means that nothing starts.
        let mut actions = Vec::new();
        while let Ok((message, _busy)) = self.messages.try_recv() {
            actions.extend(self.take(message));
        }
        actions.extend(self.handle_event(Event::Start));
        loop {
            for action in actions {
                if let Action::Finished(ending) = action {
                    return self.finish(&ending);
                }
                self.perform(action);
            }
            self.drop_leftovers();
            actions = match self.next_message() {
                Some(message) => self.take(message),
                None => self.handle_event(Event::Tick),
            };
            actions.extend(self.give_up_starting());
        }
    }

    fn take(&mut self, message: Message) -> Vec<Action> {
        match message {
            Message::Life(event) => return self.handle_event(event),
            Message::ShowStatus => log::info!(target: self.handle.name(), "{}", self.handle.status()),
            Message::Reload => {
                // Files may take their time, and whether options fit may be the user's code. It logs what comes of it.
                let (handle, reloads) = (self.handle.clone(), self.reloads.clone());
                let reload = move || {
                    handle.reopen_log("HUP received, ");
                    // A turn of its own: the next HUP's log does not wait for a file that hangs.
                    let reloading = handle.clone();
                    no_thread(&handle, reloads.ask(move || drop(reloading.reload_options("HUP received, "))));
                };
                no_thread(&self.handle, self.reopenings.ask(reload));
            }
            Message::Timing { drain_delay, shutdown_timeout } => {
                self.lifecycle.set_timing(drain_delay, shutdown_timeout);
            }
        }
        Vec::new()
    }

    /// The next message, or None when a deadline is due. Without a deadline it sleeps: idle means idle.
    fn next_message(&mut self) -> Option<Message> {
        let (due, for_threads) = self.lifecycle.next_deadlines();
        let due = due.and_then(|due| self.started.checked_add(due));
        let for_threads = for_threads.and_then(|due| self.begun.checked_add(due));
        #[cfg(feature = "testing")]
        let due = match self.set_alarm(due) {
            Alarmed::Rings => return None,
            Alarmed::Fake => None,
            Alarmed::Real => due,
        };
        let late = self.starting.values().map(|(deadline, _)| *deadline).min();
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

    /// Has a fake clock tick when this is due.
    #[cfg(feature = "testing")]
    fn set_alarm(&mut self, due: Option<Instant>) -> Alarmed {
        struct Ticks(crate::events::Events);
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

    /// A loop that never says that it is started would hold everything up in silence. It ends the service, whatever its policy: its thread still lives.
    fn give_up_starting(&mut self) -> Vec<Action> {
        let now = Instant::now();
        let mut late = self.starting.iter().filter(|(_, (deadline, _))| *deadline <= now);
        let Some((&id, &(_, incarnation))) = late.next() else { return Vec::new() };
        self.starting.remove(&id);
        let (name, timeout) = (self.loops[id].shared.name().clone(), self.loops[id].start_timeout);
        self.abandon_loop(id);
        let why = format!("it has not said that it is started within {}", Seconds(timeout));
        let mut actions = self.handle_event(Event::ShutdownRequested(Reason::LoopFailed(name)));
        actions.extend(self.handle_event(Event::LoopEnded(id, incarnation, Err(why))));
        actions
    }

    fn handle_event(&mut self, event: Event) -> Vec<Action> {
        if let Event::LoopEnded(id, ..) = &event {
            self.join(*id);
            // A start that was still on its way waits in the mailbox: the next incarnation of the loop has its own.
            let lost = self.tasks.iter().filter(|task| task.event_loop == *id);
            lost.filter_map(|task| task.incarnation.as_ref()).for_each(|incarnation| incarnation.cancel());
        }
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
            }
            Event::HardStop(signal) => {
                log::warn!(target: self.handle.name(), "{} received again, stopping hard", Reason::Signal(*signal));
            }
            _ => {}
        }
        let now = self.now();
        // One look at a clock that is both.
        let threads_now = if self.started == self.begun { now } else { self.begun.elapsed() };
        self.lifecycle.handle_apart(now, threads_now, event)
    }

    fn now(&self) -> Duration {
        self.handle.clock().now().saturating_duration_since(self.started)
    }

    /// The loop's thread is about to end: it has said so with its last breath.
    fn join(&mut self, id: LoopId) {
        let Some(l) = self.loops.get_mut(id) else { return };
        if l.thread.take().is_some_and(|thread| !thread.join()) {
            let name = l.shared.name();
            log::warn!(target: self.handle.name(), "loop {name}: its thread does not end, and is left behind");
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::StartLoop(id, incarnation) => self.start_loop(id, incarnation),
            Action::StopLoop(id, _, deadline) => {
                // Of a thread: by the real clock.
                let deadline = Instant::now().checked_add(deadline.saturating_sub(self.now()));
                self.loops[id].busy = self.handle.clock().busy();
                self.loops[id].shared.stop(self.stop_reason.clone(), deadline);
            }
            Action::AbandonLoop(id, _) => self.abandon_loop(id),
            Action::CloseLoop(id) => self.loops[id].shared.terminate(),
            Action::StartTask(id, incarnation) => self.start_task(id, incarnation),
            Action::AskTask(id, _, reason, deadline) => {
                if let Some(incarnation) = &self.tasks[id].incarnation {
                    incarnation.shutdown.request(reason, self.started.checked_add(deadline));
                }
            }
            Action::CancelTask(id, _) => {
                if let Some(incarnation) = &self.tasks[id].incarnation {
                    incarnation.cancel();
                }
            }
            Action::CloseTask(id) => self.close_task(id),
            Action::Transition(transition) => self.announce(&transition),
            Action::AllStarted => {
                self.handle.board().set_phase(Phase::Running);
                log::info!(target: self.handle.name(), "all tasks started");
            }
            Action::SetReady(ready) => self.handle.board().set_ready(ready),
            Action::Stopping(reason) => self.stopping(reason),
            Action::Warn(text) => log::warn!(target: self.handle.name(), "{text}"),
            Action::Finished(_) => {}
        }
    }

    fn start_loop(&mut self, id: LoopId, incarnation: u32) {
        let events = self.handle.events().clone();
        let busy = self.handle.clock().busy();
        let l = &mut self.loops[id];
        l.busy = busy;
        let name = l.shared.name().clone();
        let started = events.clone();
        let drive = l.runner.incarnation(
            &l.options.latest().1,
            l.shared.clone(),
            self.handle.clone(),
            Box::new(move || started.send(Event::LoopStarted(id, incarnation))),
        );
        let failed = events.clone();
        let drive = move || {
            let ended = drive();
            events.send(Event::LoopEnded(id, incarnation, ended));
        };
        let begun = if l.runner.needs_main_thread() {
            let main = self.main.as_ref().and_then(|main| main.send(Box::new(drive)).ok());
            main.ok_or_else(|| "it needs the main thread: use Service::run".to_owned())
        } else {
            let spawned = LoopThread::spawn(&name, drive);
            spawned.map(|thread| l.thread = Some(thread)).map_err(|error| format!("no thread for it: {error}"))
        };
        if let Some(deadline) = Instant::now().checked_add(l.start_timeout) {
            self.starting.insert(id, (deadline, incarnation));
        }
        if let Err(why) = begun {
            failed.send(Event::LoopEnded(id, incarnation, Err(why)));
        }
    }

    fn abandon_loop(&mut self, id: LoopId) {
        let shared = self.loops[id].shared.clone();
        let seen = shared.seen();
        let polling = match seen.number {
            0 => "its own events".to_owned(),
            current::JOB => "a job".to_owned(),
            number => self.tasks.get(number - 1).map_or_else(String::new, |task| format!("task {}", task.name)),
        };
        let held = clock().saturating_sub(seen.since);
        let main_thread = self.loops[id].runner.needs_main_thread();
        let thread = if main_thread { "main".into() } else { shared.name().clone() };
        log::error!(
            target: self.handle.name(),
            "loop {} is stuck: thread {thread} has been in {polling} for {}; it is left behind",
            shared.name(),
            Seconds(held)
        );
        self.stuck.push(StuckLoop { name: shared.name().clone(), thread, polling, held });
        shared.terminate();
        self.handle.board().set_loop(id, false, self.incarnation_of(id));
        // Not joined: it may never end.
        self.loops[id].thread = None;
        self.loops[id].busy = Busy::default();
    }

    fn incarnation_of(&self, id: LoopId) -> u32 {
        self.handle.board().incarnation_of(id)
    }

    fn start_task(&mut self, id: TaskId, number: u32) {
        let task = &mut self.tasks[id];
        let shared = self.loops[task.event_loop].shared.clone();
        let events = self.handle.events().clone();
        let incarnation = Incarnation::new(id, number, &task.name, shared.clone(), task.info.clone(), events);
        task.incarnation = Some(incarnation.clone());
        let (body, options, service) = (task.body.clone(), task.options.clone(), self.handle.clone());
        // A closed mailbox: the loop has just ended, and takes its tasks along.
        let _ = shared.errand(move |local| {
            if incarnation.is_closing() {
                return incarnation.end_unbegun(Outcome::Dropped);
            }
            match &mut *lock(&body) {
                Some(body) => body.start(local, &options, &incarnation, service),
                None => incarnation.end_unbegun(Outcome::Error("it was skipped, and can't be made anew".into())),
            }
        });
    }

    fn close_task(&mut self, id: TaskId) {
        let task = &mut self.tasks[id];
        task.info.close_slots();
        self.handle.end_offers(Some(&task.name));
        task.incarnation = None;
        let skipped = self.handle.board().task_rows(|rows| rows.get(id).is_some_and(|row| row.state == State::Skipped));
        if task.restartable && !skipped && !self.handle.shutdown().is_requested() {
            // Somebody may start it again. One that was skipped will never fill its slots: whoever waits there is told.
            return;
        }
        self.leftovers.extend(task.take_body());
    }

    fn drop_leftovers(&mut self) {
        let name = self.handle.name().to_owned();
        let panicked =
            move |panic: &str| log::error!(target: &name, "the drop of a task that did not run panicked: {panic}");
        self.discards.add(std::mem::take(&mut self.leftovers), panicked);
    }

    fn stopping(&mut self, reason: Reason) {
        let handle = &self.handle;
        match &reason {
            Reason::Signal(_) => log::info!(target: handle.name(), "{reason} received, stopping"),
            Reason::TaskFailed(_) | Reason::LoopFailed(_) => log::error!(target: handle.name(), "stopping: {reason}"),
            _ => log::info!(target: handle.name(), "stopping: {reason}"),
        }
        handle.board().stopping(&reason);
        handle.shutdown().request(reason.clone(), None);
        self.stop_reason = reason;
    }

    fn announce(&self, transition: &Transition) {
        let Some(&id) = self.ids.get(&transition.task) else { return };
        self.handle.board().step(id, transition);
        let Transition { task, incarnation, from, to, cause, .. } = transition;
        let target = self.tasks[id].info.target();
        match (to, cause) {
            (State::Failed, _) => log::error!(target: target, "task {task}: {cause}"),
            (State::Cancelled | State::Abandoned, _) => log::warn!(target: target, "task {task} {to}: {cause}"),
            (State::Skipped, _) => log::info!(target: target, "task {task} {cause}"),
            (State::Waiting, Cause::Restart(_)) => log::warn!(target: target, "task {task}: {cause}"),
            _ => log::debug!(target: target, "task {task} (run {incarnation}): {from} -> {to}: {cause}"),
        }
    }

    /// What was never used is dropped on threads of its own: these are to be gone too, unless a Drop blocks.
    fn await_discards(&self) {
        let deadline = Instant::now() + DISCARD_TIMEOUT;
        if !self.discards.wait(deadline) {
            log::warn!(target: self.handle.name(), "the drop of a task that did not run takes too long; it is left behind");
        }
        for l in &self.loops {
            if !l.shared.await_discards(deadline) {
                log::warn!(target: self.handle.name(), "loop {}: the drop of its queue still runs", l.shared.name());
            }
        }
    }

    fn finish(mut self, ending: &Ending) -> Report {
        for id in 0..self.loops.len() {
            self.loops[id].shared.terminate();
            let ended = self.loops[id].thread.as_ref().is_none_or(|l| l.thread.is_finished());
            if ended {
                self.join(id);
            }
        }
        self.leftovers.extend(self.tasks.iter().filter_map(SupervisedTask::take_body));
        self.drop_leftovers();
        self.discards
            .add(self.handle.close_addresses(), |panic| log::error!("the drop of a queued job panicked: {panic}"));
        self.handle.end_offers(None);
        self.await_discards();
        let tasks = self
            .handle
            .board()
            .task_rows(|rows| rows.iter().map(|row| (row.name.clone(), row.state, row.cause.clone())).collect());
        let report = Report {
            code: ending.code(),
            reason: ending.reason.clone(),
            tasks,
            stuck: std::mem::take(&mut self.stuck),
        };
        match report.code {
            0 => log::info!(target: self.handle.name(), "{report}"),
            124 => log::warn!(target: self.handle.name(), "{report}"),
            _ => log::error!(target: self.handle.name(), "{report}"),
        }
        if let (true, Some(leave)) = (ending.abandoned || !report.stuck.is_empty(), self.on_abandoned.take()) {
            leave(&report);
        }
        self.handle.board().end(report.clone());
        report
    }
}

fn no_thread(handle: &ServiceHandle, asked: std::io::Result<()>) {
    if let Err(error) = asked {
        log::error!(target: handle.name(), "HUP received, but there is no thread to reload: {error}");
    }
}

/// How long the drops of what was never used may take at the end.
pub(crate) const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);
