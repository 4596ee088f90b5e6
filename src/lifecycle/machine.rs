//! The state machine.
//!
//! It handles one event at a time: [`Lifecycle::handle`] takes it in, then settles: it begins a requested stop,
//! considers each task for which something changed, and moves the service to its next phase, until nothing is left to
//! do. Then it handles due deadlines in the same way. An event precedes the deadlines at the same time: a task that
//! ended just in time is not overdue.
//!
//! Between two calls of `handle` these invariants hold:
//!
//! - **Once.** A task is *live* (Starting, Running, Stopping) from its `StartTask` to its one final state; at most one
//!   incarnation is live, on a loop that runs.
//! - **No start without leave.** `unmet` counts the obstacles to a waiting task's start: its loop, if that does not
//!   run, and each dependency that does not [allow](Task::allowance) it. Every change updates it, so that no search is
//!   needed.
//! - **Due to stop.** `due` says that a live task must be asked to stop, or has been. It is asked as soon as it has no
//!   `blockers`, which are dependents that are due themselves and still live. So a stop of everything, of one phase, or
//!   of one task and the tasks that require it are the same: tasks become due, and the order follows.
//! - **One clock each.** A task has at most one timer, and its state says what it is for: a backoff (Waiting), the
//!   start (Starting), the stop (Stopping), or a cancel (if `cancelled`). Beside it, a start has a timer that only
//!   reports a slow start.
//! - **In doubt it lives.** A task whose error a stop would explain is `suspect`: it is treated as live until a stop
//!   comes, an operator asks it to stop, or [`DOUBT`] is over. A request to it in that time is answered with that
//!   error.
//! - **First reason wins.** `stop` is set once; after that nothing starts any more.
//! - **Finished is last.** It comes when no task is live and no loop has a thread, and nothing comes after it.

mod end;
mod operator;
mod stop;

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use super::{
    Action, Ending, Event, LoopId, LoopPlan, Now, Plan, TaskId, TaskPlan,
    backoff::Restarts,
    deadlines::{Timer, Timers},
    dependencies::Graph,
};
use crate::words::state::{Cause, Reason, State, Transition};

/// How long a loop has to act on a cancel or a hard stop before its thread is left behind.
const GRACE: Duration = Duration::from_secs(1);
/// How long a loop has to end once its tasks have, unless the service has less time.
const LOOP_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a task may be starting before that is reported, unless its start fails by then.
const SLOW_START: Duration = Duration::from_secs(5);

/// How long after an error a stop that would explain it may come. A TERM to a whole process group or control group may
/// reach a child before the service has received its own.
const DOUBT: Duration = Duration::from_millis(200);

/// Seeded faults for the tests to find.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A task is asked to stop before its dependents have ended.
    AsksEarly,
    /// A restart counts against the limit forever.
    ForgetsWindow,
    /// A later reason to stop overwrites the first.
    LastReasonWins,
    /// A task starts after a stop was requested.
    StartsAfterStop,
    /// A task that does not get ready in time has no consequences.
    ForgetsStartTimeout,
}

/// Whether this fault is seeded; never, outside of tests.
#[cfg(test)]
macro_rules! mutant {
    ($lifecycle:ident, $fault:ident) => {
        $lifecycle.mutant == Some($crate::lifecycle::machine::Mutant::$fault)
    };
}
#[cfg(not(test))]
macro_rules! mutant {
    ($lifecycle:ident, $fault:ident) => {
        false
    };
}
use mutant;

/// The lifecycle of a service: see the [module](self).
#[derive(Debug)]
pub(crate) struct Lifecycle {
    graph: Arc<Graph>,
    tasks: Vec<Task>,
    loops: Vec<Loop>,
    drain_delay: Duration,
    shutdown_timeout: Duration,
    random: fastrand::Rng,

    now: Now,
    /// The time by the clock of the threads.
    threads_now: Now,
    phase: Phase,
    stop: Option<Stop>,
    timers: Timers,
    /// The tasks for which something changed: they may start now, or be asked to stop.
    to_consider: VecDeque<TaskId>,
    tally: Tally,

