//! Failures: whatever a task or a loop does, the service ends in order, with the right code and message.

use std::time::Duration;

use crate::util::{
    Death, Grenade, Latch, Log, Mortal, SOON, cause_of, quiet_resident, resident, state_of, up, watched,
};
use interloop::{
    CallError, Cause, Error, EventLoop, NoOptions, Reason, Report, Service, State, Thread, event_loop::Mailbox, task_fn,
};

/// Runs this task beside two others; it fails, and they stop in order.
fn fails(task: impl interloop::Task<Thread>) -> Report {
    let (mut service, log) = (Service::new("test"), Log::default());
    service.task("base", resident(&log));
    service.task("top", resident(&log)).after("base");
    service.task("bad", task).requires("base").after("top");
    let report = service.start().unwrap().join_timeout(SOON).expect("a failure ends the service");
    assert_eq!(report.code, 1, "{report}");
    assert_eq!(report.reason, Reason::TaskFailed("bad".into()));
    assert_eq!(state_of(&report, "bad"), State::Failed);
    assert_eq!(log.who("stops"), ["top", "base"]);
    report
}

/// Stops a service of this task, which fails while it is stopping.
fn fails_at_the_stop(task: impl interloop::Task<Thread>) -> Report {
    let (mut service, log) = (Service::new("test"), Log::default());
    service.task("base", resident(&log));
    service.task("bad", task).requires("base");
    let report = up(service).stop();
    assert_eq!(report.code, 1, "{report}");
    assert_eq!(report.reason, Reason::Requested("stop".into()));
    assert_eq!(state_of(&report, "bad"), State::Failed);
    assert_eq!(log.who("stops"), ["base"]);
    report
}

#[test]
fn an_error_stops_the_service() {
    watched(|| {
        let report = fails(task_fn::<Thread>(async |cx| {
            cx.ready();
            Err(Error::new("the disk is gone"))
        }));
        assert_eq!(cause_of(&report, "bad"), Cause::Error("the disk is gone".into()));
        assert!(
            report
                .to_string()
                .starts_with("stopped after a failure (task bad failed); task bad failed: the disk is gone"),
            "{report}"
        );
    });
}

#[test]
fn an_error_is_told_with_its_causes() {
    watched(|| {
        let report = fails(task_fn::<Thread>(async |cx| {
            cx.ready();
            std::fs::read("/nonexistent")?;
            Ok(())
        }));
        assert!(report.to_string().contains("task bad failed: No such file or directory"), "{report}");
    });
}

#[test]
fn a_panic_stops_the_service() {
    watched(|| {
        let report = fails(task_fn::<Thread>(async |cx| {
            cx.ready();
            panic!("number {}", 7)
        }));
        assert_eq!(cause_of(&report, "bad"), Cause::Panicked("number 7".into()));
    });
}

#[test]
fn a_panic_without_words_stops_the_service() {
    watched(|| {
        let report = fails(task_fn::<Thread>(async |cx| {
            cx.ready();
            std::panic::panic_any(Grenade("in the payload of a panic"))
        }));
        assert_eq!(cause_of(&report, "bad"), Cause::Panicked("a panic without a message".into()));
    });
}

#[test]
fn a_panic_of_a_child_fails_its_task() {
    watched(|| {
        let report = fails(task_fn::<Thread>(async |cx| {
            cx.spawn_local(async { panic!("the child") }).detach();
            cx.until_shutdown().await;
            Ok(())
        }));
        assert_eq!(cause_of(&report, "bad"), Cause::Panicked("the child".into()));
    });
}

#[test]
fn a_panic_in_the_drop_of_a_childs_locals_fails_its_task() {
    watched(|| {
        let report = fails_at_the_stop(task_fn::<Thread>(async |cx| {
            let grenade = Grenade("a child's local");
            cx.spawn_local(async move {
                let _grenade = grenade;
                std::future::pending::<()>().await;
            })
            .detach();
            cx.until_shutdown().await;
            Ok(())
        }));
        assert_eq!(cause_of(&report, "bad"), Cause::Panicked("a child's local".into()));
    });
}

#[test]
fn a_panic_while_stopping_is_a_failure() {
    watched(|| {
        let report = fails_at_the_stop(task_fn::<Thread>(async |cx| {
            cx.until_shutdown().await;
            panic!("at the end")
        }));
        assert_eq!(cause_of(&report, "bad"), Cause::Panicked("at the end".into()));
    });
}

