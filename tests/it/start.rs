//! The start: in what order, when a task is ready, and the consequences if one never gets there.

use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

use crate::util::{Grenade, Latch, Log, SOON, cause_of, quiet_resident, resident, state_of, up, watched};
use interloop::{Cause, Error, Reason, Service, State, Thread, service::Phase, task_fn};

const SHORT: Duration = Duration::from_millis(50);

#[test]
fn tasks_start_after_what_they_depend_on() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        service.task("top", resident(&log)).requires("left").after("right");
        service.task("left", resident(&log)).requires("base");
        service.task("right", resident(&log)).after("base");
        service.task("base", resident(&log));
        let report = up(service).stop();
        assert_eq!(report.code, 0, "{report}");
        let started = log.who("starts");
        assert_eq!(started.len(), 4);
        assert_eq!((&*started[0], &*started[3]), ("base", "top"));
    });
}

#[test]
fn what_requires_a_task_starts_when_it_is_ready_and_not_before() {
    watched(|| {
        let (mut service, log, go) = (Service::new("test"), Log::default(), Latch::default());
        let (l, g) = (log.clone(), go.clone());
        let begun = Latch::default();
        let b = begun.clone();
        let base = task_fn::<Thread>(async move |cx| {
            b.open();
            g.opened().await;
            l.say("base is ready");
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("base", base);
        service.task("top", resident(&log)).requires("base");
        service.task("aside", resident(&log));
        let running = service.start().unwrap();
        begun.wait();
        let top = running.status().tasks.into_iter().find(|task| task.name == "top").unwrap();
        assert_eq!(top.state, State::Waiting);
        assert_eq!(running.phase(), Phase::Starting);
        assert!(!running.is_ready());
        go.open();
        assert!(running.wait_started_timeout(SOON));
        let lines = log.lines().into_iter().filter(|line| !line.starts_with("aside")).collect::<Vec<_>>();
        assert_eq!(lines, ["base is ready", "top starts"]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn independent_tasks_start_and_stop_at_once() {
    watched(|| {
        let mut service = Service::new("test");
        let (starts, stops) = (Arc::new(Barrier::new(3)), Arc::new(Barrier::new(3)));
        for name in ["a", "b", "c"] {
            let (starts, stops) = (starts.clone(), stops.clone());
            // Each blocks its thread until all three are there: one after the other would never end.
            let task = task_fn::<Thread>(async move |cx| {
                starts.wait();
                cx.until_shutdown().await;
                stops.wait();
                Ok(())
            });
            service.task(name, task);
        }
        assert_eq!(up(service).stop().code, 0);
    });
}

#[test]
fn a_task_that_ends_well_before_it_is_ready_was_a_one_shot() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let l = log.clone();
        let once = task_fn::<Thread>(async move |_| {
            l.say("migrated");
            Ok(())
        });
        service.task("migrate", once);
        service.task("db", resident(&log)).requires("migrate");
        let running = up(service);
        assert!(running.is_ready());
        let report = running.stop();
        assert_eq!(report.code, 0, "{report}");
        assert_eq!(log.lines(), ["migrated", "db starts", "db stops"]);
        assert_eq!(cause_of(&report, "migrate"), Cause::Finished);
    });
}

#[test]
fn a_task_that_never_gets_ready_is_a_failed_start_that_says_so() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let never = task_fn::<Thread>(async |_| std::future::pending().await);
        service.task("db", never).start_timeout(SHORT);
        service.task("http", resident(&log)).requires("db");
        let running = service.start().unwrap();
        assert!(!running.wait_started_timeout(SOON));
        let report = running.join();
        assert_eq!(report.code, 1);
        assert_eq!(report.reason, Reason::TaskFailed("db".into()));
        assert!(report.to_string().contains("task db failed: no cx.ready() within 50 ms"), "{report}");
        assert_eq!((state_of(&report, "http"), cause_of(&report, "http")), (State::Stopped, Cause::NeverStarted));
        assert!(log.lines().is_empty());
    });
}

#[test]
fn a_start_that_was_too_late_for_its_loop_is_a_failed_start_and_no_stuck_loop() {
    watched(|| {
        let mut service = Service::new("test");
        service.event_loop("io", Thread);
        let busy = task_fn::<Thread>(async |cx| {
            cx.ready();
            // Longer than the start may take, shorter than a loop may be stuck.
            std::thread::sleep(SHORT * 4);
            cx.shutdown().requested().await;
            Ok(())
        });
        service.task("busy", busy).on("io");
        service.task("db", quiet_resident::<Thread>()).on("io").requires("busy").start_timeout(SHORT);
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 1);
        assert_eq!(cause_of(&report, "db"), Cause::StartTimeout(SHORT));
        assert_eq!(state_of(&report, "busy"), State::Stopped);
        assert!(report.stuck.is_empty());
    });
}

