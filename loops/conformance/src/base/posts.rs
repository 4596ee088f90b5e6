//! Posts: in order, with none lost, also at the end.

use std::{
    cell::RefCell,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use interloop::{CallError, EventLoop, task_fn};

use crate::scene::{Hold, Subject, down, expect, sized, up, watchdog};

pub fn posts_of_eight_senders_all_run_each_senders_in_order<L: EventLoop>(subject: &Subject<L>) {
    const SENDERS: usize = 8;
    let (_watchdog, long) = (watchdog(), subject.patience());
    let each = sized(5_000, 125_000);
    let mut service = subject.service();
    let (slot, lasts) = service.slot::<RefCell<[usize; SENDERS]>>("lasts");
    service.task(
        "owner",
        task_fn::<L>(async move |cx| {
            cx.fill(slot, RefCell::default());
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = up(service, long);
    // The loop begins with more than a turn can do at once.
    let (hold, half) = (Hold::of(&lasts, long), Arc::new(Barrier::new(SENDERS + 1)));
    let senders = (0..SENDERS).map(|sender| {
        let (lasts, half) = (lasts.clone(), half.clone());
        thread::spawn(move || {
            for number in 1..=each {
                if number == each / 2 {
                    half.wait();
                }
                let mut job = move |lasts: &RefCell<[usize; SENDERS]>| {
                    let last = &mut lasts.borrow_mut()[sender];
                    // A gap, or a step back, shows in the sum.
                    *last = if *last + 1 == number { number } else { usize::MAX / 2 };
                };
                while let Err(refused) = lasts.post(job) {
                    assert!(refused.is_full(), "the loop has stopped");
                    job = refused.into_inner();
                    thread::yield_now();
                }
            }
        })
    });
    let senders = senders.collect::<Vec<_>>();
    half.wait();
    hold.release();
    senders.into_iter().for_each(|sender| sender.join().expect("a sender doesn't panic"));
    let lasts = lasts.call(|lasts| *lasts.borrow()).wait_timeout(long);
    expect(lasts, Ok([each; SENDERS]), "posts got lost, or out of order");
    down(running);
}

pub fn posts_that_race_with_the_stop_run_or_come_back<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    for round in 0..sized(30, 10_000) {
        let mut service = subject.service();
        let remote = service.remote_to::<L>();
        let running = up(service, long);
        let ran = Arc::new(AtomicUsize::new(0));
        let (counted, begun) = (ran.clone(), Arc::new(Barrier::new(2)));
        let begins = begun.clone();
        let sender = thread::spawn(move || {
            begins.wait();
            let mut accepted = 0;
            loop {
                let counted = counted.clone();
                let post = remote.post(move |_| {
                    counted.fetch_add(1, Ordering::Relaxed);
                });
                match post {
                    Ok(()) => accepted += 1,
                    Err(refused) if refused.is_full() => thread::yield_now(),
                    Err(_) => return accepted,
                }
            }
        });
        begun.wait();
        let report = running.stop();
        let accepted = sender.join().expect("the sender doesn't panic");
        let ran = ran.load(Ordering::Relaxed);
        assert_eq!(ran, accepted, "accepted posts did not run: {ran} of {accepted} in round {round}");
        assert_eq!(report.code, 0, "the service does not stop in order: {report}");
    }
}

pub fn a_full_mailbox_gives_back<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service_with(|settings| {
        settings.mailbox_capacity(4);
    });
    let remote = service.remote_to::<L>();
    let running = up(service, long);
    let hold = Hold::of(&remote, long);
    let accepted = (0..10).take_while(|_| remote.post(|_| ()).is_ok()).count();
    let refused = remote.post(|_| ());
    hold.release();
    assert_eq!(accepted, 4, "a mailbox of 4 took {accepted}");
    assert!(refused.is_err_and(|refused| refused.is_full()), "a full mailbox did not say so");
    let begun = Instant::now();
    loop {
        match remote.call(|_| ()).wait_timeout(long) {
            Ok(()) => break,
            Err(CallError::Full) if begun.elapsed() < long => thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("a mailbox that was full takes no more: {error}"),
        }
    }
    down(running);
}
