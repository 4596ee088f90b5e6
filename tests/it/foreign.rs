//! A mailbox on a loop that no service drives.

use std::{
    cell::{Cell, RefCell},
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use crate::util::{Drops, Homesick, SOON, block_on, up, watched};
use interloop::{
    CallError, Remote, Service, Thread,
    channel::PostError,
    event_loop::{Foreign, Mailbox, Turn},
    task_fn,
};

/// A foreign loop: it waits in a channel for wakeups, and counts its own events.
struct Loop {
    mailbox: Option<Mailbox<Foreign>>,
    wakes: mpsc::Receiver<()>,
    own_events: u32,
}

impl Loop {
    fn new() -> Self {
        let (waker, wakes) = mpsc::channel();
        let mailbox = Mailbox::attach("somebody");
        mailbox.set_notify(move || waker.send(()).unwrap_or_default());
        Self { mailbox: Some(mailbox), wakes, own_events: 0 }
    }

    fn mailbox(&self) -> &Mailbox<Foreign> {
        self.mailbox.as_ref().expect("it is attached")
    }

    /// Runs until this returns true, or the mailbox says stop: then it is dropped.
    fn run(&mut self, mut until: impl FnMut() -> bool) {
        while !until() {
            self.wakes.recv_timeout(SOON).expect("it is woken");
            loop {
                self.own_events += 1;
                match self.mailbox.as_mut().expect("it is attached").turn() {
                    Turn::Stop => return self.mailbox = None,
                    Turn::Again => {}
                    Turn::Idle => break,
                }
            }
        }
    }

    /// Runs beside this closure on another thread, whose end wakes it.
    fn run_beside<R: Send + 'static>(&mut self, other: impl FnOnce() -> R + Send + 'static) -> R {
        let over = Arc::new(AtomicBool::new(false));
        let (done, end) = (over.clone(), self.mailbox().share(()));
        let other = thread::spawn(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(other));
            done.store(true, Ordering::Release);
            let _ = end.post(|()| ());
            result
        });
        self.run(|| over.load(Ordering::Acquire));
        match other.join().expect("its panics are caught") {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

#[test]
fn others_post_call_and_spawn_there() {
    watched(|| {
        let mut somebody = Loop::new();
        let here = thread::current().id();
        let said: Remote<RefCell<Vec<u32>>> = somebody.mailbox().share(RefCell::default());
        let read = said.clone();
        let all = somebody.run_beside(move || {
            for number in 0..10_000 {
                said.post(move |said| said.borrow_mut().push(number)).unwrap();
            }
            let future = said.spawn(move |said| async move {
                assert_eq!(thread::current().id(), here);
                said.borrow().len()
            });
            assert_eq!(future.wait_timeout(SOON), Ok(10_000));
            read.call(|said| said.borrow().clone()).wait_timeout(SOON).unwrap()
        });
        assert!(all.into_iter().eq(0..10_000), "in order, none lost");
        // Between two batches its own events had their turns.
        assert!(somebody.own_events >= 10_000 / 256, "{}", somebody.own_events);
    });
}

#[test]
fn a_service_beside_it_calls_there_and_is_called_back() {
    watched(|| {
        let mut somebody = Loop::new();
        let sum = somebody.mailbox().share(Cell::new(0));
        let mut service = Service::new("test");
        let (slot, adder) = service.slot::<Cell<i32>>("adder");
        let task = task_fn::<Thread>(async move |cx| {
            let own = cx.fill(slot, Cell::new(1));
            for _ in 0..100 {
                own.set(sum.call(|sum| sum.replace(sum.get() + 1) + 1).await?);
            }
            Ok(())
        });
        service.task("task", task);
        // Holding the Remote doesn't keep it: the address ends with the task.
        drop(adder);
        let report = somebody.run_beside(move || up(service).join());
        assert_eq!(report.code, 0, "{report}");
    });
}

#[test]
fn nobody_blocks_its_thread_by_waiting() {
    watched(|| {
        let mut somebody = Loop::new();
        let value = somebody.mailbox().share(());
        let own = value.clone();
        // Outside of its turns, and within.
        assert_eq!(value.call(|()| ()).wait_timeout(SOON), Err(CallError::WouldBlock));
        let within =
            somebody.run_beside(move || value.call(move |()| own.call(|()| ()).wait_timeout(SOON)).wait_timeout(SOON));
        assert_eq!(within, Ok(Err(CallError::WouldBlock)));
        // Nor another loop's answer, as long as it is here.
        let mut service = Service::new("test");
        let loop_ = service.remote_to::<Thread>();
        let running = up(service);
        let (answer, held) = mpsc::channel();
        let unanswered = loop_.call(move |_| held.recv().is_ok());
        assert_eq!(unanswered.wait_timeout(SOON), Err(CallError::WouldBlock));
        answer.send(()).unwrap();
        drop(somebody);
        assert_eq!(loop_.call(|_| ()).wait_timeout(SOON), Ok(()));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_panic_stays_within_its_job() {
    watched(|| {
        let mut somebody = Loop::new();
        let value = somebody.mailbox().share(());
        let answer = somebody.run_beside(move || {
            value.post(|()| panic!("in a post")).unwrap();
            let future = value.spawn(|_| async { panic!("in a future") });
            assert_eq!(future.wait_timeout(SOON), Err::<(), _>(CallError::Panicked("in a future".into())));
            value.call(|()| panic!("in a call")).wait_timeout(SOON)
        });
        assert_eq!(answer, Err::<(), _>(CallError::Panicked("in a call".into())));
    });
}

#[test]
fn asked_to_stop_it_runs_what_was_accepted_and_refuses_the_rest() {
    watched(|| {
        let mut somebody = Loop::new();
        let log = Drops::default();
        let value = somebody.mailbox().share(log.value());
        let count = somebody.mailbox().share(Cell::new(0));
        for _ in 0..1000 {
            count.post(|count| count.set(count.get() + 1)).unwrap();
        }
        let last = count.call(Cell::get);
        let never = value.spawn(|_value| async { pending::<()>().await });
        somebody.mailbox().handle().request_shutdown("enough");
        somebody.run(|| false);
        assert!(somebody.mailbox.is_none(), "it said stop");
        assert_eq!(block_on(last), Ok(1000));
        assert_eq!(block_on(never), Err(CallError::Cancelled));
        assert!(matches!(count.post(|_| ()), Err(PostError::Stopped(_))));
        assert_eq!(block_on(value.call(|_| ())), Err(CallError::Stopped));
        log.assert_at_home(1);
    });
}

#[test]
fn dropped_it_tells_everyone_who_waits_and_drops_what_lives_there() {
    watched(|| {
        let mut somebody = Loop::new();
        let log = Drops::default();
        let value: Remote<Homesick> = somebody.mailbox().share(log.value());
        let held = log.clone();
        let running = value.spawn(move |_| async move {
            let _held = held.value();
            pending::<()>().await;
        });
        let begun = value.clone();
        somebody.run_beside(move || begun.call(|_| ()).wait_timeout(SOON)).unwrap();
        let queued = value.call(|_| ());
        // A caller that waits already.
        let waiting = thread::spawn(move || queued.wait_timeout(SOON));
        drop(somebody);
        assert_eq!(waiting.join().unwrap(), Err(CallError::Stopped));
        assert_eq!(block_on(running), Err(CallError::Cancelled));
        assert!(value.post(|_| ()).is_err());
        log.assert_at_home(2);
    });
}

#[test]
fn detached_by_a_job_of_its_own_it_begins_no_other() {
    watched(|| {
        let mut somebody = Loop::new();
        let count = somebody.mailbox().share(Cell::new(0));
        let handle = somebody.mailbox().handle();
        let add = |count: &Cell<u32>| count.set(count.get() + 1);
        count.post(add).unwrap();
        let detaches = count.call(move |count| {
            handle.detach();
            count.get()
        });
        // Queued behind it.
        count.post(add).unwrap();
        let behind = count.call(Cell::get);
        somebody.run(|| false);
        assert!(somebody.mailbox.is_none(), "it said stop");
        assert_eq!(block_on(detaches), Ok(1));
        assert_eq!(block_on(behind), Err(CallError::Stopped));
        assert!(matches!(count.post(|_| ()), Err(PostError::Stopped(_))));
    });
}

#[test]
fn several_live_on_one_thread() {
    watched(|| {
        let (mut first, mut second) = (Loop::new(), Loop::new());
        let (one, two) = (first.mailbox().share(1), second.mailbox().share(2));
        assert_eq!(first.run_beside(move || one.call(|one| *one).wait_timeout(SOON)), Ok(1));
        let again = first.mailbox().share(3);
        drop(first);
        assert_eq!(second.run_beside(move || two.call(|two| *two).wait_timeout(SOON)), Ok(2));
        assert_eq!(block_on(again.call(|_| ())), Err(CallError::Stopped));
    });
}

#[test]
fn a_task_on_a_foreign_loop_fails_with_a_reason() {
    watched(|| {
        let mut service = Service::new("test");
        service.task("task", task_fn::<Foreign>(async |_| Ok(())));
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 1);
        assert!(report.to_string().contains("attach a mailbox"), "{report}");
    });
}
