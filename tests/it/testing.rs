//! The kit for tests: what it reports when all is well, and how it fails.

use std::{
    cell::Cell,
    os::unix::process::ExitStatusExt,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Command, Stdio},
    rc::Rc,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use crate::util::{Latch, Log, quiet_resident, watched};
use interloop::{
    Cause, Context, Error, EventLoop, NoOptions, Reason, RestartPolicy, Result, Service, State, Task, Thread,
    event_loop::{Mailbox, Timers, Turn},
    task_fn,
    tasks::{
        FirstRun, Periodic, Poller, TryLater, Workers,
        queue::{Queue, WorkError},
    },
    testing::{self, Clock, RunningTest, TestService},
};

const S: Duration = Duration::from_secs(1);
/// Too short for the awaited event, and long enough for a start under load.
const SHORT: Duration = S;
const TERM: i32 = 15;
const HOUR: Duration = Duration::from_secs(3600);

struct Resident;

impl<L: EventLoop> Task<L> for Resident {
    type Options = NoOptions;

    async fn run(&mut self, cx: Context<L>) -> Result {
        cx.counter("runs").add(1);
        cx.until_shutdown().await;
        Ok(())
    }
}

/// Returns the message that it panics with.
fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it did not panic"),
        Err(panic) => *panic.downcast::<String>().expect("a message"),
    }
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(text.contains(part), "no {part:?} in: {text}"));
}

/// Returns a service with this task alone.
fn service_of<T: Task<Thread>>(task: T) -> Service {
    let mut service = Service::new("tested");
    service.task("alone", task);
    service
}

/// Returns a running one, with a fake clock.
fn with_clock(service: Service) -> (RunningTest, Clock) {
    let mut test = TestService::new(service);
    let clock = test.fake_clock();
    (test.start(), clock)
}

// --- Running ---

#[test]
fn a_task_alone_is_run_read_and_stopped() {
    watched(|| {
        let test = testing::task_on::<Thread>("resident", Resident);
        assert_eq!(test.counter("resident.runs"), 1);
        test.wait_for_state("resident", State::Running);
        assert!(test.is_ready());
        let report = test.stop();
        assert_eq!(report.assert_clean().assert_code(0).state_of("resident"), State::Stopped);
    });
}

#[test]
fn the_words_of_a_command_line_are_heard() {
    watched(|| {
        let mut service = Service::new("tested");
        service.task_on::<Thread>("tick", Periodic::new(HOUR, || ()));
        let test = TestService::new(service).args(["--tick-interval", "1ms"]).start();
        assert!(test.wait_for_counter("tick.iterations", 3) >= 3);
        test.stop().assert_clean();
    });
}

#[test]
fn a_service_that_ends_by_itself_is_waited_for() {
    watched(|| {
        let once = task_fn::<Thread>(async |_| Ok(()));
        TestService::new(service_of(once)).launch().join().assert_clean();
    });
}

#[cfg(feature = "net")]
#[test]
fn what_a_task_has_bound_is_read_from_the_service() {
    use interloop::net::{Address, Bound};

    watched(|| {
        let listen = task_fn::<Thread>(async |cx| {
            let (one, two) = (Bound::tcp("127.0.0.1:0".parse()?)?, Bound::tcp("127.0.0.1:0".parse()?)?);
            cx.bound(one.address()?);
            cx.bound(two.address()?);
            cx.until_shutdown().await;
            drop((one, two));
            Ok(())
        });
        let test = testing::run(service_of(listen));
        let addresses = test.addresses("alone");
        assert_eq!((addresses.len(), addresses[0].tcp()), (2, Some(test.tcp("alone"))));
        std::net::TcpStream::connect(test.tcp("alone")).expect("it listens there");
        let shown = addresses.iter().map(Address::to_string).collect::<Vec<_>>().join(", ");
        assert_eq!(test.status().tasks[0].exports["address"], shown);
        let handle = test.handle();
        test.stop().assert_clean();
        assert_eq!(handle.addresses("alone"), Ok(Vec::new()));
        assert!(handle.addresses("other").is_err());
    });
}