/// Tests a start of three tasks of which the second fails.
fn failed_start(fails: impl interloop::Task<Thread>, cause: &Cause) {
    let (mut service, log) = (Service::new("test"), Log::default());
    service.task("first", resident(&log));
    service.task("second", resident(&log)).requires("first");
    service.task("broken", fails).requires("second");
    service.task("never", resident(&log)).requires("broken");
    let running = service.start().unwrap();
    assert!(!running.wait_started_timeout(SOON));
    let report = running.join();
    assert_eq!(report.code, 1, "{report}");
    assert_eq!(report.reason, Reason::TaskFailed("broken".into()));
    assert_eq!((state_of(&report, "broken"), &cause_of(&report, "broken")), (State::Failed, cause));
    assert_eq!(cause_of(&report, "never"), Cause::NeverStarted);
    // Exactly the tasks that had been started are stopped, in reverse.
    assert_eq!(log.lines(), ["first starts", "second starts", "second stops", "first stops"]);
}

#[test]
fn an_error_before_ready_stops_what_had_been_started() {
    watched(|| {
        let broken = task_fn::<Thread>(async |_| Err(Error::new("no such file")));
        failed_start(broken, &Cause::Error("no such file".into()));
    });
}

#[test]
fn a_panic_before_ready_stops_what_had_been_started() {
    watched(|| {
        let broken = task_fn::<Thread>(async |_| panic!("at the start"));
        failed_start(broken, &Cause::Panicked("at the start".into()));
    });
}

#[test]
fn a_task_that_cannot_be_made_is_a_failed_start() {
    watched(|| {
        let mut service = Service::new("test");
        service.task_with("broken", || -> Grenade2 { panic!("no parts") });
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 1);
        assert_eq!(cause_of(&report, "broken"), Cause::Panicked("no parts".into()));
    });
}

struct Grenade2;

impl interloop::Task<Thread> for Grenade2 {
    type Options = interloop::NoOptions;

    async fn run(&mut self, _: interloop::Context<Thread>) -> interloop::Result {
        let _never = Grenade("never made");
        Ok(())
    }
}

#[test]
fn a_skip_takes_along_what_requires_it() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        service.task("camera", task_fn::<Thread>(async |_| Err(Error::skip("no device"))));
        service.task("video", resident(&log)).requires("camera");
        service.task("stream", resident(&log)).requires("video");
        service.task("lamp", resident(&log)).after("camera");
        let running = up(service);
        assert!(running.is_ready());
        let report = running.stop();
        assert_eq!(report.code, 0, "{report}");
        for task in ["camera", "video", "stream"] {
            assert_eq!(state_of(&report, task), State::Skipped);
            assert_eq!(cause_of(&report, task), Cause::Skipped("no device".into()));
        }
        assert_eq!(log.lines(), ["lamp starts", "lamp stops"]);
    });
}

#[test]
fn a_service_of_which_everything_is_skipped_is_done() {
    watched(|| {
        let mut service = Service::new("test");
        service.task("camera", task_fn::<Thread>(async |_| Err(Error::skip("no device"))));
        let report = service.start().unwrap().join();
        assert_eq!((report.code, report.reason), (0, Reason::AllDone));
    });
}

#[test]
fn a_skip_after_ready_is_an_error() {
    watched(|| {
        let mut service = Service::new("test");
        let late = task_fn::<Thread>(async |cx| {
            cx.ready();
            Err(Error::skip("too late"))
        });
        service.task("late", late);
        let report = service.start().unwrap().join();
        assert_eq!((report.code, state_of(&report, "late")), (1, State::Failed));
    });
}

#[test]
fn selected_tasks_pull_in_what_they_require_and_nothing_else() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        service.task("db", resident(&log));
        service.task("cache", resident(&log));
        service.task("http", resident(&log)).requires("db").after("cache");
        service.task("cron", resident(&log));
        service.arguments(["--tasks", "http"]);
        let running = up(service);
        let names = running.status().tasks.into_iter().map(|task| task.name).collect::<Vec<_>>();
        assert_eq!(names, ["db", "http"]);
        assert!(running.stop_task("cron").is_err());
        assert_eq!(running.stop().code, 0);
        assert_eq!(log.lines(), ["db starts", "http starts", "http stops", "db stops"]);
    });
}

