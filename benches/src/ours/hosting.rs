//! A value on a loop of a service of its own.

use std::fmt;
use std::time::Duration;

use interloop::{EventLoop, Remote, Running, Service, task_fn};

/// How long a measurement waits for anything, at most.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A running service, stopped when this is dropped, and a Remote to a value on one of its loops.
pub struct Hosted<T> {
    running: Option<Running>,
    /// Reaches the value.
    pub remote: Remote<T>,
}

impl<T: 'static> Hosted<T> {
    /// Starts the service; all its threads stay on this thread's CPU.
    pub fn start<L: EventLoop>(plan: L, value: impl FnOnce() -> T + Send + 'static) -> Self {
        let mut service = Service::new("bench");
        let remote = host(&mut service, plan, value);
        let running = service.start().expect("the configuration works");
        assert!(running.wait_started_timeout(PATIENCE), "the service starts");
        Self { running: Some(running), remote }
    }
}

impl<T> Drop for Hosted<T> {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            assert_eq!(running.stop().code, 0, "the service stops");
        }
    }
}

impl<T> fmt::Debug for Hosted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted").field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// Adds a task that hosts the value, on a loop of its own.
pub(super) fn host<L: EventLoop, T: 'static>(
    service: &mut Service,
    plan: L,
    value: impl FnOnce() -> T + Send + 'static,
) -> Remote<T> {
    let (slot, remote) = service.slot("value");
    service.event_loop("peer", plan);
    let task = task_fn::<L>(async move |cx| {
        let _value = cx.fill(slot, value());
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("host", task).on("peer");
    remote
}
