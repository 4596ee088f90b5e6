//! Restarts: of tasks, of loops, of everything; by policy and by an operator.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::util::{
    Death, Fate, Latch, Log, Mortal, SOON, alone, cause_of, descriptors, follow, quiet_resident, reach, resident,
    resident_kib, state_of, threads, up, warned, warnings, watched,
};
use interloop::{CallError, Cause, Error, Reason, RestartPolicy, Service, State, Thread, service::Phase, task_fn};

/// Restarts on failure, soon.
fn soon() -> RestartPolicy {
    RestartPolicy::on_failure().backoff(Duration::from_millis(1), Duration::from_millis(1))
}

#[test]
fn a_remote_survives_a_restart_and_what_was_asked_in_between_runs_in_order_on_the_next() {
    watched(|| {
        let (mut service, fail) = (Service::new("test"), Latch::default());
        let (slot, remote) = service.slot::<(u32, RefCell<Vec<u32>>)>("list");
        let f = fail.clone();
        let keeper = move || {
            let (slot, fail) = (slot.clone(), f.clone());
            task_fn::<Thread>(async move |cx| {
                let _list = cx.fill(slot, (cx.incarnation(), RefCell::default()));
                cx.ready();
                if cx.incarnation() == 1 {
                    fail.opened().await;
                    return Err(Error::new("once"));
                }
                cx.until_shutdown().await;
                Ok(())
            })
        };
        service.task_with("keeper", keeper).restart(RestartPolicy::on_failure());
        let running = up(service);
        let mut watch = running.watch();
        remote.post(|(_, list)| list.borrow_mut().push(0)).unwrap();
        assert_eq!(remote.call(|(number, list)| (*number, list.borrow().clone())).wait_timeout(SOON), Ok((1, vec![0])));
        fail.open();
        let again = reach(&mut watch, "keeper", 2, State::Waiting);
        assert!(matches!(again.cause, Cause::Restart(pause) if pause >= Duration::from_millis(80)), "{again:?}");
        while running.is_ready() {
            std::thread::yield_now();
        }
        for number in 1..=10 {
            remote.post(move |(_, list)| list.borrow_mut().push(number)).unwrap();
        }
        let asked = remote.call(|(number, list)| (*number, list.borrow().clone()));
        assert_eq!(asked.wait_timeout(SOON), Ok((2, (1..=10).collect())));
        let status = running.status();
        assert_eq!((status.tasks[0].incarnation, status.loops[0].incarnation), (2, 1));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_task_that_failed_once_is_no_failure_of_the_service() {
    watched(|| {
        let mut service = Service::new("test");
        let once = || {
            task_fn::<Thread>(async |cx| match cx.incarnation() {
                1 => panic!("first"),
                2 => Err(Error::new("second")),
                _ => {
                    cx.until_shutdown().await;
                    Ok(())
                }
            })
        };
        service.task_with("once", once).restart(soon());
        let running = up(service);
        assert!(running.is_ready());
        let report = running.stop();
        assert_eq!((report.code, state_of(&report, "once")), (0, State::Stopped));
    });
}

#[test]
fn more_restarts_than_the_limit_stop_the_service() {
    watched(|| {
        let (mut service, made) = (Service::new("test"), Arc::new(AtomicU32::new(0)));
        let m = made.clone();
        let (slot, remote) = service.slot::<u8>("number");
        let keeper = move || {
            m.fetch_add(1, Ordering::Relaxed);
            let slot = slot.clone();
            task_fn::<Thread>(async move |cx| {
                cx.fill(slot, 1);
                cx.ready();
                Err(Error::new("again"))
            })
        };
        service.task_with("bad", keeper).restart(soon().limit(3, Duration::from_secs(60)));
        let report = service.start().unwrap().join();
        assert_eq!((report.code, &report.reason), (1, &Reason::TaskFailed("bad".into())));
        assert_eq!(cause_of(&report, "bad"), Cause::Error("again".into()));
        // The first, and as many restarts as allowed.
        assert_eq!(made.load(Ordering::Relaxed), 4);
        assert_eq!(remote.call(|number| *number).wait_timeout(SOON), Err(CallError::Stopped));
    });
}

#[test]
fn the_pause_before_a_restart_doubles() {
    watched(|| {
        let mut service = Service::new("test");
        let bad = || {
            task_fn::<Thread>(async |cx| {
                if cx.incarnation() == 5 {
                    cx.until_shutdown().await;
                    return Ok(());
                }
                Err(Error::new("again"))
            })
        };
        let policy = RestartPolicy::on_failure().backoff(Duration::from_millis(20), Duration::from_millis(80));
        service.task_with("bad", bad).restart(policy);
        let handle = service.handle();
        let running = service.start().unwrap();
        let mut watch = handle.watch();
        for (incarnation, pause) in [(2, 20), (3, 40), (4, 80), (5, 80)] {
            let waits = reach(&mut watch, "bad", incarnation, State::Waiting);
            let starts = reach(&mut watch, "bad", incarnation, State::Starting);
            let Cause::Restart(said) = waits.cause else { panic!("{waits:?}") };
            // With a tolerance of a fifth.
            let pause = Duration::from_millis(pause);
            assert!(said >= pause.mul_f64(0.79) && said <= pause.mul_f64(1.21), "{said:?}");
            assert!(starts.at - waits.at >= said);
        }
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_policy_of_always_restarts_what_ended_well() {
    watched(|| {
        let mut service = Service::new("test");
        let job = || {
            task_fn::<Thread>(async |cx| {
                if cx.incarnation() < 3 {
                    return Ok(());
                }
                cx.until_shutdown().await;
                Ok(())
            })
        };
        let policy = RestartPolicy::always().backoff(Duration::from_millis(1), Duration::from_millis(1));
        service.task_with("job", job).restart(policy);
        let running = service.start().unwrap();
        let mut watch = running.watch();
        reach(&mut watch, "job", 3, State::Running);
        let report = running.stop();
        assert_eq!((report.code, state_of(&report, "job")), (0, State::Stopped));
    });
}

#[test]
fn no_restart_begins_after_a_stop_was_requested() {
    watched(|| {
        let (mut service, made) = (Service::new("test"), Arc::new(AtomicU32::new(0)));
        let m = made.clone();
        let bad = move || {
            m.fetch_add(1, Ordering::Relaxed);
            task_fn::<Thread>(async |cx| {
                cx.ready();
                Err(Error::new("again"))
            })
        };
        let pause = Duration::from_secs(10);
        service.task_with("bad", bad).restart(RestartPolicy::on_failure().backoff(pause, pause));
        let late = || {
            task_fn::<Thread>(async |cx| {
                cx.until_shutdown().await;
                Err(Error::new("while stopping"))
            })
        };
        service.task_with("late", late).restart(soon());
        let running = service.start().unwrap();
        let mut watch = running.watch();
        // In whichever order.
        let mut left = vec![("bad", 2, State::Waiting), ("late", 1, State::Running)];
        follow(&mut watch, |step| {
            left.retain(|wanted| *wanted != (&*step.task, step.incarnation, step.to));
            left.is_empty()
        });
        let began = Instant::now();
        let report = running.stop();
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!((report.code, cause_of(&report, "bad")), (1, Cause::NeverStarted));
        assert_eq!((state_of(&report, "late"), made.load(Ordering::Relaxed)), (State::Failed, 1));
    });
}

#[test]
fn what_requires_a_restarted_task_is_left_alone() {
    watched(|| {
        let (mut service, log, fail) = (Service::new("test"), Log::default(), Latch::default());
        let f = fail.clone();
        let db = move || {
            let fail = f.clone();
            task_fn::<Thread>(async move |cx| {
                cx.ready();
                if cx.incarnation() == 1 {
                    fail.opened().await;
                    return Err(Error::new("once"));
                }
                cx.until_shutdown().await;
                Ok(())
            })
        };
        service.task_with("db", db).restart(soon());
        service.task("http", resident(&log)).requires("db");
        let running = up(service);
        let mut watch = running.watch();
        fail.open();
        reach(&mut watch, "db", 2, State::Running);
        assert_eq!(log.lines(), ["http starts"]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn what_requires_a_restarted_task_is_restarted_with_it_by_choice() {
    watched(|| {
        let (mut service, log, fail) = (Service::new("test"), Log::default(), Latch::default());
        let (f, l) = (fail.clone(), log.clone());
        let db = move || {
            let (fail, log) = (f.clone(), l.clone());
            task_fn::<Thread>(async move |cx| {
                log.say("db starts");
                cx.ready();
                if cx.incarnation() == 1 {
                    fail.opened().await;
                    return Err(Error::new("once"));
                }
                cx.until_shutdown().await;
                log.say("db stops");
                Ok(())
            })
        };
        service.task_with("db", db).restart(soon().with_dependents());
        let l = log.clone();
        service.task_with("http", move || resident(&l)).requires("db");
        let running = up(service);
        let mut watch = running.watch();
        fail.open();
        reach(&mut watch, "http", 2, State::Running);
        assert_eq!(log.lines(), ["db starts", "http starts", "http stops", "db starts", "http starts"]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn an_operator_restarts_a_task_with_what_requires_it() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let (l, m) = (log.clone(), log.clone());
        service.task_with("db", move || resident(&l));
        service.task_with("http", move || resident(&m)).requires("db");
        service.task("aside", quiet_resident::<Thread>());
        let running = up(service);
        let mut watch = running.watch();
        running.restart_task("db").unwrap();
        reach(&mut watch, "http", 2, State::Running);
        let order = ["db starts", "http starts", "http stops", "db stops", "db starts", "http starts"];
        assert_eq!(log.lines(), order);
        let unknown = running.restart_task("nobody").unwrap_err().to_string();
        assert_eq!(unknown, "no task nobody; there is db, http, aside");
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_task_that_cannot_be_made_anew_is_not_restarted() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        service.task("db", resident(&log));
        let running = up(service);
        running.restart_task("db").unwrap();
        running.restart();
        assert_eq!(running.stop().code, 0);
        assert_eq!(log.lines(), ["db starts", "db stops"]);
    });
}

#[test]
fn an_operator_stops_a_task_and_starts_it_again_while_the_service_goes_on() {
    watched(|| {
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<u32>("number");
        let keeper = move || {
            let slot = slot.clone();
            task_fn::<Thread>(async move |cx| {
                cx.fill(slot, cx.incarnation());
                cx.until_shutdown().await;
                Ok(())
            })
        };
        service.task_with("keeper", keeper);
        let running = up(service);
        let mut watch = running.watch();
        running.stop_task("keeper").unwrap();
        reach(&mut watch, "keeper", 1, State::Stopped);
        // It was the only one, and can come back.
        assert_eq!(running.phase(), Phase::Running);
        running.restart_task("keeper").unwrap();
        reach(&mut watch, "keeper", 2, State::Running);
        assert_eq!(remote.call(|number| *number).wait_timeout(SOON), Ok(2));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_task_that_has_ended_can_be_started_again() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let l = log.clone();
        let job = move || {
            let log = l.clone();
            task_fn::<Thread>(async move |cx| {
                log.say(format!("job {}", cx.incarnation()));
                Ok(())
            })
        };
        service.task_with("job", job);
        service.task("stays", quiet_resident::<Thread>());
        let running = up(service);
        let mut watch = running.watch();
        running.restart_task("job").unwrap();
        reach(&mut watch, "job", 2, State::Stopped);
        assert_eq!(log.lines(), ["job 1", "job 2"]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_service_is_restarted_in_order_on_the_same_loops() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        for (name, requires) in [("db", None), ("http", Some("db"))] {
            let log = log.clone();
            let settings = service.task_with(name, move || resident(&log));
            if let Some(required) = requires {
                settings.requires(required);
            }
        }
        let running = up(service);
        let mut watch = running.watch();
        running.restart();
        reach(&mut watch, "http", 2, State::Running);
        let order = ["db starts", "http starts", "http stops", "db stops", "db starts", "http starts"];
        assert_eq!(log.lines(), order);
        assert!(running.status().loops.iter().all(|l| l.incarnation == 1));
        let report = running.stop();
        assert_eq!((report.code, report.reason), (0, Reason::Requested("stop".into())));
    });
}

/// Returns a service of one task on a loop that dies, and comes back with it; and the Remote to the loop's fate.
fn phoenix(plan: Mortal, log: &Log) -> (Service, interloop::Remote<Fate>) {
    let mut service = Service::new("test");
    let mut settings = service.event_loop("wheel", plan);
    settings.restart(soon().limit(1000, Duration::from_secs(60)));
    let remote = settings.remote();
    let log = log.clone();
    let rider = move || {
        let log = log.clone();
        task_fn::<Mortal>(async move |cx| {
            log.say(format!("rider {} starts", cx.incarnation()));
            cx.until_shutdown().await;
            log.say("rider stops");
            Ok(())
        })
    };
    service.task_with("rider", rider).on("wheel");
    (service, remote)
}

#[test]
fn a_loop_that_dies_comes_back_with_its_tasks() {
    watched(|| {
        for death in [Death::Error, Death::Panic, Death::Return] {
            let log = Log::default();
            let (service, remote) = phoenix(Mortal::default(), &log);
            let running = up(service);
            let mut watch = running.watch();
            remote.post(move |fate| fate.set(Some(death))).unwrap();
            reach(&mut watch, "rider", 2, State::Running);
            let status = running.status();
            assert_eq!((status.loops[0].incarnation, status.loops[0].running), (2, true));
            // The Remote is an address: it reaches the new Native.
            assert_eq!(remote.call(|fate| fate.get().is_none()).wait_timeout(SOON), Ok(true));
            let report = running.stop();
            assert_eq!(report.code, 0, "{report}");
            assert_eq!(log.lines(), ["rider 1 starts", "rider 2 starts", "rider stops"]);
        }
    });
}

#[test]
fn a_loop_that_dies_without_a_policy_says_that_its_tasks_policy_is_not_for_it() {
    alone(|| {
        warnings();
        let mut service = Service::new("test");
        let fate = service.remote_to::<Mortal>();
        let rider = service.task_with("rider", quiet_resident::<Mortal>);
        rider.restart(RestartPolicy::on_failure());
        let running = up(service);
        fate.post(|fate| fate.set(Some(Death::Error))).unwrap();
        assert_eq!(running.join().code, 1);
        let said = "ERROR test: loop mortal: the wheel came off; task rider ends with it; \
            loop mortal has no restart policy: that of task rider is for the task's own end";
        assert_eq!(warned()[0], said, "{:?}", warned());
    });
}

#[test]
fn a_job_that_was_popped_is_not_run_again_and_its_reply_is_cancelled() {
    watched(|| {
        let (log, ran) = (Log::default(), Log::default());
        let (service, remote) = phoenix(Mortal::default(), &log);
        let running = up(service);
        let mut watch = running.watch();
        let r = ran.clone();
        let popped = remote.spawn(async move |fate: Rc<Fate>| {
            r.say("popped");
            fate.set(Some(Death::Error));
            std::future::pending::<()>().await
        });
        assert_eq!(popped.wait_timeout(SOON), Err(CallError::Cancelled));
        reach(&mut watch, "rider", 2, State::Running);
        remote.call(|_| ()).wait_timeout(SOON).unwrap();
        assert_eq!(ran.lines(), ["popped"]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn jobs_that_were_not_begun_run_in_order_on_the_loops_next_incarnation() {
    watched(|| {
        let (log, ran) = (Log::default(), Log::default());
        let (service, remote) = phoenix(Mortal::default(), &log);
        let running = up(service);
        let (held, go) = (Latch::default(), Latch::default());
        let (h, g) = (held.clone(), go.clone());
        remote
            .post(move |fate| {
                h.open();
                g.wait();
                fate.set(Some(Death::Panic));
                // The rest of a turn would still run: this ends the turn, after 1 ms.
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(2) {}
            })
            .unwrap();
        held.wait();
        for number in 1..=3 {
            let ran = ran.clone();
            remote.post(move |_| ran.say(number.to_string())).unwrap();
        }
        let last = remote.call(|_| ());
        go.open();
        assert_eq!(last.wait_timeout(SOON), Ok(()));
        assert_eq!(ran.lines(), ["1", "2", "3"]);
        let mut watch = running.watch();
        reach(&mut watch, "rider", 2, State::Running);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_task_whose_start_was_on_its_way_to_a_loop_that_died_starts_once_on_the_next() {
    watched(|| {
        let log = Log::default();
        let plan = Mortal { stillborn: Arc::new(AtomicU32::new(1)), ..Mortal::default() };
        let (service, remote) = phoenix(plan, &log);
        let running = service.start().unwrap();
        let mut watch = running.watch();
        reach(&mut watch, "rider", 2, State::Running);
        remote.call(|_| ()).wait_timeout(SOON).unwrap();
        assert_eq!(running.stop().code, 0);
        assert_eq!(log.lines(), ["rider 2 starts", "rider stops"]);
    });
}

#[test]
fn a_loop_that_dies_too_often_stops_the_service() {
    watched(|| {
        let mut service = Service::new("test");
        let mut settings = service.event_loop("wheel", Mortal { unbuilt: true, ..Mortal::default() });
        settings.restart(soon().limit(3, Duration::from_secs(60)));
        let remote = settings.remote();
        let early = remote.call(|_| ());
        let report = service.start().unwrap().join();
        assert_eq!((report.code, report.reason), (1, Reason::LoopFailed("wheel".into())));
        assert_eq!(early.wait_timeout(SOON), Err(CallError::Stopped));
    });
}

#[test]
fn a_shared_value_goes_with_its_task_and_its_remote_says_so() {
    watched(|| {
        let mut service = Service::new("test");
        let (slot, remotes) = service.slot::<RefCell<Option<interloop::Remote<Cell<u8>>>>>("remotes");
        let keeper = move || {
            let slot = slot.clone();
            task_fn::<Thread>(async move |cx| {
                cx.fill(slot, RefCell::new(Some(cx.share(Cell::new(7)))));
                cx.until_shutdown().await;
                Ok(())
            })
        };
        service.task_with("keeper", keeper);
        let running = up(service);
        let mut watch = running.watch();
        let shared = remotes.call(RefCell::take).wait_timeout(SOON).unwrap().unwrap();
        assert_eq!(shared.call(Cell::get).wait_timeout(SOON), Ok(7));
        running.restart_task("keeper").unwrap();
        reach(&mut watch, "keeper", 2, State::Running);
        assert_eq!(shared.call(Cell::get).wait_timeout(SOON), Err(CallError::Stopped));
        assert!(remotes.call(RefCell::take).wait_timeout(SOON).unwrap().is_some());
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_hundred_restarts_of_a_task_leak_nothing() {
    alone(|| {
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<Vec<u8>>("bytes");
        let task = move || {
            let slot = slot.clone();
            task_fn::<Thread>(async move |cx| {
                // A leak of these would be noticed.
                cx.fill(slot, vec![1; 1 << 20]);
                cx.spawn_local(std::future::pending::<()>()).detach();
                cx.until_shutdown().await;
                Ok(())
            })
        };
        service.task_with("task", task);
        leaks_nothing(service, |running, _| running.restart_task("task").unwrap());
        assert!(remote.post(|_| ()).is_err());
    });
}

#[test]
fn a_hundred_restarts_of_a_loop_leak_nothing() {
    alone(|| {
        let log = Log::default();
        let (mut service, remote) = phoenix(Mortal::default(), &log);
        let task = || {
            task_fn::<Mortal>(async |cx| {
                let _bytes = cx.share(vec![1u8; 1 << 20]);
                cx.until_shutdown().await;
                Ok(())
            })
        };
        service.task_with("task", task).on("wheel");
        let deaths = [Death::Error, Death::Return];
        leaks_nothing(service, |_, n| remote.post(move |fate| fate.set(Some(deaths[n % 2]))).unwrap());
    });
}

/// Restarts its task a hundred times by `restart`.
fn leaks_nothing(service: Service, restart: impl Fn(&interloop::Running, usize)) {
    let before = (threads(), descriptors());
    let running = up(service);
    let mut watch = running.watch();
    let mut began = (0, 0, 0);
    for n in 1..=100 {
        restart(&running, n);
        reach(&mut watch, "task", n as u32 + 1, State::Running);
        if n == 10 {
            began = (threads(), descriptors(), resident_kib());
        }
    }
    let (now_threads, now_descriptors, now_kib) = (threads(), descriptors(), resident_kib());
    assert_eq!((now_threads, now_descriptors), (began.0, began.1));
    assert!(now_kib < began.2 + 8 * 1024, "{} KiB, then {now_kib} KiB", began.2);
    assert_eq!(running.stop().code, 0);
    assert_eq!((threads(), descriptors()), before);
}
