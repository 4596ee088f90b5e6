//! Threads that belong to a task.

use std::{
    cell::Cell,
    io,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::util::{Latch, Log, SOON, alone, quiet_resident, state_of, up, warnings, watched};
use interloop::{CallError, Cause, Context, Error, RestartPolicy, Result, Service, State, Thread, task_fn};

#[test]
fn a_thread_is_named_for_its_task_and_awaited() {
    watched(|| {
        let mut service = Service::new("test");
        let (names, named) = mpsc::channel();
        service.task(
            "sums",
            task_fn::<Thread>(async move |cx| {
                let names = names.clone();
                let named = cx.thread("adds", move || {
                    names.send(thread::current().name().map(str::to_owned)).expect("the test listens")
                })?;
                assert_eq!(named.name(), "sums-adds");
                assert_eq!(named.await, Ok(()));
                // What the closure returns, which need not be Clone or Sync.
                assert_eq!(cx.thread("counts", || Cell::new(7))?.await.map(Cell::into_inner), Ok(7));
                assert_eq!(cx.thread("counts", || Cell::new(8))?.join().map(Cell::into_inner), Ok(8));
                let no_name = cx.thread("a\0b", || ()).map(|_| ()).map_err(|error| error.kind());
                assert_eq!(no_name, Err(io::ErrorKind::InvalidInput));
                Ok(())
            }),
        );
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 0, "{report}");
        assert_eq!(named.recv_timeout(SOON), Ok(Some("sums-adds".into())));
    });
}

/// Runs a task that makes threads, and expects that a panic of one named `sub` has failed it.
fn fails_by_a_panic(task: impl AsyncFnMut(Context<Thread>) -> Result + Send + 'static) {
    watched(|| {
        let mut service = Service::new("test");
        service.task("sums", task_fn::<Thread>(task));
        let report = service.start().unwrap().join();
        assert_eq!((report.code, state_of(&report, "sums")), (1, State::Failed), "{report}");
        assert_eq!(report.tasks[0].cause, Some(Cause::Panicked("thread sums-sub: a bad sum".into())));
    });
}

#[test]
fn a_panic_of_a_thread_that_is_detached_fails_the_task() {
    fails_by_a_panic(async |cx| {
        cx.thread("sub", || panic!("a bad sum"))?.detach();
        std::future::pending().await
    });
}

#[test]
fn a_panic_of_a_thread_that_is_awaited_fails_the_task() {
    fails_by_a_panic(async |cx| {
        let _ = cx.thread("sub", || panic!("a bad sum"))?.await;
        std::future::pending().await
    });
}

#[test]
fn a_panic_of_a_thread_that_is_joined_is_an_error_there_and_fails_the_task() {
    fails_by_a_panic(async |cx| {
        let panics = cx.thread("sub", || panic!("a bad sum"))?;
        assert_eq!(panics.join(), Err(CallError::Panicked("a bad sum".into())));
        Ok(())
    });
}

/// Returns how a task ends whose future returns this at the stop, and whose thread panics after that.
fn panics_past_the_future(returns: impl Fn() -> Result + Send + 'static) -> Option<Cause> {
    watched(|| {
        let mut service = Service::new("test");
        let task = task_fn::<Thread>(async move |cx| {
            let (guard, gone) = mpsc::channel::<()>();
            let panics = move || {
                let _ = gone.recv();
                panic!("a bad sum");
            };
            cx.thread("sub", panics)?.detach();
            // It is dropped when the task's own future has ended.
            let child = async move {
                let _guard = guard;
                std::future::pending::<()>().await;
            };
            cx.spawn_local(child).detach();
            cx.until_shutdown().await;
            returns()
        });
        // The stop gives the thread its time: printing a panic takes as long as the machine needs.
        service.task("sums", task).stop_timeout(SOON);
        let report = up(service).stop();
        assert_eq!((report.code, state_of(&report, "sums")), (1, State::Failed), "{report}");
        report.tasks[0].cause.clone()
    })
}

