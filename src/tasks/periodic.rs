//! A task that does something every so often.

use std::{fmt, time::Duration};

use crate::{Context, Error, Result, Task, Timers, options};

/// Does something every so often, by the clock: the times don't drift, and times that were missed, because the work or the loop took too long, are
/// skipped and counted. The first time is one interval after the start.
///
/// The work runs on the loop: on a loop that is shared it must not block. When it returns an error, the task fails.
///
/// Options: `--{task}-interval`, such as `1.5s`. Counters: `iterations`, `missed`.
///
/// ```
/// use std::time::Duration;
/// use interloop::{Service, Thread, tasks::Periodic};
///
/// let mut service = Service::new("clock");
/// service.task_on::<Thread>("tick", Periodic::new(Duration::from_secs(1), || println!("tick")));
/// ```
pub struct Periodic<F> {
    interval: Duration,
    work: F,
}

impl<F> Periodic<F> {
    /// Calls `work` every `interval`. It returns nothing, or a [`Result`].
    pub fn new<R: Outcome>(interval: Duration, work: F) -> Self
    where
        F: FnMut() -> R + Send + 'static,
    {
        Self { interval, work }
    }
}

/// What periodic work returns: nothing, or a [`Result`].
pub trait Outcome {
    /// As a result.
    fn into_result(self) -> Result;
}

impl Outcome for () {
    fn into_result(self) -> Result {
        Ok(())
    }
}

impl<E: Into<Error>> Outcome for std::result::Result<(), E> {
    fn into_result(self) -> Result {
        self.map_err(Into::into)
    }
}

/// An interval as people write it.
fn period(text: &str) -> std::result::Result<Duration, String> {
    let period = options::duration(text)?;
    if period.is_zero() { Err("the interval must not be zero".into()) } else { Ok(period) }
}

/// The options of a [`Periodic`].
#[derive(clap::Args, Clone, Debug)]
pub struct PeriodicOptions {
    /// How often to do it; the program's own interval by default
    #[arg(long, value_name = "DURATION", value_parser = period)]
    interval: Option<Duration>,
}

impl<L: Timers, R: Outcome, F: FnMut() -> R + Send + 'static> Task<L> for Periodic<F> {
    type Options = PeriodicOptions;

    async fn run(&mut self, cx: Context<L, PeriodicOptions>) -> Result {
        let interval = cx.options().interval.unwrap_or(self.interval);
        if interval.is_zero() {
            return Err(Error::new("the interval must not be zero"));
        }
        let (iterations, missed) = (cx.counter("iterations"), cx.counter("missed"));
        let mut ticks = cx.interval(interval);
        let mut stop = std::pin::pin!(cx.until_shutdown());
        loop {
            let tick = std::pin::pin!(ticks.tick());
            match first(stop.as_mut(), tick).await {
                None => return Ok(()),
                Some(late) => missed.add(late),
            }
            (self.work)().into_result()?;
            iterations.add(1);
        }
    }
}

/// What the second future returns, unless the first is ready before.
async fn first<T>(
    mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
    mut work: std::pin::Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    std::future::poll_fn(|cx| match stop.as_mut().poll(cx) {
        std::task::Poll::Ready(()) => std::task::Poll::Ready(None),
        std::task::Poll::Pending => work.as_mut().poll(cx).map(Some),
    })
    .await
}

impl<F> fmt::Debug for Periodic<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Periodic").field("interval", &self.interval).finish_non_exhaustive()
    }
}
