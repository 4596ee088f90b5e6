//! The way to a task that runs commands, from any thread.

use std::{fmt, sync::Arc};

use super::{Child, Command, core::Core};
use crate::task::{TaskHandle, TaskRef};

/// Has [`Commands`](super::Commands) run commands, from any thread or loop: `Clone + Send + Sync`. It is there before the service starts, and survives
/// restarts.
#[derive(Clone, Default)]
pub struct CommandHandle(pub(super) Arc<Core>);

impl CommandHandle {
    /// Of a task to come, [made with](super::Commands::with_handle) it: needed for one that is made anew for each incarnation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has this run, at once; before the task's start, or between two of its incarnations, it waits. Once the task is stopping nothing is started: whoever
    /// waits is told [`Stopped`](super::CommandError::Stopped).
    pub fn run(&self, run: impl Into<Command>) -> Child {
        self.0.run(run.into())
    }
}

impl TaskHandle for CommandHandle {
    fn task(&self) -> &TaskRef {
        &self.0.task
    }

    fn ended(&self) {
        self.0.shut();
        self.0.drop_jobs();
    }
}

impl fmt::Debug for CommandHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CommandHandle").field(&self.0.task).finish()
    }
}
