//! The races of the mailbox: the shipped sources on loom's primitives, in all interleavings up to a number of
//! preemptions that each model names (`LOOM_MAX_PREEMPTIONS` overrides it).
//!
//! The purpose of each step, tried by hand: with this change to the sources, these models fail (others may too).
//!
//! | change | fails |
//! |---|---|
//! | `Bell::ring`: no fence, or AcqRel | `no_wake_..`, `what_was_..`, `every_heartbeat_..`, `the_last_future_..` |
//! | `Queue::push*`: ring, then push | `no_wake_..`, `what_was_posted_..`, `jobs_of_each_sender_..` |
//! | `Bell::lower`: no fence, or AcqRel | `no_wake_..`, `a_stop_from_elsewhere_..`, `every_heartbeat_..` |
//! | `Bell::lower` and `set_notify`: a store each | `a_stop_from_..`, `what_was_posted_..`, `every_heartbeat_..` |
//! | `Mailbox::turn`: no second look after lowering | `no_wake_..`, `what_was_posted_..`, `every_heartbeat_..` |
//! | `Bell::set_notify`: leaves the flag | every model with a loop: `a first turn is due` |
//! | `Bell::set_notify`: notifies only if the flag was down | `a_loop_that_left_its_flag_up_..`, `what_was_posted_..` |
//! | `Queue::raise`: fetch_or Relaxed | `what_was_done_before_a_flag_..`, `a_stop_from_elsewhere_..` |
//! | `Queue::raise`: no ring, or before the flag | `a_stop_from_..`, `every_heartbeat_..`, `the_last_future_..` |
//! | `Queue::flags`: load Relaxed | `what_was_done_before_a_flag_..` |
//! | `Queue::publish`: Relaxed, or a plain load, SeqCst too | `the_last_future_..` |
//! | `Shared::future_ends`: fetch_sub Relaxed | `the_last_future_..` |
//! | `Shared::live`: load Relaxed | `the_last_future_..` |
//! | `Shared::beat`: takes the list, then the flag back | `every_heartbeat_..` |
//! | `Shared::heartbeat`: raises the flag, then enters the list | `every_heartbeat_..` |
//! | `Shared::heartbeat`: doesn't ask whether the loop is dead | `a_heartbeat_of_a_loop_..` |
//! | `Shared::terminate`: empties the queue, then closes it | `what_is_sent_to_a_loop_..` |
//! | `Shared::list`: accepts waiters after the end | `whoever_waits_..`, `whoever_waited_..` |
//! | `Mailbox::turn`: a stop doesn't close the queue | `what_races_with_the_stop_..` |
//! | `Address::loop_or_later`: records no reply | `whoever_waited_..` |
//! | `Address::bind`: sets the loop outside the lock (and yields; `OnceLock` is std's) | `jobs_of_each_sender_..` |
//! | `Address::send`: no second look at the loop under the lock | `jobs_of_each_sender_..` |
//! | `Address::send`: no second look at `closed` under the lock | `what_is_sent_to_an_address_..` |
//!
//! What the models can't show:
//!
//! * The orderings are weaker than they once were, since no model and no argument needs more: beside the fences of
//!   `ring` and `lower` the flag's swaps are Relaxed, and so is `clear` (a read-modify-write passes on what was
//!   released before it); only the loop uses `future_begins`.
//! * Only `Mailbox::drive` reads `Bell::is_rung`, after `AtomicWaker::register`; neither `AtomicWaker` nor async-task
//!   runs on loom's primitives. Nor do `Arc` and `OnceLock`: the threads of a model are joined before it drops what
//!   they share.
//! * loom takes a SeqCst access for AcqRel: no model relies on more.

use std::{
    cell::RefCell,
    future::Future,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use loom::{
    cell::UnsafeCell,
    sync::{Condvar, Mutex},
    thread,
};

use super::{Mailbox, Turn};
use crate::{
    CallError, EventLoop, NoOptions, Remote, Result,
    channel::{address::Address, job::Job, queue::flag, remote::PostError, reply::Reply, shared::Shared},
    kit::trace::Span,
    words::state::Reason,
};

#[derive(Clone, Default)]
struct Modelled;

impl EventLoop for Modelled {
    const NAME: &'static str = "modelled";
    type Options = NoOptions;
    type Native = ();

    fn drive(self, _: NoOptions, _: Mailbox<Self>, _: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        unreachable!("the models drive the mailbox themselves")
    }
}

/// The place where a loop, or a waiter, parks. A thread that is never woken parks forever, which loom reports as a
/// deadlock.
#[derive(Default)]
struct Parker {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    fn park(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.changed.wait(woken).unwrap();
        }
        *woken = false;
    }

    fn unpark(&self) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(parker.clone());
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => parker.park(),
        }
    }
}

