//! Helpers for the tests: a watchdog, latches and logs to wait for events, inspection of the process, loops that die.

#![allow(dead_code, unreachable_pub)]

use std::{
    any::type_name,
    cell::Cell,
    collections::BTreeMap,
    fs,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use interloop::{
    Cause, Error, EventLoop, NoOptions, Report, Running, Service, State, Task, Thread,
    event_loop::{Mailbox, Turn},
    service::{Transition, Transitions},
    task_fn,
};
use interloop_own_process::own_process_of;

/// How long a test may take.
pub const WATCHDOG: Duration = Duration::from_secs(20);
/// How long a wait inside a test may take.
pub const SOON: Duration = Duration::from_secs(10);

/// Runs a test; if it takes too long, the process ends, and names the test.
pub fn watched<R>(test: impl FnOnce() -> R) -> R {
    watched_for(WATCHDOG, test)
}

/// Runs a test with this time limit.
fn watched_for<R>(limit: Duration, test: impl FnOnce() -> R) -> R {
    let (done, dog) = watchdog(limit);
    let result = test();
    drop(done);
    dog.join().expect("the watchdog only waits");
    result
}

/// Starts the thread that ends the process at the limit, unless the sender is dropped before. Apart from
/// [`watched_for`], which is compiled for each test.
fn watchdog(limit: Duration) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let (done, wait) = mpsc::channel::<()>();
    let dog = thread::spawn(move || {
        if wait.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name}: still running after {limit:?}");
            std::process::abort();
        }
    });
    (done, dog)
}

/// Runs as [`watched`], for a test of process-wide things (threads, descriptors, children, a logger, hooks): it has the
/// process to itself.
pub fn alone<F: FnOnce()>(test: F) {
    own_process_of(type_name::<F>(), || watched(test));
}

/// Runs alone, for a test that works for seconds: how much longer it takes on a slow machine doesn't matter for its
/// result.
pub fn alone_for<F: FnOnce()>(limit: Duration, test: F) {
    own_process_of(type_name::<F>(), || watched_for(limit, test));
}

/// Opens once, from any thread; can be waited for by threads and by futures.
#[derive(Clone, Default)]
pub struct Latch(Arc<(Mutex<LatchState>, Condvar)>);

#[derive(Default)]
struct LatchState {
    open: bool,
    wakers: Vec<Waker>,
}

impl Latch {
    pub fn open(&self) {
        let wakers = {
            let mut state = self.0.0.lock().unwrap();
            state.open = true;
            std::mem::take(&mut state.wakers)
        };
        self.0.1.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub fn is_open(&self) -> bool {
        self.0.0.lock().unwrap().open
    }

    /// Blocks until it is open; panics after [`SOON`].
    pub fn wait(&self) {
        let guard = self.0.0.lock().unwrap();
        let (guard, _) = self.0.1.wait_timeout_while(guard, SOON, |state| !state.open).unwrap();
        assert!(guard.open, "the latch was not opened in time");
    }

    /// Blocks until it is open, however long that takes.
    pub fn wait_for_ever(&self) {
        let guard = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(guard, |state| !state.open).unwrap());
    }

    pub fn opened(&self) -> impl Future<Output = ()> + Send + 'static {
        let this = self.clone();
        poll_fn(move |cx| {
            let mut state = this.0.0.lock().unwrap();
            if state.open {
                return Poll::Ready(());
            }
            state.wakers.push(cx.waker().clone());
            Poll::Pending
        })
    }
}

/// Events, in order, reported from any thread.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn say(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Returns the lines with this ending, without it.
    pub fn who(&self, end: &str) -> Vec<String> {
        self.lines().iter().filter_map(|line| line.strip_suffix(end).map(|who| who.trim_end().to_owned())).collect()
    }
}

/// Returns a task that logs `.. starts` and `.. stops`, and runs until it is asked to stop.
pub fn resident(log: &Log) -> impl Task<Thread, Options = NoOptions> + use<> {
    let log = log.clone();
    task_fn::<Thread>(async move |cx| {
        log.say(format!("{} starts", cx.name()));
        cx.until_shutdown().await;
        log.say(format!("{} stops", cx.name()));
        Ok(())
    })
}