#[test]
fn fifty_services_run_side_by_side() {
    watched(|| {
        let runs = (0..50).map(|number| {
            thread::spawn(move || {
                let mut service = Service::new(format!("tested-{number}"));
                service.task_on::<Thread>("tick", Periodic::new(HOUR, || ()));
                service.task_on::<Thread>("resident", Resident).requires("tick");
                let (test, clock) = with_clock(service);
                clock.advance(number * HOUR);
                let ticks = test.counter("tick.iterations");
                test.stop().assert_clean();
                ticks
            })
        });
        let runs = runs.collect::<Vec<_>>();
        let ticks = runs.into_iter().map(|run| run.join().expect("no panic")).collect::<Vec<_>>();
        assert_eq!(ticks, (0..50).collect::<Vec<u64>>());
    });
}

// --- Failing ---

#[test]
fn a_service_that_is_refused_panics_with_the_reason() {
    watched(|| {
        let mut service = Service::new("tested");
        service.task_on::<Thread>("one", Resident).requires("two");
        contains(&panic_of(|| testing::run(service)), &["refused, with 78", "two"]);
    });
}

#[test]
fn a_failed_start_panics_with_the_status() {
    watched(|| {
        let fails = task_fn::<Thread>(async |_| Err(Error::new("no database")));
        contains(&panic_of(|| testing::run(service_of(fails))), &["before all tasks have started", "no database"]);
    });
}

#[test]
fn what_waits_too_long_panics_with_the_status() {
    watched(|| {
        let start = || TestService::new(service_of(Resident)).watchdog(SHORT).start();
        let text = panic_of(|| start().wait_for_counter("alone.runs", 2));
        contains(&text, &["tested: counter alone.runs is below 2 within 1 s", "task alone", "running", "loop alone"]);
        let text = panic_of(|| start().wait_for_state("alone", State::Failed));
        contains(&text, &["task alone is not failed within", "task alone"]);
        contains(&panic_of(|| start().wait_for_state("other", State::Failed)), &["no task other"]);
        contains(&panic_of(|| start().counter("alone.walks")), &["no counter alone.walks", "task alone"]);
        let text = panic_of(|| start().join());
        contains(&text, &["it has not ended within 1 s", "task alone"]);
        let never = task_fn::<Thread>(async |_| std::future::pending().await);
        let text = panic_of(|| TestService::new(service_of(never)).watchdog(SHORT).start());
        contains(&text, &["not all tasks have started within 1 s", "starting"]);
    });
}

#[test]
fn what_waits_for_a_service_that_has_ended_panics_at_once() {
    watched(|| {
        let once = task_fn::<Thread>(async |cx| {
            cx.counter("done").add(1);
            Ok(())
        });
        let test = TestService::new(service_of(once)).launch();
        assert_eq!(test.wait_for_counter("alone.done", 1), 1);
        contains(
            &panic_of(|| test.wait_for_counter("alone.done", 2)),
            &["it has ended, and counter alone.done is below 2"],
        );
        test.join().assert_clean();
    });
}

#[test]
fn a_service_that_does_not_end_clean_panics() {
    watched(|| {
        let dirty = || {
            let test = testing::run(service_of(task_fn::<Thread>(async |cx| {
                cx.until_shutdown().await;
                Err(Error::new("the table is not wiped"))
            })));
            test.request_shutdown("enough");
            test
        };
        contains(&panic_of(|| dirty().join().assert_clean().code), &["did not end clean", "the table is not wiped"]);
        contains(&panic_of(|| dirty().join().assert_code(124).code), &["the exit code", "the table is not wiped"]);
        contains(&panic_of(|| drop(dirty())), &["did not end clean", "the table is not wiped"]);
        contains(&panic_of(|| dirty().join().state_of("other")), &["no task was named other"]);
    });
}

#[test]
fn a_service_that_is_dropped_is_stopped() {
    watched(|| {
        let stopped = Latch::default();
        let says = stopped.clone();
        drop(testing::run(service_of(task_fn::<Thread>(async move |cx| {
            cx.until_shutdown().await;
            says.open();
            Ok(())
        }))));
        assert!(stopped.is_open());
    });
}

#[test]
fn a_test_that_panics_already_panics_no_more_at_the_drop() {
    watched(|| {
        let text = panic_of(|| {
            let _test = testing::run(service_of(task_fn::<Thread>(async |cx| {
                cx.until_shutdown().await;
                Err(Error::new("the table is not wiped"))
            })));
            panic!("{}", "the test's own");
        });
        assert_eq!(text, "the test's own");
    });
}

