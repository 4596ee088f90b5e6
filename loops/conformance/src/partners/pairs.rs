//! The checks themselves. They are not generic, so all pairs of loops cost no more to build than one.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Poll, Waker},
};

use interloop::CallError;

use super::Pair;
use crate::{
    process::REST,
    scene::{Drops, Hold, Witness, down, expect},
};

const ROUNDS: usize = 100;
/// The number of rounds in which the loop is surely found at rest; in the other rounds it may be, or not.
const AT_REST: usize = 3;

pub(super) fn calls_posts_and_futures_come_from_another_loop(pair: Pair) {
    let Pair { running, here, there, thread, long } = pair;
    let ran = Arc::new(AtomicUsize::new(0));
    let posted = ran.clone();
    thread.wait_for_rest(long);
    let sum = there.spawn(move |_| async move {
        let mut sum = 0;
        for _ in 0..ROUNDS {
            let posted = posted.clone();
            let post = move |_: &()| {
                posted.fetch_add(1, Ordering::Relaxed);
            };
            here.post(post).map_err(|_| CallError::Stopped)?;
            sum += here.call(|_| 1).await?;
            sum += here.spawn(|_| async { 2 }).await?;
        }
        Ok::<_, CallError>(sum)
    });
    expect(sum.wait_timeout(long), Ok(Ok(3 * ROUNDS)), "calls from another loop are not answered");
    assert_eq!(ran.load(Ordering::Relaxed), ROUNDS, "posts from another loop do not run");
    down(running);
}

/// Checks that a Reply can be sent to the other loop, which sleeps when the answer comes; and that a panic comes as an
/// answer.
pub(super) fn a_reply_is_awaited_on_another_loop(pair: Pair) {
    let Pair { running, here, there, thread, long } = pair;
    let hold = Hold::of(&here, long);
    let (replies, waits) = mpsc::channel();
    let asks = here.clone();
    let answers = there.spawn(move |_| {
        let (seven, panics) = (asks.call(|_| 7), asks.call(|_| -> u8 { panic!("fell") }));
        let _ = replies.send(());
        async move { (seven.await, panics.await) }
    });
    assert!(waits.recv_timeout(long).is_ok(), "the other loop does not take a future");
    hold.release();
    let expected = (Ok(7), Err(CallError::Panicked("fell".into())));
    expect(answers.wait_timeout(long), Ok(expected), "a Reply that another loop awaits does not come");
    // This is a Reply that was made elsewhere.
    for number in 0..ROUNDS {
        if number < AT_REST {
            thread.wait_for_rest(long);
        }
        let made = there.call({
            let here = here.clone();
            move |_| here.call(move |_| number)
        });
        let made = made.wait_timeout(long).unwrap_or_else(|error| panic!("the other loop does not answer: {error}"));
        let awaited = there.spawn(move |_| made);
        expect(awaited.wait_timeout(long), Ok(Ok(number)), "a Reply that another loop awaits does not come");
    }
    down(running);
}

pub(super) fn a_call_there_and_back_is_answered(pair: Pair) {
    let Pair { running, here, there, thread, long } = pair;
    for round in 0..ROUNDS {
        let (ask, back, thread) = (there.clone(), here.clone(), thread.clone());
        // The way is from here to there and back to here, while here waits.
        let sum = here.spawn(move |_| async move {
            let sum = ask.spawn(move |_| async move {
                if round < AT_REST {
                    thread.wait_for_rest(long);
                }
                back.call(|_| 1).await.map(|one| one + 2)
            });
            sum.await.map(|sum| sum.map(|sum| sum + 4))
        });
        expect(sum.wait_timeout(long), Ok(Ok(Ok(7))), "a call there and back is not answered");
    }
    down(running);
}

pub(super) fn what_another_loop_asks_and_does_not_await_is_done(pair: Pair) {
    let Pair { running, here, there, thread, long } = pair;
    for round in 0..ROUNDS {
        let (here, (ran, runs)) = (here.clone(), mpsc::channel());
        if round < AT_REST {
            thread.wait_for_rest(long);
        }
        let asked = there.post(move |_| {
            let spawned = ran.clone();
            drop(here.call(move |_| ran.send(())));
            drop(here.spawn(move |_| async move { spawned.send(()) }));
        });
        assert!(asked.is_ok(), "the other loop takes no posts");
        for _ in 0..2 {
            assert!(runs.recv_timeout(long).is_ok(), "what another loop asks and does not await is not done");
        }
    }
    down(running);
}

pub(super) fn what_another_loop_cancels_ends(pair: Pair) {
    let Pair { running, here, there, thread, long } = pair;
    let hold = Hold::of(&here, long);
    let ran = Arc::new(AtomicBool::new(false));
    let (asks, runs) = (here.clone(), ran.clone());
    let cancelled = there.call(move |_| asks.call(move |_| runs.store(true, Ordering::Release)).cancel());
    expect(cancelled.wait_timeout(long), Ok(()), "the other loop does not answer");
    hold.release();
    expect(here.call(|_| ()).wait_timeout(long), Ok(()), "the loop does not answer");
    assert!(!ran.load(Ordering::Acquire), "a job that another loop cancelled ran");
    let drops = Drops::default();
    for round in 1..=ROUNDS {
        let (in_future, (begins, begun)) = (drops.clone(), mpsc::channel());
        let future = here.spawn(move |_| async move {
            let _in_future = Witness::new(&in_future);
            let _ = begins.send(());
            std::future::pending::<()>().await;
        });
        assert!(begun.recv_timeout(long).is_ok(), "a future does not begin");
        if round <= AT_REST {
            thread.wait_for_rest(long);
        }
        let cancels = there.post(move |_| future.cancel());
        assert!(cancels.is_ok(), "the other loop takes no posts");
        assert!(drops.wait_for(round, long), "a future that another loop cancelled is not dropped");
    }
    drops.check(ROUNDS);
    down(running);
}

pub(super) fn a_future_is_woken_from_another_loop(pair: Pair) {
    let Pair { running, here, there, thread, long } = pair;
    let woken = here.spawn(move |_| async move {
        for round in 0..ROUNDS {
            let rung = Arc::new(AtomicBool::new(false));
            poll_fn(|cx| {
                if rung.load(Ordering::Acquire) {
                    return Poll::Ready(());
                }
                let (ring, waker, thread): (_, Waker, _) = (rung.clone(), cx.waker().clone(), thread.clone());
                let _ = there.post(move |_| {
                    if round < AT_REST {
                        thread.comes_to_rest(REST);
                    }
                    ring.store(true, Ordering::Release);
                    waker.wake();
                });
                Poll::Pending
            })
            .await;
        }
    });
    expect(woken.wait_timeout(long), Ok(()), "a future that another loop wakes does not go on");
    down(running);
}
