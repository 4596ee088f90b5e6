//! The mailbox without a service: one thread takes turns, and others send.

use std::{
    cell::{Cell, RefCell},
    future::{Future, pending, poll_fn},
    pin::pin,
    rc::Rc,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use super::{Mailbox, Turn};
use crate::{
    CallError, EventLoop, NoOptions, Remote, Result,
    channel::{
        PostError, address::Address, control::Ended, job::Job, local::Local, reply::Reply, shared::Shared,
        this_thread::Label,
    },
    kit::{block, trace::Span},
    words::state::Reason,
};

const WATCHDOG: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(10);

/// Runs a test; if it takes too long, the process ends, and names the test.
fn watched<R>(test: impl FnOnce() -> R) -> R {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let (done, wait) = mpsc::channel::<()>();
    let dog = thread::spawn(move || {
        if wait.recv_timeout(WATCHDOG) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name}: still running after {WATCHDOG:?}");
            std::process::abort();
        }
    });
    let result = test();
    drop(done);
    dog.join().expect("the watchdog only waits");
    result
}

#[derive(Clone, Default)]
struct Tested;

impl EventLoop for Tested {
    const NAME: &'static str = "tested";
    type Options = NoOptions;
    type Native = ();

    fn drive(self, _: NoOptions, _: Mailbox<Self>, _: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        unreachable!("the tests drive the mailbox themselves")
    }
}

fn mailbox(shared: &Arc<Shared>) -> Mailbox<Tested> {
    let mailbox = Mailbox::new(shared.clone());
    let thread = thread::current();
    mailbox.set_notify(move || thread.unpark());
    mailbox
}

fn open() -> (Arc<Shared>, Mailbox<Tested>) {
    let shared = Shared::new("tested");
    let mailbox = mailbox(&shared);
    (shared, mailbox)
}

/// Takes turns, and parks between them, until it is done.
fn run_until(mailbox: &mut Mailbox<Tested>, done: impl Fn() -> bool) {
    while !done() {
        if mailbox.turn() == Turn::Idle && !done() {
            thread::park();
        }
    }
}

fn run_until_idle(mailbox: &mut Mailbox<Tested>) {
    while mailbox.turn() == Turn::Again {}
}

fn put<T: 'static>(mailbox: &Mailbox<Tested>, address: &Arc<Address>, value: T) -> Rc<T> {
    let value = Rc::new(value);
    mailbox.local().put(address, value.clone(), Span::none()).unwrap();
    value
}

/// Returns a value on the loop, and a Remote that reaches it.
fn reach<T: 'static>(shared: &Arc<Shared>, mailbox: &Mailbox<Tested>, value: T) -> (Rc<T>, Remote<T>) {
    let address = Address::at("value", shared);
    (put(mailbox, &address, value), Remote::new(address))
}

fn errand(shared: &Shared, errand: impl FnOnce(&Rc<Local>) + Send + 'static) -> bool {
    match shared.errand(errand) {
        Ok(()) => true,
        Err(Job::Errand(..)) => false,
        Err(Job::For(..)) => unreachable!("it was an errand"),
    }
}

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

/// Records on which threads its tokens were dropped.
#[derive(Clone, Default)]
struct Drops(Arc<Mutex<Vec<ThreadId>>>);

struct Token(Drops);

impl Drops {
    fn token(&self) -> Token {
        Token(self.clone())
    }

    fn threads(&self) -> Vec<ThreadId> {
        self.0.lock().unwrap().clone()
    }

    fn here(&self) -> usize {
        let threads = self.threads();
        assert!(threads.iter().all(|thread| *thread == thread::current().id()), "dropped elsewhere");
        threads.len()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().push(thread::current().id());
    }
}

type Log = RefCell<Vec<u32>>;

// --- Jobs ---