#[test]
fn a_test_that_sits_is_aborted_with_the_status() {
    /// Set for the process that this test starts: itself, which then hangs.
    const SITS: &str = "TEST_SITS";
    if std::env::var_os(SITS).is_some() {
        let test = TestService::new(service_of(Resident)).watchdog(SHORT).start();
        thread::park_timeout(crate::util::SOON);
        drop(test);
        return;
    }
    watched(|| {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command
            .args(["--exact", "testing::a_test_that_sits_is_aborted_with_the_status"])
            .env(SITS, "1")
            .stdin(Stdio::null());
        let output = command.output().expect("it runs");
        // SIGABRT
        assert_eq!(output.status.signal(), Some(6), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        let said = "a_test_that_sits_is_aborted_with_the_status: it takes longer than 1 s, and is aborted";
        contains(&text, &[said, "tested running", "task alone"]);
    });
}

// --- The fake clock ---

#[test]
fn a_periodic_task_runs_to_the_hour() {
    watched(|| {
        let times = Arc::new(Mutex::new(Vec::new()));
        let mut service = Service::new("tested");
        let noted = times.clone();
        let begun = Arc::new(Mutex::new(None));
        let first = begun.clone();
        service.task(
            "notes",
            task_fn::<Thread>(async move |cx| {
                *first.lock().unwrap() = Some(cx.now());
                let mut at_once = cx.interval(2 * HOUR).at_once();
                assert_eq!(at_once.tick().await, 0);
                assert_eq!(Some(cx.now()), *first.lock().unwrap());
                cx.ready();
                let mut hours = cx.interval(HOUR);
                while !cx.shutdown().is_requested() {
                    assert_eq!(hours.tick().await, 0);
                    noted.lock().unwrap().push(cx.now());
                }
                Ok(())
            }),
        );
        service.task_on::<Thread>("sweep", Periodic::new(HOUR, || ()));
        service.task_on::<Thread>("poll", Poller::new(HOUR, || Ok(())).blocking());
        let (test, clock) = with_clock(service);
        clock.advance(24 * HOUR);
        assert_eq!(clock.elapsed(), 24 * HOUR);
        assert_eq!((test.counter("sweep.iterations"), test.counter("sweep.missed")), (24, 0));
        assert_eq!((test.counter("poll.iterations"), test.counter("poll.slow_iterations")), (25, 0));
        let begun = begun.lock().unwrap().expect("it has begun");
        assert_eq!(*times.lock().unwrap(), (1..=24).map(|hour| begun + hour * HOUR).collect::<Vec<_>>());
        clock.advance(HOUR - Duration::from_nanos(1));
        assert_eq!(test.counter("sweep.iterations"), 24);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(test.counter("sweep.iterations"), 25);
        assert!(test.status().uptime >= 25.0 * 3600.0);
        // Its interval ends before it checks the stop.
        test.request_shutdown("enough");
        clock.advance(HOUR);
        test.join().assert_code(124);
    });
}

#[test]
fn sleepers_on_many_loops_are_woken_in_order() {
    watched(|| {
        let log = Log::default();
        let mut service = Service::new("tested");
        for number in [3, 1, 4, 2, 5] {
            let log = log.clone();
            let sleeper = task_fn::<Thread>(async move |cx| {
                cx.ready();
                for round in 0..10 {
                    cx.sleep(number * S).await;
                    log.say(format!("{} {number}", number * (round + 1)));
                    cx.sleep((5 - number) * S).await;
                }
                cx.until_shutdown().await;
                Ok(())
            });
            service.task(format!("sleeper-{number}"), sleeper);
        }
        let (test, clock) = with_clock(service);
        clock.advance(HOUR);
        let rounds = log.lines().iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(rounds, ["1", "2", "3", "4", "5"].repeat(10));
        test.stop().assert_clean();
    });
}

/// Tasks on a loop wake each other there, through children, calls and threads, before the clock goes on.
#[test]
fn what_was_woken_has_come_to_rest_before_the_clock_goes_on() {
    watched(|| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut service = Service::new("tested");
        let (slot, count) = service.slot::<AtomicU64>("count");
        service.task(
            "keeper",
            task_fn::<Thread>(async move |cx| {
                cx.fill(slot, AtomicU64::new(0));
                cx.until_shutdown().await;
                Ok(())
            }),
        );
        let noted = seen.clone();
        let chain = task_fn::<Thread>(async move |cx| {
            let workers = Workers::start(&cx, 2)?;
            cx.ready();
            let begun = cx.now();
            for _ in 0..100 {
                cx.sleep(S).await;
                // Slower than a clock that did not wait.
                let slow = workers.run(|| thread::sleep(Duration::from_millis(1)));
                slow.await?;
                let remote = count.clone();
                let child =
                    cx.spawn_local(async move { remote.call(|count| count.fetch_add(1, Ordering::Relaxed)).await });
                let number = child.await??;
                noted.lock().unwrap().push((number, cx.now() - begun));
            }
            Ok(())
        });
        service.task("chain", chain).requires("keeper");
        let (test, clock) = with_clock(service);
        clock.advance(HOUR);
        let expected = (0..100).map(|number| (number, (number as u32 + 1) * S)).collect::<Vec<_>>();
        assert_eq!(*seen.lock().unwrap(), expected);
        test.stop().assert_clean();
    });
}

