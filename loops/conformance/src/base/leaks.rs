//! Restarts: what continues, and what must not be left behind.

use std::{
    thread,
    time::{Duration, Instant},
};

use interloop::{EventLoop, RestartPolicy, ServiceHandle, State, service::Transition, task_fn};

use crate::{
    process::{REST, descriptors, resident, threads},
    scene::{Subject, down, expect, sized, up, waits, watchdog},
};

/// Waits for this transition.
pub(super) fn until(handle: &ServiceHandle, long: Duration, what: impl Fn(&Transition) -> bool) {
    let mut watch = handle.watch();
    let begun = Instant::now();
    while begun.elapsed() < long {
        match watch.wait_timeout(long) {
            Some(transition) if what(&transition) => return,
            Some(_) => {}
            None => break,
        }
    }
    panic!("it did not come to that: {}", handle.status());
}

pub fn a_remote_survives_the_restart_of_its_task<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let (slot, number) = service.slot::<u32>("number");
    service
        .task_with("owner", move || {
            let slot = slot.clone();
            task_fn::<L>(async move |cx| {
                cx.fill(slot, cx.incarnation());
                let failing = cx.incarnation() < 3;
                cx.ready();
                if failing {
                    return Err(interloop::Error::new("again"));
                }
                cx.until_shutdown().await;
                Ok(())
            })
        })
        .restart(RestartPolicy::on_failure().backoff(Duration::from_millis(1), Duration::from_millis(2)));
    let running = service.start().expect("the configuration works");
    let mut last = 0;
    while last < 3 {
        let seen = number.call(|number| *number).wait_timeout(long);
        let seen = seen.unwrap_or_else(|error| panic!("a Remote does not reach the next incarnation: {error}"));
        assert!(seen >= last, "a Remote reaches incarnation {seen} after {last}");
        last = seen;
    }
    down(running);
}

/// The resources of a process at one moment that can be left behind.
struct Belongings {
    threads: usize,
    descriptors: usize,
    resident: usize,
}

impl Belongings {
    /// How much memory an allocator may keep for itself, however often something is done.
    const KEPT: usize = 16 << 20;

    fn now() -> Self {
        Self { threads: threads(), descriptors: descriptors(), resident: resident() }
    }

    #[track_caller]
    fn check(&self) {
        let begun = Instant::now();
        let mut now = Self::now();
        // The test harness may have started a thread that is not in the queue yet; a thread left behind stays.
        while now.threads > self.threads && begun.elapsed() < REST / 2 {
            thread::sleep(Duration::from_millis(3));
            now = Self::now();
        }
        let (before, after) = (self.threads, now.threads);
        assert!(after <= before, "threads are left behind: {after} where there were {before}");
        let (before, after) = (self.descriptors, now.descriptors);
        assert!(after <= before, "descriptors are left behind: {after} where there were {before}");
        let grown = now.resident.saturating_sub(self.resident);
        assert!(grown < Self::KEPT, "memory is left behind: {} KiB", grown >> 10);
    }
}

pub fn starts_leave_no_thread_no_descriptor_and_no_memory<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let once = || {
        let mut service = subject.service();
        let remote = service.remote_to::<L>();
        service.task("waits", waits::<L>());
        let running = up(service, long);
        expect(remote.call(|_| 1).wait_timeout(long), Ok(1), "the loop does not answer");
        down(running);
    };
    // What is made once for a process is made now.
    once();
    let before = Belongings::now();
    for _ in 0..sized(20, 100) {
        once();
        before.check();
    }
}

pub fn restarts_leave_no_thread_no_descriptor_and_no_memory<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let (slot, number) = service.slot::<u32>("number");
    service.task_with("waits", move || {
        let slot = slot.clone();
        task_fn::<L>(async move |cx| {
            cx.fill(slot, cx.incarnation());
            cx.until_shutdown().await;
            Ok(())
        })
    });
    let running = up(service, long);
    let before = Belongings::now();
    for incarnation in 2..=sized(21, 101) as u32 {
        running.restart_task("waits").expect("there is such a task");
        until(&running, long, |t| t.incarnation == incarnation && t.to == State::Running);
        let reached = number.call(|number| *number).wait_timeout(long);
        expect(reached, Ok(incarnation), "a Remote does not reach the next incarnation");
    }
    before.check();
    down(running);
}
