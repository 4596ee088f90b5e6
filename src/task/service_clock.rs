//! The service's clock, as tasks see it: the time, and the work that a fake clock must wait for.

use std::{
    fmt,
    time::{Instant, SystemTime},
};

use crate::{Context, EventLoop, kit::clock};

impl<L: EventLoop, O> Context<L, O> {
    /// Marks work as in flight until the returned value is dropped; a fake clock (feature `testing`) doesn't advance
    /// before.
    ///
    /// The clock already counts the task's futures, its [threads](Self::thread) and its calls to other loops. Use this
    /// for other work, such as a job in a queue of your own or a native callback. Take it before the work becomes
    /// visible to anybody. Without a fake clock it has no effect.
    ///
    /// ```
    /// # use interloop::{Context, EventLoop, Result, task::TaskThread};
    /// use std::sync::mpsc;
    ///
    /// async fn run<L: EventLoop>(cx: Context<L>) -> Result {
    ///     let (jobs, todo) = mpsc::channel();
    ///     let prints = cx.thread("prints", move || {
    ///         // Until the next job comes the thread has nothing to do: the clock may go on.
    ///         while let Ok((line, _busy)) = TaskThread::idle(|| todo.recv()) {
    ///             println!("{line}");
    ///         }
    ///     })?;
    ///     jobs.send(("hello", cx.busy())).ok();
    ///     cx.until_shutdown().await;
    ///     drop(jobs);
    ///     Ok(prints.await?)
    /// }
    /// ```
    pub fn busy(&self) -> Busy {
        self.clock().busy()
    }

    /// Returns the service's clock, for other threads and for code without a [`Context`].
    pub fn clock(&self) -> ServiceClock {
        ServiceClock(self.service().clock().clone())
    }
}

/// The service's clock, usable from any thread: the system's, unless a test has replaced it with a fake (feature
/// `testing`).
///
/// [`Context::clock`] returns it; clones are the same clock. The default is the system's.
#[derive(Clone, Default)]
pub struct ServiceClock(clock::Clock);

impl ServiceClock {
    /// Returns the time, as [`Context::now`] does.
    pub fn now(&self) -> Instant {
        self.0.now()
    }

    /// Returns the time of day, which users and administrators can set.
    ///
    /// A fake clock advances it along with the other, and a test sets it by `testing::Clock::set_time_of_day`.
    pub fn time_of_day(&self) -> SystemTime {
        self.0.time_of_day()
    }

    /// Marks work as in flight, as [`Context::busy`] does.
    pub fn busy(&self) -> Busy {
        Busy { _busy: self.0.busy() }
    }
}

impl fmt::Debug for ServiceClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceClock")
    }
}

/// Marks work as in flight until it is dropped, on any thread; [`Context::busy`] returns it.
#[derive(Debug)]
#[must_use = "dropped, the work is done"]
pub struct Busy {
    _busy: clock::Busy,
}