#[test]
fn a_timeout_is_up_when_the_clock_says_so() {
    watched(|| {
        let timed = task_fn::<Thread>(async |cx| {
            let (late, soon) = (cx.counter("late"), cx.counter("soon"));
            cx.ready();
            late.add(u64::from(cx.timeout(HOUR, std::future::pending::<()>()).await.is_err()));
            soon.add(u64::from(cx.timeout(HOUR, cx.sleep(S)).await.is_ok()));
            cx.until_shutdown().await;
            Ok(())
        });
        let (test, clock) = with_clock(service_of(timed));
        assert_eq!(clock.next_deadline(), Some(HOUR));
        clock.advance(HOUR - S);
        assert_eq!(test.counter("alone.late"), 0);
        clock.advance(2 * S);
        assert_eq!((test.counter("alone.late"), test.counter("alone.soon")), (1, 1));
        test.stop().assert_clean();
    });
}

#[test]
fn a_queue_tries_again_when_it_is_time() {
    watched(|| {
        let tries = Arc::new(Mutex::new(Vec::new()));
        let noted = tries.clone();
        let queue = Queue::<Thread, u32, u32>::new(async move |&item, work| {
            noted.lock().unwrap().push((item, work.attempt().number(), work.now()));
            if work.attempt().number() < 4 { Err(WorkError::later("not yet")) } else { Ok(item * 2) }
        });
        let queue = queue.backoff(S, HOUR).attempts(10).workers(3);
        let items = queue.handle();
        let mut service = Service::new("tested");
        service.task("queue", queue);
        let (test, clock) = with_clock(service);
        let reply = items.submit(21);
        let reply = crate::util::block_on(reply).expect("there is room");
        clock.settle();
        let first = tries.lock().unwrap()[0].2;
        clock.advance(HOUR);
        assert_eq!(reply.wait_timeout(crate::util::SOON), Ok(42));
        let after = [0, 1, 3, 7].map(|after| first + after * S);
        let seen = tries.lock().unwrap().iter().map(|(_, _, at)| *at).collect::<Vec<_>>();
        assert_eq!(seen, after);
        test.stop().assert_clean();
    });
}

#[test]
fn try_later_waits_for_its_time() {
    watched(|| {
        let runs = Arc::new(AtomicU64::new(0));
        let counted = runs.clone();
        let work = Periodic::new(HOUR, move || match counted.fetch_add(1, Ordering::Relaxed) {
            0 => Err(TryLater::after(5 * S).into()),
            _ => Ok::<(), interloop::Error>(()),
        });
        let mut service = Service::new("tested");
        service.task_on::<Thread>("work", work.first_run(FirstRun::AtOnce));
        let (test, clock) = with_clock(service);
        clock.advance(5 * S - Duration::from_nanos(1));
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        test.stop().assert_clean();
    });
}

#[test]
fn restarts_back_off_by_the_clock() {
    watched(|| {
        let starts = Arc::new(Mutex::new(Vec::new()));
        let mut service = Service::new("tested");
        let noted = starts.clone();
        let make = move || {
            let noted = noted.clone();
            task_fn::<Thread>(async move |cx| {
                noted.lock().unwrap().push(cx.now());
                cx.ready();
                if cx.incarnation() < 4 {
                    return Err(Error::new("not yet"));
                }
                cx.until_shutdown().await;
                Ok(())
            })
        };
        let policy = RestartPolicy::on_failure().backoff(10 * S, HOUR).limit(5, HOUR);
        service.task_with("flaky", make).restart(policy);
        let (test, clock) = with_clock(service);
        clock.advance(HOUR);
        let starts = starts.lock().unwrap().clone();
        let pauses = starts.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
        // A fifth of it is jitter.
        for (pause, second) in pauses.iter().zip([10, 20, 40]) {
            assert!((0.79..1.21).contains(&pause.div_duration_f64(second * S)), "{pauses:?}");
        }
        assert_eq!(test.status().tasks[0].state, State::Running);
        test.stop().assert_clean();
    });
}

