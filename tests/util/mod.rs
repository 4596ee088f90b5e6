//! Helpers of the tests: a watchdog, and a latch to wait for events.

#![allow(dead_code)]

use std::{
    sync::{Arc, Condvar, Mutex, mpsc},
    thread,
    time::Duration,
};

/// How long a test may take.
pub const WATCHDOG: Duration = Duration::from_secs(20);
/// How long a wait inside a test may take.
pub const SOON: Duration = Duration::from_secs(10);

/// Runs a test; when it takes too long the process ends, and says which one.
pub fn watched<R>(test: impl FnOnce() -> R) -> R {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let (done, wait) = mpsc::channel::<()>();
    let dog = thread::spawn(move || {
        if wait.recv_timeout(WATCHDOG) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name}: still running after {WATCHDOG:?}");
            std::process::abort();
        }
    });
    let result = test();
    drop(done);
    dog.join().expect("the watchdog only waits");
    result
}

/// Opens once, from any thread.
#[derive(Clone, Default)]
pub struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap()
    }

    /// Blocks until it is open; panics after [`SOON`].
    pub fn wait(&self) {
        let guard = self.0.0.lock().unwrap();
        let (guard, _) = self.0.1.wait_timeout_while(guard, SOON, |open| !*open).unwrap();
        assert!(*guard, "the latch was not opened in time");
    }
}
