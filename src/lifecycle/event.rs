//! The events for the machine, and the actions that it returns.

use std::{sync::Arc, time::Duration};

use super::plan::{LoopId, Now, TaskId};
use crate::words::state::{Reason, Transition};

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The service starts.
    Start,
    /// This incarnation of a loop runs and takes jobs.
    LoopStarted(LoopId, u32),
    /// This incarnation's thread has left its loop: `Ok` only if it had been told to stop.
    LoopEnded(LoopId, u32, Result<(), String>),
    /// This incarnation was already stuck when it had to act on a cancel or a stop, and has used up its shorter time.
    LoopStuck(LoopId, u32),
    /// The task called `ready()`.
    TaskReady(TaskId, u32),
    /// The task and all its children are gone, their futures dropped.
    TaskEnded(TaskId, u32, Outcome),
    /// The service is asked to stop.
    ShutdownRequested(Reason),
    /// A second signal: everything is cancelled now. The number is the signal's.
    HardStop(i32),
    /// One task is asked to stop, after the tasks that require it.
    StopTask(TaskId),
    /// One task is asked to stop and start again (a stopped one: to start).
    RestartTask(TaskId),
    /// All tasks stop in order and start again; the loops keep running.
    RestartService,
    /// Time has passed: [`Lifecycle::next_deadlines`](super::Lifecycle::next_deadlines) is due.
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

/// Something that the supervisor must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a thread that drives this loop.
    StartLoop(LoopId, u32),
    /// Tell the loop to end once its queue is drained; it has until the given time.
    StopLoop(LoopId, u32, Reason, Now),
    /// Leave the loop's thread behind; its mailbox closes, and all its waiters get Stopped.
    AbandonLoop(LoopId, u32),
    /// The loop will never run again: its mailbox closes, queued jobs are dropped, and all its waiters get Stopped.
    CloseLoop(LoopId),
    /// Call `run` of a (fresh) task value on its loop.
    StartTask(TaskId, u32),
    /// Request this task's shutdown; it has until the given time.
    AskTask(TaskId, u32, Reason, Now),
    /// Drop the task's future, and its children's, on their loop.
    CancelTask(TaskId, u32),
    /// The task has ended, and only an operator can restart it: until then its addresses resolve as Stopped.
    CloseTask(TaskId),
    /// Report this transition to all watchers.
    Transition(Transition),
    /// The task has been starting for this long and is not ready; those tasks wait for it. Once for each incarnation.
    SlowStart(TaskId, Duration, Vec<TaskId>),
    /// All tasks that will start have become ready or have ended.
    AllStarted,
    /// The service as a whole is ready (true) or draining (false).
    SetReady(bool),
    /// The stop begins.
    Stopping(Reason),
    /// The loop has died with this message, and those tasks with it; it is restarted after this pause, if any.
    LoopDied(LoopId, Arc<str>, Vec<TaskId>, Option<Duration>),
    /// A line for the log, at level warn.
    Warn(String),
    /// Everything has ended; nothing follows.
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
    /// Returns the exit code: 128+n, 1, 124, 0, in this precedence.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self { forced: Some(signal), .. } => 128u8.saturating_add(*signal as u8),
            Self { failed: true, .. } => 1,
            Self { overdue: true, .. } => 124,
            _ => 0,
        }
    }
}
