//! Tasks and loops as they were declared.

use std::time::Duration;

use crate::lifecycle::{LoopId, RestartPolicy};

/// A task, as it was declared.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) name: String,
    /// Its loop, by its index among the declared ones.
    pub(crate) event_loop: LoopId,
    pub(crate) requires: Vec<String>,
    pub(crate) after: Vec<String>,
    pub(crate) last: bool,
    pub(crate) start_timeout: Duration,
    pub(crate) stop_timeout: Duration,
    pub(crate) restart: RestartPolicy,
    /// Whether it can be recreated (`task_with`).
    pub(crate) restartable: bool,
}

/// A loop instance, as it was declared.
#[derive(Clone, Debug)]
pub(crate) struct DeclaredLoop {
    pub(crate) name: String,
    /// `EventLoop::NAME`.
    pub(crate) kind: &'static str,
    pub(crate) needs_main_thread: bool,
    /// The process-wide resource that it claims.
    pub(crate) claims: Option<&'static str>,
    pub(crate) restart: RestartPolicy,
    /// Whether it is started even without a task.
    pub(crate) wanted: bool,
}
