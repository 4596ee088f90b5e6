//! The parts that checks are made of: the loop that is checked, services with it, watchdogs, witnesses.

use std::{
    env, fmt,
    marker::PhantomData,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use interloop::{CallError, Context, EventLoop, Remote, Running, Service, service::LoopSettings, task_fn};

use crate::process::InQueue;

/// Longer than anything here takes, however slow the machine is.
const LONG: Duration = Duration::from_secs(20);

/// Whether the checks run at full size, which the environment variable `INTERLOOP_CONFORMANCE=full` asks for.
pub fn is_full_size() -> bool {
    env::var_os("INTERLOOP_CONFORMANCE").is_some_and(|size| size == "full")
}

/// Returns `small`, or `full` at full size.
pub(crate) fn sized(small: usize, full: usize) -> usize {
    if is_full_size() { full } else { small }
}

/// The callback of a loop's own timer.
pub type Fire = Box<dyn FnOnce() + Send>;
/// Calls the callback after a time, by a timer of the loop's own, past Interloop.
type NativeTimer<N> = Arc<dyn Fn(&N, Duration, Fire) + Send + Sync>;

/// A loop under test: a plan, and options for it.
pub struct Subject<L: EventLoop> {
    plan: L,
    options: Vec<(String, String)>,
    patience: Duration,
    native_timer: Option<NativeTimer<L::Native>>,
    beat: Option<Duration>,
}

impl<L: EventLoop> Subject<L> {
    /// Makes a subject of the loop of this plan.
    pub fn new(plan: L) -> Self {
        Self { plan, options: Vec::new(), patience: LONG, native_timer: None, beat: None }
    }

    /// Sets an option of the loop, by its long name without the prefix.
    #[must_use]
    pub fn set(mut self, option: impl Into<String>, value: impl fmt::Display) -> Self {
        self.options.push((option.into(), value.to_string()));
        self
    }

    /// Sets the timer that programs on this loop use most: it calls `fire` after `time`, past Interloop. The function
    /// is called on the loop's thread.
    ///
    /// ```ignore
    /// Subject::new(Glib::default()).with_native_timer(|_, time, fire| {
    ///     glib::timeout_add_local_once(time, fire);
    /// });
    /// ```
    #[must_use]
    pub fn with_native_timer(mut self, timer: impl Fn(&L::Native, Duration, Fire) + Send + Sync + 'static) -> Self {
        self.native_timer = Some(Arc::new(timer));
        self
    }

    /// Sets how long checks wait before they give up; 20 s by default. This is for loops that are known to be broken.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Says that the loop wakes by nature, with nothing else to do, once in each such period, as a loop that draws
    /// frames does.
    ///
    /// Checks of rest then find that the loop wakes no more often than that, and is busy for less than half of the
    /// time. All other checks are the same as for loops that rest.
    ///
    /// ```ignore
    /// Subject::new(Game::default()).with_beat(Duration::from_secs(1) / 60);
    /// ```
    ///
    /// # Panics
    ///
    /// If the period is zero.
    #[must_use]
    pub fn with_beat(mut self, period: Duration) -> Self {
        assert!(!period.is_zero(), "a beat has a period");
        self.beat = Some(period);
        self
    }

    pub(crate) fn beat(&self) -> Option<Duration> {
        self.beat
    }

    /// Returns how often the loop may wake by itself in this time.
    pub(crate) fn beats_in(&self, time: Duration) -> u64 {
        // This includes one that was due before, and one that is due at the very end.
        self.beat.map_or(0, |beat| (time.as_nanos() / beat.as_nanos()) as u64 + 2)
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    pub(crate) fn native_timer(&self) -> Option<NativeTimer<L::Native>> {
        self.native_timer.clone()
    }

    /// Makes a service with the loop in it, by the name of its kind.
    pub(crate) fn service(&self) -> Service {
        self.service_with(|_| ())
    }

    /// Makes a service with the loop in it, and with further settings of the loop.
    pub(crate) fn service_with(&self, say: impl FnOnce(&mut LoopSettings<'_, L>)) -> Service {
        let mut service = self.empty_service(None);
        let mut settings = self.plan_in(&mut service, L::NAME);
        say(&mut settings);
        service
    }

    /// Makes a service with the loop in it, whose stop may take this long.
    pub(crate) fn service_within(&self, shutdown_timeout: Duration) -> Service {
        let mut service = self.empty_service(Some(shutdown_timeout));
        self.plan_in(&mut service, L::NAME);
        service
    }

    pub(crate) fn empty_service(&self, shutdown_timeout: Option<Duration>) -> Service {
        let mut service = Service::new("conformance");
        let timeout = shutdown_timeout.or((self.patience < LONG).then_some(self.patience));
        if let Some(timeout) = timeout {
            service.arguments(["--shutdown-timeout".to_owned(), format!("{}ms", timeout.as_millis())]);
        }
        service
    }

    /// Adds an instance of the loop to the service, by this name.
    pub(crate) fn plan_in<'a>(&self, service: &'a mut Service, name: &str) -> LoopSettings<'a, L> {
        let mut settings = service.event_loop(name, self.plan.clone());
        settings.start_timeout(self.patience);
        for (option, value) in &self.options {
            settings.set(option, value);
        }
        settings
    }
}

impl<L: EventLoop> Clone for Subject<L> {
    fn clone(&self) -> Self {
        Self {
            plan: self.plan.clone(),
            options: self.options.clone(),
            patience: self.patience,
            native_timer: self.native_timer.clone(),
            beat: self.beat,
        }
    }
}

impl<L: EventLoop> fmt::Debug for Subject<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Runs this in a task on the loop, in a service of its own, and returns its result once the service has ended.
///
/// # Panics
///
/// With the panic of the check, or if the check does not end.
pub fn on_loop<L: EventLoop, R: Send + 'static>(
    subject: &Subject<L>,
    check: impl AsyncFnOnce(Context<L>) -> R + Send + 'static,
) -> R {
    let (_watchdog, patience) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let (found, finding) = mpsc::channel();
    let task = task_fn::<L>(async move |cx| {
        let _ = found.send(check(cx).await);
        Ok(())
    });
    service.task("check", task).stop_timeout(Duration::from_secs(2));
    let running = service.start().unwrap_or_else(|error| panic!("the service can't start: {error}"));
    let found = finding.recv_timeout(patience);
    match running.join_timeout(patience) {
        Ok(report) => found.unwrap_or_else(|_| panic!("the check failed: {report}")),
        Err(running) => {
            let status = running.status();
            drop(running);
            panic!("the loop does not end: {status}")
        }
    }
}