    all_started: bool,
    ready: bool,
    failed: bool,
    overdue: bool,
    abandoned: bool,
    forced: Option<i32>,

    actions: Vec<Action>,
    #[cfg(test)]
    pub(crate) mutant: Option<Mutant>,
    /// The phases so far, each with whether all tasks have started.
    #[cfg(all(test, not(loom)))]
    pub(crate) phases: Vec<(Phase, bool)>,
}

/// The phase of the whole service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not started yet.
    New,
    /// Tasks start, run, and are restarted.
    Up,
    /// All tasks are being stopped to be restarted; `last` ones when the others have ended.
    Cycling {
        last: bool,
    },
    /// A stop was requested; tasks continue for a while.
    Draining,
    /// Tasks are being stopped; `last` ones when the others have ended.
    Stopping {
        last: bool,
    },
    /// Tasks have ended, and loops are being stopped.
    StoppingLoops,
    Finished,
}

/// A stop of the service.
#[derive(Clone, Debug)]
struct Stop {
    reason: Reason,
    /// When its time limit is over.
    deadline: Now,
}

#[derive(Debug)]
struct Task {
    plan: TaskPlan,
    state: State,
    incarnation: u32,
    /// The number of obstacles to its start: see the module.
    unmet: usize,
    /// The number of obstacles to asking it to stop, or to restarting it: dependents that are due to stop and live.
    blockers: usize,
    /// What it allows its dependents: the present [`Task::allowance`].
    allowance: Allowance,
    /// Why it must be asked to stop, or has been, and what follows.
    due: Option<(Reason, Then)>,
    /// When this incarnation became ready.
    ready_at: Option<Now>,
    /// When this incarnation was asked to stop.
    asked_at: Option<Now>,
    /// Why its future is being dropped.
    cancelled: Option<Cause>,
    /// Why it was skipped.
    skipped: Option<Arc<str>>,
    /// The error that it has ended with, if a stop would explain it and may still come.
    suspect: Option<String>,
    /// An operator stopped it (alone, not the service): it stays down until an operator starts it.
    held: bool,
    /// `CloseTask` was emitted for its last incarnation.
    closed: bool,
    restarts: Restarts,
}

/// What follows when a task was stopped by itself, not with the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It is restarted, uncounted.
    StartAgain,
    /// It stays down until it is asked to start.
    StayDown,
    /// It is restarted when all tasks have ended; or, if the service is stopping, never.
    WaitForAll,
}

/// Which dependents a task allows to start, by its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Allowance {
    required_by: bool,
    followed_by: bool,
}

#[derive(Debug)]
struct Loop {
    plan: LoopPlan,
    state: LoopState,
    incarnation: u32,
    running_since: Option<Now>,
    restarts: Restarts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoopState {
    New,
    Starting,
    Running,
    /// It died and will be restarted.
    Backoff,
    Stopping,
    Ended,
    Abandoned,
}

impl LoopState {
    fn has_thread(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }
}

/// The numbers of tasks in the states that matter to the whole service.
#[derive(Debug, Default)]
struct Tally {
    /// Live tasks: those not marked last, and those that are.
    live: [usize; 2],
    /// Waiting or Starting.
    unsettled: usize,
    /// Neither Running nor well ended.
    unready: usize,
    /// Not ended, among those not marked last.
    unended: usize,
    /// Held, among those not marked last.
    held: usize,
    /// Tasks not marked last.
    ordinary: usize,
    /// Loops with a thread.
    threads: usize,
}

impl Tally {
    fn add(&mut self, last: bool, state: State) {
        self.live[usize::from(last)] += usize::from(is_live(state));
        self.unsettled += usize::from(is_unsettled(state));
        self.unready += usize::from(is_unready(state));
        self.unended += usize::from(!last && !state.is_final());
    }

