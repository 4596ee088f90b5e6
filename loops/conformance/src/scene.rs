//! What checks are made of: the loop that is checked, services with it, watchdogs, witnesses.

use std::{
    env, fmt,
    marker::PhantomData,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, ThreadId},
    time::Duration,
};

use interloop::{Context, EventLoop, LoopSettings, Running, Service, task_fn};

/// More than anything here takes, however slow the machine is.
const LONG: Duration = Duration::from_secs(20);

/// Whether the checks run at full size: the environment says `INTERLOOP_CONFORMANCE=full`.
pub fn is_full_size() -> bool {
    env::var_os("INTERLOOP_CONFORMANCE").is_some_and(|size| size == "full")
}

/// A small number, or at full size a large one.
pub(crate) fn sized(small: usize, full: usize) -> usize {
    if is_full_size() { full } else { small }
}

/// A loop to be checked: a plan, and options for it.
pub struct Subject<L> {
    plan: L,
    options: Vec<(String, String)>,
    patience: Duration,
}

impl<L: EventLoop> Subject<L> {
    /// The loop that this plans.
    pub fn new(plan: L) -> Self {
        Self { plan, options: Vec::new(), patience: LONG }
    }

    /// With this option of it set, by its long name without the prefix.
    pub fn set(mut self, option: impl Into<String>, value: impl fmt::Display) -> Self {
        self.options.push((option.into(), value.to_string()));
        self
    }

    /// With checks that give up what they wait for after so long, 20 s by default: for loops that are known to be broken.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// A service with the loop in it, by the name of its kind.
    pub(crate) fn service(&self) -> Service {
        self.service_with(|_| ())
    }

    /// A service with the loop in it, and more said of that.
    pub(crate) fn service_with(&self, say: impl FnOnce(&mut LoopSettings<'_, L>)) -> Service {
        let mut service = Service::new("conformance");
        let mut settings = service.event_loop(L::NAME, self.plan.clone());
        say(&mut settings);
        settings.start_timeout(self.patience);
        for (option, value) in &self.options {
            settings.set(option, value);
        }
        if self.patience < LONG {
            service.arguments(["--shutdown-timeout".to_owned(), format!("{}ms", self.patience.as_millis())]);
        }
        service
    }
}

impl<L> fmt::Debug for Subject<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Runs this in a task on the loop, in a service of its own, and returns what it returns once the service has ended.
///
/// # Panics
///
/// With the panic of the check, or when it does not end.
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

/// One check at a time in this process: they count threads and descriptors, and glib's default context is there once. Ends the process when one hangs.
pub(crate) struct Watchdog {
    _alone: MutexGuard<'static, ()>,
    done: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

pub(crate) fn watchdog() -> Watchdog {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (done, over) = mpsc::channel::<()>();
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let watch = move || {
        if over.recv_timeout(3 * LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs");
            std::process::abort();
        }
    };
    // Without a thread there is no watchdog, and the check goes on all the same.
    let thread = thread::Builder::new().name("watchdog".into()).spawn(watch).ok();
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
    assert!(running.wait_started(patience), "the service does not start: {}", running.status());
    running
}

pub(crate) fn down(running: Running) {
    let report = running.stop();
    assert_eq!(report.code, 0, "the service does not stop in order: {report}");
}

/// Where each was dropped.
pub(crate) type Drops = Arc<Mutex<Vec<ThreadId>>>;

/// Not `Send`: it is to be dropped on the thread that made it.
pub(crate) struct Witness {
    made_on: ThreadId,
    drops: Drops,
    not_send: PhantomData<Rc<()>>,
}

impl Witness {
    pub(crate) fn new(drops: &Drops) -> Self {
        Self { made_on: thread::current().id(), drops: drops.clone(), not_send: PhantomData }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let here = thread::current().id();
        self.drops.lock().unwrap_or_else(PoisonError::into_inner).push(here);
        assert_eq!(here, self.made_on, "dropped on another thread");
    }
}