/// Allows one check at a time in this process: checks count threads and descriptors, and there is one default context
/// of glib. Ends the process if a check hangs.
pub(crate) struct Watchdog {
    _alone: MutexGuard<'static, ()>,
    done: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

pub(crate) fn watchdog() -> Watchdog {
    static ALONE: Mutex<()> = Mutex::new(());
    let queued = InQueue::enter();
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    drop(queued);
    let (done, over) = mpsc::channel::<()>();
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let (begins, begun) = mpsc::channel();
    let watch = move || {
        let _ = begins.send(());
        if over.recv_timeout(sized(3, 15) as u32 * LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs");
            std::process::abort();
        }
    };
    // Without a thread there is no watchdog, and the check still runs.
    let thread = thread::Builder::new().name("watchdog".into()).spawn(watch).ok();
    // The thread has its name by now, for checks that look at the threads of this process.
    let _ = begun.recv();
    Watchdog { _alone: alone, done: Some(done), thread }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.done.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn up(service: Service, patience: Duration) -> Running {
    let running = service.start().unwrap_or_else(|error| panic!("the service can't start: {error}"));
    assert!(running.wait_started_timeout(patience), "the service does not start: {}", running.status());
    running
}

pub(crate) fn down(running: Running) {
    let report = running.stop();
    assert_eq!(report.code, 0, "the service does not stop in order: {report}");
}

/// Makes a task that waits for its stop.
pub(crate) fn waits<L: EventLoop>() -> impl interloop::Task<L, Options = interloop::NoOptions> {
    task_fn::<L>(async |cx| {
        cx.until_shutdown().await;
        Ok(())
    })
}

/// Checks that a reply is as expected; if not, the check fails with these words.
#[track_caller]
pub(crate) fn expect<R: PartialEq + fmt::Debug>(
    said: Result<R, CallError>,
    expected: Result<R, CallError>,
    words: &str,
) {
    assert!(said == expected, "{words}: {said:?} instead of {expected:?}");
}

/// Holds the loop in a job, until released or dropped.
pub(crate) struct Hold(Option<mpsc::Sender<()>>);

impl Hold {
    /// Holds the loop; it is held when this returns.
    pub(crate) fn of<T: 'static>(remote: &Remote<T>, long: Duration) -> Self {
        let (release, released) = mpsc::channel::<()>();
        let (entered, holds) = mpsc::channel();
        let held = remote.post(move |_| {
            let _ = entered.send(());
            let _ = released.recv();
        });
        assert!(held.is_ok(), "the loop takes no posts");
        assert!(holds.recv_timeout(long).is_ok(), "a post does not run");
        Self(Some(release))
    }

    /// Releases the loop. The turn in which it was held is longer than any turn may be.
    pub(crate) fn release(mut self) {
        thread::sleep(Duration::from_millis(3));
        self.0.take();
    }
}

/// Jobs that post themselves again, so that the loop's mailbox is never empty, until this is dropped.
pub(crate) struct Flood(Arc<AtomicBool>);

impl Flood {
    pub(crate) fn of<T: 'static>(remote: &Remote<T>) -> Self {
        const JOBS: usize = 8;
        let over = Arc::new(AtomicBool::new(false));
        (0..JOBS).for_each(|_| repost(remote.clone(), over.clone()));
        Self(over)
    }
}