    fn remove(&mut self, last: bool, state: State) {
        self.live[usize::from(last)] -= usize::from(is_live(state));
        self.unsettled -= usize::from(is_unsettled(state));
        self.unready -= usize::from(is_unready(state));
        self.unended -= usize::from(!last && !state.is_final());
    }
}

fn is_live(state: State) -> bool {
    matches!(state, State::Starting | State::Running | State::Stopping)
}

fn is_unsettled(state: State) -> bool {
    matches!(state, State::Waiting | State::Starting)
}

fn is_unready(state: State) -> bool {
    !matches!(state, State::Running | State::Stopped | State::Skipped)
}

impl Task {
    fn new(plan: TaskPlan) -> Self {
        Self {
            // One for each dependency, and one for the loop.
            unmet: plan.requires.len() + plan.after.len() + 1,
            plan,
            state: State::Waiting,
            incarnation: 1,
            blockers: 0,
            allowance: Allowance::default(),
            due: None,
            ready_at: None,
            asked_at: None,
            cancelled: None,
            skipped: None,
            suspect: None,
            held: false,
            closed: false,
            restarts: Restarts::default(),
        }
    }

    /// Returns which dependents it allows to start. If it is due to stop, or held, no task that requires it can start.
    fn allowance(&self) -> Allowance {
        Allowance {
            required_by: match self.state {
                State::Running => self.due.is_none() && self.suspect.is_none(),
                State::Stopped => !self.held,
                _ => false,
            },
            followed_by: self.state == State::Running || self.state.is_final(),
        }
    }

    fn is_live(&self) -> bool {
        is_live(self.state)
    }
}

impl Lifecycle {
    /// Returns the lifecycle of a plan. The plan must be checked: no cycles, all ids within it.
    pub(crate) fn new(plan: Plan) -> Self {
        let mut tally = Tally::default();
        for task in &plan.tasks {
            tally.add(task.last, State::Waiting);
            tally.ordinary += usize::from(!task.last);
        }
        Self {
            graph: Arc::new(Graph::new(&plan)),
            tasks: plan.tasks.into_iter().map(Task::new).collect(),
            loops: plan.loops.into_iter().map(Loop::new).collect(),
            drain_delay: plan.drain_delay,
            shutdown_timeout: plan.shutdown_timeout,
            random: fastrand::Rng::with_seed(plan.seed),
            now: Now::ZERO,
            threads_now: Now::ZERO,
            phase: Phase::New,
            stop: None,
            timers: Timers::default(),
            to_consider: VecDeque::new(),
            tally,
            all_started: false,
            ready: false,
            failed: false,
            overdue: false,
            abandoned: false,
            forced: None,
            actions: Vec::new(),
            #[cfg(test)]
            mutant: None,
            #[cfg(all(test, not(loom)))]
            phases: vec![(Phase::New, false)],
        }
    }

    /// Handles an event as [`handle_apart`](Self::handle_apart) does, with one clock for both.
    #[cfg(test)]
    pub(crate) fn handle(&mut self, now: Now, event: Event) -> Vec<Action> {
        self.handle_apart(now, now, event)
    }

    /// Handles an event at `now`, and returns the actions. If the clock goes back, it stands still. The threads' time
    /// differs if the service's is a fake.
    pub(crate) fn handle_apart(&mut self, now: Now, threads_now: Now, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        self.threads_now = self.threads_now.max(threads_now);
        if !self.is_finished() {
            self.take(event);
            self.settle();
            self.do_what_is_due();
        }
        mem::take(&mut self.actions)
    }

    /// Sets the timing of a stop that has not begun.
    pub(crate) fn set_timing(&mut self, drain_delay: Duration, shutdown_timeout: Duration) {
        self.drain_delay = drain_delay;
        self.shutdown_timeout = shutdown_timeout;
    }

    /// Returns the earlier of the [two](Self::next_deadlines).
    #[cfg(test)]
    pub(crate) fn next_deadline(&self) -> Option<Now> {
        let (service, threads) = self.next_deadlines();
        service.into_iter().chain(threads).min()
    }

    /// Returns when the time limit of the stop is over, once a stop was requested.
    pub(crate) fn stop_deadline(&self) -> Option<Now> {
        self.stop.as_ref().map(|stop| stop.deadline)
    }