#[test]
fn each_sender_is_served_in_order_and_nothing_is_lost() {
    const SENDERS: usize = 8;
    const JOBS: u32 = 20_000;
    watched(|| {
        let (shared, mut mailbox) = open();
        let (next, remote) = reach(&shared, &mailbox, [const { Cell::new(0_u32) }; SENDERS]);
        let disorder = Count::default();
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                let (remote, disorder) = (remote.clone(), disorder.clone());
                scope.spawn(move || {
                    for n in 0..JOBS {
                        let disorder = disorder.clone();
                        let job = move |next: &[Cell<u32>; SENDERS]| {
                            if next[sender].replace(n + 1) != n {
                                disorder.up();
                            }
                        };
                        remote.post(job).unwrap();
                    }
                });
            }
            run_until(&mut mailbox, || next.iter().all(|next| next.get() == JOBS));
        });
        assert_eq!(disorder.get(), 0);
        assert_eq!(shared.jobs(), SENDERS as u64 * u64::from(JOBS));
    });
}

#[test]
fn a_post_that_races_with_the_close_runs_or_comes_back() {
    watched(|| {
        for _ in 0..2_000 {
            let (shared, mut mailbox) = open();
            let (ran, returned, start) = (Count::default(), Count::default(), Barrier::new(3));
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        start.wait();
                        for _ in 0..4 {
                            let ran = ran.clone();
                            if !errand(&shared, move |_| ran.up()) {
                                returned.up();
                            }
                        }
                    });
                }
                start.wait();
                shared.stop(Reason::AllDone, None);
                loop {
                    match mailbox.turn() {
                        Turn::Stop => break,
                        Turn::Again => {}
                        Turn::Idle => thread::park(),
                    }
                }
            });
            assert_eq!(ran.get() + returned.get(), 8);
        }
    });
}

#[test]
fn a_full_mailbox_gives_the_closure_back_and_knows_how_full_it_was() {
    watched(|| {
        let (shared, mut mailbox) = open();
        let (log, remote) = reach(&shared, &mailbox, Log::default());
        shared.queue.set_capacity(3);
        for n in 0..3 {
            remote.post(move |log| log.borrow_mut().push(n)).unwrap();
        }
        let Err(PostError::Full(post)) = remote.post(|log| log.borrow_mut().push(7)) else { panic!("there was room") };
        assert_eq!(remote.call(|_| ()).wait_timeout(SOON), Err(CallError::Full));
        assert_eq!((shared.queue.len(), shared.queue.high_water()), (3, 3));
        run_until_idle(&mut mailbox);
        post(&log);
        assert_eq!(*log.borrow(), [0, 1, 2, 7]);
        remote.post(|log| log.borrow_mut().clear()).unwrap();
        assert_eq!((shared.queue.len(), shared.queue.high_water()), (1, 3));
        run_until_idle(&mut mailbox);
        assert!(log.borrow().is_empty());
    });
}

#[test]
fn a_storm_of_posts_wakes_the_loop_once() {
    watched(|| {
        let shared = Shared::new("tested");
        let mut mailbox = Mailbox::<Tested>::new(shared.clone());
        let (ran, wakes) = (Count::default(), Count::default());
        let counted = wakes.clone();
        mailbox.set_notify(move || counted.up());
        for storm in 1..=20 {
            run_until_idle(&mut mailbox);
            assert_eq!(wakes.get(), storm);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..500 {
                            let ran = ran.clone();
                            assert!(errand(&shared, move |_| ran.up()));
                        }
                    });
                }
            });
            assert_eq!(wakes.get(), storm + 1);
        }
        run_until_idle(&mut mailbox);
        assert_eq!(ran.get(), 40_000);
    });
}

#[test]
fn a_turn_ends_after_256_jobs_and_the_next_goes_on() {
    watched(|| {
        // A busy machine may manage fewer in 1 ms: then it tries again.
        let exact = (0..1_000).any(|_| {
            let (shared, mut mailbox) = open();
            let ran = Count::default();
            for _ in 0..600 {
                let ran = ran.clone();
                assert!(errand(&shared, move |_| ran.up()));
            }
            assert_eq!(mailbox.turn(), Turn::Again);
            let first = ran.get();
            assert!(first <= 256, "{first} jobs in a turn");
            run_until_idle(&mut mailbox);
            assert_eq!(ran.get(), 600);
            first == 256
        });
        assert!(exact, "no turn ran 256 jobs");
    });
}