#[test]
fn an_error_while_stopping_is_a_failure() {
    watched(|| {
        let report = fails_at_the_stop(task_fn::<Thread>(async |cx| {
            cx.until_shutdown().await;
            Err(Error::new("could not save"))
        }));
        assert_eq!(cause_of(&report, "bad"), Cause::Error("could not save".into()));
    });
}

struct WithGrenade {
    _grenade: Grenade,
    rest: Duration,
}

impl interloop::Task<Thread> for WithGrenade {
    type Options = interloop::NoOptions;

    async fn run(&mut self, cx: interloop::Context<Thread>) -> interloop::Result {
        cx.until_shutdown().await;
        cx.sleep(self.rest).await;
        Ok(())
    }
}

#[test]
fn a_panic_in_the_drop_of_the_task_is_a_failure() {
    watched(|| {
        let task = WithGrenade { _grenade: Grenade("the task's drop"), rest: Duration::ZERO };
        let report = fails_at_the_stop(task);
        assert_eq!(cause_of(&report, "bad"), Cause::Panicked("the task's drop".into()));
    });
}

#[test]
fn a_panic_in_the_drop_of_a_cancelled_task_is_caught() {
    watched(|| {
        let mut service = Service::new("test");
        let task = WithGrenade { _grenade: Grenade("the task's drop"), rest: Duration::from_secs(60) };
        service.task("bad", task).stop_timeout(Duration::from_millis(50));
        let report = up(service).stop();
        assert_eq!((report.code, state_of(&report, "bad")), (124, State::Cancelled));
        assert!(report.stuck.is_empty());
    });
}

#[test]
fn a_panic_in_the_drop_of_a_task_that_never_started_is_caught() {
    watched(|| {
        let mut service = Service::new("test");
        let task = WithGrenade { _grenade: Grenade("the task's drop"), rest: Duration::ZERO };
        service.task("bad", task).requires("base");
        service.task("base", task_fn::<Thread>(async |_| Err(Error::new("no luck"))));
        let report = service.start().unwrap().join();
        assert_eq!((report.code, cause_of(&report, "bad")), (1, Cause::NeverStarted));
    });
}

#[test]
fn a_panic_in_the_drop_of_the_futures_locals_is_a_failure() {
    watched(|| {
        let report = fails(task_fn::<Thread>(async |cx| {
            cx.ready();
            let _grenade = Grenade("a local");
            Ok(())
        }));
        assert_eq!(cause_of(&report, "bad"), Cause::Panicked("a local".into()));
    });
}

#[test]
fn a_panic_in_the_drop_of_a_shared_value_is_a_failure() {
    watched(|| {
        let report = fails_at_the_stop(task_fn::<Thread>(async |cx| {
            let _remote = cx.share(Grenade("a shared value"));
            cx.until_shutdown().await;
            Ok(())
        }));
        assert_eq!(cause_of(&report, "bad"), Cause::Panicked("a shared value".into()));
    });
}

#[test]
fn a_panic_in_the_drop_of_a_value_in_a_slot_is_a_failure() {
    watched(|| {
        let mut service = Service::new("test");
        let (slot, _remote) = service.slot::<Grenade>("grenade");
        let bad = task_fn::<Thread>(async move |cx| {
            drop(cx.fill(slot, Grenade("a value in a slot")));
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("bad", bad);
        let report = up(service).stop();
        assert_eq!((report.code, cause_of(&report, "bad")), (1, Cause::Panicked("a value in a slot".into())));
    });
}

#[test]
fn an_error_that_panics_when_it_is_shown_is_a_failure() {
    #[derive(Debug)]
    struct Shy;
    impl std::fmt::Display for Shy {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("don't look at me")
        }
    }
    impl std::error::Error for Shy {}
    watched(|| {
        let report = fails(task_fn::<Thread>(async |cx| {
            cx.ready();
            Err(Shy.into())
        }));
        assert_eq!(cause_of(&report, "bad"), Cause::Panicked("don't look at me".into()));
    });
}

#[test]
fn a_slot_that_is_filled_twice_is_a_failure_that_names_it() {
    watched(|| {
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<u8>("number");
        let second = slot.clone();
        let first = task_fn::<Thread>(async move |cx| {
            cx.fill(slot, 1);
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("first", first);
        let late = task_fn::<Thread>(async move |cx| {
            cx.fill(second, 2);
            Ok(())
        });
        service.task("late", late).requires("first");
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 1);
        let said = cause_of(&report, "late").to_string();
        assert!(said.contains("slot number can't be filled by task late"), "{said}");
        assert!(remote.post(|_| ()).is_err());
    });
}

// --- Loops that die ---

/// Lets a loop die like this while two tasks are on it, beside another loop.
fn dies(death: Death, words: &str) {
    let (mut service, log, go) = (Service::new("test"), Log::default(), Latch::default());
    let (l, g) = (log.clone(), go.clone());
    let killer = task_fn::<Mortal>(async move |cx| {
        let _local = OnDrop(l);
        cx.ready();
        g.opened().await;
        cx.native().set(Some(death));
        std::future::pending().await
    });
    service.task("killer", killer);
    service.task("victim", quiet_resident::<Mortal>());
    service.task("base", resident(&log));
    let running = up(service);
    go.open();
    let report = running.join();
    assert_eq!((report.code, &report.reason), (1, &Reason::LoopFailed("mortal".into())), "{report}");
    for task in ["killer", "victim"] {
        assert_eq!((state_of(&report, task), cause_of(&report, task)), (State::Failed, Cause::LoopDied(words.into())));
    }
    assert_eq!(state_of(&report, "base"), State::Stopped);
    // The futures were dropped on the way out.
    let mut lines = log.lines();
    lines.sort();
    assert_eq!(lines, ["base starts", "base stops", "dropped on mortal"]);
}

struct OnDrop(Log);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.say(format!("dropped on {}", std::thread::current().name().unwrap_or_default()));
    }
}

