//! A service that runs in a test.

#[cfg(feature = "net")]
use std::net::SocketAddr;
use std::{ops::Deref, thread, time::Duration};

use super::watchdog::{Limit, Watchdog};
#[cfg(feature = "net")]
use crate::words::address::Address;
use crate::{Report, Running, ServiceHandle, State, counters::Reading};

/// How often values without notifications are polled.
const LOOK: Duration = Duration::from_millis(1);
/// How long the service of a test that has already failed may take to end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// A service that runs in a test. It is a [`ServiceHandle`] too.
///
/// Dropping it stops the service, and panics unless the end was clean; if the test is already panicking, it stays
/// silent.
#[derive(Debug)]
#[must_use = "dropping it stops the service"]
pub struct RunningTest {
    /// `None` once it was waited for.
    running: Option<Running>,
    handle: ServiceHandle,
    limit: Limit,
    watchdog: Option<Watchdog>,
}

impl RunningTest {
    pub(super) fn new(running: Running, limit: Limit) -> Self {
        let watchdog = Some(Watchdog::watch(limit.clone()));
        Self { handle: running.handle(), running: Some(running), limit, watchdog }
    }

    /// Returns the service's handle, to keep.
    pub fn handle(&self) -> ServiceHandle {
        self.handle.clone()
    }

    // --- Waiting ---

    /// Waits until all tasks have started; [`TestService::start`](super::TestService::start) already does this.
    ///
    /// # Panics
    ///
    /// Panics if one of them does not start.
    #[track_caller]
    pub fn wait_started(&self) {
        if !self.handle.wait_started_timeout(self.limit.rest()) {
            if self.limit.rest().is_zero() {
                self.limit.is_up("not all tasks have started");
            }
            self.limit.fail("it stops before all tasks have started");
        }
    }

    /// Waits until a task is in this state, or has passed through it.
    ///
    /// # Panics
    ///
    /// Panics if the task does not get there, or doesn't exist.
    #[track_caller]
    pub fn wait_for_state(&self, task: &str, state: State) {
        let mut watch = self.handle.watch();
        if self.handle.task_state(task).is_none() {
            self.limit.fail(format_args!("there is no task {task}"));
        }
        while let Some(step) = watch.wait_timeout(self.limit.rest()) {
            if &*step.task == task && step.to == state {
                return;
            }
        }
        if self.limit.rest().is_zero() {
            self.limit.is_up(format_args!("task {task} is not {state}"));
        }
        self.limit.fail(format_args!("it has ended, and task {task} was not {state}"));
    }

    /// Waits until a counter has at least this value, and returns its value.
    ///
    /// It polls every millisecond: a counter is one atomic number without notifications, so that adding stays cheap. A
    /// channel of the test's own is faster.
    ///
    /// # Panics
    ///
    /// Panics if the counter does not get there.
    #[track_caller]
    pub fn wait_for_counter(&self, name: &str, least: u64) -> u64 {
        let mut value = 0;
        let what = format!("counter {name} is below {least}");
        self.wait_until(&what, || {
            value = self.find_counter(name).unwrap_or(0);
            value >= least
        });
        value
    }

    /// Waits until a condition holds, by polling every millisecond; `what` describes the missing condition in the
    /// message.
    ///
    /// # Panics
    ///
    /// Panics if the time is up, or the service has ended before the condition holds.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        loop {
            // Before the check: work done before the end counts.
            let ended = self.handle.phase() == crate::service::Phase::Ended;
            if is_so() {
                return;
            }
            if ended {
                self.limit.fail(format_args!("it has ended, and {what}"));
            }
            if self.limit.rest().is_zero() {
                self.limit.is_up(what);
            }
            thread::sleep(LOOK);
        }
    }

    // --- Status ---

    /// Returns the addresses that a task [listens](crate::Context::bound) on.
    ///
    /// # Panics
    ///
    /// Panics if there is no such task.
    #[cfg(feature = "net")]
    #[track_caller]
    pub fn addresses(&self, task: &str) -> Vec<Address> {
        match self.handle.addresses(task) {
            Ok(addresses) => addresses,
            Err(error) => self.limit.fail(error),
        }
    }

    /// Returns the first IP address and port that a task listens on.
    ///
    /// # Panics
    ///
    /// Panics if it listens on none.
    #[cfg(feature = "net")]
    #[track_caller]
    pub fn tcp(&self, task: &str) -> SocketAddr {
        let found = self.addresses(task).iter().find_map(Address::tcp);
        found.unwrap_or_else(|| self.limit.fail(format_args!("task {task} listens on no port")))
    }

    /// Returns a counter's value, by its name in the [counters](ServiceHandle::counters): `http.requests`.
    ///
    /// # Panics
    ///
    /// Panics if there is no counter with this name.
    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        self.find_counter(name).unwrap_or_else(|| self.limit.fail(format_args!("there is no counter {name}")))
    }

    fn find_counter(&self, name: &str) -> Option<u64> {
        match self.handle.counters().get(name) {
            Some(Reading::Counter(value)) => Some(value),
            _ => None,
        }
    }

    // --- The end ---

    /// Asks the service to stop, waits until it has ended, and returns its report.
    ///
    /// # Panics
    ///
    /// Panics if it does not end in time.
    #[track_caller]
    pub fn stop(self) -> Report {
        self.handle.request_shutdown("the test is over");
        self.join()
    }

    /// Waits until the service has ended, without asking it to stop.
    ///
    /// # Panics
    ///
    /// Panics if it does not end in time.
    #[track_caller]
    pub fn join(mut self) -> Report {
        self.end()
    }

    #[track_caller]
    fn end(&mut self) -> Report {
        let running = self.running.take().expect("it is waited for once, by value");
        match running.join_timeout(self.limit.rest()) {
            Ok(report) => report,
            Err(_running) => self.limit.is_up("it has not ended"),
        }
    }
}

impl Deref for RunningTest {
    type Target = ServiceHandle;

    fn deref(&self) -> &ServiceHandle {
        &self.handle
    }
}

impl Drop for RunningTest {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.handle.request_shutdown("the test has dropped it");
            if thread::panicking() {
                let ended = self.running.take().map(|running| running.join_timeout(LAST_WAIT));
                drop(ended);
            } else {
                self.end().assert_clean();
            }
        }
        drop(self.watchdog.take());
    }
}
