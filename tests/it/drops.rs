//! Values created on a loop's thread are dropped there, before the thread ends; and when a service has ended, nothing
//! of it is left.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
    time::Duration,
};

use crate::util::{
    Death, Drops, Homesick, Latch, Log, Mortal, SOON, alone, descriptors, quiet_resident, reach, state_of, threads, up,
    watched,
};
use interloop::{CallError, Context, Error, Remote, Reply, RestartPolicy, Service, State, Thread, task_fn};

/// How many [`Homesick`] values a [`Nest`] keeps.
const VALUES: usize = 5;

/// A task that keeps homesick values wherever it can: in itself, in its future, in a child, shared, in a slot; and the
/// handles that refer to it elsewhere.
#[derive(Clone, Default)]
struct Nest {
    drops: Drops,
    wakers: Arc<Mutex<Vec<Waker>>>,
    remotes: Arc<Mutex<Vec<Remote<Homesick>>>>,
    replies: Arc<Mutex<Vec<Reply<()>>>>,
}

impl Nest {
    /// Fills the nest, then reports ready.
    async fn settle(&self, cx: &Context<Thread>, slot: interloop::Slot<Homesick>) -> Homesick {
        cx.fill(slot, self.drops.value());
        self.remotes.lock().unwrap().push(cx.share(self.drops.value()));
        let (child, wakers) = (self.drops.value(), self.wakers.clone());
        let reply = cx.spawn_local(async move {
            let _child = child;
            poll_fn::<(), _>(|cx| {
                wakers.lock().unwrap().push(cx.waker().clone());
                Poll::Pending
            })
            .await;
        });
        self.replies.lock().unwrap().push(reply);
        let (native, drops) = (Rc::new(RefCell::new(Vec::new())), self.drops.clone());
        native.borrow_mut().push(drops.value());
        // The context, held elsewhere on the thread.
        let context = cx.clone();
        cx.spawn_local(async move {
            let _held = (native, context);
            std::future::pending::<()>().await;
        })
        .detach();
        poll_fn(|cx| {
            self.wakers.lock().unwrap().push(cx.waker().clone());
            Poll::Ready(())
        })
        .await;
        cx.ready();
        self.drops.value()
    }

    /// A service of one task that settles, and then does this.
    fn service<F>(&self, then: F) -> (Service, Remote<Homesick>)
    where
        F: AsyncFn(Context<Thread>) -> interloop::Result + Clone + Send + 'static,
    {
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<Homesick>("value");
        let nest = self.clone();
        let task = move || {
            let (nest, slot, then) = (nest.clone(), slot.clone(), then.clone());
            task_fn::<Thread>(async move |cx| {
                let _local = nest.settle(&cx, slot).await;
                then(cx).await
            })
        };
        let policy = RestartPolicy::on_failure().backoff(Duration::from_millis(1), Duration::from_millis(1));
        service.task_with("task", task).stop_timeout(Duration::from_millis(50)).restart(policy.limit(1, SOON));
        (service, remote)
    }

    /// Checks that all values are gone, and were dropped at home, while these Remotes, Replies and Wakers are still
    /// held.
    #[track_caller]
    fn assert_empty(&self, incarnations: usize) {
        self.drops.assert_at_home(VALUES * incarnations);
        for remote in self.remotes.lock().unwrap().drain(..) {
            assert!(remote.post(|_| ()).is_err());
        }
        for reply in self.replies.lock().unwrap().drain(..) {
            assert_eq!(reply.wait_timeout(SOON), Err(CallError::Cancelled));
        }
        // They wake nobody.
        self.wakers.lock().unwrap().drain(..).for_each(Waker::wake);
        self.drops.assert_at_home(VALUES * incarnations);
    }
}

#[test]
fn at_a_normal_stop() {
    alone(|| {
        let nest = Nest::default();
        let (service, remote) = nest.service(async |cx| {
            cx.until_shutdown().await;
            Ok(())
        });
        let before = (threads(), descriptors());
        let running = up(service);
        let held = remote.spawn(async |value| {
            let _value = value;
            std::future::pending::<()>().await
        });
        remote.call(|_| ()).wait_timeout(SOON).unwrap();
        let report = running.stop();
        assert_eq!((threads(), descriptors()), before);
        assert_eq!(report.code, 0, "{report}");
        nest.assert_empty(1);
        assert_eq!(held.wait_timeout(SOON), Err(CallError::Cancelled));
    });
}