    /// Returns the earliest times at which an [`Event::Tick`] has an effect, by the service's time and by the threads'.
    pub(crate) fn next_deadlines(&self) -> (Option<Now>, Option<Now>) {
        self.timers.next()
    }

    /// Returns the state of a task of the plan.
    #[cfg(test)]
    pub(crate) fn state(&self, task: TaskId) -> State {
        self.tasks[task].state
    }

    /// Returns which run of the task its state is about; the first is 1.
    #[cfg(test)]
    pub(crate) fn incarnation(&self, task: TaskId) -> u32 {
        self.tasks[task].incarnation
    }

    /// Whether everything has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    /// Returns the number of tasks.
    #[cfg(test)]
    pub(crate) fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Returns the name of a task of the plan.
    #[cfg(test)]
    pub(crate) fn name(&self, task: TaskId) -> Arc<str> {
        self.tasks[task].plan.name.clone()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Start => self.start(),
            Event::LoopStarted(id, incarnation) => self.loop_started(id, incarnation),
            Event::LoopEnded(id, incarnation, result) => self.loop_ended(id, incarnation, result),
            Event::LoopStuck(id, incarnation) => self.loop_stuck(id, incarnation),
            Event::TaskReady(id, incarnation) => self.task_ready(id, incarnation),
            Event::TaskEnded(id, incarnation, outcome) => self.task_ended(id, incarnation, outcome),
            Event::ShutdownRequested(reason) => self.request_stop(reason),
            Event::HardStop(signal) => self.hard_stop(signal),
            Event::StopTask(id) => self.stop_task(id),
            Event::RestartTask(id) => self.restart_task(id),
            Event::RestartService => self.restart_service(),
            Event::Tick => {}
        }
    }

    /// Draws all conclusions from the changes.
    fn settle(&mut self) {
        loop {
            if self.stop.is_some() && matches!(self.phase, Phase::Up | Phase::Cycling { .. }) {
                self.begin_stop();
            } else if let Some(task) = self.to_consider.pop_front() {
                self.consider(task);
            } else if !self.advance() {
                break;
            }
        }
    }

    fn do_what_is_due(&mut self) {
        while let Some((at, timer)) = self.timers.pop_due(self.now, self.threads_now) {
            match timer {
                Timer::Drain => self.stop_tasks(false),
                Timer::Shutdown => self.shutdown_timeout_over(),
                Timer::Task(id) => self.task_due(id, at),
                Timer::Loop(id) => self.loop_due(id),
                Timer::Suspect(id) => {
                    self.convict(id);
                }
                Timer::SlowStart(id) => self.tell_slow_start(id),
            }
            self.settle();
        }
    }

    /// Moves the service to the next phase, if its phase is over. Returns whether it did.
    fn advance(&mut self) -> bool {
        match self.phase {
            Phase::New | Phase::Finished => return false,
            Phase::Up => {
                self.tell_progress();
                return self.stop_if_all_done();
            }
            Phase::Cycling { last } => {
                self.tell_ready();
                if self.tally.live[usize::from(last)] > 0 {
                    return false;
                }
                if last { self.start_all_anew() } else { self.cycle_tasks(true) }
            }
            Phase::Draining => {
                if self.tally.live != [0, 0] {
                    return false;
                }
                self.stop_tasks(false);
            }
            Phase::Stopping { last } => {
                if self.tally.live[usize::from(last)] > 0 {
                    return false;
                }
                if last { self.stop_loops() } else { self.stop_tasks(true) }
            }
            Phase::StoppingLoops => {
                if self.tally.threads > 0 {
                    return false;
                }
                self.finish();
            }
        }
        true
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        #[cfg(all(test, not(loom)))]
        self.phases.push((phase, self.all_started));
    }