#[test]
fn a_turn_of_slow_jobs_ends_after_a_millisecond_and_the_next_goes_on() {
    watched(|| {
        let (shared, mut mailbox) = open();
        let ran = Count::default();
        for _ in 0..20 {
            let ran = ran.clone();
            let slow = move |_: &Rc<Local>| {
                let began = Instant::now();
                while began.elapsed() < Duration::from_micros(300) {
                    std::hint::spin_loop();
                }
                ran.up();
            };
            assert!(errand(&shared, slow));
        }
        let mut turns = 1;
        while mailbox.turn() == Turn::Again {
            assert!(ran.get() <= 4 * turns, "{} slow jobs in {turns} turns", ran.get());
            turns += 1;
        }
        assert!(turns >= 5);
        assert_eq!(ran.get(), 20);
    });
}

#[test]
fn a_panic_of_a_job_is_its_replys_and_the_next_runs() {
    watched(|| {
        let (shared, mut mailbox) = open();
        let (_value, remote) = reach(&shared, &mailbox, ());
        remote.post(|()| panic!("of a post")).unwrap();
        let panics = remote.call(|()| panic!("of a call"));
        let answers = remote.call(|()| 7);
        run_until_idle(&mut mailbox);
        assert_eq!(panics.wait_timeout(SOON), Err::<(), _>(CallError::Panicked("of a call".into())));
        assert_eq!(answers.wait_timeout(SOON), Ok(7));
    });
}

// --- Cancelling ---

#[test]
fn a_queued_call_that_is_cancelled_never_runs_and_is_dropped_on_the_loop() {
    watched(|| {
        let (shared, mut mailbox) = open();
        let (_value, remote) = reach(&shared, &mailbox, ());
        let (ran, drops) = (Count::default(), Drops::default());
        let (counted, token) = (ran.clone(), drops.token());
        let call = move || {
            let reply = remote.call(move |()| {
                counted.up();
                drop(token);
            });
            reply.cancel();
        };
        thread::spawn(call).join().unwrap();
        assert_eq!(drops.here(), 0);
        run_until_idle(&mut mailbox);
        assert_eq!((ran.get(), drops.here()), (0, 1));
    });
}

#[test]
fn a_future_that_is_cancelled_is_dropped_on_the_loop() {
    watched(|| {
        let (shared, mut mailbox) = open();
        let (_value, remote) = reach(&shared, &mailbox, ());
        let drops = Drops::default();
        let token = drops.token();
        let reply = remote.spawn(move |_| async move {
            let _token = token;
            pending::<()>().await;
        });
        run_until_idle(&mut mailbox);
        assert_eq!(shared.live(), 1);
        thread::spawn(move || reply.cancel()).join().unwrap();
        assert_eq!(drops.here(), 0);
        run_until_idle(&mut mailbox);
        assert_eq!((shared.live(), drops.here()), (0, 1));
    });
}

#[test]
fn who_waits_for_a_cancelled_future_is_told_after_it_is_gone() {
    watched(|| {
        let (shared, mut mailbox) = open();
        let drops = Drops::default();
        let token = drops.token();
        let (reply, completer) = Reply::local();
        let control = completer.control().clone();
        let future = async move {
            let _token = token;
            pending::<()>().await;
        };
        let gone = drops.clone();
        mailbox.local().spawn(future, control.clone(), Label::job(), Span::none(), move |ended| {
            assert!(matches!(ended, Ended::Cancelled));
            assert_eq!(gone.here(), 1);
            completer.end(ended);
        });
        run_until_idle(&mut mailbox);
        control.cancel();
        run_until_idle(&mut mailbox);
        assert_eq!(reply.wait_timeout(SOON), Err(CallError::Cancelled));
        assert_eq!(shared.live(), 0);
    });
}

#[test]
fn a_waker_kept_elsewhere_keeps_nothing_alive() {
    watched(|| {
        let (shared, mut mailbox) = open();
        let (_value, remote) = reach(&shared, &mailbox, ());
        let drops = Drops::default();
        let (kept, token) = (Arc::new(Mutex::new(None::<Waker>)), drops.token());
        let keep = kept.clone();
        let reply = remote.spawn(move |_| async move {
            let _token = token;
            poll_fn(|cx| {
                *keep.lock().unwrap() = Some(cx.waker().clone());
                Poll::<()>::Pending
            })
            .await;
        });
        run_until_idle(&mut mailbox);
        reply.cancel();
        run_until_idle(&mut mailbox);
        assert_eq!((shared.live(), drops.here()), (0, 1));
        let waker = kept.lock().unwrap().take().unwrap();
        thread::spawn(move || waker.wake()).join().unwrap();
        assert_eq!(mailbox.turn(), Turn::Idle);
    });
}