#[test]
fn at_a_cancel_past_the_deadline() {
    alone(|| {
        let nest = Nest::default();
        let (service, _remote) = nest.service(async |_| std::future::pending().await);
        let before = (threads(), descriptors());
        let report = up(service).stop();
        assert_eq!((threads(), descriptors()), before);
        assert_eq!((report.code, state_of(&report, "task")), (124, State::Cancelled));
        nest.assert_empty(1);
    });
}

#[test]
fn at_a_panic_and_a_restart() {
    alone(|| {
        let nest = Nest::default();
        let (service, _remote) = nest.service(async |cx| match cx.incarnation() {
            1 => panic!("once"),
            _ => {
                cx.until_shutdown().await;
                Ok(())
            }
        });
        let before = (threads(), descriptors());
        let running = service.start().unwrap();
        let mut watch = running.watch();
        reach(&mut watch, "task", 2, State::Running);
        nest.drops.assert_at_home(VALUES);
        let report = running.stop();
        assert_eq!((threads(), descriptors()), before);
        assert_eq!(report.code, 0, "{report}");
        nest.assert_empty(2);
    });
}

#[test]
fn at_a_failure_that_stops_the_service() {
    alone(|| {
        let nest = Nest::default();
        let (service, _remote) = nest.service(async |_| Err(Error::new("again")));
        let before = (threads(), descriptors());
        let report = service.start().unwrap().join();
        assert_eq!((threads(), descriptors()), before);
        assert_eq!(report.code, 1, "{report}");
        nest.assert_empty(2);
    });
}