#[test]
fn a_loop_that_returns_an_error_takes_its_tasks_and_the_service_down() {
    watched(|| dies(Death::Error, "the wheel came off"));
}

#[test]
fn a_loop_that_panics_takes_its_tasks_and_the_service_down() {
    watched(|| dies(Death::Panic, "panicked: the wheel came off"));
}

#[test]
fn a_loop_that_returns_before_it_is_told_to_takes_its_tasks_and_the_service_down() {
    watched(|| dies(Death::Return, "it ended without being told to"));
}

#[test]
fn a_loop_that_cannot_be_built_is_a_failed_start() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let remote = service.event_loop("wheel", Mortal { unbuilt: true, ..Mortal::default() }).remote();
        service.task("rider", quiet_resident::<Mortal>()).on("wheel");
        service.task("base", resident(&log));
        let early = remote.call(|fate| fate.get().is_some());
        let running = service.start().unwrap();
        let report = running.join();
        assert_eq!((report.code, &report.reason), (1, &Reason::LoopFailed("wheel".into())));
        assert_eq!(cause_of(&report, "rider"), Cause::LoopDied("no wheel to be had".into()));
        assert_eq!(early.wait_timeout(SOON), Err(interloop::CallError::Stopped));
    });
}

#[test]
fn a_loop_that_cannot_be_torn_down_is_a_failure() {
    watched(|| {
        let mut service = Service::new("test");
        service.event_loop("wheel", Mortal { bad_end: true, ..Mortal::default() });
        service.task("rider", quiet_resident::<Mortal>()).on("wheel");
        let report = up(service).stop();
        assert_eq!((report.code, state_of(&report, "rider")), (1, State::Stopped), "{report}");
    });
}

#[test]
fn a_loop_that_dies_while_its_task_is_stopping_is_a_failure() {
    watched(|| {
        let mut service = Service::new("test");
        let killer = task_fn::<Mortal>(async |cx| {
            cx.until_shutdown().await;
            cx.native().set(Some(Death::Error));
            std::future::pending().await
        });
        service.task("killer", killer);
        let report = up(service).stop();
        assert_eq!((report.code, cause_of(&report, "killer")), (1, Cause::LoopDied("the wheel came off".into())));
    });
}

/// Reports that it is started only once it is released.
#[derive(Clone, Default)]
struct Hesitant(Latch);

impl EventLoop for Hesitant {
    const NAME: &'static str = "hesitant";
    type Options = NoOptions;
    type Native = ();

    fn drive(
        self,
        _: NoOptions,
        mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, ()),
    ) -> interloop::Result {
        self.0.wait();
        started(&mailbox, ());
        Ok(())
    }
}

#[test]
fn a_loop_that_never_says_that_it_is_started_fails_the_service() {
    watched(|| {
        let (mut service, go) = (Service::new("test"), Latch::default());
        let native = service.event_loop("io", Hesitant(go.clone())).start_timeout(Duration::from_millis(50)).remote();
        let never = task_fn::<Hesitant>(async |_| Ok(()));
        service.task("never", never).on("io");
        service.task("other", quiet_resident::<Thread>());
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 1, "{report}");
        assert_eq!(&*report.stuck[0].name, "io");
        assert_eq!(native.call(|_| ()).wait_timeout(SOON), Err(CallError::Stopped));
        // Too late.
        go.open();
    });
}
