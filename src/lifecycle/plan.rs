//! The plan of a service, as numbers and names.

use std::{sync::Arc, time::Duration};

use crate::words::restart::RestartPolicy;

/// A task, by its index in [`Plan::tasks`].
pub(crate) type TaskId = usize;
/// A loop instance, by its index in [`Plan::loops`].
pub(crate) type LoopId = usize;
/// The time since the service's start.
pub(crate) type Now = Duration;

/// The checked plan (no cycle, no unknown name; see [`planning`](super::planning)), reduced to what is selected.
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
    /// Whether it can be recreated (`task_with`).
    pub(crate) restartable: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct LoopPlan {
    pub(crate) name: Arc<str>,
    pub(crate) restart: RestartPolicy,
}
