//! Calls, futures and what is sent before the loop runs.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
};

use interloop::{CallError, EventLoop, task_fn};

use crate::{
    process::SystemThread,
    scene::{Drops, Hold, Subject, Witness, down, expect, up, watchdog},
};

pub fn what_was_sent_before_the_loop_ran_is_done<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let early = remote.call(|_| thread::current().name().map(str::to_owned));
    let running = up(service, long);
    expect(early.wait_timeout(long), Ok(Some(L::NAME.to_owned())), "what was sent before the loop ran was not done");
    down(running);
}

pub fn posts_calls_and_futures_come_from_other_threads<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let (slot, list) = service.slot::<RefCell<Vec<u32>>>("list");
    service.task(
        "owner",
        task_fn::<L>(async move |cx| {
            cx.fill(slot, RefCell::default());
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = up(service, long);
    let senders = (0..4).map(|sender| {
        let list = list.clone();
        thread::spawn(move || {
            (0..250).try_for_each(|n| list.post(move |list| list.borrow_mut().push(sender * 1000 + n)).map_err(drop))
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        assert_eq!(sender.join().expect("no panic"), Ok(()), "a post from another thread is refused");
    }
    let thread = list.call(|_| SystemThread::current()).wait_timeout(long);
    let thread = thread.unwrap_or_else(|error| panic!("a call from another thread is not answered: {error}"));
    let thread = thread.with(subject.beat());
    for round in 0..100 {
        if round < 10 {
            // The loop is at rest, at least before these.
            thread.wait_for_rest(long);
        }
        let count = list.call(|list| list.borrow().len()).wait_timeout(long);
        expect(count, Ok(1000), "a call from another thread is not answered");
    }
    // This future is not `Send`, and goes to sleep between two looks.
    let later = list.spawn(|list: Rc<RefCell<Vec<u32>>>| async move {
        let mut polled = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(());
            }
            let waker = cx.waker().clone();
            thread::spawn(move || waker.wake());
            Poll::Pending
        })
        .await;
        list.borrow().len()
    });
    expect(later.wait_timeout(long), Ok(1000), "a future from another thread does not end");
    down(running);
}

pub fn a_call_from_the_loop_to_itself_is_answered<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let running = up(service, long);
    let itself = remote.clone();
    let (sender, posted) = mpsc::channel();
    let sum = remote.spawn(move |_| async move {
        let (inner, innermost) = (itself.clone(), itself.clone());
        let called = itself.call(|_| 1).await?;
        // This is a call within a call, and one within a future of a future.
        let nested = itself.call(move |_| inner.call(|_| 2)).await?.await?;
        let spawned = itself.spawn(move |_| async move { innermost.call(|_| 4).await }).await??;
        let post = move |_: &L::Native| {
            let _ = sender.send(8);
        };
        itself.post(post).map_err(|_| CallError::Stopped)?;
        Ok::<_, CallError>(called + nested + spawned)
    });
    expect(sum.wait_timeout(long), Ok(Ok(7)), "a call from the loop to itself is not answered");
    assert_eq!(posted.recv_timeout(long), Ok(8), "a post from the loop to itself does not run");
    down(running);
}

pub fn a_blocking_wait_on_the_loop_is_refused<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let running = up(service, long);
    let itself = remote.clone();
    let waited = remote.call(move |_| itself.call(|_| ()).wait_timeout(long / 2)).wait_timeout(long);
    expect(waited, Ok(Err(CallError::WouldBlock)), "a blocking wait of the loop for itself is not refused");
    down(running);
}

pub fn a_reply_that_is_dropped_lets_the_job_run<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let running = up(service, long);
    let (sender, ran) = mpsc::channel();
    for _ in 0..4 {
        let (called, spawned) = (sender.clone(), sender.clone());
        drop(remote.call(move |_| called.send(())));
        drop(remote.spawn(move |_| async move { spawned.send(()) }));
    }
    for _ in 0..8 {
        assert!(ran.recv_timeout(long).is_ok(), "what nobody awaits did not run");
    }
    down(running);
}

pub fn what_is_cancelled_ends_there_and_a_queued_job_never_runs<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let running = up(service, long);
    let ran = Arc::new(AtomicBool::new(false));
    let hold = Hold::of(&remote, long);
    let (runs, drops) = (ran.clone(), Drops::default());
    remote.call(move |_| runs.store(true, Ordering::Release)).cancel();
    hold.release();
    expect(remote.call(|_| ()).wait_timeout(long), Ok(()), "a call from another thread is not answered");
    assert!(!ran.load(Ordering::Acquire), "a job that was cancelled ran");
    let (in_future, (begins, begun)) = (drops.clone(), mpsc::channel());
    let future = remote.spawn(move |_| async move {
        let _in_future = Witness::new(&in_future);
        let _ = begins.send(());
        std::future::pending::<()>().await;
    });
    assert!(begun.recv_timeout(long).is_ok(), "a future does not begin");
    future.cancel();
    assert!(drops.wait_for(1, long), "a future that was cancelled is not dropped on its loop");
    drops.check(1);
    down(running);
}

pub fn ten_thousand_futures_are_spawned_and_woken<L: EventLoop>(subject: &Subject<L>) {
    const FUTURES: usize = 10_000;
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let running = up(service, long);
    let (go, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (wakers, woken) = mpsc::channel();
    let replies: Vec<_> = (0..FUTURES)
        .map(|number| {
            let (wakers, go, ended) = (wakers.clone(), go.clone(), ended.clone());
            remote.spawn(move |_| {
                poll_fn(move |cx| {
                    if go.load(Ordering::Acquire) {
                        ended.fetch_add(1, Ordering::Relaxed);
                        return Poll::Ready(number);
                    }
                    let _ = wakers.send(cx.waker().clone());
                    Poll::Pending
                })
            })
        })
        .collect();
    let all: Vec<_> = (0..FUTURES).map_while(|_| woken.recv_timeout(long).ok()).collect();
    assert_eq!(all.len(), FUTURES, "of 10,000 futures some are never polled");
    go.store(true, Ordering::Release);
    // Each is woken twice: a wake too many does no harm.
    all.iter().for_each(std::task::Waker::wake_by_ref);
    all.into_iter().for_each(std::task::Waker::wake);
    for (number, reply) in replies.into_iter().enumerate() {
        expect(reply.wait_timeout(long), Ok(number), "of 10,000 futures some are not woken");
    }
    assert_eq!(ended.load(Ordering::Relaxed), FUTURES);
    down(running);
}