    fn tell_progress(&mut self) {
        let started = match self.tasks.is_empty() {
            true => self.loops.iter().all(|l| l.state == LoopState::Running),
            false => self.tally.unsettled == 0,
        };
        let first = started && !self.all_started;
        self.all_started |= started;
        #[cfg(all(test, not(loom)))]
        self.phases.extend(first.then_some((self.phase, true)));
        // Waiters for the start find the service ready.
        self.tell_ready();
        if first {
            self.actions.push(Action::AllStarted);
        }
    }

    fn tell_ready(&mut self) {
        let ready = self.stop.is_none() && self.all_started && self.tally.unready == 0;
        if ready != self.ready {
            self.ready = ready;
            self.actions.push(Action::SetReady(ready));
        }
    }

    fn stop_if_all_done(&mut self) -> bool {
        let done = self.tally.ordinary > 0 && self.tally.unended == 0 && self.tally.held == 0;
        if done {
            self.request_stop(Reason::AllDone);
        }
        done
    }

    /// Returns why the service ends if no caller has asked for it.
    fn ending_reason(&self) -> Reason {
        self.stop.as_ref().map_or(Reason::AllDone, |stop| stop.reason.clone())
    }

    fn finish(&mut self) {
        self.enter(Phase::Finished);
        self.timers = Timers::default();
        let reason = self.ending_reason();
        self.actions.push(Action::Finished(Ending {
            reason,
            failed: self.failed,
            overdue: self.overdue,
            abandoned: self.abandoned,
            forced: self.forced,
        }));
    }

    // --- Starts ---

    fn start(&mut self) {
        if self.phase != Phase::New {
            return;
        }
        self.enter(Phase::Up);
        if self.stop.is_none() {
            for id in 0..self.loops.len() {
                self.start_loop(id);
            }
        }
    }

    fn may_start_tasks(&self) -> bool {
        self.phase == Phase::Up || mutant!(self, StartsAfterStop)
    }

    /// Takes the next step of this task that is possible now.
    fn consider(&mut self, id: TaskId) {
        match self.tasks[id].state {
            State::Waiting if self.may_start_tasks() => self.start_task_if_allowed(id),
            State::Starting | State::Running => self.ask_task_if_allowed(id),
            _ => {}
        }
    }

    fn start_task_if_allowed(&mut self, id: TaskId) {
        let task = &self.tasks[id];
        if task.unmet > 0 {
            if let Some(reason) = self.skipped_requirement(id) {
                self.end_task(id, State::Skipped, Cause::Skipped(reason));
            }
        } else if task.blockers == 0 && self.timers.get(Timer::Task(id)).is_none() {
            self.start_task(id);
        }
    }

    fn skipped_requirement(&self, id: TaskId) -> Option<Arc<str>> {
        let mut requires = self.graph.tasks[id].requires.iter();
        requires.find_map(|&required| self.tasks[required].skipped.clone())
    }

    fn start_task(&mut self, id: TaskId) {
        self.transition(id, State::Starting, Cause::Start);
        let task = &self.tasks[id];
        if !mutant!(self, ForgetsStartTimeout) {
            self.timers.set(Timer::Task(id), self.now.saturating_add(task.plan.start_timeout));
            if task.plan.start_timeout > SLOW_START {
                self.timers.set(Timer::SlowStart(id), self.now.saturating_add(SLOW_START));
            }
        }
        self.actions.push(Action::StartTask(id, task.incarnation));
    }

    /// Reports a slow start. The task is still starting: its timer is cleared when its state changes, and at a stop.
    fn tell_slow_start(&mut self, id: TaskId) {
        let mut waiting = self.graph.dependents(id);
        for &after in &self.graph.tasks[id].followed_by {
            if !waiting.contains(&after) {
                waiting.push(after);
            }
        }
        waiting.retain(|&task| self.tasks[task].state == State::Waiting);
        self.actions.push(Action::SlowStart(id, SLOW_START, waiting));
    }

    fn task_ready(&mut self, id: TaskId, incarnation: u32) {
        let Some(task) = self.tasks.get(id) else { return };
        if task.incarnation == incarnation && task.state == State::Starting && task.cancelled.is_none() {
            self.make_ready(id);
        }
    }