#[test]
fn a_panic_of_a_thread_that_outlives_the_tasks_future_fails_the_task() {
    let cause = panics_past_the_future(|| Ok(()));
    assert_eq!(cause, Some(Cause::Panicked("thread sums-sub: a bad sum".into())));
}

#[test]
fn a_panic_of_a_thread_outweighs_no_error_of_its_task() {
    assert_eq!(panics_past_the_future(|| Err(Error::new("no more"))), Some(Cause::Error("no more".into())));
}

#[test]
fn the_end_of_a_task_waits_for_its_threads() {
    watched(|| {
        let mut service = Service::new("test");
        let (ends, ended) = mpsc::channel();
        let base = task_fn::<Thread>(async move |cx| {
            cx.until_shutdown().await;
            // The thread has gone by then.
            let _ = ends.send("base");
            Ok(())
        });
        service.task("base", base);
        let (seen, sees) = mpsc::channel();
        let parent = task_fn::<Thread>(async move |cx| {
            let shutdown = cx.shutdown();
            // Nobody awaits it.
            cx.thread("waits", move || {
                shutdown.wait();
                // The tasks that this one requires are asked to stop when it has ended: it has not.
                seen.send(ended.recv_timeout(Duration::from_millis(100))).expect("the test listens");
            })?
            .detach();
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("parent", parent).requires("base");
        let report = up(service).stop();
        assert_eq!(sees.recv_timeout(SOON), Ok(Err(mpsc::RecvTimeoutError::Timeout)));
        assert_eq!((report.left_behind.len(), state_of(&report, "parent")), (0, State::Stopped), "{report}");
    });
}

#[test]
fn the_threads_of_a_task_that_ends_by_itself_are_asked_to_end() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let l = log.clone();
        let fails = task_fn::<Thread>(async move |cx| {
            let (l, shutdown) = (l.clone(), cx.shutdown());
            cx.thread("waits", move || {
                shutdown.wait();
                l.say(shutdown.reason().map(|reason| reason.to_string()).unwrap_or_default());
            })?
            .detach();
            Err(Error::new("no more"))
        });
        service.task("fails", fails);
        let report = service.start().unwrap().join();
        assert_eq!((report.code, state_of(&report, "fails")), (1, State::Failed), "{report}");
        assert_eq!(log.lines(), ["its task has ended"]);
    });
}

