//! Timers of loops that have some, and what starves them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use interloop::{Remote, event_loop::Timers, task_fn};

use crate::scene::{Flood, Subject, down, expect, up, watchdog};

pub fn a_sleep_is_never_early<L: Timers>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    service.task(
        "sleeper",
        task_fn::<L>(async move |cx| {
            for micros in [0, 1, 300, 999, 1000, 1001, 2500, 7001, 50_000, 50_001, 50_999] {
                let duration = Duration::from_micros(micros);
                let begun = Instant::now();
                cx.sleep(duration).await;
                let took = begun.elapsed();
                if took < duration {
                    return Err(interloop::Error::new(format!("a sleep of {duration:?} was early: {took:?}")));
                }
            }
            if cx.timeout(Duration::from_millis(1), cx.sleep(Duration::MAX)).await.is_ok() {
                return Err(interloop::Error::new("a sleep for ever was over at once"));
            }
            Ok(())
        }),
    );
    let running = service.start().expect("the configuration works");
    let report = running.join_timeout(long).unwrap_or_else(|_| panic!("a sleep does not end"));
    assert_eq!(report.code, 0, "{report}");
}

/// Sets timers in another order than they fire in; returns how late the latest was, and in which order they fired.
fn some_timers<L: Timers>(remote: &Remote<L::Native>, long: Duration) -> (Duration, Vec<u64>) {
    let fired = Arc::new(Mutex::new(Vec::new()));
    let timers = [50, 10, 40, 20, 30].map(|milliseconds| {
        let fired = fired.clone();
        remote.spawn(move |native| async move {
            let (time, begun) = (Duration::from_millis(milliseconds), Instant::now());
            L::sleep(&native, time).await;
            fired.lock().unwrap_or_else(PoisonError::into_inner).push(milliseconds);
            begun.elapsed().checked_sub(time)
        })
    });
    let mut late = Duration::ZERO;
    for timer in timers {
        let timer = timer.wait_timeout(long).unwrap_or_else(|error| panic!("a timer does not fire: {error}"));
        late = late.max(timer.expect("a timer was early"));
    }
    (late, std::mem::take(&mut *fired.lock().unwrap_or_else(PoisonError::into_inner)))
}

pub fn timers_fire_on_time_and_in_order<L: Timers>(subject: &Subject<L>) {
    const LATE: Duration = Duration::from_millis(250);
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let running = up(service, long);
    // On a busy machine they are late now and then, and those that are due at the same time fire in any order.
    let tries: Vec<_> = (0..4).map(|_| some_timers::<L>(&remote, long)).collect();
    let late = tries.iter().map(|(late, _)| *late).min().unwrap_or_default();
    assert!(late < LATE, "a timer is late each time, by {late:?} at least");
    let in_order = tries.iter().any(|(_, order)| order.is_sorted());
    assert!(in_order, "timers fire in another order than that of their times: {tries:?}");
    down(running);
}

pub fn a_flood_of_posts_starves_no_timer<L: Timers>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let running = up(service, long);
    let flood = Flood::of(&remote);
    let ticks = remote.spawn(|native| async move {
        for _ in 0..50 {
            L::sleep(&native, Duration::from_millis(1)).await;
        }
    });
    expect(ticks.wait_timeout(long), Ok(()), "a flood of posts starves the loop's timers");
    drop(flood);
    down(running);
}
