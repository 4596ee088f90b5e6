//! The races of the shutdown: the shipped sources on loom's primitives, in all interleavings up to three preemptions.
//!
//! The purpose of each step, tried by hand: with this change to the sources, this model fails.
//!
//! | change | fails |
//! |---|---|
//! | `request`: store Relaxed | `who_sees_the_request_..` |
//! | `is_requested`: load Relaxed | `who_sees_the_request_..` |
//! | `request`: sets `requested` before it has the lock | `who_sees_the_request_..` |
//! | `request`: takes the waiters, lets go of the lock, sets the request | `no_waiter_..` |
//! | `Requested::poll`: no second look under the lock | `no_waiter_..` |
//! | `request`: a later one overwrites the first | `of_two_requests_..` |
//! | `Requested::drop`: leaves its waker in the list | `no_waiter_..` |
//!
//! The reason alone would need neither Release nor Acquire: it is set and read under the lock. They are for everything
//! done before the request.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use loom::{
    cell::UnsafeCell,
    sync::{Condvar, Mutex},
    thread,
};

use super::Shutdown;
use crate::words::state::Reason;

/// The place where a waiter parks; forever, if the request misses it, which loom reports as a deadlock.
#[derive(Default)]
struct Parker {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

fn block_on(future: impl Future<Output = ()>) {
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(parker.clone());
    let mut future = pin!(future);
    while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        let mut woken = parker.woken.lock().unwrap();
        while !*woken {
            woken = parker.changed.wait(woken).unwrap();
        }
        *woken = false;
    }
}

fn model(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(model);
}

#[test]
fn no_waiter_misses_the_request_and_one_that_gives_up_harms_none() {
    model(3, || {
        let shutdown = Shutdown::new();
        let waiters = [(); 2].map(|()| {
            let shutdown = shutdown.clone();
            thread::spawn(move || block_on(shutdown.requested()))
        });
        let fickle = {
            let shutdown = shutdown.clone();
            thread::spawn(move || {
                let mut requested = Box::pin(shutdown.requested());
                let parker = Arc::new(Parker::default());
                let polled = requested.as_mut().poll(&mut Context::from_waker(&Waker::from(parker.clone())));
                drop(requested);
                // It keeps no waker of a dropped waiter, unless it is waking it just now.
                if polled == Poll::Pending && !shutdown.is_requested() {
                    assert_eq!(Arc::strong_count(&parker), 1);
                }
            })
        };
        assert!(shutdown.request(Reason::AllDone, None));
        waiters.into_iter().chain([fickle]).for_each(|waiter| waiter.join().unwrap());
    });
}

#[test]
fn who_sees_the_request_sees_the_reason_and_what_was_done_before() {
    model(3, || {
        let shutdown = Shutdown::new();
        let done = Arc::new(UnsafeCell::new(0));
        let requester = {
            let (shutdown, done) = (shutdown.clone(), done.clone());
            thread::spawn(move || {
                done.with_mut(|_| ());
                shutdown.request(Reason::AllDone, None);
            })
        };
        let onlooker = {
            let (shutdown, done) = (shutdown.clone(), done.clone());
            thread::spawn(move || {
                if shutdown.is_requested() {
                    done.with(|_| ());
                    assert_eq!(shutdown.reason(), Some(Reason::AllDone));
                }
            })
        };
        block_on(shutdown.requested());
        done.with(|_| ());
        assert_eq!(shutdown.reason(), Some(Reason::AllDone));
        requester.join().unwrap();
        onlooker.join().unwrap();
    });
}

#[test]
fn of_two_requests_the_first_wins_for_good() {
    model(3, || {
        let shutdown = Shutdown::new();
        let requesters = [Reason::AllDone, Reason::Restart].map(|reason| {
            let shutdown = shutdown.clone();
            thread::spawn(move || (shutdown.request(reason.clone(), None), reason))
        });
        block_on(shutdown.requested());
        let seen = shutdown.reason();
        let won = requesters.map(|requester| requester.join().unwrap());
        let winners = won.iter().filter(|(won, _)| *won).map(|(_, reason)| reason).collect::<Vec<_>>();
        assert_eq!(winners.len(), 1);
        assert_eq!(seen.as_ref(), Some(winners[0]));
        assert_eq!(shutdown.reason(), seen);
    });
}
