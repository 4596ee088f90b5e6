//! User code that the service calls beside its loops blocks for ever, or panics: everything else stops in time, and
//! the code is named.
#![cfg(feature = "metrics")]

use std::{
    collections::HashSet,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use crate::util::{Latch, Log, SOON, alone, quiet_resident, resident, state_of, up, warnings, watched};
use interloop::{
    CallError, EventLoop, NoOptions, Report, Result, Running, Service, ServiceHandle, State, Thread,
    counters::Reading,
    event_loop::{Mailbox, Turn},
    task::{TaskHandle, TaskRef},
    task_fn,
};

/// The time limit for everything that nothing holds up. Most of it allows for a busy machine.
const IN_TIME: Duration = Duration::from_secs(5);

/// User code that goes wrong here, once it is armed.
#[derive(Clone, Default)]
struct Fault(Arc<Inner>);

#[derive(Default)]
struct Inner {
    armed: AtomicBool,
    panics: bool,
    reached: Latch,
    release: Latch,
}

impl Fault {
    fn panics() -> Self {
        Self(Arc::new(Inner { panics: true, ..Inner::default() }))
    }

    fn arm(&self) {
        self.0.armed.store(true, Ordering::SeqCst);
    }

    /// Blocks, or panics, if it is armed.
    fn here(&self) {
        if self.0.armed.load(Ordering::SeqCst) {
            self.0.reached.open();
            if self.0.panics {
                panic!("out of order");
            }
            self.0.release.wait_for_ever();
        }
    }
}

/// What no test outlives.
impl Drop for Release {
    fn drop(&mut self) {
        self.0.0.armed.store(false, Ordering::SeqCst);
        self.0.0.release.open();
    }
}

/// Releases blocked code at the end of a test.
struct Release(Fault);

/// A loop whose code goes wrong.
#[derive(Default)]
struct Faulty {
    notify: Fault,
    clone: Fault,
    _drop: FaultyDrop,
    /// It has nothing to do, and sleeps until its notify is called.
    rests: Arc<AtomicBool>,
}

#[derive(Default)]
struct FaultyDrop(Fault);

impl Clone for Faulty {
    fn clone(&self) -> Self {
        self.clone.here();
        // Its own copy is dropped normally.
        Self { notify: self.notify.clone(), rests: self.rests.clone(), ..Self::default() }
    }
}

impl Drop for FaultyDrop {
    fn drop(&mut self) {
        self.0.here();
    }
}

impl EventLoop for Faulty {
    const NAME: &'static str = "faulty";
    type Options = NoOptions;
    type Native = ();

    fn drive(self, _: NoOptions, mut mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        let (driver, notify) = (thread::current(), self.notify.clone());
        mailbox.set_notify(move || {
            notify.here();
            driver.unpark();
        });
        started(&mailbox, ());
        loop {
            self.rests.store(false, Ordering::SeqCst);
            match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => {}
                Turn::Idle => {
                    self.rests.store(true, Ordering::SeqCst);
                    thread::park();
                }
            }
        }
    }
}

/// Waits until the loop rests.
fn await_rest(rests: &AtomicBool) {
    let begun = Instant::now();
    while !rests.load(Ordering::SeqCst) {
        assert!(begun.elapsed() < SOON, "the loop does not rest");
        thread::yield_now();
    }
}

/// A waker whose code goes wrong.
struct FaultyWaker {
    wake: Fault,
    drop: Fault,
}

impl Wake for FaultyWaker {
    fn wake(self: Arc<Self>) {
        self.wake.here();
    }
}

impl Drop for FaultyWaker {
    fn drop(&mut self) {
        self.drop.here();
    }
}

