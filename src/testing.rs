//! A kit for the tests of services and tasks. Feature `testing`.
//!
//! A test runs a whole service, or one task, inside the test's process: [`run`], [`task_on`], or, with a command line,
//! [`TestService`]. Any number can run side by side, since nothing of the process's is touched: no signals, no logger,
//! no panic hook. What comes back is a [`RunningTest`]; it is a [`ServiceHandle`](crate::ServiceHandle) too.
//!
//! ```
//! use interloop::{Context, NoOptions, Result, Service, Task, Thread, testing};
//!
//! struct Greeter;
//!
//! impl Task<Thread> for Greeter {
//!     type Options = NoOptions;
//!
//!     async fn run(&mut self, cx: Context<Thread>) -> Result {
//!         cx.counter("greetings").add(1);
//!         Ok(cx.until_shutdown().await)
//!     }
//! }
//!
//! let test = testing::task_on::<Thread>("greeter", Greeter);
//! assert_eq!(test.counter("greeter.greetings"), 1);
//! test.stop().assert_clean();
//! ```
//!
//! # The watchdog
//!
//! A test may take 30 seconds, or [what it says](TestService::watchdog). What waits in the kit by then panics, with the
//! service's status in the message; if it is the test itself that sits, the process is aborted, after the status was
//! written to stderr. A service that is not [stopped](RunningTest::stop) by its test is stopped when it is dropped, and
//! that panics unless it was clean.
//!
//! # The fake clock
//!
//! ```
//! use std::time::Duration;
//! use interloop::{Service, Thread, tasks::Periodic, testing::TestService};
//!
//! const HOUR: Duration = Duration::from_secs(3600);
//!
//! let mut service = Service::new("janitor");
//! service.task_on::<Thread>("sweep", Periodic::new(HOUR, || ()));
//! let mut test = TestService::new(service);
//! let clock = test.fake_clock();
//! let test = test.start();
//! clock.advance(24 * HOUR);
//! assert_eq!(test.counter("sweep.iterations"), 24);
//! test.stop().assert_clean();
//! ```
//!
//! [`TestService::fake_clock`] gives a service, all its loops together, a clock that stands still until the test
//! [moves](Clock::advance) it. By it go:
//!
//! * [`cx.sleep`](crate::Context::sleep), [`cx.interval`](crate::Context::interval),
//!   [`cx.timeout`](crate::Context::timeout), [`cx.now`](crate::Context::now), on all loops;
//! * the ready-made [tasks](crate::tasks): the ticks of periodic tasks and pollers, cron's included, when queues try
//!   again, how long work took;
//! * the lifecycle: start, stop and shutdown timeouts, the drain delay, the backoff and the windows of restarts; the
//!   times in the status and in transitions.
//!
//! Real time stays what is not the service's: timers that a task takes from its runtime directly (`tokio::time::sleep`,
//! `timeout_add_local`), which the timeouts of HTTP connections are too; sockets; threads: waits that block one
//! ([`Shutdown::wait_timeout`](crate::Shutdown::wait_timeout), [`Reply::wait`](crate::Reply::wait)), the second that a
//! loop has to act on a cancel, the time that it has to start and to end; the times of samples and of the log; and the
//! watchdog.
//!
//! Nothing moves the clock but the test. A stop that takes time, a drain delay, a deadline that is missed, a task that
//! sleeps before it ends, needs the test to [ask](crate::ServiceHandle::request_shutdown), to advance, and then to
//! [join](RunningTest::join).
//!
//! # Rest
//!
//! After each step the clock waits until the service rests, by a count of all that is to be done: jobs on their way in
//! mailboxes, tasks and children that were woken and not polled yet, or are polled, work on the threads of
//! [`Workers`](crate::tasks::Workers), periodic tasks and queues, [threads of tasks](crate::Context::thread) until they
//! end, but for what they do [idly](crate::task::TaskThread::idle), [work in flight](crate::Context::busy), messages to
//! the supervisor, loops that start or end. Each is counted before its cause is through; so the count is zero only when
//! nothing is left to be done, on no thread, and it is seen at once, without a pause. What came of a step is then there
//! to be asserted on.
//!
//! What goes past the [`Context`](crate::Context) is not counted: tasks that were spawned on a runtime directly,
//! threads that were started by std, sockets. Where a service waits for one of those it rests, and the test has to wait
//! for what comes of it: by [`wait_for_counter`](RunningTest::wait_for_counter), say.
//!
//! A poll that blocks its thread counts as work. When nothing at all has happened for two seconds, the clock goes on
//! without what is left, until that goes on too. A future that wakes itself again and again never rests: the watchdog
//! ends the test.
//!
//! May use: kit, words, counters, channel, control, event_loop, task, service.

mod clock;
mod report;
mod running;
mod service;
mod watchdog;

pub use self::{clock::Clock, running::RunningTest, service::TestService};
use crate::{EventLoop, Service, Task};

/// Starts a service, and waits until all its tasks have started.
///
/// # Panics
///
/// When it is refused, fails to start, or takes longer than the watchdog allows.
#[track_caller]
pub fn run(service: Service) -> RunningTest {
    TestService::new(service).start()
}

/// Runs one task alone, on a loop of kind `L`: `task_on::<Thread>("echo", Echo)`.
///
/// # Panics
///
/// As [`run`].
#[track_caller]
pub fn task_on<L: EventLoop>(name: &str, task: impl Task<L>) -> RunningTest {
    let mut service = Service::new(name);
    service.task_on::<L>(name, task);
    run(service)
}
