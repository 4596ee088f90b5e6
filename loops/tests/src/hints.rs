//! Calls of a runtime on a loop that is not that runtime's: how the task's failure reads.

use std::future::Future;

use interloop::{EventLoop, Service, task_fn};

use crate::LONG;

/// Runs this as a task on a loop of kind `L`, beside the other tasks of the service. It panics, and its failure line
/// ends with `hint`.
pub fn fails_with_hint<L: EventLoop, F: Future<Output = ()>>(
    mut service: Service,
    misuse: impl FnOnce() -> F + Send + 'static,
    hint: &str,
) {
    let task = task_fn::<L>(async move |cx| {
        cx.ready();
        misuse().await;
        Ok(())
    });
    service.task("misuse", task);
    let running = service.start().expect("the configuration works");
    let report = match running.join_timeout(LONG) {
        Ok(report) => report,
        Err(running) => panic!("it has not failed: {}", running.status()),
    };
    let text = report.to_string();
    assert_eq!(report.code, 1, "{text}");
    assert!(text.contains("; task misuse failed: panicked: ") && text.ends_with(hint), "{text}");
}
