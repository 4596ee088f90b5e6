//! Periodic work, and the workers for blocking work.

use std::{
    cell::Cell,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::util::{Latch, Log, SOON, alone, cause_of, state_of, threads, up, warnings, watched};
use interloop::{
    CallError, Cause, Context, Error, EventLoop, Remote, RestartPolicy, Result, Running, Service, State, Thread, clap,
    task_fn,
    tasks::{FirstRun, MissedTicks, Periodic, RunError, TryLater, Work, Workers},
};

const HOUR: Duration = Duration::from_secs(3600);

fn counter(running: &Running, name: &str) -> u64 {
    running.status().tasks[0].counters[name]
}

/// A place on the loop `shared`: when it has answered, the loop has seen all earlier requests.
fn on_shared_loop(service: &mut Service) -> Remote<()> {
    service.event_loop("shared", Thread);
    let (slot, place) = service.slot::<()>("place");
    let keeper = task_fn::<Thread>(async move |cx| {
        cx.fill(slot, ());
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("keeper", keeper).on("shared");
    place
}

/// Work that counts its runs.
fn counting() -> (Arc<AtomicU64>, impl FnMut() + Clone + Send + 'static) {
    let count = Arc::new(AtomicU64::new(0));
    let counts = count.clone();
    let work = move || {
        counts.fetch_add(1, Ordering::AcqRel);
    };
    (count, work)
}

// --- When ---

#[test]
fn the_first_run_is_after_one_interval_or_at_once() {
    watched(|| {
        for (first, before) in [(FirstRun::AfterInterval, 0), (FirstRun::AtOnce, 1)] {
            let (mut service, latch) = (Service::new("test"), Latch::default());
            let (count, mut work) = counting();
            let open = latch.clone();
            let work = move || {
                work();
                open.open();
            };
            let hourly = Periodic::new(HOUR, work).first_run(first);
            let handle = hourly.handle();
            service.task_on::<Thread>("hourly", hourly);
            let running = up(service);
            if before == 1 {
                latch.wait();
            }
            // One more run, by which everything due before is done.
            assert_eq!(handle.run_now().wait_timeout(SOON), Ok(Ok(())));
            assert_eq!(count.load(Ordering::Acquire), before + 1);
            assert_eq!(counter(&running, "iterations"), before + 1);
            assert_eq!(running.stop().code, 0);
        }
    });
}

#[test]
fn async_work_is_awaited() {
    watched(|| {
        let (mut service, done) = (Service::new("test"), Latch::default());
        let (slot, count) = service.slot::<Cell<u64>>("count");
        let keeper = task_fn::<Thread>(async move |cx| {
            cx.fill(slot, Cell::new(0));
            cx.until_shutdown().await;
            Ok(())
        });
        let d = done.clone();
        let work = async move || {
            let count = count.call(|count| count.replace(count.get() + 1)).await?;
            if count == 2 {
                d.open();
            }
            Ok::<_, CallError>(())
        };
        service.task_on::<Thread>("adder", Periodic::new_async(HOUR, work)).set("interval", "1ms").requires("keeper");
        service.task("keeper", keeper);
        let running = up(service);
        done.wait();
        assert_eq!(running.stop().code, 0);
    });
}

/// Does this many runs, the first of which takes a hundred intervals.
fn one_slow_run(missed: MissedTicks, runs: u64) -> (u64, u64) {
    let (mut service, latch) = (Service::new("test"), Latch::default());
    let (l, mut count) = (latch.clone(), 0);
    let work = move || {
        count += 1;
        if count == 1 {
            // The time is what is tested.
            thread::sleep(Duration::from_millis(200));
        }
        if count == runs {
            l.open();
        }
    };
    let work = Periodic::new(Duration::from_millis(2), work).first_run(FirstRun::AtOnce).missed_ticks(missed);
    service.task_on::<Thread>("slow", work);
    let running = up(service);
    latch.wait();
    let counters = (counter(&running, "missed"), counter(&running, "slow_iterations"));
    let durations = running.status().tasks[0].histograms["execute_duration"].clone();
    assert!(durations.max.unwrap() >= 0.2 && durations.windows.len() == 2, "{durations:?}");
    assert_eq!(running.stop().code, 0);
    counters
}

#[test]
fn ticks_that_a_slow_run_has_missed_are_skipped_or_made_up_for() {
    watched(|| {
        for missed in [MissedTicks::Skip, MissedTicks::Delay] {
            let (missed, slow) = one_slow_run(missed, 2);
            assert!(missed >= 98 && slow >= 1, "{missed} missed, {slow} slow");
        }
        let (missed, slow) = one_slow_run(MissedTicks::Burst, 100);
        assert!(missed == 0 && slow >= 1, "{missed} missed, {slow} slow");
    });
}

#[test]
fn runs_never_overlap() {
    watched(|| {
        let (mut service, latch) = (Service::new("test"), Latch::default());
        let (l, busy, mut count) = (latch.clone(), Arc::new(AtomicBool::new(false)), 0);
        let work = move || {
            assert!(!busy.swap(true, Ordering::AcqRel), "two at once");
            thread::sleep(Duration::from_millis(3));
            count += 1;
            if count == 5 {
                l.open();
            }
            busy.store(false, Ordering::Release);
        };
        let often = Periodic::new(Duration::from_millis(1), work).missed_ticks(MissedTicks::Burst).blocking();
        let handle = often.handle();
        service.task_on::<Thread>("often", often);
        let running = up(service);
        for _ in 0..20 {
            handle.run_now().detach();
        }
        latch.wait();
        assert!(counter(&running, "slow_iterations") >= 4);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn what_has_to_be_made_up_for_leaves_others_on_the_loop_their_turn() {
    watched(|| {
        let mut service = Service::new("test");
        // It is never done.
        let busy = Periodic::new(Duration::from_nanos(1), || ()).missed_ticks(MissedTicks::Burst);
        service.task_on::<Thread>("busy", busy).on("shared");
        let place = on_shared_loop(&mut service);
        let running = up(service);
        assert_eq!(place.call(|()| 7).wait_timeout(SOON), Ok(7));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn an_interval_of_zero_is_refused() {
    watched(|| {
        let mut service = Service::new("test");
        service.task_on::<Thread>("tick", Periodic::new(Duration::ZERO, || ()));
        let report = service.start().unwrap().join_timeout(SOON).expect("it fails");
        assert_eq!(cause_of(&report, "tick"), Cause::Error("the interval must not be zero".into()));
        let mut service = Service::new("test");
        service.task_on::<Thread>("tick", Periodic::new(HOUR, || ())).set("interval", "0s");
        let error = service.start().expect_err("it is refused");
        assert!(error.code() == 78 && error.to_string().contains("must not be zero"), "{error}");
    });
}

#[cfg(feature = "cron")]
#[test]
fn a_cron_expression_may_be_an_option_and_the_first_run_at_once() {
    watched(|| {
        let (mut service, latch) = (Service::new("test"), Latch::default());
        let l = latch.clone();
        let nightly = Periodic::new(HOUR, move || l.open()).first_run(FirstRun::AtOnce);
        let handle = nightly.handle();
        service.task_on::<Thread>("nightly", nightly).set("cron", "0 3 1 1 * Europe/Berlin");
        let running = up(service);
        latch.wait();
        assert_eq!(handle.run_now().wait_timeout(SOON), Ok(Ok(())));
        assert_eq!(running.stop().code, 0);
    });
}

// --- How it ends ---

#[test]
fn who_says_try_later_is_tried_again() {
    watched(|| {
        let (mut service, latch) = (Service::new("test"), Latch::default());
        let (l, mut count) = (latch.clone(), 0);
        let work = move || -> Result {
            count += 1;
            match count {
                1 | 2 => Err(TryLater::after(Duration::from_millis(1)))?,
                // Much later, unless somebody asks.
                3 => {
                    l.open();
                    Err(TryLater::after(HOUR))?
                }
                _ => Ok(()),
            }
        };
        let work = Periodic::new(HOUR, work).first_run(FirstRun::AtOnce);
        let handle = work.handle();
        service.task_on::<Thread>("later", work);
        let running = up(service);
        latch.wait();
        assert_eq!(handle.run_now().wait_timeout(SOON), Ok(Ok(())));
        assert_eq!((counter(&running, "try_later"), counter(&running, "iterations")), (3, 1));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn who_asks_is_told_to_try_later() {
    watched(|| {
        let (mut service, later) = (Service::new("test"), TryLater::after(HOUR));
        let work = Periodic::new(HOUR, move || Err::<(), _>(later));
        let handle = work.handle();
        service.task_on::<Thread>("later", work);
        let running = up(service);
        assert_eq!(handle.run_now().wait_timeout(SOON), Ok(Err(RunError::TryLater(later))));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn an_error_fails_the_task_and_who_asked_is_told() {
    watched(|| {
        let mut service = Service::new("test");
        let work = Periodic::new(HOUR, || Err::<(), _>(Error::new("no water")));
        let handle = work.handle();
        service.task_on::<Thread>("well", work);
        let running = up(service);
        assert_eq!(handle.run_now().wait_timeout(SOON), Ok(Err(RunError::Failed("no water".into()))));
        let report = running.join_timeout(SOON).expect("a failure ends the service");
        assert_eq!((report.code, cause_of(&report, "well")), (1, Cause::Error("no water".into())));
        assert_eq!(handle.run_now().wait_timeout(SOON), Err(CallError::Stopped));
    });
}

#[test]
fn a_panic_fails_the_task_wherever_the_work_is_done() {
    fn panics<W>(work: Periodic<W>)
    where
        Periodic<W>: interloop::Task<Thread>,
    {
        let mut service = Service::new("test");
        let handle = work.handle();
        service.task_on::<Thread>("bad", work);
        let running = up(service);
        assert_eq!(handle.run_now().wait_timeout(SOON), Err(CallError::Panicked("out of rope".into())));
        let report = running.join_timeout(SOON).expect("a failure ends the service");
        assert_eq!((report.code, state_of(&report, "bad")), (1, State::Failed));
        assert_eq!(cause_of(&report, "bad"), Cause::Panicked("out of rope".into()));
    }
    watched(|| {
        let work = || panic!("out of rope");
        panics(Periodic::new::<()>(HOUR, work));
        panics(Periodic::new::<()>(HOUR, work).blocking());
        panics(Periodic::new_async::<()>(HOUR, async move || work()));
    });
}

// --- Asking for a run ---

/// Work that begins at once, and goes on when it is released: it reports its beginning in the log and by the first
/// latch, and waits for the second.
fn gated() -> (Periodic<impl Work<Thread, Output = ()> + Clone>, Log, Latch, Latch) {
    let (log, begun, go_on) = (Log::default(), Latch::default(), Latch::default());
    let (l, b, g) = (log.clone(), begun.clone(), go_on.clone());
    let work = async move || {
        l.say("run");
        b.open();
        g.opened().await;
    };
    (Periodic::new_async(HOUR, work).first_run(FirstRun::AtOnce), log, begun, go_on)
}

#[test]
fn those_who_ask_while_a_run_is_in_progress_get_one_more_after_it() {
    watched(|| {
        let mut service = Service::new("test");
        let (work, log, begun, go_on) = gated();
        let handle = work.handle();
        service.task_on::<Thread>("work", work).on("shared");
        let place = on_shared_loop(&mut service);
        let running = up(service);
        begun.wait();
        let asked: Vec<_> = (0..3).map(|_| handle.run_now()).collect();
        handle.run_now().cancel();
        // They have arrived.
        place.call(|()| ()).wait_timeout(SOON).unwrap();
        assert!(asked.iter().all(|reply| !reply.is_done()));
        go_on.open();
        for reply in asked {
            assert_eq!(reply.wait_timeout(SOON), Ok(Ok(())));
        }
        assert_eq!(log.lines(), ["run", "run"]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn who_changes_their_mind_while_they_wait_gets_no_run() {
    watched(|| {
        let mut service = Service::new("test");
        let (work, log, begun, go_on) = gated();
        let handle = work.handle();
        service.task_on::<Thread>("work", work).on("shared");
        let place = on_shared_loop(&mut service);
        let running = up(service);
        begun.wait();
        let asked = handle.run_now();
        place.call(|()| ()).wait_timeout(SOON).unwrap();
        asked.cancel();
        go_on.open();
        // Time to begin one, if it were to begin.
        for _ in 0..10 {
            place.call(|()| ()).wait_timeout(SOON).unwrap();
        }
        assert_eq!(handle.run_now().wait_timeout(SOON), Ok(Ok(())));
        assert_eq!(log.lines(), ["run", "run"]);
        assert_eq!(running.stop().code, 0);
    });
}

/// Runs until the task is asked to stop.
struct UntilShutdown(Log, Latch);

impl<L: EventLoop> Work<L> for UntilShutdown {
    type Options = interloop::NoOptions;
    type Output = ();

    async fn run(&mut self, cx: Context<L>) -> Result {
        self.0.say("run");
        self.1.open();
        cx.shutdown().requested().await;
        self.0.say("end");
        Ok(())
    }
}

#[test]
fn at_the_stop_a_run_goes_on_to_its_end_and_who_waits_for_another_is_told() {
    watched(|| {
        let (mut service, log, begun) = (Service::new("test"), Log::default(), Latch::default());
        let work = Periodic::of(HOUR, UntilShutdown(log.clone(), begun.clone())).first_run(FirstRun::AtOnce);
        let handle = work.handle();
        service.task_on::<Thread>("work", work);
        let running = up(service);
        begun.wait();
        let asked = handle.run_now();
        let report = running.stop();
        assert_eq!((report.code, state_of(&report, "work")), (0, State::Stopped));
        assert_eq!(asked.wait_timeout(SOON), Err(CallError::Stopped));
        assert_eq!(handle.run_now().wait_timeout(SOON), Err(CallError::Stopped));
        assert_eq!(log.lines(), ["run", "end"]);
    });
}

#[test]
fn who_asks_a_task_that_never_starts_is_told() {
    watched(|| {
        let (mut service, work) = (Service::new("test"), Periodic::new(HOUR, || ()));
        let handle = work.handle();
        let asked = handle.run_now();
        service.task_on::<Thread>("work", work);
        drop(service);
        assert_eq!(asked.wait_timeout(SOON), Err(CallError::Stopped));
        assert_eq!(handle.run_now().wait_timeout(SOON), Err(CallError::Stopped));
    });
}

#[test]
fn who_waits_for_a_run_when_the_task_fails_gets_one_of_the_next_incarnation() {
    watched(|| {
        let (mut service, begun, go_on) = (Service::new("test"), Latch::default(), Latch::default());
        let (b, g, first) = (begun.clone(), go_on.clone(), Arc::new(AtomicBool::new(true)));
        let work = Periodic::new_async(HOUR, async move || -> Result {
            if first.swap(false, Ordering::AcqRel) {
                b.open();
                g.opened().await;
                return Err(Error::new("stumbled"));
            }
            Ok(())
        });
        let work = work.first_run(FirstRun::AtOnce);
        let handle = work.handle();
        let policy = RestartPolicy::on_failure();
        service.task_with::<Thread>("work", move || work.clone()).offers(&handle).restart(policy).on("shared");
        let place = on_shared_loop(&mut service);
        let running = up(service);
        begun.wait();
        let asked = handle.run_now();
        place.call(|()| ()).wait_timeout(SOON).unwrap();
        go_on.open();
        assert_eq!(asked.wait_timeout(SOON), Ok(Ok(())));
        assert_eq!(running.status().tasks[0].incarnation, 2);
        assert_eq!(running.stop().code, 0);
    });
}

// --- Work with options ---

struct Sweep(Log);

#[derive(clap::Args)]
struct SweepOptions {
    /// The tool to sweep with
    #[arg(long, default_value = "a broom")]
    with: String,
}

impl<L: EventLoop> Work<L> for Sweep {
    type Options = SweepOptions;
    type Output = ();

    async fn run(&mut self, cx: Context<L, SweepOptions>) -> Result {
        self.0.say(format!("{} sweeps with {}", cx.name(), cx.options().with));
        cx.counter("swept").add(1);
        Ok(())
    }
}

#[test]
fn work_of_ones_own_has_options_and_counters_and_chooses_its_loop() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let sweep = Periodic::of(HOUR, Sweep(log.clone()));
        let handle = sweep.handle();
        service.task_any::<(Thread,)>("sweeper", sweep).set("with", "a mop");
        let running = up(service);
        assert_eq!(handle.run_now().wait_timeout(SOON), Ok(Ok(())));
        assert_eq!(log.lines(), ["sweeper sweeps with a mop"]);
        assert_eq!(counter(&running, "swept"), 1);
        assert_eq!(running.stop().code, 0);
    });
}

// --- Blocking work ---

#[test]
fn blocking_work_has_a_thread_of_its_own_and_leaves_none() {
    alone(|| {
        let before = threads();
        let (mut service, begun, go_on) = (Service::new("test"), Latch::default(), Latch::default());
        let (b, g, names) = (begun.clone(), go_on.clone(), Log::default());
        let n = names.clone();
        let work = move || {
            n.say(thread::current().name().unwrap_or_default());
            b.open();
            g.wait();
        };
        let work = Periodic::new(HOUR, work).first_run(FirstRun::AtOnce).blocking();
        service.task_on::<Thread>("digger", work).on("shared");
        let place = on_shared_loop(&mut service);
        let running = up(service);
        begun.wait();
        // The loop is free meanwhile.
        assert_eq!(place.call(|()| 7).wait_timeout(SOON), Ok(7));
        let mut watch = running.watch();
        running.request_shutdown("enough");
        crate::util::reach(&mut watch, "digger", 1, State::Stopping);
        go_on.open();
        let report = running.join_timeout(SOON).expect("it stops");
        assert_eq!((report.code, state_of(&report, "digger")), (0, State::Stopped));
        assert_eq!(names.lines(), ["digger-1"]);
        assert_eq!(threads(), before);
    });
}

/// Reports when it is dropped.
struct Last(Latch);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[test]
fn blocking_work_past_the_deadline_is_left_behind_and_ends_when_it_can() {
    watched(|| {
        let (mut service, begun, go_on, gone) =
            (Service::new("test"), Latch::default(), Latch::default(), Latch::default());
        let (b, g, last) = (begun.clone(), go_on.clone(), Last(gone.clone()));
        let work = move || {
            let _ = &last;
            b.open();
            g.wait();
        };
        let work = Periodic::new(HOUR, work).first_run(FirstRun::AtOnce).blocking();
        service.task_on::<Thread>("digger", work).stop_timeout(Duration::from_millis(50));
        let running = up(service);
        begun.wait();
        let report = running.stop();
        assert_eq!((report.code, state_of(&report, "digger")), (124, State::Cancelled), "{report}");
        assert!(!gone.is_open());
        go_on.open();
        gone.wait();
    });
}

/// Runs something with workers of a task; the threads are gone afterwards.
fn with_workers(count: usize, f: impl AsyncFnOnce(Workers) -> Result + Send + 'static) {
    let before = threads();
    let mut service = Service::new("test");
    let task = task_fn::<Thread>(async move |cx| {
        let workers = Workers::start(&cx, count)?;
        f(workers).await
    });
    service.task("pool", task);
    let report = service.start().unwrap().join_timeout(SOON).expect("it ends by itself");
    assert_eq!(report.code, 0, "{report}");
    // One that was busy when the workers were dropped ends by itself.
    let begun = Instant::now();
    while threads() > before {
        assert!(begun.elapsed() < SOON, "{} threads, and {before} before", threads());
        thread::yield_now();
    }
}

#[test]
fn workers_work_side_by_side() {
    alone(|| {
        with_workers(3, async |workers| {
            let barrier = Arc::new(Barrier::new(3));
            let work = || {
                let barrier = barrier.clone();
                workers.run(move || {
                    barrier.wait();
                    thread::current().name().unwrap_or_default().to_owned()
                })
            };
            let replies = [work(), work(), work()];
            let mut names = Vec::new();
            for reply in replies {
                names.push(reply.await?);
            }
            names.sort();
            assert_eq!(names, ["pool-1", "pool-2", "pool-3"]);
            Ok(())
        });
    });
}

#[test]
fn a_worker_that_panicked_works_on() {
    alone(|| {
        with_workers(1, async |workers| {
            let bad = workers.run(|| panic!("dropped a spanner"));
            assert_eq!(bad.await, Err::<(), _>(CallError::Panicked("dropped a spanner".into())));
            assert_eq!(workers.run(|| 7).await, Ok(7));
            Ok(())
        });
    });
}

#[test]
fn what_is_cancelled_before_a_worker_is_free_is_not_done() {
    alone(|| {
        with_workers(1, async |workers| {
            let (hold, held) = mpsc::channel::<()>();
            let busy = workers.run(move || held.recv_timeout(SOON).is_ok());
            let (count, work) = counting();
            workers.run(work.clone()).cancel();
            let wanted = workers.run(work);
            drop(hold);
            assert_eq!((busy.await, wanted.await), (Ok(false), Ok(())));
            assert_eq!(count.load(Ordering::Acquire), 1);
            Ok(())
        });
    });
}

#[test]
fn finish_waits_for_all_that_was_accepted_and_drop_gives_up_what_nobody_has_begun() {
    alone(|| {
        with_workers(1, async |workers| {
            let (count, work) = counting();
            for _ in 0..10 {
                workers.run(work.clone()).detach();
            }
            workers.finish().await;
            assert_eq!(count.load(Ordering::Acquire), 10);
            Ok(())
        });
        with_workers(1, async |workers| {
            let begun = Latch::default();
            let (hold, held) = mpsc::channel::<()>();
            let b = begun.clone();
            let busy = workers.run(move || {
                b.open();
                held.recv_timeout(SOON).is_ok()
            });
            let queued = workers.run(|| ());
            begun.wait();
            drop(workers);
            assert_eq!(queued.await, Err(CallError::Stopped));
            drop(hold);
            assert_eq!(busy.await, Ok(false));
            Ok(())
        });
    });
}

#[test]
fn failures_are_counted_by_choice_and_the_next_run_is_at_its_time() {
    alone(|| {
        let lines = warnings();
        let (count, fails) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
        let (counts, failing) = (count.clone(), fails.clone());
        let work = move || -> std::result::Result<(), Error> {
            counts.fetch_add(1, Ordering::AcqRel);
            if failing.load(Ordering::Acquire) { Err(Error::new("no dust")) } else { Ok(()) }
        };
        let hourly = Periodic::new(Duration::from_secs(3600), work).count_failures();
        let handle = hourly.handle();
        let mut service = Service::new("test");
        service.task_on::<Thread>("work", hourly);
        let running = up(service);
        for number in 1..=3 {
            // The requester is told, and the task goes on.
            assert_eq!(handle.run_now().wait_timeout(SOON), Ok(Err(RunError::Failed("no dust".into()))));
            assert_eq!(count.load(Ordering::Acquire), number);
        }
        fails.store(false, Ordering::Release);
        assert_eq!(handle.run_now().wait_timeout(SOON), Ok(Ok(())));
        let counters = running.status().tasks[0].counters.clone();
        assert_eq!((counters["failures"], counters["iterations"]), (3, 1));
        assert_eq!(*lines.lock().unwrap(), ["WARN test.work: failed, and goes on: no dust"; 3]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_panic_fails_a_task_that_counts_its_failures() {
    watched(|| {
        let spark: fn() = || panic!("a spark");
        let work = Periodic::new(Duration::from_secs(3600), spark).count_failures();
        let handle = work.handle();
        let mut service = Service::new("test");
        service.task_on::<Thread>("work", work.blocking());
        let running = up(service);
        assert_eq!(handle.run_now().wait_timeout(SOON), Err(CallError::Panicked("a spark".into())));
        assert_eq!(cause_of(&running.join(), "work"), Cause::Panicked("a spark".into()));
    });
}
