//! A service to run in a test.

use std::{ffi::OsString, time::Duration};

use super::{
    Clock, RunningTest,
    watchdog::{LIMIT, Limit},
};
use crate::Service;

/// A service to run in a test, with its command line and time limit.
///
/// ```
/// # use interloop::{Service, Thread, tasks::Periodic, testing::TestService};
/// # use std::time::Duration;
/// let mut service = Service::new("clock");
/// service.task_on::<Thread>("tick", Periodic::new(Duration::from_secs(1), || ()));
/// let test = TestService::new(service).args(["--tick-interval", "1ms"]).start();
/// test.wait_for_counter("tick.iterations", 3);
/// test.stop().assert_clean();
/// ```
#[derive(Debug)]
#[must_use = "it is not started yet"]
pub struct TestService {
    service: Service,
    limit: Duration,
    clock: Option<Clock>,
}

impl TestService {
    /// Returns a test of this service; nothing happens yet.
    pub fn new(service: Service) -> Self {
        Self { service, limit: LIMIT, clock: None }
    }

    /// Adds command-line arguments: `["--http-port", "0"]`.
    pub fn args(mut self, words: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.service.arguments(words);
        self
    }

    /// Sets how long the test may take from the start of the service: 30 s by default. See [the
    /// module](super#the-watchdog).
    pub fn watchdog(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Replaces its clock by one that stands still until the test advances it: see [the module](super#the-fake-clock).
    pub fn fake_clock(&mut self) -> Clock {
        self.clock.get_or_insert_with(|| Clock::of(self.service.handle())).clone()
    }

    /// Starts the service, and waits until all its tasks have started.
    ///
    /// # Panics
    ///
    /// Panics if the service is refused, fails to start, or takes longer than the watchdog allows.
    #[track_caller]
    pub fn start(self) -> RunningTest {
        let test = self.launch();
        test.wait_started();
        test
    }

    /// Starts the service without waiting.
    ///
    /// Use it for a service that must fail, that ends by itself, or whose start takes time of a fake clock.
    ///
    /// # Panics
    ///
    /// Panics if the service is refused because its configuration is unusable.
    #[track_caller]
    pub fn launch(self) -> RunningTest {
        let limit = Limit::begin(self.service.handle(), self.limit);
        if let Some(clock) = &self.clock {
            clock.begin(&limit);
        }
        match self.service.start() {
            Ok(running) => RunningTest::new(running, limit),
            Err(error) => panic!("the service was refused, with {}: {error}", error.code()),
        }
    }
}
