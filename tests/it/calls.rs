//! Calls under pressure: mailboxes that are full or closed, loops that call each other, waiters, handles by name.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::util::{Latch, Log, SOON, block_on, quiet_resident, reach, up, watched};
use interloop::{CallError, Error, Remote, Reply, Service, Slot, State, Task, Thread, channel::PostError, task_fn};

/// A task that puts a value into a slot, and runs until it is asked to stop.
fn keeper<T: 'static>(slot: Slot<T>, make: impl FnOnce() -> T + Send + 'static) -> impl Task<Thread> {
    task_fn::<Thread>(async move |cx| {
        cx.fill(slot, make());
        cx.until_shutdown().await;
        Ok(())
    })
}

#[test]
fn a_post_to_a_stopped_loop_comes_back() {
    watched(|| {
        let mut service = Service::new("test");
        let native = service.remote_to::<Thread>();
        let running = up(service);
        native.call(|_| ()).wait_timeout(SOON).unwrap();
        assert_eq!(running.stop().code, 0);
        let cargo = String::from("cargo");
        let refused = native.post(move |_| drop(cargo)).unwrap_err();
        assert!(matches!(refused, PostError::Stopped(_)) && !refused.is_full());
        assert_eq!(refused.to_string(), "the other side has stopped");
        // It can be run here, or sent elsewhere.
        let _job = refused.into_inner();
        assert_eq!(native.call(|_| ()).wait_timeout(SOON), Err(CallError::Stopped));
        assert_eq!(native.spawn(async |_| ()).wait_timeout(SOON), Err(CallError::Stopped));
    });
}

#[test]
fn a_post_to_a_full_mailbox_comes_back_and_the_next_one_after_it_is_accepted() {
    watched(|| {
        let mut service = Service::new("test");
        service.event_loop("io", Thread).mailbox_capacity(2);
        let (slot, remote) = service.slot::<RefCell<Vec<u32>>>("list");
        service.task("keeper", keeper(slot, RefCell::default)).on("io");
        let running = up(service);
        let (held, release) = (Latch::default(), Latch::default());
        let (h, r) = (held.clone(), release.clone());
        let holding = move |_: &RefCell<Vec<u32>>| {
            h.open();
            r.wait();
        };
        remote.post(holding).unwrap();
        held.wait();
        remote.post(|list| list.borrow_mut().push(1)).unwrap();
        remote.post(|list| list.borrow_mut().push(2)).unwrap();
        let refused = remote.post(|list| list.borrow_mut().push(3)).unwrap_err();
        assert!(refused.is_full());
        assert_eq!(remote.call(|_| ()).wait_timeout(SOON), Err(CallError::Full));
        assert_eq!(block_on(remote.spawn(async |_| ())), Err(CallError::Full));
        let io = running.status().loops.into_iter().next().unwrap();
        assert_eq!((io.depth, io.high_water, io.capacity), (2, 2, 2));
        release.open();
        assert_eq!(answer_with_patience(&remote, |list| list.borrow().clone()), vec![1, 2]);
        assert!(remote.post(refused.into_inner()).is_ok());
        assert_eq!(answer_with_patience(&remote, |list| list.borrow().clone()), vec![1, 2, 3]);
        assert_eq!(running.stop().code, 0);
    });
}

/// Calls until the call is accepted.
fn answer_with_patience<T: 'static, R: Send + 'static>(remote: &Remote<T>, f: fn(&T) -> R) -> R {
    loop {
        match remote.call(f).wait_timeout(SOON) {
            Err(CallError::Full) => thread::yield_now(),
            answer => return answer.unwrap(),
        }
    }
}

#[test]
fn a_full_mailbox_does_not_stop_a_stop() {
    watched(|| {
        let mut service = Service::new("test");
        service.event_loop("io", Thread).mailbox_capacity(1);
        let (slot, remote) = service.slot::<u8>("number");
        service.task("keeper", keeper(slot, || 7)).on("io");
        let running = up(service);
        let (held, release) = (Latch::default(), Latch::default());
        let (h, r) = (held.clone(), release.clone());
        let holding = move |_: &u8| {
            h.open();
            r.wait();
        };
        remote.post(holding).unwrap();
        held.wait();
        let last = remote.call(|number| *number);
        running.request_shutdown("full or not");
        release.open();
        let report = running.join();
        assert_eq!(report.code, 0, "{report}");
        // Accepted calls run.
        assert_eq!(last.wait_timeout(SOON), Ok(7));
    });
}

