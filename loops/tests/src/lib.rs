//! Helpers for the tests of all loops, and, in modules, the tests that several of them share.

#![forbid(unsafe_code)]

pub mod defaults;
pub mod foreign;
pub mod hints;
#[cfg(feature = "ready-made")]
pub mod ready_made;
#[cfg(feature = "stalls")]
pub mod stalls;

use std::{
    marker::PhantomData,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, ThreadId},
    time::Duration,
};

use interloop::{Running, Service};

/// Longer than anything here takes, however slow the machine is.
pub const LONG: Duration = Duration::from_secs(20);

/// Allows one test at a time in this process: tests count threads, and there is one default context of glib. Ends the
/// process if the test hangs.
#[derive(Debug)]
pub struct Watchdog {
    _alone: MutexGuard<'static, ()>,
    done: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Watches the test that calls it, until the guard is dropped.
pub fn watchdog() -> Watchdog {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (done, over) = mpsc::channel::<()>();
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let thread = thread::spawn(move || {
        if over.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs");
            std::process::abort();
        }
    });
    Watchdog { _alone: alone, done: Some(done), thread: Some(thread) }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.done.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the service, and waits until it is up.
pub fn up(service: Service) -> Running {
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started_timeout(LONG), "{}", running.status());
    running
}

/// Stops the service, and checks that nothing was wrong.
pub fn down(running: Running) {
    let report = running.stop();
    assert_eq!(report.code, 0, "{report}");
}

/// The threads on which witnesses were dropped.
pub type Drops = Arc<Mutex<Vec<ThreadId>>>;

/// A `!Send` value: it must be dropped on the thread that made it.
#[derive(Debug)]
pub struct Witness {
    made_on: ThreadId,
    drops: Drops,
    not_send: PhantomData<Rc<()>>,
}

impl Witness {
    /// Makes a witness that notes there on which thread it is dropped.
    pub fn new(drops: &Drops) -> Self {
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
