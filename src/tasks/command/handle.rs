//! The handle to a task that runs commands, for any thread.

use std::{fmt, sync::Arc};

use super::{Child, Command, core::Core};
use crate::task::{TaskHandle, TaskRef};

/// A handle that has [`Commands`](super::Commands) run commands, from any thread or loop: `Clone + Send + Sync`.
///
/// It can be used before the service starts, and survives restarts.
#[derive(Clone, Default)]
pub struct CommandHandle(pub(super) Arc<Core>);

impl CommandHandle {
    /// Makes a handle for a task that is later made [with](super::Commands::with_handle) it. This is needed for a task
    /// that is recreated for each incarnation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a command, at once. Before the task's start, or between two of its incarnations, the command waits.
    ///
    /// Once the task is stopping nothing is started: commands that wait end with
    /// [`Stopped`](super::CommandError::Stopped).
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