/// Returns a task that runs until it is asked to stop.
pub fn quiet_resident<L: EventLoop>() -> impl Task<L, Options = NoOptions> {
    task_fn::<L>(async move |cx| {
        cx.until_shutdown().await;
        Ok(())
    })
}

/// Starts it, and waits until all tasks have started.
pub fn up(service: Service) -> Running {
    let running = service.start().unwrap();
    assert!(running.wait_started_timeout(SOON), "it did not start: {}", running.status());
    running
}

/// Waits until it is so.
pub fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < SOON, "not so: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub fn state_of(report: &Report, task: &str) -> State {
    report.tasks.iter().find(|ended| &*ended.name == task).unwrap().state
}

pub fn cause_of(report: &Report, task: &str) -> Cause {
    report.tasks.iter().find(|ended| &*ended.name == task).unwrap().cause.clone().unwrap()
}

/// Follows the steps up to the first that matches.
pub fn follow(watch: &mut Transitions, mut wanted: impl FnMut(&Transition) -> bool) -> Transition {
    loop {
        let step = watch.wait_timeout(SOON).expect("the step comes");
        if wanted(&step) {
            return step;
        }
    }
}

/// Follows the steps until this incarnation of the task is in this state.
pub fn reach(watch: &mut Transitions, task: &str, incarnation: u32, state: State) -> Transition {
    follow(watch, |step| &*step.task == task && step.incarnation == incarnation && step.to == state)
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future: the smallest executor.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

// --- Inspection of the process ---

/// Counts the threads of this process that have not ended. A thread on its way out counts as gone, as it does for
/// `join`, which returns a moment before the kernel removes it from its list.
pub fn threads() -> usize {
    const PF_EXITING: u64 = 4;
    let lives = |stat: &String| {
        // The name, in brackets, may hold anything; the flags are the seventh field after it.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().nth(6).unwrap().parse::<u64>().unwrap() & PF_EXITING == 0
    };
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("stat")).ok()).filter(lives).count()
}

/// Counts the open descriptors of this process (and the one that lists them).
pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Returns the memory of this process that is in RAM, in KiB.
pub fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Returns how often each thread of this process but this one has gone to sleep by itself.
pub fn switches() -> BTreeMap<String, u64> {
    of_threads().into_iter().map(|(id, (_, switches))| (id, switches)).collect()
}

/// Returns for each other thread of this process: whether it sleeps, and how often it has gone to sleep.
fn of_threads() -> BTreeMap<String, (bool, u64)> {
    let own = fs::read_link("/proc/thread-self").unwrap().file_name().unwrap().to_owned();
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap());
    // For one that has ended meanwhile there is nothing to read.
    let count = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1).map(str::to_owned)
        };
        let id = format!("{} ({})", field("Name:")?, task.file_name().to_string_lossy());
        Some((id, (field("State:")? == "S", field("voluntary_ctxt_switches:")?.parse().unwrap())))
    };
    tasks.filter(|task| task.file_name() != own).filter_map(count).collect()
}

/// Waits until all threads of this process are asleep; from then on there must be silence.
///
/// On a busy machine a runnable thread may get no processor for long: it makes no switch, and is not asleep.
pub fn silence() -> BTreeMap<String, u64> {
    let mut before = of_threads();
    loop {
        thread::sleep(Duration::from_millis(50));
        let now = of_threads();
        if now == before && now.values().all(|(asleep, _)| *asleep) {
            return now.into_iter().map(|(id, (_, switches))| (id, switches)).collect();
        }
        before = now;
    }
}

/// A `!Send` value that reports on which thread it was created and dropped.
pub struct Homesick {
    made: ThreadId,
    drops: Drops,
    _not_send: Rc<()>,
}

/// For each dropped [`Homesick`]: whether it was dropped where it was created.
#[derive(Clone, Default)]
pub struct Drops(Arc<Mutex<Vec<bool>>>);