fn waker(wake: &Fault) -> Waker {
    Waker::from(Arc::new(FaultyWaker { wake: wake.clone(), drop: Fault::default() }))
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

/// Returns a service of tasks that stop in order, to which a test adds the faulty code.
fn service(log: &Log) -> Service {
    let mut service = Service::new("test");
    service.arguments(["--shutdown-timeout", "1s"]);
    service.task("first", resident(log));
    service.task("second", resident(log)).requires("first");
    service.task("third", resident(log)).requires("second");
    service
}

/// Stops it; everything in the [service] must have stopped in time, in order. The report may take until the deadline of
/// whatever does not stop.
fn stops(running: Running, log: &Log) -> Report {
    let begun = Instant::now();
    running.request_shutdown("test");
    while log.who("stops").len() < 3 {
        assert!(begun.elapsed() < IN_TIME, "not all have stopped: {:?}", log.lines());
        thread::yield_now();
    }
    assert_eq!(log.who("stops"), ["third", "second", "first"]);
    let report = running.join_timeout(SOON).unwrap_or_else(|running| panic!("no end: {}", running.status()));
    for task in ["first", "second", "third"] {
        assert_eq!(state_of(&report, task), State::Stopped, "{report}");
    }
    report
}

#[test]
fn a_notify_that_blocks_or_panics() {
    watched(|| {
        for fault in [Fault::default(), Fault::panics()] {
            let (_release, log) = (Release(fault.clone()), Log::default());
            let mut service = service(&log);
            let rests = Arc::<AtomicBool>::default();
            service.event_loop("io", Faulty { notify: fault.clone(), rests: rests.clone(), ..Faulty::default() });
            service.task("sleeper", quiet_resident::<Faulty>()).on("io");
            let running = up(service);
            await_rest(&rests);
            fault.arm();
            let report = stops(running, &log);
            // Nobody could tell the loop that its task must stop.
            assert_eq!((report.code, &*report.stuck[0].name), (124, "io"), "{report}");
            if !fault.0.panics {
                let words = ["left behind: a waker of task sleeper", "left behind: the notify of loop io"];
                assert!(words.iter().any(|words| report.to_string().contains(words)), "{report}");
                assert_eq!(report.stuck[0].polling, "the notify of loop io", "{report}");
            }
        }
    });
}

/// A loop whose notify panics this many times, once it is armed with the number.
#[derive(Clone, Default)]
struct Nervous(Arc<AtomicUsize>);

impl EventLoop for Nervous {
    const NAME: &'static str = "nervous";
    type Options = NoOptions;
    type Native = ();

    fn drive(self, _: NoOptions, mut mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        let (driver, left) = (thread::current(), self.0.clone());
        mailbox.set_notify(move || {
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                panic!("not now");
            }
            driver.unpark();
        });
        started(&mailbox, ());
        loop {
            match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => {}
                Turn::Idle => thread::park(),
            }
        }
    }
}

#[test]
fn a_notify_that_panicked_is_called_again_and_no_post_is_lost() {
    watched(|| {
        let (panics, log) = (Arc::new(AtomicUsize::new(0)), Log::default());
        let mut service = service(&log);
        let native = service.event_loop("io", Nervous(panics.clone())).remote();
        service.task("sleeper", quiet_resident::<Nervous>()).on("io");
        let running = up(service);
        for round in 1..=3 {
            // At rest: a call has been answered, and the loop has checked once more.
            native.call(|()| ()).wait_timeout(SOON).unwrap();
            let ran = Arc::new(AtomicUsize::new(0));
            panics.store(round, Ordering::SeqCst);
            for _ in 0..100 {
                let ran = ran.clone();
                // The panic doesn't affect the caller.
                native.post(move |()| _ = ran.fetch_add(1, Ordering::SeqCst)).unwrap();
            }
            native.call(|()| ()).wait_timeout(SOON).unwrap();
            assert_eq!(ran.load(Ordering::SeqCst), 100);
        }
        assert_eq!(running.warnings().len(), 0);
        let report = stops(running, &log);
        assert_eq!((report.code, report.to_string()), (0, "stopped gracefully (test)".to_owned()));
    });
}