// --- The end ---

#[test]
fn a_drop_that_panics_takes_no_other_queued_job_along() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("in a drop");
        }
    }
    watched(|| {
        let (shared, mailbox) = open();
        let (_value, remote) = reach(&shared, &mailbox, ());
        let drops = Drops::default();
        let mut replies = Vec::new();
        for _ in 0..3 {
            let token = drops.token();
            replies.push(remote.call(move |()| drop(token)));
            let panics = Panics;
            replies.push(remote.call(move |()| drop(panics)));
        }
        shared.terminate();
        for reply in replies {
            assert_eq!(reply.wait_timeout(SOON), Err(CallError::Stopped));
        }
        assert!(shared.await_discards(Instant::now() + SOON));
        assert_eq!(drops.threads().len(), 3);
        assert_eq!(shared.dropped(), 6);
        assert!(matches!(remote.post(|()| ()), Err(PostError::Stopped(_))));
    });
}

#[test]
fn a_mailbox_that_is_dropped_drops_its_values_and_futures_on_its_thread() {
    watched(|| {
        let (shared, mut mailbox) = open();
        let drops = Drops::default();
        let address = Address::at("value", &shared);
        drop(put(&mailbox, &address, drops.token()));
        let remote = Remote::<Token>::new(address);
        let token = drops.token();
        let polled = remote.spawn(move |value| async move {
            let _both = (token, value);
            pending::<()>().await;
        });
        run_until_idle(&mut mailbox);
        let token = drops.token();
        let queued = remote.spawn(move |_| async move { drop(token) });
        drop(mailbox);
        assert_eq!(drops.here(), 2);
        assert_eq!(polled.wait_timeout(SOON), Err(CallError::Cancelled));
        // A job that has not begun waits for the next incarnation.
        assert!(!queued.is_done());
        shared.terminate();
        assert_eq!(queued.wait_timeout(SOON), Err(CallError::Stopped));
    });
}

#[test]
fn a_future_that_is_woken_just_as_its_loop_dies_is_dropped_on_it() {
    watched(|| {
        for _ in 0..500 {
            let (shared, mut mailbox) = open();
            let (drops, enough) = (Drops::default(), AtomicBool::new(false));
            let (_value, remote) = reach(&shared, &mailbox, ());
            let (send, wakers) = mpsc::channel::<Waker>();
            let token = drops.token();
            let reply = remote.spawn(move |_| async move {
                let _token = token;
                let mut send = Some(send);
                poll_fn(|cx| {
                    send.take().into_iter().for_each(|send| send.send(cx.waker().clone()).unwrap());
                    Poll::<()>::Pending
                })
                .await;
            });
            run_until_idle(&mut mailbox);
            let waker = wakers.recv().unwrap();
            let dropped = thread::scope(|scope| {
                scope.spawn(|| {
                    while !enough.load(Ordering::SeqCst) {
                        waker.wake_by_ref();
                    }
                });
                for _ in 0..20 {
                    let _ = mailbox.turn();
                }
                drop(mailbox);
                let dropped = drops.here();
                enough.store(true, Ordering::SeqCst);
                dropped
            });
            assert_eq!(dropped, 1);
            assert_eq!(reply.wait_timeout(SOON), Err(CallError::Cancelled));
            assert!(shared.queue.pop_wake().is_none());
        }
    });
}

#[test]
fn a_stopped_loop_ends_when_its_last_future_has() {
    watched(|| {
        let (shared, mut mailbox) = open();
        let (_value, remote) = reach(&shared, &mailbox, ());
        let reply = remote.spawn(|_| pending::<()>());
        run_until_idle(&mut mailbox);
        shared.future_begins();
        shared.stop(Reason::AllDone, None);
        run_until_idle(&mut mailbox);
        assert_eq!(reply.wait_timeout(SOON), Err(CallError::Cancelled));
        // One lives on a worker.
        assert_eq!((shared.live(), mailbox.turn()), (1, Turn::Idle));
        shared.future_ends();
        assert!(shared.queue.bell.is_rung());
        assert_eq!(mailbox.turn(), Turn::Stop);
    });
}

