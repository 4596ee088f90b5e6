//! Ends tests that take too long.

use std::{
    fmt,
    io::Write,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::ServiceHandle;

/// How long a test may take by default.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// Waits in the kit panic first; a test that hangs elsewhere gets this much more time.
const MARGIN: Duration = Duration::from_secs(2);

/// How long a test may take, from its start.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    service: ServiceHandle,
    time: Duration,
    deadline: Option<Instant>,
}

impl Limit {
    /// Begins the time limit now.
    pub(super) fn begin(service: ServiceHandle, time: Duration) -> Self {
        Self { service, time, deadline: Instant::now().checked_add(time) }
    }

    /// Returns how long one may still wait.
    pub(super) fn rest(&self) -> Duration {
        self.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Panics, because the time is up, with what was waited for and the status.
    #[track_caller]
    pub(super) fn is_up(&self, what: impl fmt::Display) -> ! {
        self.fail(format_args!("{what} within {}", crate::words::state::Seconds(self.time)))
    }

    #[track_caller]
    pub(super) fn fail(&self, what: impl fmt::Display) -> ! {
        panic!("{}: {what}\n{}", self.service.name(), self.service.status())
    }
}

/// Aborts the process, unless it is dropped in time.
#[derive(Debug)]
pub(super) struct Watchdog {
    done: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts the watchdog; it does nothing if no thread can be started.
    pub(super) fn watch(limit: Limit) -> Self {
        let test = thread::current().name().unwrap_or("a test").to_owned();
        let (done, wait) = mpsc::channel();
        let watch = move || {
            if wait.recv_timeout(limit.rest().saturating_add(MARGIN)) == Err(mpsc::RecvTimeoutError::Timeout) {
                // Not by the macro, whose output the test harness captures.
                let (time, status) = (crate::words::state::Seconds(limit.time), limit.service.status());
                let _ = writeln!(std::io::stderr(), "{test}: it takes longer than {time}, and is aborted\n{status}");
                std::process::abort();
            }
        };
        let thread = thread::Builder::new().name("watchdog".into()).spawn(watch).ok();
        Self { done: Some(done), thread }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
