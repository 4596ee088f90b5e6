//! A service that is to be run in a test.

use std::{ffi::OsString, time::Duration};

use super::{
    Clock, RunningTest,
    watchdog::{LIMIT, Limit},
};
use crate::Service;

/// A service that is to be run in a test: with what command line, for how long.
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
    /// This service; nothing happens yet.
    pub fn new(service: Service) -> Self {
        Self { service, limit: LIMIT, clock: None }
    }

    /// The words of its command line: `["--http-port", "0"]`.
    pub fn args(mut self, words: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.service.arguments(words);
        self
    }

    /// How long the test may take, from the start of the service on: 30 s if nothing else is said. See [the
    /// module](super#the-watchdog).
    pub fn watchdog(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Gives it a clock that stands still until the test moves it: see [the module](super#the-fake-clock).
    pub fn fake_clock(&mut self) -> Clock {
        self.clock.get_or_insert_with(|| Clock::of(self.service.handle())).clone()
    }

    /// Starts it, and waits until all its tasks have started.
    ///
    /// # Panics
    ///
    /// When it is refused, fails to start, or takes longer than the watchdog allows.
    #[track_caller]
    pub fn start(self) -> RunningTest {
        let test = self.launch();
        test.wait_started();
        test
    }

    /// Starts it, and waits for nothing: for a service that is to fail, that ends by itself, or whose start takes time
    /// of a fake clock.
    ///
    /// # Panics
    ///
    /// When it is refused: the configuration can't work.
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