impl Drops {
    /// Creates a value on this thread.
    pub fn value(&self) -> Homesick {
        Homesick { made: thread::current().id(), drops: self.clone(), _not_send: Rc::default() }
    }

    /// Checks that this many values have been dropped, all at home.
    #[track_caller]
    pub fn assert_at_home(&self, count: usize) {
        assert_eq!(*self.0.lock().unwrap(), vec![true; count]);
    }
}

impl Drop for Homesick {
    fn drop(&mut self) {
        self.drops.0.lock().unwrap().push(thread::current().id() == self.made);
    }
}

/// Panics when it is dropped.
pub struct Grenade(pub &'static str);

impl Drop for Grenade {
    fn drop(&mut self) {
        // Bypasses the panic hook: on a busy machine a backtrace takes longer than the second that a cancelled loop
        // has.
        std::panic::resume_unwind(Box::new(self.0));
    }
}

// --- A loop that dies ---

/// How a [`Mortal`] loop dies.
#[derive(Clone, Copy)]
pub enum Death {
    /// It returns an error.
    Error,
    /// It panics.
    Panic,
    /// It returns as if it had been told to.
    Return,
}

/// A loop that dies when it is told to, through its Native.
#[derive(Clone, Default)]
pub struct Mortal {
    /// How many incarnations die after they have reported that they are started, once a job waits, before their first
    /// turn.
    pub stillborn: Arc<AtomicU32>,
    /// Reports, at the stop, that the loop could not be torn down.
    pub bad_end: bool,
    /// Dies before it reports that it is started.
    pub unbuilt: bool,
}

pub type Fate = Rc<Cell<Option<Death>>>;

impl EventLoop for Mortal {
    const NAME: &'static str = "mortal";
    type Options = NoOptions;
    type Native = Fate;

    fn drive(
        self,
        _: NoOptions,
        mut mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, Fate),
    ) -> interloop::Result {
        if self.unbuilt {
            return Err(Error::new("no wheel to be had"));
        }
        let (thread, woken) = (thread::current(), Arc::new(AtomicU32::new(0)));
        let bell = woken.clone();
        mailbox.set_notify(move || {
            bell.fetch_add(1, Ordering::AcqRel);
            thread.unpark();
        });
        let fate = Fate::default();
        // The flag of the mailbox is reset only after a turn: without one there would be no second notify.
        let stillborn = self.stillborn.load(Ordering::Acquire) > 0;
        started(&mailbox, fate.clone());
        if stillborn {
            self.stillborn.fetch_sub(1, Ordering::AcqRel);
            while mailbox_is_empty(&mailbox) {
                thread::yield_now();
            }
            return Err(Error::new("stillborn"));
        }
        loop {
            match fate.take() {
                Some(Death::Error) => return Err(Error::new("the wheel came off")),
                Some(Death::Panic) => panic!("the wheel came off"),
                Some(Death::Return) => return Ok(()),
                None => {}
            }
            match mailbox.turn() {
                Turn::Stop if self.bad_end => return Err(Error::new("the wheel is stuck")),
                Turn::Stop => return Ok(()),
                Turn::Again => {}
                Turn::Idle if fate.get().is_none() => thread::park(),
                Turn::Idle => {}
            }
        }
    }
}

/// Returns whether no job waits, as far as a mailbox shows it.
fn mailbox_is_empty<L: EventLoop>(mailbox: &Mailbox<L>) -> bool {
    format!("{mailbox:?}").contains("depth: 0")
}

/// Returns the log from level warn on. The logger belongs to the process: for tests that are [alone].
pub fn warnings() -> &'static Mutex<Vec<String>> {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    &LINES.0
}

/// Returns a copy of [`warnings`] so far.
pub fn warned() -> Vec<String> {
    LINES.0.lock().unwrap().clone()
}

static LINES: Lines = Lines(Mutex::new(Vec::new()));

struct Lines(Mutex<Vec<String>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}: {}", record.level(), record.target(), record.args());
        self.0.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}
