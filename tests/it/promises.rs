//! Answers that come after the call for them has returned.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use crate::util::{SOON, block_on, up, watched};
use interloop::{
    CallError, RestartPolicy, Running, Service, Slot, Thread,
    channel::{Promise, promise},
    task_fn,
};

/// Waiters for something.
type Waiting = RefCell<Vec<Promise<u8>>>;

/// A service with a task that fills this slot.
fn keeper(slot: Slot<Waiting>) -> Running {
    let mut service = Service::new("test");
    let keeper = task_fn::<Thread>(async move |cx| {
        cx.fill(slot, RefCell::default());
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("keeper", keeper);
    up(service)
}

#[test]
fn a_promise_is_kept_or_says_why_not() {
    let (promised, reply) = promise();
    promised.fulfil(7);
    assert_eq!(reply.wait_timeout(SOON), Ok(7));

    let (promised, reply) = promise::<u8>();
    drop(promised);
    assert_eq!(reply.wait_timeout(SOON), Err(CallError::Stopped));

    let (mut promised, reply) = promise::<u8>();
    promised.begin();
    drop(promised);
    assert_eq!(reply.wait_timeout(SOON), Err(CallError::Cancelled));

    let (promised, reply) = promise();
    promised.run(|| 7);
    assert_eq!(reply.wait_timeout(SOON), Ok(7));

    let (promised, reply) = promise::<u8>();
    promised.run(|| panic!("no sum"));
    assert_eq!(reply.wait_timeout(SOON), Err(CallError::Panicked("no sum".into())));
}

/// Records whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn who_holds_a_promise_sees_that_it_is_cancelled_or_not_awaited() {
    watched(|| {
        let (promised, reply) = promise::<u8>();
        assert!(promised.is_awaited());
        reply.detach();
        assert!(!promised.is_awaited() && !promised.is_cancelled());

        let (promised, reply) = promise::<u8>();
        let reply = reply.cancel_on_drop();
        let mut cancelled = promised.cancelled();
        assert!(!cancelled.is_cancelled());
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        assert!(Pin::new(&mut cancelled).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(reply);
        assert!(woken.0.load(Ordering::Acquire));
        assert!(promised.is_cancelled() && cancelled.is_cancelled());
        block_on(cancelled);
        // Late, too.
        block_on(promised.cancelled());
        let (runs, ran) = mpsc::channel();
        promised.run(move || {
            let _ = runs.send(());
            7
        });
        assert_eq!(ran.try_recv(), Err(mpsc::TryRecvError::Disconnected), "nobody wants it");
    });
}

#[test]
fn a_failure_that_nobody_reads_is_told() {
    let failed = || CallError::Failed("no paper".into());
    let promised = || {
        let ((promised, reply), (tell, told)) = (promise::<u8>(), mpsc::channel());
        (promised, reply, move || tell.send(()).unwrap(), told)
    };
    let (promise, reply, tell, told) = promised();
    promise.fail_or(failed(), tell);
    assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty));
    drop(reply);
    assert_eq!(told.try_recv(), Ok(()));

    let (promise, reply, tell, told) = promised();
    drop(reply);
    promise.fail_or(failed(), tell);
    assert_eq!(told.try_recv(), Ok(()));

    let (promise, reply, tell, told) = promised();
    promise.fail_or(failed(), tell);
    assert_eq!(reply.wait_timeout(SOON), Err(failed()));
    assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected));

    for before in [true, false] {
        let (promise, reply, tell, told) = promised();
        let mut reply = Some(reply);
        if before {
            reply.take().unwrap().cancel();
        }
        promise.fail_or(failed(), tell);
        reply.into_iter().for_each(|reply| reply.cancel());
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected), "before: {before}");
    }
}

