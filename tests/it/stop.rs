//! The stop: in what order, by when, and the consequences for tasks that don't stop.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::util::{Drops, Latch, Log, SOON, cause_of, follow, quiet_resident, reach, resident, state_of, up, watched};
use interloop::{CallError, Cause, Reason, Service, State, Thread, service::Phase, task_fn};

const SHORT: Duration = Duration::from_millis(50);
const TERM: i32 = 15;

#[test]
fn tasks_stop_in_reverse_order_of_their_dependencies() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        service.task("a", resident(&log));
        service.task("b", resident(&log)).requires("a");
        service.task("c", resident(&log)).after("b");
        let report = up(service).stop();
        assert_eq!((report.code, report.reason.clone()), (0, Reason::Requested("stop".into())));
        assert_eq!(log.who("stops"), ["c", "b", "a"]);
        for interloop::service::EndedTask { name: task, state, cause, .. } in &report.tasks {
            assert_eq!((*state, cause), (State::Stopped, &Some(Cause::Ended)), "{task}");
        }
        assert_eq!(report.to_string(), "stopped gracefully (stop)");
    });
}

#[test]
fn what_is_marked_last_stops_when_the_others_have_ended() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        service.task("admin", resident(&log)).last();
        service.task("health", resident(&log)).last().requires("admin");
        service.task("http", resident(&log)).requires("db");
        service.task("db", resident(&log));
        assert_eq!(up(service).stop().code, 0);
        assert_eq!(log.who("stops"), ["http", "db", "health", "admin"]);
    });
}

#[test]
fn what_is_marked_last_does_not_keep_a_service_alive() {
    watched(|| {
        let (mut service, log, done) = (Service::new("test"), Log::default(), Latch::default());
        let d = done.clone();
        service.task("health", resident(&log)).last();
        let job = task_fn::<Thread>(async move |cx| {
            cx.ready();
            d.opened().await;
            Ok(())
        });
        service.task("job", job);
        let running = up(service);
        done.open();
        let report = running.join();
        assert_eq!((report.code, report.reason), (0, Reason::AllDone));
        assert_eq!(log.lines(), ["health starts", "health stops"]);
    });
}

#[test]
fn a_service_ends_when_its_last_task_has() {
    watched(|| {
        let (mut service, first, second) = (Service::new("test"), Latch::default(), Latch::default());
        for (name, done) in [("first", first.clone()), ("second", second.clone())] {
            let task = task_fn::<Thread>(async move |cx| {
                cx.ready();
                done.opened().await;
                Ok(())
            });
            service.task(name, task);
        }
        let handle = service.handle();
        let running = up(service);
        let mut watch = handle.watch();
        first.open();
        reach(&mut watch, "first", 1, State::Stopped);
        assert_eq!(handle.phase(), Phase::Running);
        second.open();
        let report = running.join();
        assert_eq!((report.code, report.reason), (0, Reason::AllDone));
    });
}

