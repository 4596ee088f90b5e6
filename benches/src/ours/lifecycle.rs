//! The time that a stop takes, idle wakeups, and many tasks.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use interloop::{Service, Thread, task_fn};

use super::hosting::PATIENCE;
use crate::process::{Child, sibling};
use crate::suite::{Bound, Failure, Sample, Suite, Unit};

const STOP: &str = "interloop: 11 loops of 8 kinds, 102 tasks, idle";
const MANY: &str = "interloop: 10,000 tasks";
const FEW: &str = "interloop: 1,000 tasks";

pub(super) fn register(suite: &mut Suite) {
    suite
        .compare("stop", 40, "From TERM to the end of the process.")
        .add_fallible(STOP, term_to_exit)
        .limit(STOP, 20e6);
    suite
        .compare("wakeups", 1, "How often any thread of the process wakes up in 2 s, those of `blocking-*` aside.")
        .unit(Unit::Count)
        .add_fallible(STOP, |_| wakeups())
        .limit(STOP, 0.0);
    suite
        .compare("tasks", 10_000, "Start and stop of a service with many tasks on one loop, a task.")
        .add(FEW, |n| life_of(n / 10) * 10)
        .add(MANY, life_of)
        .claim(MANY, FEW, Bound::CostAtMost(1.2));
}

fn term_to_exit(n: u32) -> Result<Sample, Failure> {
    let mut sum = Duration::ZERO;
    for _ in 0..n {
        let (status, elapsed) = idle()?.terminate()?;
        if !status.success() {
            return Err(format!("idle: {status}").into());
        }
        sum += elapsed;
    }
    Ok(Sample::of(n, sum))
}

fn idle() -> Result<Child, Failure> {
    let mut command = Command::new(sibling("idle")?);
    Child::start(command.args(["--http-host", "127.0.0.1", "--http-port", "0"]), "all tasks started")
}

fn wakeups() -> Result<Sample, Failure> {
    let child = idle()?;
    // The effects of the start have settled when nothing changes any more.
    let mut before = child.switches()?;
    loop {
        sleep(Duration::from_millis(200));
        let now = child.switches()?;
        if now == before {
            break;
        }
        before = now;
    }
    sleep(Duration::from_secs(2));
    Ok(Sample::of_count((child.switches()? - before) as f64))
}

/// Returns how long this many tasks take from start to end.
fn life_of(tasks: u32) -> Duration {
    let mut service = Service::new("bench");
    service.event_loop("peer", Thread);
    let begin = Instant::now();
    for number in 0..tasks {
        let task = task_fn::<Thread>(async |cx| {
            cx.until_shutdown().await;
            Ok(())
        });
        service.task(format!("task-{number}"), task).on("peer");
    }
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started_timeout(PATIENCE), "the service starts");
    assert_eq!(running.stop().code, 0, "the service stops");
    begin.elapsed()
}