    fn make_ready(&mut self, id: TaskId) {
        self.timers.clear(Timer::Task(id));
        self.tasks[id].ready_at = Some(self.now);
        self.transition(id, State::Running, Cause::Ready);
    }

    fn start_loop(&mut self, id: LoopId) {
        let l = &mut self.loops[id];
        l.incarnation = l.incarnation.saturating_add(1);
        l.running_since = None;
        self.actions.push(Action::StartLoop(id, l.incarnation));
        self.set_loop_state(id, LoopState::Starting);
    }

    fn loop_started(&mut self, id: LoopId, incarnation: u32) {
        let Some(l) = self.loops.get_mut(id) else { return };
        if l.incarnation == incarnation && l.state == LoopState::Starting {
            l.running_since = Some(self.now);
            self.set_loop_state(id, LoopState::Running);
        }
    }

    // --- The bookkeeping of states: no other code writes them ---

    /// Puts a task into a state, reports the transition, and updates its dependents.
    fn transition(&mut self, id: TaskId, to: State, cause: Cause) {
        let task = &mut self.tasks[id];
        let from = mem::replace(&mut task.state, to);
        if from == State::Starting {
            self.timers.clear(Timer::SlowStart(id));
        }
        self.tally.remove(task.plan.last, from);
        self.tally.add(task.plan.last, to);
        let (task, incarnation) = (task.plan.name.clone(), task.incarnation);
        self.actions.push(Action::Transition(Transition { task, incarnation, from, to, cause, at: self.now }));
        self.update_allowance(id);
        self.to_consider.push_back(id);
    }

    fn update_allowance(&mut self, id: TaskId) {
        let new = self.tasks[id].allowance();
        let old = mem::replace(&mut self.tasks[id].allowance, new);
        let graph = self.graph.clone();
        if old.required_by != new.required_by {
            graph.tasks[id].required_by.iter().for_each(|&by| self.set_met(by, new.required_by));
        }
        if old.followed_by != new.followed_by {
            graph.tasks[id].followed_by.iter().for_each(|&by| self.set_met(by, new.followed_by));
        }
    }

    /// Records that one of the task's requirements is now met, or no longer is.
    fn set_met(&mut self, id: TaskId, met: bool) {
        let task = &mut self.tasks[id];
        if !met {
            task.unmet += 1;
            return;
        }
        task.unmet -= 1;
        if task.unmet == 0 {
            self.to_consider.push_back(id);
        }
    }

    /// Makes this live task due to be asked to stop when its turn comes. A task that is already due stays as it is.
    fn make_due(&mut self, id: TaskId, reason: Reason, then: Then) {
        if self.tasks[id].due.is_none() {
            self.tasks[id].due = Some((reason, then));
            for dependency in self.graph.tasks[id].dependencies() {
                self.tasks[dependency].blockers += 1;
            }
            self.update_allowance(id);
            self.to_consider.push_back(id);
        }
    }

    /// Clears that it is due to stop: it has stopped, or something else was decided.
    fn clear_due(&mut self, id: TaskId) -> Option<Then> {
        let (_, then) = self.tasks[id].due.take()?;
        for dependency in self.graph.tasks[id].dependencies() {
            self.tasks[dependency].blockers -= 1;
            if self.tasks[dependency].blockers == 0 {
                self.to_consider.push_back(dependency);
            }
        }
        self.update_allowance(id);
        Some(then)
    }

    fn set_loop_state(&mut self, id: LoopId, to: LoopState) {
        let from = mem::replace(&mut self.loops[id].state, to);
        self.tally.threads += usize::from(to.has_thread());
        self.tally.threads -= usize::from(from.has_thread());
        let (ran, runs) = (from == LoopState::Running, to == LoopState::Running);
        if ran != runs {
            let graph = self.graph.clone();
            graph.on_loop(id).iter().for_each(|&task| self.set_met(task, runs));
        }
    }
}

impl Loop {
    fn new(plan: LoopPlan) -> Self {
        Self { plan, state: LoopState::New, incarnation: 0, running_since: None, restarts: Restarts::default() }
    }
}