/// A loop that only takes turns.
struct Loop {
    mailbox: Mailbox<Modelled>,
    parker: Arc<Parker>,
}

impl Loop {
    fn new(shared: &Arc<Shared>) -> Self {
        let parker = Arc::new(Parker::default());
        let mailbox = Mailbox::new(shared.clone());
        let notified = parker.clone();
        mailbox.set_notify(move || notified.unpark());
        assert!(shared.queue.bell.is_rung(), "a first turn is due");
        Self { mailbox, parker }
    }

    /// Runs like an adapter that waits for its notify before its first turn.
    fn run_until(&mut self, done: impl Fn() -> bool) {
        while !done() {
            self.parker.park();
            while self.mailbox.turn() == Turn::Again {}
        }
    }

    fn run_until_stop(&mut self) {
        loop {
            match self.mailbox.turn() {
                Turn::Stop => return,
                Turn::Again => {}
                Turn::Idle => self.parker.park(),
            }
        }
    }
}

/// Counts independently, outside the model.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn up(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Counts its drop.
struct Token(Count);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.up();
    }
}

/// The fates of posts.
#[derive(Clone, Default)]
struct Fates {
    ran: Count,
    returned: Count,
    dropped: Count,
}

impl Fates {
    fn errand(&self, shared: &Shared) {
        let (ran, token) = (self.ran.clone(), Token(self.dropped.clone()));
        let errand = shared.errand(move |_| {
            ran.up();
            drop(token);
        });
        if let Err(Job::Errand(..)) = errand {
            self.returned.up();
        }
    }

    fn post(&self, remote: &Remote<()>) {
        let (ran, token) = (self.ran.clone(), Token(self.dropped.clone()));
        let post = remote.post(move |()| {
            ran.up();
            drop(token);
        });
        if let Err(PostError::Stopped(_)) = post {
            self.returned.up();
        }
    }
}

fn posters(shared: &Arc<Shared>, ran: &Count) -> Vec<thread::JoinHandle<()>> {
    let poster = |_| {
        let (shared, ran) = (shared.clone(), ran.clone());
        thread::spawn(move || assert!(shared.errand(move |_| ran.up()).is_ok()))
    };
    (0..2).map(poster).collect()
}

