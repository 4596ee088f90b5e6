//! The service's clock, as tasks see it: the time, and what a fake one is to wait for.

use std::{
    fmt,
    time::{Instant, SystemTime},
};

use crate::{Context, EventLoop, kit::clock};

impl<L: EventLoop, O> Context<L, O> {
    /// Work is in flight until what is returned is dropped: a fake clock (feature `testing`) doesn't go on before. For
    /// what goes past the task's futures, its [threads](Self::thread) and what is asked of other loops, which are
    /// counted anyhow: a job in a queue of your own, say, or a native callback. To be taken before anybody can see the
    /// work. Without a fake clock it is nothing.
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

    /// The service's clock, for other threads, and for what has no [`Context`].
    pub fn clock(&self) -> ServiceClock {
        ServiceClock(self.service().clock().clone())
    }
}

/// The clock that a service goes by, from any thread: the system's, unless a test has put a fake in its place (feature
/// `testing`). Made by [`Context::clock`]; clones are the same clock. The default is the system's.
#[derive(Clone, Default)]
pub struct ServiceClock(clock::Clock);

impl ServiceClock {
    /// The time, as [`Context::now`].
    pub fn now(&self) -> Instant {
        self.0.now()
    }

    /// The time of day, which people and administrators set; a fake clock moves it along with the other, and a test
    /// sets it by `testing::Clock::set_time_of_day`.
    pub fn time_of_day(&self) -> SystemTime {
        self.0.time_of_day()
    }

    /// Work is in flight, as [`Context::busy`].
    pub fn busy(&self) -> Busy {
        Busy { _busy: self.0.busy() }
    }
}

impl fmt::Debug for ServiceClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceClock")
    }
}

/// Work in flight, until it is dropped, on any thread: made by [`Context::busy`].
#[derive(Debug)]
#[must_use = "dropped, the work is done"]
pub struct Busy {
    _busy: clock::Busy,
}