#[test]
fn a_deadline_that_is_missed_is_124() {
    watched(|| {
        let began = Instant::now();
        let deaf = task_fn::<Thread>(async |cx| {
            cx.ready();
            std::future::pending().await
        });
        let mut service = Service::new("tested");
        service.task("deaf", deaf).stop_timeout(20 * S);
        let (test, clock) = with_clock(service);
        test.request_shutdown("enough");
        clock.advance(20 * S - Duration::from_nanos(1));
        assert_eq!(test.status().tasks[0].state, State::Stopping);
        clock.advance(Duration::from_nanos(1));
        let report = test.join();
        assert_eq!(report.assert_code(124).state_of("deaf"), State::Cancelled);
        assert!(matches!(&report.tasks[0].cause, Some(Cause::StopTimeout(time)) if *time == 20 * S), "{report:?}");
        assert!(began.elapsed() < 20 * S);
    });
}

#[test]
fn a_start_that_takes_too_long_fails_and_a_slow_one_does_not() {
    watched(|| {
        let slow = |time: Duration| {
            let slow = task_fn::<Thread>(async move |cx| {
                cx.sleep(time).await;
                cx.until_shutdown().await;
                Ok(())
            });
            let mut test = TestService::new(service_of(slow));
            let clock = test.fake_clock();
            (test.launch(), clock)
        };
        let (test, clock) = slow(29 * S);
        clock.advance(28 * S);
        assert!(!test.is_ready());
        clock.advance(S);
        test.wait_started();
        test.stop().assert_clean();
        let (test, clock) = slow(31 * S);
        clock.advance(30 * S);
        assert_eq!(test.join().assert_code(1).state_of("alone"), State::Failed);
    });
}

#[test]
fn the_drain_delay_and_the_shutdown_timeout_go_by_the_clock() {
    watched(|| {
        let deaf = task_fn::<Thread>(async |cx| {
            cx.ready();
            std::future::pending().await
        });
        let mut service = Service::new("tested");
        service.task("deaf", deaf).stop_timeout(HOUR);
        let mut test = TestService::new(service).args(["--drain-delay", "30s", "--shutdown-timeout", "90s"]);
        let clock = test.fake_clock();
        let test = test.start();
        test.request_shutdown(Reason::Signal(TERM));
        assert_eq!(clock.next_deadline(), Some(30 * S));
        clock.advance(30 * S - Duration::from_nanos(1));
        assert_eq!((test.is_ready(), test.status().tasks[0].state), (false, State::Running));
        clock.advance(Duration::from_nanos(1));
        assert_eq!(test.status().tasks[0].state, State::Stopping);
        let rest = clock.next_deadline().expect("it has a deadline");
        clock.advance(rest - Duration::from_nanos(1));
        assert_eq!(test.status().tasks[0].state, State::Stopping);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(test.join().assert_code(124).state_of("deaf"), State::Cancelled);
        assert_eq!(clock.elapsed(), 90 * S);
    });
}

#[test]
fn an_abandoned_loop_is_left_by_real_time() {
    watched(|| {
        let release = Latch::default();
        let opened = release.clone();
        let stuck = task_fn::<Thread>(async move |cx| {
            cx.ready();
            opened.wait();
            Ok(())
        });
        let mut service = Service::new("tested");
        service.task("stuck", stuck);
        let (test, clock) = with_clock(service);
        test.request_shutdown("enough");
        // It blocks, and the clock goes on without it.
        clock.advance(10 * S);
        let report = test.join();
        assert_eq!(report.assert_code(124).state_of("stuck"), State::Abandoned);
        assert_eq!(clock.elapsed(), 10 * S);
        release.open();
    });
}