#[test]
fn a_loop_whose_notify_goes_on_panicking_is_named_until_it_wakes_up() {
    watched(|| {
        let (panics, log) = (Arc::new(AtomicUsize::new(0)), Log::default());
        let mut service = service(&log);
        let native = service.event_loop("io", Nervous(panics.clone())).remote();
        let running = up(service);
        let begun = Instant::now();
        panics.store(usize::MAX, Ordering::SeqCst);
        let answer = loop {
            let answer = native.call(|()| 7);
            if panics.load(Ordering::SeqCst) < usize::MAX {
                break answer;
            }
            // It was still awake.
            answer.wait_timeout(SOON).unwrap();
        };
        let until = |wanted: &str| {
            let begun = Instant::now();
            while running.warnings().iter().map(ToString::to_string).collect::<String>() != wanted {
                assert!(begun.elapsed() < SOON, "{:?}", running.warnings());
                thread::yield_now();
            }
        };
        until("loop io: it is stuck: its notify has panicked, and 8 more calls did not wake it up");
        // Some calls, with pauses between them.
        let called = || usize::MAX - panics.load(Ordering::SeqCst);
        let before = called();
        assert!((8..20).contains(&before), "{before}");
        // The first pauses, which grow, add up to more than two seconds; later ones are of two seconds. The call that
        // named it may come late.
        let (mut seen, mut last) = (before, Instant::now());
        loop {
            assert!(begun.elapsed() < SOON);
            let now = called();
            if now > seen && last.elapsed() > Duration::from_millis(1500) {
                break;
            }
            if now > seen {
                (seen, last) = (now, Instant::now());
            }
            thread::yield_now();
        }
        assert!(begun.elapsed() > Duration::from_secs(3), "{:?}", begun.elapsed());
        panics.store(0, Ordering::SeqCst);
        assert_eq!(answer.wait_timeout(SOON), Ok(7));
        until("");
        assert_eq!(stops(running, &log).code, 0);
    });
}

#[test]
fn a_notify_that_blocks_while_others_call_the_loop() {
    watched(|| {
        let (fault, log) = (Fault::default(), Log::default());
        let _release = Release(fault.clone());
        let mut service = service(&log);
        let rests = Arc::<AtomicBool>::default();
        let io = Faulty { notify: fault.clone(), rests: rests.clone(), ..Faulty::default() };
        let native = service.event_loop("io", io).remote();
        let running = up(service);
        await_rest(&rests);
        fault.arm();
        let caller = thread::spawn({
            let native = native.clone();
            move || native.post(|()| ()).is_ok()
        });
        fault.0.reached.wait();
        let waits = thread::spawn(move || native.call(|()| ()).wait_timeout(SOON));
        let report = stops(running, &log);
        assert_eq!((report.code, &*report.stuck[0].polling), (124, "the notify of loop io"), "{report}");
        assert_eq!(waits.join().unwrap(), Err(CallError::Stopped));
        fault.0.release.open();
        assert!(caller.join().unwrap());
    });
}

#[test]
fn wakers_that_block_or_panic() {
    watched(|| {
        for fault in [Fault::default(), Fault::panics()] {
            let (_release, log) = (Release(fault.clone()), Log::default());
            let mut service = service(&log);
            let never = task_fn::<Thread>(async |cx| {
                cx.until_shutdown().await;
                Ok(())
            });
            service.task("never", never);
            let handle = service.handle().clone();
            let (shutdown, mut watch) = (handle.shutdown(), handle.watch());
            let mut started = pin!(handle.started());
            let mut ended = pin!(handle.ended());
            let mut requested = pin!(shutdown.requested());
            let mut step = pin!(watch.next());
            fault.arm();
            let waker = waker(&fault);
            assert!(poll(started.as_mut(), &waker).is_pending() && poll(ended.as_mut(), &waker).is_pending());
            assert!(poll(requested.as_mut(), &waker).is_pending() && poll(step.as_mut(), &waker).is_pending());
            let report = stops(up(service), &log);
            assert_eq!(report.code, 0, "{report}");
            if !fault.0.panics {
                assert!(report.to_string().contains("left behind: a waker of the service"), "{report}");
            }
            assert!(poll(ended.as_mut(), Waker::noop()).is_ready());
        }
    });
}