#[test]
fn at_a_stop_of_the_task_alone() {
    watched(|| {
        let nest = Nest::default();
        let (service, _remote) = nest.service(async |cx| {
            cx.until_shutdown().await;
            Ok(())
        });
        let running = up(service);
        let mut watch = running.watch();
        running.stop_task("task").unwrap();
        reach(&mut watch, "task", 1, State::Stopped);
        nest.assert_empty(1);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn at_the_death_of_a_loop() {
    alone(|| {
        for death in [Death::Error, Death::Panic, Death::Return] {
            let (mut service, drops) = (Service::new("test"), Drops::default());
            let (slot, remote) = service.slot::<Homesick>("value");
            let d = drops.clone();
            let task = task_fn::<Mortal>(async move |cx| {
                cx.fill(slot, d.value());
                let _shared = cx.share(d.value());
                let (child, local) = (d.value(), d.value());
                cx.spawn_local(async move {
                    let _child = child;
                    std::future::pending::<()>().await;
                })
                .detach();
                cx.ready();
                cx.native().set(Some(death));
                std::future::pending::<()>().await;
                drop(local);
                Ok(())
            });
            service.task("task", task);
            let before = (threads(), descriptors());
            let report = service.start().unwrap().join();
            assert_eq!((threads(), descriptors()), before);
            assert_eq!(report.code, 1, "{report}");
            drops.assert_at_home(4);
            assert!(remote.post(|_| ()).is_err());
        }
    });
}

#[test]
fn what_lives_on_a_thread_that_was_left_behind_is_never_dropped_elsewhere() {
    watched(|| {
        let (nest, release, gone) = (Nest::default(), Latch::default(), Latch::default());
        let (r, g) = (release.clone(), gone.clone());
        let (service, remote) = nest.service(async move |_| {
            r.wait();
            let _gone = OpenOnDrop(g.clone());
            std::future::pending().await
        });
        let running = up(service);
        let report = running.stop();
        assert_eq!((report.code, state_of(&report, "task")), (124, State::Abandoned));
        nest.drops.assert_at_home(0);
        assert!(remote.post(|_| ()).is_err());
        // It comes back to life, too late; then it ends in order.
        release.open();
        gone.wait();
    });
}

struct OpenOnDrop(Latch);

impl Drop for OpenOnDrop {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[test]
fn a_future_that_is_cancelled_by_its_reply_is_dropped_on_its_loop() {
    watched(|| {
        let (mut service, drops) = (Service::new("test"), Drops::default());
        let (slot, remote) = service.slot::<Drops>("drops");
        let d = drops.clone();
        let keeper = task_fn::<Thread>(async move |cx| {
            cx.fill(slot, d);
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("keeper", keeper);
        let running = up(service);
        for by_drop in [false, true] {
            let (begun, gone) = (Latch::default(), Latch::default());
            let (b, g) = (begun.clone(), gone.clone());
            let reply = remote.spawn(async move |drops: Rc<Drops>| {
                let _gone = OpenOnDrop(g);
                let _value = drops.value();
                b.open();
                std::future::pending::<()>().await
            });
            begun.wait();
            match by_drop {
                false => reply.cancel(),
                true => drop(reply.cancel_on_drop()),
            }
            gone.wait();
        }
        assert_eq!(running.stop().code, 0);
        drops.assert_at_home(2);
    });
}

#[test]
fn a_service_with_queued_jobs_leaves_no_thread_behind() {
    alone(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let (slot, remote) = service.slot::<u8>("number");
        let task = move || {
            let slot = slot.clone();
            task_fn::<Thread>(async move |cx| {
                cx.fill(slot, 1);
                cx.until_shutdown().await;
                Ok(())
            })
        };
        service.task_with("task", task);
        service.task("other", quiet_resident::<Thread>());
        let before = (threads(), descriptors());
        let running = up(service);
        let mut watch = running.watch();
        running.stop_task("task").unwrap();
        reach(&mut watch, "task", 1, State::Stopped);
        // The task could come back: requests wait for it, to the end.
        for _ in 0..10 {
            let job = SayOnDrop(log.clone());
            remote.post(move |_| drop(job)).unwrap();
        }
        let report = running.stop();
        assert_eq!((threads(), descriptors()), before);
        assert_eq!(report.code, 0, "{report}");
        assert_eq!(log.lines().len(), 10);
    });
}

struct SayOnDrop(Log);

impl Drop for SayOnDrop {
    fn drop(&mut self) {
        // Some drops take time.
        std::thread::sleep(Duration::from_millis(10));
        self.0.say("dropped");
    }
}

#[test]
fn a_service_that_is_never_started_leaves_nothing_behind() {
    alone(|| {
        let before = (threads(), descriptors());
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<u8>("number");
        let native = service.remote_to::<Thread>();
        let replies = (remote.call(|number| *number), native.call(|_| 1));
        let task = task_fn::<Thread>(async move |cx| {
            cx.fill(slot, 1);
            Ok(())
        });
        service.task("task", task);
        drop(service);
        assert_eq!(replies.0.wait_timeout(SOON), Err(CallError::Stopped));
        assert_eq!(replies.1.wait_timeout(SOON), Err(CallError::Stopped));
        assert_eq!((threads(), descriptors()), before);
    });
}

/// Blocks in its Drop.
struct HoldInDrop(Latch, Latch);

impl Drop for HoldInDrop {
    fn drop(&mut self) {
        self.0.open();
        self.1.wait();
    }
}

#[test]
fn a_task_that_never_ran_and_blocks_in_its_drop_holds_nobody_up() {
    watched(|| {
        let (dropping, release) = (Latch::default(), Latch::default());
        let held = HoldInDrop(dropping.clone(), release.clone());
        let mut service = Service::new("test");
        let failing = task_fn::<Thread>(async |_| Err(Error::new("no")));
        service.task("failing", failing);
        let never = task_fn::<Thread>(async move |_| {
            let _held = &held;
            Ok(())
        });
        service.task("never", never).requires("failing");
        let running = service.start().unwrap();
        dropping.wait();
        assert_eq!(running.join().code, 1);
        release.open();
    });
}

#[test]
fn a_job_for_a_slot_that_nobody_filled_and_blocks_in_its_drop_holds_nobody_up() {
    watched(|| {
        let (dropping, release) = (Latch::default(), Latch::default());
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<u8>("number");
        let held = HoldInDrop(dropping.clone(), release.clone());
        remote.post(move |_| drop(held)).unwrap();
        service.task("task", quiet_resident::<Thread>());
        let report = up(service).stop();
        assert_eq!(report.code, 0, "{report}");
        dropping.wait();
        release.open();
        drop(slot);
    });
}

#[test]
fn a_thread_local_that_blocks_in_its_drop_holds_nobody_up() {
    thread_local!(static HELD: RefCell<Option<HoldInDrop>> = const { RefCell::new(None) });
    watched(|| {
        let (dropping, release) = (Latch::default(), Latch::default());
        let held = HoldInDrop(dropping.clone(), release.clone());
        let mut service = Service::new("test");
        let task = task_fn::<Thread>(async move |_| {
            HELD.set(Some(held));
            Ok(())
        });
        service.task("task", task);
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 0, "{report}");
        dropping.wait();
        release.open();
    });
}