#[test]
fn a_task_can_not_move_the_clock_that_waits_for_it() {
    watched(|| {
        let clock = Arc::new(OnceLock::<Clock>::new());
        let moves = clock.clone();
        let own = task_fn::<Thread>(async move |cx| {
            cx.ready();
            cx.sleep(S).await;
            moves.get().expect("the test has set it").advance(S);
            Ok(())
        });
        let mut test = TestService::new(service_of(own));
        let fake = test.fake_clock();
        clock.set(fake.clone()).unwrap();
        let test = test.start();
        fake.advance(S);
        let report = test.join();
        contains(&report.assert_code(1).to_string(), &["a task can't move or wait for the clock of its service"]);
    });
}

#[test]
fn one_service_can_move_the_clock_of_another() {
    watched(|| {
        let mut outer = Service::new("outer");
        let moves = task_fn::<Thread>(async move |_| {
            let mut inner = Service::new("inner");
            inner.task_on::<Thread>("tick", Periodic::new(HOUR, || ()));
            let (test, clock) = with_clock(inner);
            clock.advance(24 * HOUR);
            assert_eq!(test.counter("tick.iterations"), 24);
            test.stop().assert_clean();
            Ok(())
        });
        outer.task("moves", moves);
        let mut test = TestService::new(outer);
        let clock = test.fake_clock();
        let test = test.launch();
        test.join().assert_clean();
        assert_eq!(clock.elapsed(), Duration::ZERO);
    });
}

#[test]
fn timers_of_no_length_and_those_that_are_set_on_the_way_ring_in_their_time() {
    watched(|| {
        let rung = Arc::new(Mutex::new(Vec::new()));
        let notes = rung.clone();
        let chain = task_fn::<Thread>(async move |cx| {
            cx.ready();
            let begun = cx.now();
            for step in [0, 3, 0, 1, 5, 0] {
                cx.sleep(step * S).await;
                let (child, notes) = (cx.clone(), notes.clone());
                // Set while the clock advances; the first at once.
                let rings = async move {
                    child.sleep(Duration::ZERO).await;
                    notes.lock().unwrap().push(child.now() - begun);
                    child.sleep(S / 2).await;
                    notes.lock().unwrap().push(child.now() - begun);
                };
                cx.spawn_local(rings).detach();
            }
            cx.until_shutdown().await;
            Ok(())
        });
        let (test, clock) = with_clock(service_of(chain));
        clock.advance(20 * S);
        let half = S / 2;
        let times = [0, 3, 3, 4, 9, 9].map(|step| step * S);
        let mut expected: Vec<_> = times.iter().flat_map(|time| [*time, *time + half]).collect();
        expected.sort();
        assert_eq!(*rung.lock().unwrap(), expected);
        test.stop().assert_clean();
    });
}

#[cfg(feature = "watch")]
#[test]
fn a_watched_folder_is_silent_by_the_clock() {
    use interloop::tasks::DirectoryWatcher;

    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let mut service = Service::new("tested");
        service.task_on::<Thread>("files", DirectoryWatcher::new(folder.path(), |_| ()).debounce(HOUR));
        let (test, clock) = with_clock(service);
        std::fs::write(folder.path().join("a"), "").unwrap();
        test.wait_until("nothing is heard", || clock.next_deadline() == Some(HOUR));
        assert_eq!(test.counter("files.created"), 0);
        // Ten times the silence at most, whatever comes meanwhile.
        clock.advance(10 * HOUR);
        assert_eq!(test.counter("files.created"), 1);
        test.stop().assert_clean();
    });
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn a_service_that_never_rests_ends_the_test_with_the_status() {
    watched(|| {
        let spins = task_fn::<Thread>(async |cx| {
            cx.ready();
            while !cx.shutdown().is_requested() {
                yield_once().await;
            }
            Ok(())
        });
        let text = panic_of(move || {
            let mut test = TestService::new(service_of(spins)).watchdog(SHORT);
            let clock = test.fake_clock();
            let _test = test.start();
            clock.advance(HOUR);
        });
        contains(&text, &["the service does not come to rest within 1 s", "task alone"]);
    });
}

#[test]
fn without_a_fake_clock_time_is_real() {
    watched(|| {
        let sleeps = task_fn::<Thread>(async |cx| {
            cx.ready();
            let begun = Instant::now();
            cx.sleep(Duration::from_millis(20)).await;
            assert!(begun.elapsed() >= Duration::from_millis(20));
            Ok(())
        });
        TestService::new(service_of(sleeps)).launch().join().assert_clean();
    });
}