#[test]
fn who_waited_before_the_value_had_a_loop_is_told_when_that_is_left_behind() {
    watched(|| {
        let (shared, mailbox) = open();
        let address = Address::new("value");
        let (reply, _stuck) = Reply::<()>::from(&address);
        let mut reply = pin!(reply);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(reply.as_mut().poll(&mut cx).is_pending());
        let waits = Count::default();
        thread::scope(|scope| {
            let (reply, completer) = Reply::<()>::from(&address);
            let waiter = scope.spawn(|| {
                waits.up();
                block::on(reply, Some(SOON))
            });
            while waits.get() == 0 {
                thread::yield_now();
            }
            let _value = put(&mailbox, &address, ());
            shared.terminate();
            assert_eq!(waiter.join().unwrap(), Some(Err(CallError::Stopped)));
            drop(completer);
        });
        // Polled again, as its waker asked.
        let _ = reply.as_mut().poll(&mut cx);
        assert_eq!(reply.poll(&mut cx), Poll::Ready(Err(CallError::Stopped)));
    });
}

// --- Restarts ---

fn log_into(remote: &Remote<Log>, n: u32) {
    remote.post(move |log| log.borrow_mut().push(n)).unwrap();
}

#[test]
fn what_waited_for_a_value_runs_in_order_before_what_came_later() {
    watched(|| {
        let (shared, mut mailbox) = open();
        let address = Address::new("log");
        let remote = Remote::<Log>::new(address.clone());
        log_into(&remote, 0);
        log_into(&remote, 1);
        let log = put(&mailbox, &address, Log::default());
        log_into(&remote, 2);
        run_until_idle(&mut mailbox);
        assert_eq!(*log.borrow(), [0, 1, 2]);

        mailbox.local().remove(address.key()).unwrap();
        for n in 3..6 {
            log_into(&remote, n);
        }
        run_until_idle(&mut mailbox);
        log_into(&remote, 6);
        let log = put(&mailbox, &address, Log::default());
        log_into(&remote, 7);
        run_until_idle(&mut mailbox);
        assert_eq!(*log.borrow(), [3, 4, 5, 6, 7]);
        assert_eq!(shared.dropped(), 0);
    });
}

#[test]
fn jobs_of_an_incarnation_that_died_run_on_the_next_in_order() {
    watched(|| {
        let (shared, first) = open();
        let address = Address::new("log");
        let remote = Remote::<Log>::new(address.clone());
        log_into(&remote, 0);
        log_into(&remote, 1);
        let lost = put(&first, &address, Log::default());
        log_into(&remote, 2);
        log_into(&remote, 3);
        drop(first);
        log_into(&remote, 4);
        assert!(lost.borrow().is_empty());

        let mut second = mailbox(&shared);
        // It takes turns before the value exists.
        run_until_idle(&mut second);
        log_into(&remote, 5);
        let log = put(&second, &address, Log::default());
        run_until_idle(&mut second);
        assert_eq!(*log.borrow(), [0, 1, 2, 3, 4, 5]);
    });
}

// --- As a future ---

#[test]
fn a_driven_mailbox_serves_until_it_is_stopped_and_yields_under_load() {
    watched(|| {
        let shared = Shared::new("tested");
        let (ran, yields) = (Count::default(), Count::default());
        let looping = {
            let (shared, yields) = (shared.clone(), yields.clone());
            thread::spawn(move || {
                let yielding = || {
                    yields.up();
                    std::future::ready(())
                };
                block::on(Mailbox::<Tested>::new(shared).drive(yielding), None)
            })
        };
        for _ in 0..2_000 {
            let ran = ran.clone();
            assert!(errand(&shared, move |_| ran.up()));
        }
        let beat = shared.heartbeat();
        assert_eq!(beat.wait_timeout(SOON), Ok(()));
        shared.stop(Reason::AllDone, None);
        looping.join().unwrap();
        assert_eq!(ran.get(), 2_000);
        assert!(!errand(&shared, |_| ()));
    });
}