#[test]
fn a_thread_of_a_task_that_is_asked_to_stop_has_the_rest_of_its_deadline() {
    watched(|| {
        let mut service = Service::new("test");
        let log = Log::default();
        let l = log.clone();
        let slow = task_fn::<Thread>(async move |cx| {
            let (shutdown, l) = (cx.shutdown(), l.clone());
            cx.thread("ends", move || {
                shutdown.wait();
                // Longer than it would have if the task had ended by itself.
                thread::sleep(Duration::from_millis(800));
                l.say("ended");
            })?
            .detach();
            cx.ready();
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("slow", slow).stop_timeout(SOON);
        let report = up(service).stop();
        assert_eq!((report.code, state_of(&report, "slow")), (0, State::Stopped), "{report}");
        assert_eq!(log.lines(), ["ended"]);
        assert_eq!(report.left_behind.len(), 0, "{report}");
    });
}

#[test]
fn a_thread_that_does_not_end_is_left_behind_by_name_and_its_loop_is_not() {
    watched(|| {
        let mut service = Service::new("test");
        let (stay, began) = (Latch::default(), Latch::default());
        let (stays, begins) = (stay.clone(), began.clone());
        let stuck = task_fn::<Thread>(async move |cx| {
            let (stays, begins) = (stays.clone(), begins.clone());
            cx.thread("stays", move || {
                begins.open();
                stays.wait_for_ever();
            })?
            .detach();
            cx.ready();
            std::future::pending::<()>().await;
            Ok(())
        });
        service.task("stuck", stuck).stop_timeout(Duration::from_millis(50));
        service.task("other", quiet_resident::<Thread>());
        let running = up(service);
        began.wait();
        let handle = running.clone();
        let report = running.stop();
        assert_eq!((report.code, state_of(&report, "stuck")), (124, State::Cancelled), "{report}");
        assert_eq!(report.stuck, [], "{report}");
        let left = report.left_behind.iter().map(|left| left.what.as_str()).collect::<Vec<_>>();
        assert_eq!(left, ["thread stuck-stays"], "{report}");
        let warning = || handle.status().warnings.into_iter().map(|warning| warning.name).collect::<Vec<_>>();
        assert_eq!(warning(), ["thread stuck-stays"]);
        stay.open();
        while !warning().is_empty() {
            thread::yield_now();
        }
    });
}

#[test]
fn the_log_names_a_thread_that_panicked_and_one_that_is_left_behind() {
    alone(|| {
        let lines = warnings();
        let mut service = Service::new("test");
        let stay = Latch::default();
        let stays = stay.clone();
        let sums = task_fn::<Thread>(async move |cx| {
            let stays = stays.clone();
            cx.thread("stays", move || stays.wait_for_ever())?.detach();
            cx.thread("adds", || panic!("a bad sum"))?.detach();
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("sums", sums);
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 1, "{report}");
        stay.open();
        let lines = lines.lock().unwrap().clone();
        let expected = [
            "ERROR test.sums: thread sums-adds panicked: a bad sum",
            "WARN test.sums: thread sums-stays has not ended within 500 ms of its task: it is left behind",
        ];
        assert_eq!(lines[..2], expected);
    });
}

#[test]
fn many_threads_that_are_left_behind_are_counted_in_one_line() {
    alone(|| {
        let lines = warnings();
        let mut service = Service::new("test");
        let stay = Latch::default();
        let stays = stay.clone();
        let many = task_fn::<Thread>(async move |cx| {
            for number in 0..100 {
                let stays = stays.clone();
                cx.thread(&number.to_string(), move || stays.wait_for_ever())?.detach();
            }
            Ok(())
        });
        service.task("many", many);
        let running = service.start().unwrap();
        let handle = running.clone();
        let report = running.join();
        let left = report.left_behind.iter().map(|left| left.what.as_str()).collect::<Vec<_>>();
        assert_eq!(left, ["100 threads, many-0, many-1, many-2 and 97 more"], "{report}");
        let said = "100 have not ended within 500 ms of their task: they are left behind: \
                    many-0, many-1, many-2 and 97 more";
        let warnings = || handle.status().warnings.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(warnings(), [format!("many.threads: {said}")]);
        assert_eq!(*lines.lock().unwrap(), [format!("WARN test.many: threads: {said}")]);
        stay.open();
        let begun = Instant::now();
        while !warnings().is_empty() {
            assert!(begun.elapsed() < SOON, "{:?}", warnings());
            thread::yield_now();
        }
    });
}

#[test]
fn threads_that_every_incarnation_leaves_behind_are_counted_in_one_line() {
    watched(|| {
        let mut service = Service::new("test");
        let stay = Latch::default();
        let stays = stay.clone();
        let again = move || {
            let stays = stays.clone();
            task_fn::<Thread>(async move |cx| {
                let stays = stays.clone();
                cx.thread("stays", move || stays.wait_for_ever())?.detach();
                Err(Error::new("no more"))
            })
        };
        let policy =
            RestartPolicy::on_failure().limit(4, 10 * SOON).backoff(Duration::from_millis(1), Duration::from_millis(1));
        service.task_with("again", again).restart(policy);
        let report = service.start().unwrap().join();
        let left = report.left_behind.iter().map(|left| left.what.as_str()).collect::<Vec<_>>();
        assert_eq!(left, ["5 threads, again-stays, again-stays, again-stays and 2 more"], "{report}");
        stay.open();
    });
}

#[cfg(feature = "testing")]
#[test]
fn a_fake_clock_waits_for_a_thread_but_not_for_an_idle_one() {
    use interloop::{task::TaskThread, testing::TestService};

    const S: Duration = Duration::from_secs(1);
    watched(|| {
        let mut service = Service::new("test");
        let log = Log::default();
        let l = log.clone();
        let ticks = task_fn::<Thread>(async move |cx| {
            let (jobs, todo) = mpsc::channel::<()>();
            let idles = cx.thread("idles", move || while TaskThread::idle(|| todo.recv()).is_ok() {})?;
            cx.ready();
            for _ in 0..3 {
                cx.sleep(S).await;
                let l = l.clone();
                // Much slower than a clock that did not wait.
                cx.thread("works", move || {
                    thread::sleep(Duration::from_millis(20));
                    l.say("worked");
                })?
                .detach();
            }
            cx.until_shutdown().await;
            drop(jobs);
            Ok(idles.await?)
        });
        service.task("ticks", ticks);
        let mut test = TestService::new(service);
        let clock = test.fake_clock();
        let test = test.start();
        for done in 0..4 {
            assert_eq!(log.lines().len(), done);
            clock.advance(S);
        }
        test.stop().assert_clean();
    });
}

#[cfg(feature = "testing")]
#[test]
fn a_fake_clock_does_not_wait_for_a_thread_that_has_nothing_to_do() {
    use interloop::{task::TaskThread, testing::TestService};

    let rests = || {
        let mut service = Service::new("test");
        let idle = task_fn::<Thread>(async move |cx| {
            let (jobs, todo) = mpsc::channel::<()>();
            let idles = cx.thread("idles", move || while TaskThread::idle(|| todo.recv()).is_ok() {})?;
            cx.ready();
            cx.until_shutdown().await;
            drop(jobs);
            Ok(idles.await?)
        });
        service.task("idle", idle);
        let mut test = TestService::new(service);
        let clock = test.fake_clock();
        let test = test.start();
        let begun = Instant::now();
        clock.settle();
        let took = begun.elapsed();
        test.stop().assert_clean();
        took
    };
    // Work that does nothing counts as blocked after two seconds, each time. On a busy machine any single pause may
    // take as long.
    watched(|| assert!((0..3).any(|_| rests() < Duration::from_millis(1800)), "it was waited for"));
}

#[cfg(feature = "testing")]
#[test]
fn a_fake_clock_waits_for_work_in_flight() {
    use interloop::testing::TestService;

    const S: Duration = Duration::from_secs(1);
    watched(|| {
        let mut service = Service::new("test");
        let (jobs, todo) = mpsc::channel::<interloop::task::Busy>();
        // A thread that belongs to no task, as libraries have.
        let log = Log::default();
        let l = log.clone();
        let library = thread::spawn(move || {
            for busy in todo {
                // Much slower than a clock that did not wait.
                thread::sleep(Duration::from_millis(20));
                l.say("worked");
                drop(busy);
            }
        });
        let asks = task_fn::<Thread>(async move |cx| {
            let begun = cx.clock().time_of_day();
            cx.ready();
            for second in 1..=3 {
                cx.sleep(S).await;
                assert_eq!(cx.clock().now(), cx.now());
                assert_eq!(cx.clock().time_of_day().duration_since(begun).ok(), Some(second * S));
                jobs.send(cx.busy()).expect("the thread listens");
            }
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("asks", asks);
        let mut test = TestService::new(service);
        let clock = test.fake_clock();
        let test = test.start();
        for done in 0..4 {
            assert_eq!(log.lines().len(), done);
            clock.advance(S);
        }
        test.stop().assert_clean();
        library.join().expect("it only works");
    });
}