#[test]
fn what_is_asked_is_answered_later() {
    watched(|| {
        let (slot, waiting) = Slot::<Waiting>::new("waiting");
        let early = waiting.ask(|waiting, promise| waiting.borrow_mut().push(promise));
        let running = keeper(slot);
        let reply = waiting.ask(|waiting, promise| waiting.borrow_mut().push(promise));
        waiting
            .call(|waiting| waiting.take().into_iter().for_each(|promise| promise.fulfil(7)))
            .wait_timeout(SOON)
            .unwrap();
        assert_eq!((early.wait_timeout(SOON), reply.wait_timeout(SOON)), (Ok(7), Ok(7)));

        let dropped = waiting.ask(|_, promise: Promise<u8>| drop(promise));
        assert_eq!(dropped.wait_timeout(SOON), Err(CallError::Cancelled));
        let panicked = waiting.ask(|_, _: Promise<u8>| panic!("not so"));
        assert_eq!(panicked.wait_timeout(SOON), Err(CallError::Panicked("not so".into())));
        let kept = waiting.ask(|waiting, promise| {
            waiting.borrow_mut().push(promise);
            panic!("after all")
        });
        assert_eq!(kept.wait_timeout(SOON), Err(CallError::Panicked("after all".into())));
        let answered = waiting.ask(|_, promise| {
            promise.fulfil(7);
            panic!("too late")
        });
        assert_eq!(answered.wait_timeout(SOON), Ok(7));
        // An unrelated promise isn't affected by the panic.
        let (others, reply) = promise::<u8>();
        let panicked = waiting.ask(move |_, _: Promise<u8>| {
            let _others = others;
            panic!("not so")
        });
        assert_eq!(reply.wait_timeout(SOON), Err(CallError::Stopped));
        assert_eq!(panicked.wait_timeout(SOON), Err(CallError::Panicked("not so".into())));

        let held = waiting.ask(|waiting, promise| waiting.borrow_mut().push(promise));
        running.stop();
        assert_eq!(held.wait_timeout(SOON), Err(CallError::Cancelled));
        let late = waiting.ask(|waiting, promise| waiting.borrow_mut().push(promise));
        assert_eq!(late.wait_timeout(SOON), Err(CallError::Stopped));
    });
}

/// Passes its waiters on to its successor.
struct Heir(RefCell<Vec<Promise<u8>>>, interloop::Remote<Heir>);

impl Drop for Heir {
    fn drop(&mut self) {
        for promise in self.0.take() {
            self.1.ask_with(promise, |heir, promise| heir.0.borrow_mut().push(promise));
        }
    }
}

#[test]
fn a_promise_is_handed_on_to_the_next_incarnation() {
    watched(|| {
        let (slot, remote) = Slot::<Heir>::new("heir");
        let mut service = Service::new("test");
        let next = remote.clone();
        let fails = move || {
            let (slot, next) = (slot.clone(), next.clone());
            task_fn::<Thread>(async move |cx| {
                let heir = cx.fill(slot, Heir(RefCell::default(), next));
                cx.ready();
                if cx.incarnation() > 1 {
                    heir.1.call(|heir| heir.0.take().into_iter().for_each(|promise| promise.fulfil(2))).detach();
                    cx.until_shutdown().await;
                    return Ok(());
                }
                while heir.0.borrow().is_empty() {
                    cx.sleep(Duration::from_millis(1)).await;
                }
                Err(interloop::Error::new("once more"))
            })
        };
        service.task_with("heir", fails).restart(RestartPolicy::on_failure().backoff(Duration::ZERO, Duration::ZERO));
        let running = up(service);
        let reply = remote.ask(|heir, promise| heir.0.borrow_mut().push(promise));
        assert_eq!(reply.wait_timeout(SOON), Ok(2));
        running.stop();
        // Nobody comes any more.
        let (promised, reply) = remote.promise();
        remote.ask_with(promised, |heir, promise| heir.0.borrow_mut().push(promise));
        assert_eq!(reply.wait_timeout(SOON), Err(CallError::Stopped));
    });
}

#[test]
fn a_slot_that_is_dropped_unfilled_is_never_filled() {
    let (slot, remote) = Slot::<Cell<u8>>::new("nobody");
    let reply = remote.call(Cell::get);
    drop(slot);
    assert_eq!(reply.wait_timeout(SOON), Err(CallError::Stopped));
}

#[test]
fn a_blocking_wait_is_refused_where_a_reply_would_refuse_it() {
    watched(|| {
        let (slot, waiting) = Slot::<Waiting>::new("waiting");
        let running = keeper(slot);
        assert_eq!(waiting.wait_for_timeout(async { 7 }, SOON), Ok(7));
        let short = Duration::from_millis(1);
        assert_eq!(waiting.wait_for_timeout(std::future::pending::<()>(), short), Err(CallError::TimedOut));
        let own = waiting.clone();
        let refused = waiting.call(move |_| own.wait_for_timeout(async { 7 }, SOON));
        assert_eq!(refused.wait_timeout(SOON), Ok(Err(CallError::WouldBlock)));
        running.stop();
    });
}
