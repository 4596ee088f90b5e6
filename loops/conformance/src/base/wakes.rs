//! Wakes: many are one, and none comes for nothing.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use interloop::{EventLoop, Running};

use crate::{
    process::{busy, sleeps},
    scene::{Hold, Subject, down, expect, sized, up, waits, watchdog},
};

fn turns(running: &Running) -> u64 {
    running.status().loops.iter().map(|l| l.turns).sum()
}

pub fn a_storm_of_wakes_is_one<L: EventLoop>(subject: &Subject<L>) {
    const THREADS: usize = 4;
    /// At most this many polls, or turns: those that begin before the storm, and those that end it.
    const FEW: usize = 10;
    let (_watchdog, long) = (watchdog(), subject.patience());
    let wakes = sized(10_000, 100_000);
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let running = up(service, long);
    let (done, polls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (wakers, woken) = mpsc::channel();
    let (is_done, counted, mut wakers) = (done.clone(), polls.clone(), Some(wakers));
    let future = remote.spawn(move |_| {
        poll_fn(move |cx| {
            counted.fetch_add(1, Ordering::Relaxed);
            if let Some(wakers) = wakers.take() {
                let _ = wakers.send(cx.waker().clone());
            }
            if is_done.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
    });
    let waker = woken.recv_timeout(long).expect("a future is polled");
    let hold = Hold::of(&remote, long);
    let (begun, before) = (Instant::now(), turns(&running));
    let storms: Vec<_> = (0..THREADS)
        .map(|_| {
            let waker = waker.clone();
            thread::spawn(move || (0..wakes / THREADS).for_each(|_| waker.wake_by_ref()))
        })
        .collect();
    storms.into_iter().for_each(|storm| storm.join().expect("no panic"));
    hold.release();
    // This comes behind all that the storm has left to do.
    let after = remote.spawn(|_| async {});
    expect(after.wait_timeout(long), Ok(()), "the loop does not go on after a storm of wakes");
    done.store(true, Ordering::Release);
    waker.wake();
    expect(future.wait_timeout(long), Ok(()), "a future is not woken after a storm of wakes");
    let (polls, turns) = (polls.load(Ordering::Relaxed), turns(&running) - before);
    let beats = subject.beats_in(begun.elapsed());
    assert!(polls <= FEW, "{wakes} wakes of a loop that is held end in {polls} polls");
    assert!(turns <= FEW as u64 + beats, "{wakes} wakes of a loop that is held end in {turns} turns");
    down(running);
}

pub fn idle_means_idle<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let window = Duration::from_millis(sized(400, 2_000) as u64);
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    service.task("waits", waits::<L>());
    let running = up(service, long);
    expect(remote.call(|_| 1).wait_timeout(long), Ok(1), "the loop does not answer");
    // The first time, threads may still be on their way to sleep.
    let found: Vec<_> = (0..3)
        .map(|_| {
            let (begun, before) = (Instant::now(), (sleeps(), busy()));
            // The check is that nothing happens for this time.
            thread::sleep(window);
            let (sleeps, busy) = (sleeps().saturating_sub(before.0), busy().saturating_sub(before.1));
            (sleeps.saturating_sub(subject.beats_in(begun.elapsed())), busy)
        })
        .collect();
    let woken = found.iter().map(|(woken, _)| *woken).min();
    let busy = found.iter().map(|(_, busy)| *busy).min().unwrap_or_default();
    // Sleeps are checked first: a thread goes back to sleep, which takes a while with few processors; a thread that
    // spins never does.
    match subject.beat() {
        None => assert_eq!(woken, Some(0), "an idle loop wakes up"),
        Some(beat) => assert_eq!(woken, Some(0), "an idle loop wakes up more often than once in {beat:?}"),
    }
    let allowed = if subject.beat().is_some() { window / 2 } else { window / 10 };
    assert!(busy < allowed, "an idle loop spins: it was busy for {busy:?} of {window:?}");
    down(running);
}