fn _of_any_loop<L: Timers>() -> RunningTest {
    testing::task_on::<L>("quiet", quiet_resident())
}

/// A loop with a beat of its own: a step each second, by the service's clock.
#[derive(Clone, Default)]
struct Metronome;

/// What its steps do: count, and block if they must.
#[derive(Default)]
struct Steps {
    done: Cell<u64>,
    blocks: Cell<Option<(Latch, Latch)>>,
}

impl EventLoop for Metronome {
    const NAME: &'static str = "metronome";
    type Options = NoOptions;
    type Native = Rc<Steps>;

    fn drive(
        self,
        _: NoOptions,
        mut mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, Rc<Steps>),
    ) -> Result {
        let (waker, woken) = mpsc::channel();
        mailbox.set_notify(move || waker.send(()).unwrap_or_default());
        let mut clock = mailbox.clock();
        let steps = Rc::new(Steps::default());
        started(&mailbox, steps.clone());
        let mut next = clock.now() + S;
        loop {
            let wait = match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => Duration::ZERO,
                Turn::Idle => clock.wait_until(next),
            };
            let _ = woken.recv_timeout(wait);
            if clock.now() >= next {
                next += S;
                if let Some((blocked, goes_on)) = steps.blocks.take() {
                    blocked.open();
                    goes_on.wait_for_ever();
                }
                steps.done.set(steps.done.get() + 1);
            }
        }
    }
}

#[test]
fn the_beat_of_a_loop_goes_by_the_clock() {
    watched(|| {
        let mut service = Service::new("test");
        service.task("plays", quiet_resident::<Metronome>());
        let metronome = service.remote_to::<Metronome>();
        let (test, clock) = with_clock(service);
        let done = || metronome.call(|steps| steps.done.get()).wait_timeout(S * 10).unwrap();
        assert_eq!(done(), 0);
        clock.advance(S / 2);
        assert_eq!(done(), 0);
        clock.advance(S / 2);
        assert_eq!(done(), 1);
        clock.advance(HOUR);
        assert_eq!(done(), 3601);
        test.stop().assert_clean();
    });
}

#[test]
fn the_beat_of_a_loop_goes_by_the_system_if_no_test_moves_the_clock() {
    watched(|| {
        let mut service = Service::new("test");
        let metronome = service.remote_to::<Metronome>();
        let begun = Instant::now();
        let test = TestService::new(service).start();
        let (stepped, goes_on) = (Latch::default(), Latch::default());
        goes_on.open();
        let step = (stepped.clone(), goes_on);
        metronome.call(move |steps| steps.blocks.set(Some(step))).wait_timeout(S * 10).unwrap();
        // Nothing wakes the loop from here on.
        stepped.wait();
        assert!(begun.elapsed() >= S, "{:?}", begun.elapsed());
        test.stop().assert_clean();
    });
}

#[test]
fn a_clock_that_goes_on_past_a_blocked_loop_says_so() {
    const WITHIN: &str = "INTERLOOP_TEST_BLOCKED_LOOP";
    if std::env::var_os(WITHIN).is_some() {
        return go_on_past_a_blocked_loop();
    }
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    let name = "testing::a_clock_that_goes_on_past_a_blocked_loop_says_so";
    let command = command.args([name, "--exact", "--nocapture"]).env(WITHIN, "1");
    let output = command.stdin(Stdio::null()).output().expect("it can be started");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let told = text.lines().filter(|line| line.starts_with("test: ")).collect::<Vec<_>>();
    let said = [
        "test: the fake clock went on to 2 s although a thread was blocked for 2 s",
        "test: loop metronome is blocked in its own events",
    ];
    assert_eq!(told, said, "{text}");
}

fn go_on_past_a_blocked_loop() {
    watched(|| {
        let mut service = Service::new("test");
        service.task("plays", quiet_resident::<Metronome>());
        service.task("aside", quiet_resident::<Thread>());
        let metronome = service.remote_to::<Metronome>();
        let (test, clock) = with_clock(service);
        let (blocked, goes_on) = (Latch::default(), Latch::default());
        let blocks = (blocked.clone(), goes_on.clone());
        metronome.call(move |steps| steps.blocks.set(Some(blocks))).wait_timeout(S * 10).unwrap();
        clock.advance(S * 2);
        blocked.wait();
        // Told once, however often the clock goes on past it.
        clock.advance(S);
        goes_on.open();
        test.stop().assert_clean();
    });
}