#[test]
fn wakers_of_one_task_that_block_keep_its_other_waiters_from_nothing() {
    watched(|| {
        let (fault, log) = (Fault::default(), Log::default());
        let _release = Release(fault.clone());
        let mut service = service(&log);
        let polled = Latch::default();
        let (waker, has) = (waker(&fault), polled.clone());
        let task = task_fn::<Thread>(async move |cx| {
            let shutdown = cx.shutdown();
            let mut requested = pin!(shutdown.requested());
            assert!(poll(requested.as_mut(), &waker).is_pending());
            has.open();
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("task", task);
        let running = up(service);
        polled.wait();
        fault.arm();
        let report = stops(running, &log);
        assert_eq!((report.code, state_of(&report, "task")), (0, State::Stopped), "{report}");
        assert!(report.to_string().contains("left behind: a waker of task task"), "{report}");
    });
}

#[test]
fn a_waker_that_blocks_in_its_drop() {
    /// Polls twice: the second poll replaces the waker of the first, which is dropped then.
    fn twice(future: impl Future, fault: &Fault) {
        let mut future = pin!(future);
        let faulty = Waker::from(Arc::new(FaultyWaker { wake: Fault::default(), drop: fault.clone() }));
        assert!(poll(future.as_mut(), &faulty).is_pending());
        drop(faulty);
        let _ = poll(future.as_mut(), Waker::noop());
    }
    let of_shutdown = |handle: ServiceHandle, fault: Fault| twice(handle.shutdown().requested(), &fault);
    let of_end = |handle: ServiceHandle, fault: Fault| twice(handle.ended(), &fault);
    let of_watch = |handle: ServiceHandle, fault: Fault| {
        let mut watch = handle.watch();
        while poll(pin!(watch.next()), Waker::noop()).is_ready() {}
        twice(watch.next(), &fault);
    };
    for polls in [of_shutdown, of_end, of_watch] {
        watched(|| {
            let (fault, log) = (Fault::default(), Log::default());
            let release = Release(fault.clone());
            let running = up(service(&log));
            fault.arm();
            let (handle, faulty) = (running.handle(), fault.clone());
            let blocked = thread::spawn(move || polls(handle, faulty));
            fault.0.reached.wait();
            let report = stops(running, &log);
            assert_eq!(report.code, 0, "{report}");
            drop(release);
            blocked.join().unwrap();
        });
    }
}

#[test]
fn a_reply_whose_waker_blocks_keeps_no_other_from_its_answer() {
    watched(|| {
        let (fault, log) = (Fault::default(), Log::default());
        let _release = Release(fault.clone());
        let mut service = service(&log);
        service.event_loop("io", Thread);
        let hold = Latch::default();
        let held = hold.clone();
        let stuck = task_fn::<Thread>(async move |cx| {
            cx.ready();
            held.wait_for_ever();
            Ok(())
        });
        service.task("stuck", stuck).on("io").never_blocks().stop_timeout(Duration::from_millis(100));
        let io = service.remote_to::<Thread>();
        drop(io);
        let (slot, remote) = service.slot::<u8>("number");
        drop(slot);
        let running = up(service);
        let beats = running.heartbeats();
        let stuck = beats.into_iter().find(|beat| &*beat.name == "io").unwrap();
        let mut stuck = pin!(stuck.reply);
        fault.arm();
        assert!(poll(stuck.as_mut(), &waker(&fault)).is_pending());
        let mut others = running.heartbeats().into_iter().filter(|beat| &*beat.name == "io");
        let other = others.next().unwrap().reply;
        let waits = thread::spawn(move || other.wait_timeout(SOON));
        let report = stops(running, &log);
        assert_eq!((report.code, &*report.stuck[0].name), (124, "io"), "{report}");
        assert_eq!(waits.join().unwrap(), Err(CallError::Stopped));
        assert_eq!(remote.call(|number| *number).wait_timeout(SOON), Err(CallError::Stopped));
        hold.open();
    });
}

#[test]
fn a_clone_of_a_loop_that_blocks_or_panics() {
    watched(|| {
        for fault in [Fault::default(), Fault::panics()] {
            let (_release, log) = (Release(fault.clone()), Log::default());
            let mut service = service(&log);
            service.event_loop("io", Faulty { clone: fault.clone(), ..Faulty::default() });
            service.task("never", quiet_resident::<Faulty>()).on("io");
            fault.arm();
            let running = service.start().unwrap();
            if fault.0.panics {
                let report = running.join_timeout(SOON).unwrap();
                assert_eq!(report.code, 1, "{report}");
                assert!(report.to_string().contains("loop io failed"), "{report}");
                continue;
            }
            let begun = Instant::now();
            while log.who("starts").len() < 3 {
                assert!(begun.elapsed() < IN_TIME, "{:?}", log.lines());
                thread::yield_now();
            }
            let report = stops(running, &log);
            assert_eq!(report.code, 124, "{report}");
            assert!(report.to_string().contains("loop io stuck: thread io was in the start of loop io"), "{report}");
        }
    });
}

#[test]
fn a_drop_of_a_loop_that_blocks_or_panics() {
    watched(|| {
        for fault in [Fault::default(), Fault::panics()] {
            let (_release, log) = (Release(fault.clone()), Log::default());
            let mut service = service(&log);
            service.event_loop("io", Faulty { _drop: FaultyDrop(fault.clone()), ..Faulty::default() });
            service.task("task", quiet_resident::<Faulty>()).on("io");
            let running = up(service);
            fault.arm();
            let report = stops(running, &log);
            assert_eq!(report.code, 0, "{report}");
            assert!(fault.0.reached.is_open());
            if !fault.0.panics {
                assert!(report.to_string().contains("left behind: the drop of loop io"), "{report}");
            }
        }
    });
}

/// The value of an option whose code goes wrong: the process knows which.
#[derive(Clone)]
struct Value(#[expect(dead_code, reason = "it is dropped")] Arc<Held>);

struct Held(Fault);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.here();
    }
}

fn the_fault(panics: bool) -> Fault {
    static FAULTS: std::sync::OnceLock<[Fault; 2]> = std::sync::OnceLock::new();
    FAULTS.get_or_init(|| [Fault::default(), Fault::panics()])[usize::from(panics)].clone()
}

#[derive(clap::Args)]
struct Values {
    #[arg(long, default_value = "blocks", value_parser = |text: &str| Ok::<_, String>(Value(Arc::new(Held(the_fault(text == "panics"))))))]
    value: Value,
}

#[test]
fn a_drop_of_an_option_that_blocks_or_panics() {
    watched(|| {
        for panics in [false, true] {
            let (fault, log) = (the_fault(panics), Log::default());
            let _release = Release(fault.clone());
            let mut service = service(&log);
            struct Keeper(Latch);
            impl interloop::Task<Thread> for Keeper {
                type Options = Values;
                async fn run(&mut self, cx: interloop::Context<Thread, Values>) -> Result {
                    let value = cx.options().value.clone();
                    cx.until_shutdown().await;
                    self.0.opened().await;
                    // None of these is the last.
                    std::mem::forget(value);
                    Ok(())
                }
            }
            let dropped = Latch::default();
            service.task("keeper", Keeper(dropped.clone())).set("value", if panics { "panics" } else { "blocks" });
            let running = up(service);
            let ended = running.ended();
            // Nobody else has its options any more: the supervisor is the last.
            let begun = Instant::now();
            running.request_shutdown("test");
            fault.arm();
            drop(running);
            dropped.open();
            let mut ended = pin!(ended);
            while poll(ended.as_mut(), Waker::noop()).is_pending() {
                assert!(begun.elapsed() < IN_TIME);
                thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(log.who("stops"), ["third", "second", "first"]);
        }
    });
}

#[derive(Clone)]
struct FaultyHandle {
    task: TaskRef,
    fault: Fault,
    in_clone: bool,
    told: Arc<AtomicUsize>,
}

impl TaskHandle for FaultyHandle {
    fn task(&self) -> &TaskRef {
        &self.task
    }

    fn ended(&self) {
        self.told.fetch_add(1, Ordering::SeqCst);
        if !self.in_clone {
            self.fault.here();
        }
    }
}

#[test]
fn a_handle_that_blocks_or_panics_when_it_is_told_of_the_end() {
    watched(|| {
        for fault in [Fault::default(), Fault::panics()] {
            let (_release, log) = (Release(fault.clone()), Log::default());
            let mut service = service(&log);
            let told = Arc::new(AtomicUsize::new(0));
            let handle =
                FaultyHandle { task: TaskRef::default(), fault: fault.clone(), in_clone: false, told: told.clone() };
            // It ends at once, and is reported first.
            let done = task_fn::<Thread>(async |cx| {
                cx.ready();
                Ok(())
            });
            service.task("done", done).offers(&handle);
            fault.arm();
            let running = up(service);
            fault.0.reached.wait();
            let report = stops(running, &log);
            assert_eq!(report.code, 0, "{report}");
            assert!(told.load(Ordering::SeqCst) >= 1);
            if !fault.0.panics {
                assert!(report.to_string().contains("left behind: the handle of task done"), "{report}");
            }
        }
    });
}

#[test]
fn what_blocks_is_named_in_the_status_until_it_comes_back() {
    watched(|| {
        let (fault, log) = (Fault::default(), Log::default());
        let _release = Release(fault.clone());
        let service = service(&log);
        let handle = service.handle().clone();
        let mut started = pin!(handle.started());
        fault.arm();
        assert!(poll(started.as_mut(), &waker(&fault)).is_pending());
        let running = up(service);
        let until = |wanted: &str| {
            let begun = Instant::now();
            while running.warnings().iter().map(ToString::to_string).collect::<String>() != wanted {
                assert!(begun.elapsed() < SOON, "{:?}", running.warnings());
                thread::yield_now();
            }
        };
        until("a waker of the service: it has not come back within 500 ms: its thread is left behind, others go on");
        assert!(running.status().to_string().contains("warning a waker of the service"));
        fault.0.release.open();
        until("");
        let report = stops(running, &log);
        assert_eq!(report.to_string(), "stopped gracefully (test)");
    });
}

// --- Gauges ---

/// Returns what the ways of reading say about a gauge.
fn readings(running: &Running) -> [bool; 5] {
    let counters = running.counters();
    [
        counters.all().contains_key("till.asked"),
        counters.numbers().contains_key("till.asked"),
        counters.openmetrics().contains("test_asked"),
        counters.measurements().iter().any(|one| one.name == "test_asked"),
        running.status().tasks.iter().any(|task| task.gauges.contains_key("asked")),
    ]
}

/// The threads that have asked a gauge.
type Askers = Arc<Mutex<HashSet<ThreadId>>>;

fn till(fault: &Fault, askers: &Askers) -> impl interloop::Task<Thread, Options = NoOptions> + use<> {
    let (fault, askers) = (fault.clone(), askers.clone());
    task_fn::<Thread>(async move |cx| {
        cx.counter("taken").add(3);
        cx.gauge_from("asked", move || {
            fault.here();
            7.0
        });
        cx.gauge_from("other", move || {
            askers.lock().unwrap().insert(thread::current().id());
            5.0
        });
        cx.until_shutdown().await;
        Ok(())
    })
}

#[test]
fn a_gauge_that_blocks_is_left_out_and_named_until_it_answers() {
    watched(|| {
        let (fault, log) = (Fault::default(), Log::default());
        let _release = Release(fault.clone());
        let mut service = service(&log);
        let askers = Askers::default();
        service.task("till", till(&fault, &askers));
        let running = up(service);
        assert_eq!(readings(&running), [true; 5]);
        fault.arm();
        assert_eq!(readings(&running), [false; 5]);
        let warning = running.warnings().iter().map(ToString::to_string).collect::<String>();
        assert_eq!(warning, "till.gauge asked: it has not answered within 500 ms, and is left out until it does");
        assert!(running.counters().openmetrics().contains(r#"interloop_warning{"#));
        assert!(running.status().to_string().contains("warning till.gauge asked"));
        // Nobody waits for it again, and everything that answers is read.
        let begun = Instant::now();
        for _ in 0..100 {
            assert_eq!(readings(&running), [false; 5]);
            assert_eq!(running.counters().get("till.other"), Some(Reading::Gauge(5.0)));
            assert_eq!(running.counters().get("till.taken"), Some(Reading::Counter(3)));
        }
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        // The one that is left behind, and its replacement.
        assert_eq!(askers.lock().unwrap().len(), 2);
        fault.0.armed.store(false, Ordering::SeqCst);
        fault.0.release.open();
        let begun = Instant::now();
        while readings(&running) != [true; 5] {
            assert!(begun.elapsed() < SOON);
        }
        assert_eq!(running.warnings().len(), 0);
        assert_eq!(stops(running, &log).code, 0);
    });
}

#[test]
fn a_gauge_that_panics_is_left_out_and_named() {
    watched(|| {
        let (fault, log) = (Fault::panics(), Log::default());
        let mut service = service(&log);
        service.task("till", till(&fault, &Askers::default()));
        let running = up(service);
        fault.arm();
        assert_eq!(readings(&running), [false; 5]);
        assert_eq!(running.counters().get("till.other"), Some(Reading::Gauge(5.0)));
        let warned = || running.warnings().iter().map(ToString::to_string).collect::<String>();
        let begun = Instant::now();
        // A backtrace may take a while.
        while warned() != "till.gauge asked: it panicked, and is left out: out of order" {
            assert!(begun.elapsed() < SOON, "{}", warned());
            readings(&running);
        }
        fault.0.armed.store(false, Ordering::SeqCst);
        while readings(&running) != [true; 5] {
            assert!(begun.elapsed() < SOON);
        }
        assert_eq!(warned(), "");
        assert_eq!(stops(running, &log).code, 0);
    });
}

#[test]
fn the_log_names_a_gauge_that_fails_as_its_task_s_or_the_service_s() {
    alone(|| {
        let lines = warnings();
        let mut service = Service::new("shop");
        service.task(
            "till",
            task_fn::<Thread>(async |cx| {
                cx.gauge_from("asked", || panic!("out of order"));
                cx.until_shutdown().await;
                Ok(())
            }),
        );
        let running = up(service);
        running.meter().gauge_from("of_all", || panic!("out of order"));
        let logged = |line: &str| lines.lock().unwrap().iter().any(|logged| logged == line);
        let said = "it panicked, and is left out: out of order";
        let wanted = [format!("WARN shop.till: gauge asked: {said}"), format!("WARN shop: gauge of_all: {said}")];
        let begun = Instant::now();
        // A backtrace may take a while.
        while !wanted.iter().all(|line| logged(line)) {
            assert!(begun.elapsed() < SOON, "{:?}", lines.lock().unwrap());
            let _ = running.counters().all();
        }
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn many_gauges_that_block_take_a_bounded_number_of_threads_and_little_time() {
    watched(|| {
        let (fault, log) = (Fault::default(), Log::default());
        let _release = Release(fault.clone());
        let mut service = service(&log);
        let (blocks, askers) = (fault.clone(), Askers::default());
        let asks = askers.clone();
        let task = task_fn::<Thread>(async move |cx| {
            for number in 0..100 {
                let (fault, askers) = (blocks.clone(), asks.clone());
                cx.meter().label("number", number).gauge_from("asked", move || {
                    askers.lock().unwrap().insert(thread::current().id());
                    fault.here();
                    7.0
                });
            }
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("till", task);
        let running = up(service);
        fault.arm();
        let begun = Instant::now();
        // Four are left behind, after half a second each; then nobody asks any more.
        while running.warnings().len() < 4 {
            assert_eq!(running.status().tasks[3].gauges.len(), 0);
            assert!(begun.elapsed() < SOON);
        }
        let begun = Instant::now();
        assert_eq!(running.status().tasks[3].gauges.len(), 0);
        assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
        assert_eq!(askers.lock().unwrap().len(), 4);
        assert_eq!(stops(running, &log).code, 0);
    });
}

#[test]
fn a_gauge_that_reads_gauges_finds_them_left_out() {
    watched(|| {
        let log = Log::default();
        let mut service = service(&log);
        let task = task_fn::<Thread>(async |cx| {
            let handle = cx.service().clone();
            cx.gauge_from("all", move || handle.status().tasks.iter().map(|task| task.gauges.len() as f64).sum());
            cx.gauge("set").set(1.0);
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("till", task);
        let running = up(service);
        assert_eq!(running.counters().get("till.all"), Some(Reading::Gauge(1.0)));
        assert_eq!(running.warnings().len(), 0);
        assert_eq!(stops(running, &log).code, 0);
    });
}

#[test]
fn thread_locals_that_block_in_their_drop_hold_up_no_other_loop() {
    struct Blocks(Fault);
    impl Drop for Blocks {
        fn drop(&mut self) {
            self.0.here();
        }
    }
    thread_local!(static HELD: std::cell::RefCell<Option<Blocks>> = const { std::cell::RefCell::new(None) });
    watched(|| {
        let (fault, log) = (Fault::default(), Log::default());
        let _release = Release(fault.clone());
        fault.arm();
        let mut service = service(&log);
        for name in ["a", "b", "c", "d", "e", "f"] {
            let fault = fault.clone();
            let task = task_fn::<Thread>(async move |cx| {
                HELD.set(Some(Blocks(fault)));
                cx.until_shutdown().await;
                Ok(())
            });
            service.task(name, task);
        }
        let running = up(service);
        let begun = Instant::now();
        let report = stops(running, &log);
        assert_eq!(report.code, 0, "{report}");
        // A second for all of them, not one each.
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    });
}
