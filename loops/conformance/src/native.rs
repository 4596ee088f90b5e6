//! The loop's own timer, which its adapter [gives](Subject::with_native_timer). Each check's name says what it checks.

#![allow(missing_docs, reason = "the names are sentences")]

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use interloop::{EventLoop, Remote};

use crate::scene::{Flood, Subject, down, up, watchdog};

const TIME: Duration = Duration::from_millis(20);

/// Sets the loop's own timer; returns after what time it fired.
fn fires<L: EventLoop>(subject: &Subject<L>, remote: &Remote<L::Native>) -> Option<Duration> {
    let timer = subject.native_timer().expect("the subject has a native timer");
    let (fired, fires) = mpsc::channel();
    let set = remote.post(move |native| {
        let begun = Instant::now();
        let fire = move || {
            let _ = fired.send(begun.elapsed());
        };
        timer(native, TIME, Box::new(fire));
    });
    assert!(set.is_ok(), "the loop takes no posts");
    fires.recv_timeout(subject.patience()).ok()
}

pub fn a_native_timer_fires<L: EventLoop>(subject: &Subject<L>) {
    let _watchdog = watchdog();
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let running = up(service, subject.patience());
    for _ in 0..3 {
        let fired = fires(subject, &remote).expect("the loop's own timer does not fire");
        // For some timers a millisecond less is good enough.
        assert!(fired + Duration::from_millis(1) >= TIME, "the loop's own timer of {TIME:?} fires after {fired:?}");
    }
    down(running);
}

pub fn a_flood_of_posts_starves_no_native_timer<L: EventLoop>(subject: &Subject<L>) {
    let _watchdog = watchdog();
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let running = up(service, subject.patience());
    let flood = Flood::of(&remote);
    assert!(fires(subject, &remote).is_some(), "a flood of posts starves the loop's own timers");
    drop(flood);
    down(running);
}
