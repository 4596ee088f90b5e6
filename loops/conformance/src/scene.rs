//! What checks are made of: a service with one task on the loop, and a watchdog.

use std::{env, sync::mpsc, time::Duration};

use interloop::{Context, EventLoop, Service, task_fn};

/// After which a check has failed, whatever it waits for.
const WATCHDOG: Duration = Duration::from_secs(30);

/// Whether the checks run at full size: the environment says `INTERLOOP_CONFORMANCE=full`.
pub fn is_full_size() -> bool {
    env::var_os("INTERLOOP_CONFORMANCE").is_some_and(|size| size == "full")
}

/// A small number, or at full size a large one.
pub(crate) fn sized(small: usize, full: usize) -> usize {
    if is_full_size() { full } else { small }
}

/// Runs this in a task on the loop, in a service of its own, and returns what it returns once the service has ended.
///
/// # Panics
///
/// With the panic of the check, or when it does not end.
pub fn on_loop<L: EventLoop, R: Send + 'static>(
    plan: L,
    check: impl AsyncFnOnce(Context<L>) -> R + Send + 'static,
) -> R {
    let mut service = Service::new("conformance");
    let (found, finding) = mpsc::channel();
    service.event_loop("checked", plan);
    let task = task_fn::<L>(async move |cx| {
        let _ = found.send(check(cx).await);
        Ok(())
    });
    service.task("check", task).on("checked").stop_timeout(Duration::from_secs(2));
    let running = service.start().unwrap_or_else(|error| panic!("the service can't start: {error}"));
    let found = finding.recv_timeout(WATCHDOG);
    match running.join_timeout(WATCHDOG) {
        Ok(report) => found.unwrap_or_else(|_| panic!("the check failed: {report}")),
        Err(running) => {
            let status = running.status();
            drop(running);
            panic!("the loop does not end: {status}")
        }
    }
}