fn repost<T: 'static>(remote: Remote<T>, over: Arc<AtomicBool>) {
    if !over.load(Ordering::Acquire) {
        let again = remote.clone();
        // It is refused only at the end.
        let _ = remote.post(move |_| repost(again, over));
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Notes for each witness whether it was dropped on the thread that had made it.
#[derive(Clone, Default)]
pub(crate) struct Drops(Arc<Mutex<Vec<bool>>>);

impl Drops {
    pub(crate) fn count(&self) -> usize {
        self.all().len()
    }

    fn all(&self) -> MutexGuard<'_, Vec<bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that this many were dropped, each on its thread.
    #[track_caller]
    pub(crate) fn check(&self, count: usize) {
        let all = self.all();
        assert_eq!(all.len(), count, "what lives on the loop was not dropped there at the end");
        assert!(all.iter().all(|at_home| *at_home), "what is not Send was dropped on another thread than its own");
    }

    pub(crate) fn wait_for(&self, count: usize, long: Duration) -> bool {
        let begun = Instant::now();
        while self.count() < count && begun.elapsed() < long {
            thread::yield_now();
        }
        self.count() >= count
    }
}

/// A `!Send` value: it must be dropped on the thread that made it.
pub(crate) struct Witness {
    made_on: ThreadId,
    drops: Drops,
    not_send: PhantomData<Rc<()>>,
}

impl Witness {
    pub(crate) fn new(drops: &Drops) -> Self {
        Self { made_on: thread::current().id(), drops: drops.clone(), not_send: PhantomData }
    }

    pub(crate) fn is_at_home(&self) -> bool {
        thread::current().id() == self.made_on
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.drops.all().push(self.is_at_home());
    }
}
