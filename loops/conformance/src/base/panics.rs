//! Panics: which task or loop they belong to, and which ones live on.

use std::sync::Arc;

use interloop::{CallError, Cause, EventLoop, Report, State, task_fn};

use crate::scene::{Subject, down, expect, up, waits, watchdog};

pub fn a_panic_in_a_job_comes_back_and_the_loop_lives<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let running = up(service, long);
    let _ = remote.post(|_| panic!("a post"));
    let called = remote.call(|_| -> u8 { panic!("a call") }).wait_timeout(long);
    expect(called, Err(CallError::Panicked("a call".into())), "the panic of a job does not come back");
    let spawned = remote.spawn(|_| async { panic!("a future") }).wait_timeout(long);
    expect(spawned, Err::<(), _>(CallError::Panicked("a future".into())), "the panic of a future does not come back");
    expect(remote.call(|_| 7).wait_timeout(long), Ok(7), "a panic ends the loop");
    down(running);
}

/// Runs two tasks on one loop, one of which panics.
fn beside<L: EventLoop>(
    subject: &Subject<L>,
    falls: impl AsyncFnOnce(interloop::Context<L>) + Send + 'static,
) -> Report {
    const BOTH: &str = "both";
    let long = subject.patience();
    let mut service = subject.empty_service(None);
    subject.plan_in(&mut service, BOTH);
    let falls = task_fn::<L>(async move |cx| {
        cx.ready();
        falls(cx).await;
        Ok(())
    });
    service.task("stands", waits::<L>()).on(BOTH);
    service.task("falls", falls).on(BOTH).requires("stands");
    let running = service.start().expect("the configuration works");
    running.join_timeout(3 * long).unwrap_or_else(|_| panic!("a panic got lost"))
}

#[track_caller]
fn only_it_fell(report: &Report, with: &str) {
    let end = |name: &str| report.tasks.iter().find(|task| &*task.name == name).map(|task| (task.state, &task.cause));
    let panicked = Some(Cause::Panicked(Arc::from(with)));
    assert_eq!(end("falls"), Some((State::Failed, &panicked)), "a panic is not its task's failure: {report}");
    assert_eq!(end("stands"), Some((State::Stopped, &Some(Cause::Ended))), "a panic takes the loop along: {report}");
    assert_eq!(report.code, 1, "{report}");
}

pub fn a_panic_in_a_task_fails_it_and_the_loop_lives<L: EventLoop>(subject: &Subject<L>) {
    let _watchdog = watchdog();
    let report = beside(subject, async |_| panic!("the task fell"));
    only_it_fell(&report, "the task fell");
}

pub fn a_panic_in_a_child_fails_its_task<L: EventLoop>(subject: &Subject<L>) {
    let _watchdog = watchdog();
    let report = beside(subject, async |cx: interloop::Context<L>| {
        cx.spawn_local(async { panic!("the child fell") }).detach();
        std::future::pending().await
    });
    only_it_fell(&report, "the child fell");
}