/// Joins the threads. The model's main thread drops what all share, last: loom doesn't know of the synchronization
/// within std's `Arc`.
fn join<R>(threads: impl IntoIterator<Item = thread::JoinHandle<R>>) -> Vec<R> {
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn model(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    let runs = Count::default();
    let counted = runs.clone();
    let began = Instant::now();
    builder.check(move || {
        counted.up();
        model();
    });
    println!("{} interleavings in {:?}", runs.get(), began.elapsed());
}

#[test]
fn no_wake_of_two_posters_is_lost() {
    model(2, || {
        let shared = Shared::new("model");
        let ran = Count::default();
        let mut l = Loop::new(&shared);
        let posters = posters(&shared, &ran);
        l.run_until(|| ran.get() == 2);
        join(posters);
    });
}

#[test]
fn what_races_with_the_stop_runs_or_comes_back() {
    model(2, || {
        let shared = Shared::new("model");
        let fates = Fates::default();
        let mut l = Loop::new(&shared);
        let posters = [(); 2].map(|()| {
            let (shared, fates) = (shared.clone(), fates.clone());
            thread::spawn(move || fates.errand(&shared))
        });
        // The model's main thread is the loop and sends requests itself: a third sender, between two turns.
        let _ = l.mailbox.turn();
        shared.stop(Reason::AllDone, None);
        l.run_until_stop();
        join(posters);
        assert_eq!(fates.ran.get() + fates.returned.get(), 2);
        assert_eq!(fates.dropped.get(), 2);
    });
}

#[test]
fn a_stop_from_elsewhere_is_seen_after_what_was_posted_before_it() {
    model(2, || {
        let shared = Shared::new("model");
        let fates = Fates::default();
        let mut l = Loop::new(&shared);
        let stopper = {
            let (shared, fates) = (shared.clone(), fates.clone());
            thread::spawn(move || {
                fates.errand(&shared);
                shared.stop(Reason::AllDone, None);
            })
        };
        let poster = {
            let (shared, fates) = (shared.clone(), fates.clone());
            thread::spawn(move || fates.errand(&shared))
        };
        l.run_until_stop();
        assert!(l.mailbox.shutdown().is_requested());
        join([stopper, poster]);
        assert!(fates.ran.get() >= 1);
        assert_eq!(fates.ran.get() + fates.returned.get(), 2);
    });
}

#[test]
fn what_was_done_before_a_flag_was_raised_is_seen_with_it() {
    model(3, || {
        let shared = Shared::new("model");
        let done = Arc::new([UnsafeCell::new(0), UnsafeCell::new(0)]);
        let senders = [flag::STOP, flag::DEAD].into_iter().enumerate().map(|(n, flag)| {
            let (shared, done) = (shared.clone(), done.clone());
            thread::spawn(move || {
                done[n].with_mut(|_| ());
                shared.queue.raise(flag);
            })
        });
        let senders = senders.collect::<Vec<_>>();
        let flags = shared.queue.flags();
        if flags & flag::STOP != 0 {
            done[0].with(|_| ());
        }
        if flags & flag::DEAD != 0 {
            done[1].with(|_| ());
        }
        join(senders);
    });
}

#[test]
fn the_last_future_to_end_elsewhere_lets_a_stopped_loop_go() {
    model(3, || {
        let shared = Shared::new("model");
        let mut l = Loop::new(&shared);
        let effect = Arc::new(UnsafeCell::new(0));
        shared.future_begins();
        let worker = {
            let (shared, effect) = (shared.clone(), effect.clone());
            thread::spawn(move || {
                effect.with_mut(|_| ());
                shared.future_ends();
            })
        };
        let stopper = {
            let shared = shared.clone();
            thread::spawn(move || shared.queue.raise(flag::STOP))
        };
        l.run_until_stop();
        // Nothing lives here any more: the effects of the future are visible.
        effect.with(|_| ());
        join([worker, stopper]);
    });
}

#[test]
fn what_was_posted_while_the_loop_was_made_anew_runs_on_the_next() {
    model(2, || {
        let shared = Shared::new("model");
        let ran = Count::default();
        let mut before = Loop::new(&shared);
        // The flag is down; with `drop` it goes up again.
        let _ = before.mailbox.turn();
        let posters = posters(&shared, &ran);
        drop(before);
        let mut next = Loop::new(&shared);
        // The first turn is always due.
        next.parker.park();
        while next.mailbox.turn() == Turn::Again {}
        next.run_until(|| ran.get() == 2);
        join(posters);
    });
}

#[test]
fn a_loop_that_left_its_flag_up_leaves_no_later_loop_asleep() {
    model(2, || {
        let shared = Shared::new("model");
        let ran = Count::default();
        // This one was notified, and never took a turn.
        shared.queue.bell.set_notify(Some(Arc::new(|| ())));
        let posters = posters(&shared, &ran);
        let mut l = Loop::new(&shared);
        l.parker.park();
        while l.mailbox.turn() == Turn::Again {}
        l.run_until(|| ran.get() == 2);
        join(posters);
    });
}

#[test]
fn every_heartbeat_is_answered() {
    model(2, || {
        let shared = Shared::new("model");
        let asker = {
            let shared = shared.clone();
            thread::spawn(move || assert_eq!(block_on(shared.heartbeat()), Ok(())))
        };
        let looping = {
            let shared = shared.clone();
            thread::spawn(move || Loop::new(&shared).run_until_stop())
        };
        assert_eq!(block_on(shared.heartbeat()), Ok(()));
        asker.join().unwrap();
        shared.queue.raise(flag::STOP);
        looping.join().unwrap();
    });
}

#[test]
fn a_heartbeat_of_a_loop_that_is_left_behind_resolves() {
    model(3, || {
        let shared = Shared::new("model");
        let askers = [(); 2].map(|()| {
            let shared = shared.clone();
            thread::spawn(move || assert_eq!(block_on(shared.heartbeat()), Err(CallError::Stopped)))
        });
        shared.terminate();
        join(askers);
    });
}

#[test]
fn whoever_waits_for_a_loop_that_is_left_behind_is_told() {
    model(3, || {
        let shared = Shared::new("model");
        let address = Address::at("value", &shared);
        // The jobs are running, and never end.
        let (waiters, stuck): (Vec<_>, Vec<_>) = (0..2)
            .map(|_| {
                let (reply, completer) = Reply::<u8>::from(&address);
                (thread::spawn(move || assert_eq!(block_on(reply), Err(CallError::Stopped))), completer)
            })
            .unzip();
        shared.terminate();
        join(waiters);
        drop(stuck);
    });
}

#[test]
fn an_answer_racing_with_the_end_of_its_loop_resolves_once() {
    model(3, || {
        let shared = Shared::new("model");
        let address = Address::at("value", &shared);
        let (reply, completer) = Reply::<u8>::from(&address);
        let answering = thread::spawn(move || completer.complete(Ok(7)));
        let waiter = thread::spawn(move || block_on(reply));
        shared.terminate();
        join([answering]);
        let answer = waiter.join().unwrap();
        assert!(matches!(answer, Ok(7) | Err(CallError::Stopped)), "{answer:?}");
    });
}

#[test]
fn whoever_waited_before_there_was_a_loop_is_told_of_its_end() {
    model(3, || {
        let shared = Shared::new("model");
        let address = Address::new("value");
        let (waiters, stuck): (Vec<_>, Vec<_>) = (0..2)
            .map(|_| {
                let (reply, completer) = Reply::<u8>::from(&address);
                (thread::spawn(move || assert_eq!(block_on(reply), Err(CallError::Stopped))), completer)
            })
            .unzip();
        address.bind(&shared).unwrap();
        shared.terminate();
        join(waiters);
        drop(stuck);
    });
}

#[test]
fn jobs_of_each_sender_stay_in_order_through_the_first_bind() {
    model(1, || {
        let shared = Shared::new("model");
        let address = Address::new("value");
        let remote = Remote::<RefCell<Vec<(u8, u8)>>>::new(address.clone());
        let mut l = Loop::new(&shared);
        let senders = [(0, 2), (1, 1)].map(|(sender, jobs)| {
            let remote = remote.clone();
            thread::spawn(move || {
                for job in 0..jobs {
                    remote.post(move |log| log.borrow_mut().push((sender, job))).unwrap();
                }
            })
        });
        let log = Rc::new(RefCell::new(Vec::<(u8, u8)>::new()));
        l.mailbox.local().put(&address, log.clone(), Span::none()).unwrap();
        l.run_until(|| log.borrow().len() == 3);
        join(senders);
        let of_the_first =
            log.borrow().iter().filter(|(sender, _)| *sender == 0).map(|(_, job)| *job).collect::<Vec<_>>();
        assert_eq!(of_the_first, [0, 1]);
    });
}

#[test]
fn what_is_sent_to_an_address_as_it_closes_comes_back_or_is_dropped() {
    model(3, || {
        let address = Address::new("value");
        let fates = Fates::default();
        let senders = [(); 2].map(|()| {
            let (remote, fates) = (Remote::<()>::new(address.clone()), fates.clone());
            thread::spawn(move || fates.post(&remote))
        });
        address.close();
        join(senders);
        // Nothing waits at it, whichever came first.
        assert_eq!(fates.dropped.get(), 2);
        assert_eq!(fates.ran.get(), 0);
    });
}

#[test]
fn what_is_sent_to_a_loop_as_it_is_left_behind_comes_back_or_is_dropped() {
    model(2, || {
        let shared = Shared::new("model");
        let address = Address::at("value", &shared);
        let fates = Fates::default();
        let senders = [(); 2].map(|()| {
            let (remote, fates) = (Remote::<()>::new(address.clone()), fates.clone());
            thread::spawn(move || fates.post(&remote))
        });
        shared.terminate();
        join(senders);
        // The thread that discards may still be running.
        while fates.dropped.get() < 2 {
            thread::yield_now();
        }
        assert!(shared.await_discards(Instant::now() + Duration::from_secs(10)));
        assert_eq!(fates.ran.get(), 0);
    });
}