#[test]
fn what_was_accepted_runs_whatever_the_stop_does() {
    watched(|| {
        // The loop's own side exists to the end.
        let mut service = Service::new("test");
        let remote = service.remote_to::<Thread>();
        let (ran, accepted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let running = up(service);
        let posting = (0..4).map(|_| {
            let (remote, ran, accepted) = (remote.clone(), ran.clone(), accepted.clone());
            thread::spawn(move || {
                loop {
                    let ran = ran.clone();
                    let add = move |_: &interloop::event_loop::ThreadNative| _ = ran.fetch_add(1, Ordering::Relaxed);
                    match remote.post(add) {
                        Ok(()) => _ = accepted.fetch_add(1, Ordering::Relaxed),
                        Err(PostError::Full(_)) => thread::yield_now(),
                        Err(_) => return,
                    }
                }
            })
        });
        let posting = posting.collect::<Vec<_>>();
        while accepted.load(Ordering::Relaxed) < 1000 {
            thread::yield_now();
        }
        let report = running.stop();
        posting.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(report.code, 0, "{report}");
        // None is lost between an accepted post and the close.
        assert_eq!(ran.load(Ordering::Relaxed), accepted.load(Ordering::Relaxed));
    });
}

#[test]
fn a_call_onto_the_own_loop_may_be_awaited() {
    watched(|| {
        let mut service = Service::new("test");
        let task = task_fn::<Thread>(async |cx| {
            let shared = cx.share(Cell::new(7));
            assert_eq!(shared.call(Cell::get).await, Ok(7));
            assert_eq!(shared.spawn(async |cell| cell.replace(8)).await, Ok(7));
            assert_eq!(shared.call(Cell::get).wait_timeout(SOON), Err(CallError::WouldBlock));
            Ok(())
        });
        service.task("task", task);
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 0, "{report}");
    });
}

/// Runs two tasks, on loops of their own, that call each other a hundred times, at once; `ask` awaits or blocks.
fn call_each_other(ask: impl AsyncFn(&Remote<Cell<u32>>) -> Result<u32, CallError> + Clone + Send + 'static) {
    let mut service = Service::new("test");
    let (left, to_left) = service.slot::<Cell<u32>>("left");
    let (right, to_right) = service.slot::<Cell<u32>>("right");
    for (name, own, other) in [("a", left, to_right), ("b", right, to_left)] {
        let ask = ask.clone();
        let task = task_fn::<Thread>(async move |cx| {
            let value = cx.fill(own, Cell::new(0));
            for _ in 0..100 {
                ask(&other).await?;
            }
            cx.ready();
            // It answers the other until that is done as well.
            cx.until_shutdown().await;
            cx.export("answered", value.get());
            Ok(())
        });
        service.task(name, task);
    }
    let running = up(service);
    let handle = running.handle();
    assert_eq!(running.stop().code, 0);
    for task in handle.status().tasks {
        assert_eq!(task.exports["answered"], "100");
    }
}

#[test]
fn two_loops_may_call_each_other_at_once() {
    watched(|| call_each_other(async |other| other.call(|count| count.replace(count.get() + 1)).await));
}