#[test]
fn a_stop_during_the_start_stops_what_had_been_started() {
    watched(|| {
        let (mut service, log, begun) = (Service::new("test"), Log::default(), Latch::default());
        let (l, b) = (log.clone(), begun.clone());
        let slow = task_fn::<Thread>(async move |cx| {
            b.open();
            cx.shutdown().requested().await;
            l.say("slow is asked");
            // However it ends: it had been asked to, before it was ready.
            Err(Error::new("not ready yet"))
        });
        service.task("base", resident(&log));
        service.task("slow", slow).requires("base");
        service.task("top", resident(&log)).requires("slow");
        let running = service.start().unwrap();
        begun.wait();
        running.request_shutdown("changed my mind");
        assert!(!running.wait_started_timeout(SOON));
        let report = running.join();
        assert_eq!(report.code, 0, "{report}");
        assert_eq!(report.reason, Reason::Requested("changed my mind".into()));
        assert_eq!((state_of(&report, "slow"), cause_of(&report, "slow")), (State::Stopped, Cause::Ended));
        assert_eq!(log.lines(), ["base starts", "slow is asked", "base stops"]);
    });
}

#[test]
fn a_stop_before_the_start_is_latched_and_nothing_starts() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        service.task("base", resident(&log));
        let handle = service.handle();
        handle.request_shutdown("early");
        handle.request_shutdown("late");
        let running = service.start().unwrap();
        let watched_loops = running.handle();
        let report = running.join();
        assert_eq!((report.code, &report.reason), (0, &Reason::Requested("early".into())));
        assert_eq!(cause_of(&report, "base"), Cause::NeverStarted);
        assert!(log.lines().is_empty());
        assert_eq!(watched_loops.status().loops[0].turns, 0, "the loop was started too");
        assert!(!watched_loops.wait_started_timeout(SOON));
    });
}

#[test]
fn who_asks_late_is_told_that_all_had_started() {
    watched(|| {
        let mut service = Service::new("test");
        service.task("once", task_fn::<Thread>(async |_| Ok(())));
        let handle = service.handle();
        assert_eq!(service.start().unwrap().join().code, 0);
        assert!(handle.wait_started_timeout(SOON));
    });
}

#[test]
fn ready_twice_is_ready_once() {
    watched(|| {
        let mut service = Service::new("test");
        let task = task_fn::<Thread>(async |cx| {
            cx.ready();
            cx.ready();
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("eager", task);
        service.task("next", quiet_resident::<Thread>()).requires("eager");
        let handle = service.handle();
        let mut watch = handle.watch();
        let running = up(service);
        assert_eq!(running.stop().code, 0);
        let mut readies = 0;
        while let Some(step) = watch.wait_timeout(SOON) {
            readies += usize::from(&*step.task == "eager" && step.to == State::Running);
        }
        assert_eq!(readies, 1);
    });
}

#[test]
fn a_loop_named_by_a_task_has_its_name() {
    watched(|| {
        let mut service = Service::new("test");
        service.event_loop("io", Thread);
        service.task("a", quiet_resident::<Thread>()).on("io");
        service.task("b", quiet_resident::<Thread>()).on("io");
        service.task("c", quiet_resident::<Thread>());
        let running = up(service);
        let loops = running.status().tasks.into_iter().map(|task| task.event_loop).collect::<Vec<_>>();
        assert_eq!(loops, ["io", "io", "c"]);
        assert_eq!(running.status().loops.len(), 2);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn all_others_start_after_the_first() {
    watched(|| {
        let mut service = Service::new("test");
        let (go, ready) = (Latch::default(), Latch::default());
        let opened = go.clone();
        let other = task_fn::<Thread>(async move |cx| {
            assert!(opened.is_open(), "started before the first was ready");
            ready.open();
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("other", other);
        let first = task_fn::<Thread>(async move |cx| {
            go.open();
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("first", first).first().last();
        let running = service.start().unwrap();
        assert!(running.wait_started_timeout(SOON));
        let mut watch = running.watch();
        assert_eq!(running.stop().code, 0);
        let stopped = std::iter::from_fn(|| watch.wait_timeout(SOON)).filter(|step| step.to == State::Stopped);
        let order = stopped.map(|step| step.task.to_string()).collect::<Vec<_>>();
        assert_eq!(order, ["other", "first"]);
    });
}
