//! A kit for the tests of services and tasks. Feature `testing`.
//!
//! A test runs a whole service, or one task, inside the test's process: [`run`], [`task_on`], or, with a command line,
//! [`TestService`]. Any number can run side by side, since they leave the process alone: no signals, no logger, no
//! panic hook. They return a [`RunningTest`], which is a [`ServiceHandle`](crate::ServiceHandle) too.
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
//! A test may take 30 seconds, or [its own limit](TestService::watchdog). After that, waits in the kit panic, with the
//! service's status in the message. If the test itself hangs elsewhere, the status is written to stderr and the process
//! is aborted. A service that its test does not [stop](RunningTest::stop) is stopped when it is dropped, and that
//! panics unless the end was clean.
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
//! [`TestService::fake_clock`] gives a service, with all its loops, a clock that stands still until the test
//! [advances](Clock::advance) it. It drives:
//!
//! * [`cx.sleep`](crate::Context::sleep), [`cx.interval`](crate::Context::interval),
//!   [`cx.timeout`](crate::Context::timeout), [`cx.now`](crate::Context::now), on all loops;
//! * the built-in [tasks](crate::tasks): the ticks of periodic tasks and pollers, cron's included, the retries of
//!   queues, the measured durations of work;
//! * the lifecycle: start, stop and shutdown timeouts, the drain delay, the backoff and the windows of restarts; the
//!   times in the status and in transitions.
//!
//! Everything that isn't the service's stays in real time: timers that a task takes from its runtime directly
//! (`tokio::time::sleep`, `timeout_add_local`), which the timeouts of HTTP connections use too; sockets; blocking waits
//! of threads ([`Shutdown::wait_timeout`](crate::Shutdown::wait_timeout), [`Reply::wait`](crate::Reply::wait)), the
//! second that a loop has to act on a cancel, the time that it has to start and to end; the times of histograms and of
//! the log; and the watchdog.
//!
//! Only the test advances the clock. If a stop takes time (a drain delay, a missed deadline, a task that sleeps before
//! it ends), the test must [request](crate::ServiceHandle::request_shutdown) it, advance the clock, and then
//! [join](RunningTest::join).
//!
//! # Rest
//!
//! After each step the clock waits until the service rests. It counts all pending work: jobs on their way in mailboxes;
//! tasks and children that were woken and not polled yet, or are being polled; work on the threads of
//! [`Workers`](crate::tasks::Workers), periodic tasks and queues; [threads of tasks](crate::Context::thread) until they
//! end, except while they are [idle](crate::task::TaskThread::idle); [work in flight](crate::Context::busy); messages
//! to the supervisor; loops that start or end. Each item is counted before its cause is done. So the count is zero only
//! when no thread has anything left to do, and the clock sees that at once, without a pause. A test can then assert on
//! the results of a step.
//!
//! Work that bypasses the [`Context`](crate::Context) is not counted: tasks that were spawned on a runtime directly,
//! threads that were started by std, sockets. While a service waits for one of those, it rests, and the test must wait
//! for the result, for instance by [`wait_for_counter`](RunningTest::wait_for_counter).
//!
//! A poll that blocks its thread counts as work. If nothing at all has happened for two seconds, the clock ignores the
//! work that is left until it makes progress. A future that wakes itself again and again never rests: the watchdog ends
//! the test.
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
/// Panics if the service is refused, fails to start, or takes longer than the watchdog allows.
#[track_caller]
pub fn run(service: Service) -> RunningTest {
    TestService::new(service).start()
}

/// Runs one task alone, on a loop of kind `L`: `task_on::<Thread>("echo", Echo)`.
///
/// # Panics
///
/// Panics as [`run`] does.
#[track_caller]
pub fn task_on<L: EventLoop>(name: &str, task: impl Task<L>) -> RunningTest {
    let mut service = Service::new(name);
    service.task_on::<L>(name, task);
    run(service)
}