#[test]
fn a_loop_may_be_called_by_many_and_answers_each() {
    watched(|| {
        let (mut service, begin) = (Service::new("test"), Arc::new(Barrier::new(8)));
        let (slot, remote) = service.slot::<Cell<u32>>("count");
        service.task("keeper", keeper(slot, Cell::default));
        for number in 0..8 {
            let (remote, begin) = (remote.clone(), begin.clone());
            let task = task_fn::<Thread>(async move |_| {
                begin.wait();
                for turn in 0..100 {
                    let add = move |count: &Cell<u32>| {
                        count.set(count.get() + 1);
                        (number, turn)
                    };
                    // The reference loop may block on another.
                    assert_eq!(remote.call(add).wait_timeout(SOON)?, (number, turn));
                }
                Ok(())
            });
            service.task(format!("caller-{number}"), task).requires("keeper");
        }
        let running = up(service);
        assert_eq!(remote.call(Cell::get).wait_timeout(SOON), Ok(800));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn jobs_of_one_sender_run_in_order_before_and_after_the_value_is_there() {
    watched(|| {
        let (mut service, go) = (Service::new("test"), Latch::default());
        let (slot, remote) = service.slot::<RefCell<Vec<u32>>>("list");
        let g = go.clone();
        let task = task_fn::<Thread>(async move |cx| {
            g.opened().await;
            cx.fill(slot, RefCell::default());
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("keeper", task);
        let running = service.start().unwrap();
        for number in 0..2000 {
            if number == 1000 {
                go.open();
            }
            remote.post(move |list| list.borrow_mut().push(number)).unwrap();
        }
        assert_eq!(remote.call(|list| list.borrow().clone()).wait_timeout(SOON), Ok((0..2000).collect()));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn who_waited_before_the_value_was_there_is_told_when_its_loop_is_left_behind() {
    watched(|| {
        let (mut service, go) = (Service::new("test"), Latch::default());
        let (held, release) = (Latch::default(), Latch::default());
        let (slot, remote) = service.slot::<u8>("number");
        let (g, h, r) = (go.clone(), held.clone(), release.clone());
        let task = task_fn::<Thread>(async move |cx| {
            g.opened().await;
            cx.fill(slot, 7);
            cx.ready();
            h.open();
            r.wait();
            Ok(())
        });
        service.task("keeper", task).stop_timeout(Duration::from_millis(50));
        let running = service.start().unwrap();
        let mut early = remote.call(|number| *number);
        let asks = Latch::default();
        let a = asks.clone();
        let waiter = thread::spawn(move || {
            block_on(std::future::poll_fn(|cx| {
                let polled = Pin::new(&mut early).poll(cx);
                a.open();
                polled
            }))
        });
        asks.wait();
        go.open();
        held.wait();
        let report = running.stop();
        assert_eq!(report.code, 124, "{report}");
        assert_eq!(waiter.join().unwrap(), Err(CallError::Stopped));
        release.open();
    });
}

#[test]
fn a_slot_that_its_task_never_filled_says_stopped_when_the_task_is_gone() {
    watched(|| {
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<u8>("number");
        let early = remote.call(|number| *number);
        let task = task_fn::<Thread>(async move |_| {
            drop(slot);
            Ok(())
        });
        service.task("task", task);
        service.task("other", quiet_resident::<Thread>());
        let running = up(service);
        assert_eq!(early.wait_timeout(SOON), Err(CallError::Stopped));
        assert!(remote.post(|_| ()).is_err());
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_value_whose_task_has_ended_for_good_says_stopped_while_the_service_goes_on() {
    watched(|| {
        let (mut service, done) = (Service::new("test"), Latch::default());
        let (slot, remote) = service.slot::<u8>("number");
        let d = done.clone();
        let task = task_fn::<Thread>(async move |cx| {
            cx.fill(slot, 7);
            cx.ready();
            d.opened().await;
            Ok(())
        });
        service.task("task", task);
        service.task("other", quiet_resident::<Thread>());
        let running = up(service);
        let mut watch = running.watch();
        assert_eq!(remote.call(|number| *number).wait_timeout(SOON), Ok(7));
        done.open();
        reach(&mut watch, "task", 1, State::Stopped);
        assert_eq!(remote.call(|number| *number).wait_timeout(SOON), Err(CallError::Stopped));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn remotes_are_found_by_name_and_type() {
    watched(|| {
        let mut service = Service::new("test");
        let (slot, _) = service.slot::<Cell<u8>>("number");
        service.event_loop("io", Thread).remote();
        service.task("keeper", keeper(slot, || Cell::new(7)));
        let handle = service.handle();
        let running = up(service);
        let found = handle.remote::<Cell<u8>>("number").unwrap();
        assert_eq!(found.call(Cell::get).wait_timeout(SOON), Ok(7));
        assert!(
            handle.remote::<interloop::event_loop::ThreadNative>("io").unwrap().call(|_| ()).wait_timeout(SOON).is_ok()
        );
        let unknown = handle.remote::<Cell<u8>>("nummer").unwrap_err().to_string();
        assert_eq!(unknown, "no remote nummer of type core::cell::Cell<u8>; there is io, number");
        let other = handle.remote::<String>("number").unwrap_err().to_string();
        assert_eq!(other, "no remote number of type alloc::string::String (it reaches a core::cell::Cell<u8>)");
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_heartbeat_is_answered_by_a_loop_that_turns_and_by_no_other() {
    watched(|| {
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<u8>("number");
        service.task("held", keeper(slot, || 7)).never_blocks().stop_timeout(Duration::from_millis(50));
        service.task("lively", quiet_resident::<Thread>()).never_blocks();
        let running = up(service);
        for beat in running.heartbeats() {
            assert_eq!(beat.reply.wait_timeout(SOON), Ok(()), "{}", beat.name);
        }
        let (held, release) = (Latch::default(), Latch::default());
        let (h, r) = (held.clone(), release.clone());
        let holding = move |_: &u8| {
            h.open();
            r.wait();
        };
        remote.post(holding).unwrap();
        held.wait();
        let mut beats = running.heartbeats();
        let lively = beats.remove(beats.iter().position(|beat| &*beat.name == "lively").unwrap());
        let dead = beats.pop().unwrap().reply;
        assert_eq!(lively.reply.wait_timeout(SOON), Ok(()));
        assert!(!dead.is_done());
        assert_eq!(running.stop().code, 124);
        assert_eq!(dead.wait_timeout(SOON), Err(CallError::Stopped));
        release.open();
    });
}

#[test]
fn a_panic_in_the_drop_of_a_queued_job_takes_no_other_along() {
    watched(|| {
        struct Loud(Log);
        impl Drop for Loud {
            fn drop(&mut self) {
                self.0.say("dropped");
                panic!("in the drop of a job")
            }
        }
        let (mut service, log) = (Service::new("test"), Log::default());
        let (slot, remote) = service.slot::<u8>("number");
        for _ in 0..3 {
            let loud = Loud(log.clone());
            remote.post(move |_| drop(loud)).unwrap();
        }
        let waits = remote.call(|number| *number);
        let task = task_fn::<Thread>(async move |_| {
            drop(slot);
            Ok(())
        });
        service.task("task", task);
        assert_eq!(service.start().unwrap().join().code, 0);
        assert_eq!(waits.wait_timeout(SOON), Err(CallError::Stopped));
        assert_eq!(log.lines().len(), 3);
    });
}

#[test]
fn a_queued_call_that_is_cancelled_never_runs() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let (slot, remote) = service.slot::<u8>("number");
        service.task("keeper", keeper(slot, || 7));
        let l = log.clone();
        remote.call(move |_| l.say("cancelled")).cancel();
        let l = log.clone();
        drop(remote.call(move |_| l.say("cancelled on drop")).cancel_on_drop());
        let l = log.clone();
        drop(remote.call(move |_| l.say("detached")));
        let running = up(service);
        remote.call(|_| ()).wait_timeout(SOON).unwrap();
        assert_eq!(log.lines(), ["detached"]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_wait_that_runs_out_of_time_lets_the_job_go_on() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let (slot, remote) = service.slot::<u8>("number");
        service.task("keeper", keeper(slot, || 7));
        let (release, l) = (Latch::default(), log.clone());
        let r = release.clone();
        let running = up(service);
        let slow: Reply<()> = remote.call(move |_| {
            r.wait();
            l.say("done");
        });
        assert_eq!(slow.wait_timeout(Duration::from_millis(20)), Err(CallError::TimedOut));
        release.open();
        remote.call(|_| ()).wait_timeout(SOON).unwrap();
        assert_eq!(log.lines(), ["done"]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_child_that_only_this_thread_can_run_is_not_waited_for() {
    watched(|| {
        let mut service = Service::new("test");
        let task = task_fn::<Thread>(async |cx| {
            let local = cx.spawn_local(async { 1 }).wait_timeout(SOON);
            let sent = cx.spawn(async { 2 }).wait_timeout(SOON);
            assert_eq!((local, sent), (Err(CallError::WouldBlock), Err(CallError::WouldBlock)));
            Ok(())
        });
        service.task("parent", task);
        assert_eq!(service.start().unwrap().join().code, 0);
    });
}

#[test]
fn a_slot_of_a_task_that_skipped_itself_is_told_as_stopped() {
    watched(|| {
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<u8>("number");
        let skips = move || {
            let slot = slot.clone();
            task_fn::<Thread>(async move |_| {
                let _never_filled = slot;
                Err(Error::skip("nothing to do here"))
            })
        };
        service.task_with("skips", skips);
        service.task(
            "waits",
            task_fn::<Thread>(async |cx| {
                cx.until_shutdown().await;
                Ok(())
            }),
        );
        let running = service.start().unwrap();
        assert_eq!(remote.call(|number| *number).wait_timeout(SOON), Err(CallError::Stopped));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_job_that_swallows_the_unpark_token_leaves_its_loop_awake() {
    watched(|| {
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<u8>("number");
        let task = task_fn::<Thread>(async move |cx| {
            cx.fill(slot, 7);
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("keeper", task);
        let running = service.start().unwrap();
        for _ in 0..20_000 {
            // Takes the token, if there is one, as any blocking wait may.
            remote.post(|_| std::thread::park_timeout(std::time::Duration::ZERO)).unwrap();
            assert_eq!(remote.call(|number| *number).wait_timeout(SOON), Ok(7));
        }
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn who_awaits_a_child_of_another_loop_is_told_when_that_is_left_behind() {
    watched(|| {
        let (mut service, release) = (Service::new("test"), Latch::default());
        let (found, finding) = std::sync::mpsc::channel();
        let r = release.clone();
        let task = task_fn::<Thread>(async move |cx| {
            let children = (cx.spawn_local(std::future::pending::<u8>()), cx.spawn(std::future::pending::<u8>()));
            found.send(children).unwrap();
            cx.ready();
            r.wait();
            Ok(())
        });
        service.task("parent", task).stop_timeout(Duration::from_millis(50));
        let running = up(service);
        let children = finding.recv().unwrap();
        let waiter = thread::spawn(move || (block_on(children.0), children.1.wait_timeout(SOON)));
        let report = running.stop();
        assert_eq!(report.code, 124, "{report}");
        assert_eq!(waiter.join().unwrap(), (Err(CallError::Stopped), Err(CallError::Stopped)));
        release.open();
    });
}
