//! The lifecycle of a service as a pure state machine: events and a clock go in, actions come out. No threads, no I/O.
//!
//! The [`supervisor`](crate::service::supervisor) feeds it what happens and performs what it says; so the order of starts and stops, deadlines, restarts
//! and exit codes are tested here with a clock that is a number.
//!
//! May use: words.

mod backoff;
mod deadlines;
mod dependencies;
mod machine;
pub(crate) mod planning;
#[cfg(all(test, not(loom)))]
#[allow(dead_code, reason = "what a failing case prints")]
mod properties;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use crate::words::state::{Reason, Transition};

/// A task, by its place in [`Plan::tasks`].
pub(crate) type TaskId = usize;
/// A loop instance, by its place in [`Plan::loops`].
pub(crate) type LoopId = usize;
/// The time since the service's start.
pub(crate) type Now = Duration;

/// What is to be run: checked (no cycle, no unknown name; see `graph`), and reduced to what is selected.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) tasks: Vec<TaskPlan>,
    pub(crate) loops: Vec<LoopPlan>,
    pub(crate) drain_delay: Duration,
    pub(crate) shutdown_timeout: Duration,
    /// Seeds the jitter of restarts.
    pub(crate) seed: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct TaskPlan {
    pub(crate) name: Arc<str>,
    pub(crate) event_loop: LoopId,
    pub(crate) requires: Vec<TaskId>,
    pub(crate) after: Vec<TaskId>,
    pub(crate) last: bool,
    pub(crate) start_timeout: Duration,
    pub(crate) stop_timeout: Duration,
    pub(crate) restart: RestartPolicy,
    /// Whether it can be made anew (`task_with`).
    pub(crate) restartable: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct LoopPlan {
    pub(crate) name: Arc<str>,
    pub(crate) restart: RestartPolicy,
}

pub(crate) use machine::Lifecycle;
#[cfg(test)]
pub(crate) use machine::Mutant;

pub(crate) use crate::words::restart::RestartPolicy;

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The service starts.
    Start,
    /// This incarnation of a loop runs and takes jobs.
    LoopStarted(LoopId, u32),
    /// This incarnation's thread has left its loop: `Ok` only when it had been told to stop.
    LoopEnded(LoopId, u32, Result<(), String>),
    /// The task called `ready()`.
    TaskReady(TaskId, u32),
    /// The task and all its children are gone, their futures dropped.
    TaskEnded(TaskId, u32, Outcome),
    /// The service is asked to stop.
    ShutdownRequested(Reason),
    /// A second signal: everything is cancelled now. The number is the signal's.
    HardStop(i32),
    /// One task is asked to stop, and what requires it before it.
    StopTask(TaskId),
    /// One task is asked to stop and start anew (a stopped one: to start).
    RestartTask(TaskId),
    /// All tasks stop in order and start anew; the loops go on.
    RestartService,
    /// Time has passed: [`Lifecycle::next_deadlines`] is due.
    Tick,
}

/// How a task's `run` ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Skip(String),
    Error(String),
    /// An error that a stop would explain: see [`suspect`](crate::words::suspect).
    Suspect(String),
    Panicked(String),
    /// Its future was dropped: cancelled, or by its executor.
    Dropped,
}

/// What the supervisor has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a thread that drives this loop.
    StartLoop(LoopId, u32),
    /// Tell the loop to end, once its queue is drained; it has until the given time.
    StopLoop(LoopId, u32, Now),
    /// Leave the loop's thread behind; its mailbox closes, all that wait for it get Stopped.
    AbandonLoop(LoopId, u32),
    /// The loop will never run again: its mailbox closes, what is queued is dropped, all that wait get Stopped.
    CloseLoop(LoopId),
    /// Call `run` of a (fresh) task value on its loop.
    StartTask(TaskId, u32),
    /// Request this task's shutdown; it has until the given time.
    AskTask(TaskId, u32, Reason, Now),
    /// Drop the task's future, and its children's, on their loop.
    CancelTask(TaskId, u32),
    /// The task has ended and nothing restarts it but an operator: until then its addresses resolve as Stopped.
    CloseTask(TaskId),
    /// Tell everybody of this step.
    Transition(Transition),
    /// All tasks that will start have become ready or have ended.
    AllStarted,
    /// The service as a whole is ready (true) or draining (false).
    SetReady(bool),
    /// The stop begins.
    Stopping(Reason),
    /// Something for the log, at level warn.
    Warn(String),
    /// All has ended; nothing follows.
    Finished(Ending),
}

/// How the service ended, for the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The first reason to stop.
    pub(crate) reason: Reason,
    /// A task or a start failed, or a restart limit was hit.
    pub(crate) failed: bool,
    /// Something was cancelled past its deadline, or abandoned.
    pub(crate) overdue: bool,
    /// A thread was left behind.
    pub(crate) abandoned: bool,
    /// The signal that forced the end.
    pub(crate) forced: Option<i32>,
}

impl Ending {
    /// The exit code: 128+n, 1, 124, 0, in this precedence.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self { forced: Some(signal), .. } => 128u8.saturating_add(*signal as u8),
            Self { failed: true, .. } => 1,
            Self { overdue: true, .. } => 124,
            _ => 0,
        }
    }
}