#[test]
fn a_service_without_tasks_waits_to_be_asked() {
    watched(|| {
        let running = up(Service::new("test"));
        // That nothing happens can only be observed by waiting a while.
        let running = running.join_timeout(SHORT).unwrap_err();
        assert_eq!(running.phase(), Phase::Running);
        assert!(running.is_ready());
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_task_that_ignores_its_shutdown_is_cancelled_and_its_future_dropped_on_its_loop() {
    watched(|| {
        let (mut service, drops, log) = (Service::new("test"), Drops::default(), Log::default());
        let d = drops.clone();
        let deaf = task_fn::<Thread>(async move |cx| {
            let _value = d.value();
            cx.ready();
            std::future::pending().await
        });
        service.task("base", resident(&log));
        service.task("deaf", deaf).requires("base").stop_timeout(SHORT);
        let began = Instant::now();
        let report = up(service).stop();
        assert!(began.elapsed() >= SHORT);
        assert_eq!(report.code, 124, "{report}");
        assert_eq!(
            (state_of(&report, "deaf"), cause_of(&report, "deaf")),
            (State::Cancelled, Cause::StopTimeout(SHORT))
        );
        assert_eq!(state_of(&report, "base"), State::Stopped);
        assert!(report.stuck.is_empty());
        assert!(report.to_string().contains("task deaf cancelled: still running 50 ms after it was asked"), "{report}");
        drops.assert_at_home(1);
        assert_eq!(log.lines(), ["base starts", "base stops"]);
    });
}

#[test]
fn a_task_that_blocks_its_thread_is_left_behind_and_named() {
    watched(|| {
        let (mut service, release, log) = (Service::new("test"), Latch::default(), Log::default());
        let r = release.clone();
        let stuck = task_fn::<Thread>(async move |cx| {
            cx.ready();
            r.wait();
            Ok(())
        });
        service.task("base", resident(&log));
        service.task("stuck", stuck).requires("base").stop_timeout(SHORT);
        let running = up(service);
        let began = Instant::now();
        let report = running.stop();
        let took = began.elapsed();
        assert!(took >= SHORT + Duration::from_secs(1) && took < SHORT + Duration::from_secs(2), "{took:?}");
        assert_eq!(report.code, 124, "{report}");
        assert_eq!((state_of(&report, "stuck"), cause_of(&report, "stuck")), (State::Abandoned, Cause::LoopStuck));
        assert_eq!(state_of(&report, "base"), State::Stopped);
        let [left] = &report.stuck[..] else { panic!("{report}") };
        assert_eq!((&*left.name, &*left.thread, &*left.polling), ("stuck", "stuck", "task stuck"));
        assert!(left.held >= SHORT + Duration::from_secs(1) && left.held <= took + SHORT, "{left:?}");
        assert!(report.to_string().contains("loop stuck stuck: thread stuck was in task stuck for 1."), "{report}");
        release.open();
    });
}

#[test]
fn a_task_that_blocks_while_it_is_made_is_left_behind_and_named() {
    watched(|| {
        let (mut service, release) = (Service::new("test"), Latch::default());
        let r = release.clone();
        let make = move || {
            r.wait();
            quiet_resident::<Thread>()
        };
        service.task_with("stuck", make).start_timeout(SHORT);
        let report = service.start().unwrap().join();
        // A start failed, and so the loop is not only late.
        assert_eq!(report.code, 1, "{report}");
        assert_eq!(report.reason, Reason::LoopFailed("stuck".into()));
        assert_eq!(report.stuck[0].polling, "task stuck");
        release.open();
    });
}

#[test]
fn a_stuck_loop_takes_all_its_tasks_along_and_the_rest_goes_on() {
    watched(|| {
        let (mut service, release, log) = (Service::new("test"), Latch::default(), Log::default());
        let r = release.clone();
        service.event_loop("io", Thread);
        let stuck = task_fn::<Thread>(async move |cx| {
            cx.until_shutdown().await;
            r.wait();
            Ok(())
        });
        service.task("stuck", stuck).on("io").stop_timeout(SHORT);
        // It would stop after the other: its turn never comes.
        service.task("beside", resident(&log)).on("io").requires("stuck");
        service.task("under", resident(&log)).on("io");
        service.task("base", resident(&log));
        let running = up(service);
        let report = running.stop();
        assert_eq!(report.code, 124);
        assert_eq!(state_of(&report, "stuck"), State::Abandoned);
        assert_eq!(state_of(&report, "beside"), State::Stopped);
        assert!(matches!(state_of(&report, "under"), State::Stopped | State::Abandoned));
        assert_eq!(state_of(&report, "base"), State::Stopped);
        assert_eq!(report.stuck.len(), 1);
        release.open();
    });
}

#[test]
fn who_waits_for_a_loop_held_in_a_blocking_call_is_told_soon_after_its_deadline() {
    watched(|| {
        const DEADLINE: Duration = Duration::from_millis(100);
        let (mut service, release, held) = (Service::new("test"), Latch::default(), Latch::default());
        let (slot, remote) = service.slot::<u8>("number");
        let keeper = task_fn::<Thread>(async move |cx| {
            let _value = cx.fill(slot, 7);
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("keeper", keeper).stop_timeout(DEADLINE);
        let (answers, answered) = mpsc::channel();
        let asking = (0..3).map(|_| Latch::default()).collect::<Vec<_>>();
        for (number, asks) in asking.iter().enumerate() {
            let (remote, held, asks, answers) = (remote.clone(), held.clone(), asks.clone(), answers.clone());
            let waiter = task_fn::<Thread>(async move |cx| {
                cx.ready();
                held.opened().await;
                let mut reply = match number {
                    0 => remote.call(|number| *number),
                    _ => remote.spawn(async |number| *number),
                };
                // First asked, and only then notified.
                std::future::poll_fn(|cx| {
                    let polled = std::future::Future::poll(std::pin::Pin::new(&mut reply), cx);
                    asks.open();
                    polled.map(|answer| answers.send((answer, Instant::now())).unwrap())
                })
                .await;
                cx.shutdown().requested().await;
                Ok(())
            });
            service.task(format!("waiter-{number}"), waiter);
        }
        let running = up(service);
        let (h, r) = (held.clone(), release.clone());
        remote
            .post(move |_| {
                h.open();
                r.wait();
            })
            .unwrap();
        asking.iter().for_each(Latch::wait);
        let asked = Instant::now();
        let report = running.stop();
        for _ in 0..3 {
            let (answer, at) = answered.recv_timeout(SOON).unwrap();
            assert_eq!(answer, Err(CallError::Stopped));
            assert!(at - asked < DEADLINE + Duration::from_secs(2), "{:?}", at - asked);
        }
        assert_eq!(report.code, 124);
        assert_eq!(report.stuck[0].polling, "a job");
        release.open();
    });
}

#[test]
fn after_a_term_tasks_go_on_serving_for_the_drain_delay_but_are_not_ready() {
    watched(|| {
        const DRAIN: Duration = Duration::from_millis(200);
        let (mut service, log) = (Service::new("test"), Log::default());
        service.set("drain-delay", "200ms");
        service.task("http", resident(&log));
        let running = up(service);
        let mut watch = running.watch();
        assert!(running.is_ready());
        let began = Instant::now();
        running.request_shutdown(Reason::Signal(TERM));
        running.shutdown().wait();
        assert!(!running.is_ready());
        assert_eq!(running.status().tasks[0].state, State::Running);
        reach(&mut watch, "http", 1, State::Stopping);
        assert!(began.elapsed() >= DRAIN);
        let report = running.join();
        assert_eq!((report.code, report.reason), (0, Reason::Signal(TERM)));
    });
}

#[test]
fn the_drain_delay_is_for_a_term_only() {
    watched(|| {
        for reason in [Reason::Signal(2), Reason::Requested("words".into())] {
            let (mut service, log) = (Service::new("test"), Log::default());
            service.set("drain-delay", "10s");
            service.task("http", resident(&log));
            let running = up(service);
            let began = Instant::now();
            running.request_shutdown(reason);
            assert_eq!(running.join().code, 0);
            assert!(began.elapsed() < Duration::from_secs(5));
        }
    });
}

#[test]
fn a_drain_ends_when_there_is_nothing_left_to_drain() {
    watched(|| {
        let (mut service, done) = (Service::new("test"), Latch::default());
        service.set("drain-delay", "10s");
        let d = done.clone();
        let job = task_fn::<Thread>(async move |cx| {
            cx.ready();
            d.opened().await;
            Ok(())
        });
        service.task("job", job);
        let running = up(service);
        let began = Instant::now();
        running.request_shutdown(Reason::Signal(TERM));
        running.shutdown().wait();
        done.open();
        assert_eq!(running.join().code, 0);
        assert!(began.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn the_time_for_the_whole_stop_counts_for_all_whatever_their_order() {
    watched(|| {
        let (mut service, drops) = (Service::new("test"), Drops::default());
        service.arguments(["--shutdown-timeout", "100ms"]);
        for (name, requires) in [("a", None), ("b", Some("a")), ("c", Some("b"))] {
            let drops = drops.clone();
            let deaf = task_fn::<Thread>(async move |cx| {
                let _value = drops.value();
                cx.ready();
                std::future::pending().await
            });
            let settings = service.task(name, deaf);
            if let Some(required) = requires {
                settings.requires(required);
            }
        }
        let running = up(service);
        let began = Instant::now();
        let report = running.stop();
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(100) && took < Duration::from_secs(1), "{took:?}");
        assert_eq!(report.code, 124, "{report}");
        assert!(report.tasks.iter().all(|task| task.state == State::Cancelled), "{report}");
        drops.assert_at_home(3);
    });
}

#[test]
fn a_stop_does_not_use_time_that_it_does_not_need() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        for name in ["a", "b", "c"] {
            service.task(name, resident(&log)).stop_timeout(Duration::from_secs(60));
        }
        let running = up(service);
        let began = Instant::now();
        assert_eq!(running.stop().code, 0);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    });
}

#[test]
fn the_first_reason_wins() {
    watched(|| {
        let (mut service, go) = (Service::new("test"), Latch::default());
        let (seen, sees) = mpsc::channel();
        let g = go.clone();
        let task = task_fn::<Thread>(async move |cx| {
            cx.until_shutdown().await;
            seen.send((cx.shutdown().reason(), cx.shutdown().deadline())).unwrap();
            g.opened().await;
            Err(interloop::Error::new("a later reason"))
        });
        service.task("task", task);
        let running = up(service);
        running.request_shutdown("first");
        running.request_shutdown("second");
        let (reason, deadline) = sees.recv_timeout(SOON).unwrap();
        assert_eq!(reason, Some(Reason::Requested("first".into())));
        assert!(deadline.unwrap() > Instant::now());
        assert_eq!(running.status().reason.as_deref(), Some("first"));
        go.open();
        let report = running.join();
        assert_eq!((report.code, report.reason), (1, Reason::Requested("first".into())));
    });
}

#[test]
fn a_stop_can_be_requested_from_a_loop_and_a_later_one_does_nothing() {
    watched(|| {
        let mut service = Service::new("test");
        let task = task_fn::<Thread>(async |cx| {
            cx.ready();
            cx.service().request_shutdown("last window closed");
            cx.service().request_shutdown("again");
            cx.shutdown().requested().await;
            Ok(())
        });
        service.task("window", task);
        let handle = service.handle();
        let report = service.start().unwrap().join();
        assert_eq!((report.code, report.reason), (0, Reason::Requested("last window closed".into())));
        handle.request_shutdown("much too late");
        assert_eq!(handle.phase(), Phase::Ended);
    });
}

#[test]
fn a_hundred_threads_may_request_the_stop_at_once() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        service.task("task", resident(&log));
        let running = up(service);
        let asking = (0..100).map(|_| {
            let handle = running.handle();
            thread::spawn(move || handle.request_shutdown("all at once"))
        });
        asking.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(running.join().code, 0);
        assert_eq!(log.lines(), ["task starts", "task stops"]);
    });
}

#[test]
fn a_failure_outweighs_a_missed_deadline() {
    watched(|| {
        let mut service = Service::new("test");
        let deaf = task_fn::<Thread>(async |cx| {
            cx.ready();
            std::future::pending().await
        });
        service.task("deaf", deaf).stop_timeout(SHORT);
        let bad = task_fn::<Thread>(async |cx| {
            cx.until_shutdown().await;
            Err(interloop::Error::new("could not save"))
        });
        service.task("bad", bad);
        let report = up(service).stop();
        assert_eq!(report.code, 1, "{report}");
        assert_eq!((state_of(&report, "deaf"), state_of(&report, "bad")), (State::Cancelled, State::Failed));
    });
}

#[test]
fn a_thread_may_block_until_its_shutdown() {
    watched(|| {
        let mut service = Service::new("test");
        let blocking = task_fn::<Thread>(async |cx| {
            cx.ready();
            while !cx.shutdown().wait_timeout(Duration::from_secs(60)) {}
            Ok(())
        });
        service.task("blocking", blocking);
        let report = up(service).stop();
        assert_eq!(report.code, 0, "{report}");
    });
}

#[test]
fn every_step_of_a_life_is_told_in_order() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        service.task("task", resident(&log));
        let running = up(service);
        // A late watcher first gets the current state.
        let mut watch = running.watch();
        let present = follow(&mut watch, |_| true);
        assert_eq!((present.from, present.to, present.cause), (State::Running, State::Running, Cause::Ready));
        running.request_shutdown("stop");
        let mut steps = Vec::new();
        while let Some(step) = watch.wait_timeout(SOON) {
            steps.push((step.from, step.to));
        }
        assert_eq!(steps, [(State::Running, State::Stopping), (State::Stopping, State::Stopped)]);
        assert_eq!(running.join().code, 0);
    });
}
