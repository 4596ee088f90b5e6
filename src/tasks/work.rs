//! The work of a run: closures of several kinds, or a type of the user's.

use std::{
    fmt,
    panic::resume_unwind,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    common::{Seconds, lock},
    workers::Workers,
};
use crate::{CallError, Context, Error, EventLoop, NoOptions, Result};

/// The work of a [`Periodic`](crate::tasks::Periodic) or the fetch of a [`Poller`](crate::tasks::Poller).
///
/// Implement it for work that needs its [`Context`](crate::Context), or has options and counters of its own. Otherwise
/// a closure will do.
///
/// Like a [`Task`](crate::Task), it is generic over the loop. Its options stand beside the task's `interval` (and
/// `cron`), so it can't have one of that name.
///
/// ```
/// use std::time::Duration;
/// use interloop::{Context, EventLoop, Result, Service, Thread, clap, tasks::{Periodic, Work}};
///
/// struct Sweeper;
///
/// #[derive(clap::Args)]
/// struct SweeperOptions {
///     /// How many to sweep at a time
///     #[arg(long, default_value_t = 10)]
///     batch: u64,
/// }
///
/// impl<L: EventLoop> Work<L> for Sweeper {
///     type Options = SweeperOptions;
///     type Output = ();
///
///     async fn run(&mut self, cx: Context<L, SweeperOptions>) -> Result {
///         cx.counter("swept").add(cx.options().batch);
///         Ok(())
///     }
/// }
///
/// let mut service = Service::new("house");
/// // Has --sweeper-interval and --sweeper-batch.
/// service.task_on::<Thread>("sweeper", Periodic::of(Duration::from_secs(60), Sweeper));
/// ```
pub trait Work<L: EventLoop>: Send + 'static {
    /// The options of the work: `--{task name}-{option}`. Use [`NoOptions`] if it has none.
    type Options: clap::Args + 'static;

    /// The result of a run.
    type Output;

    /// Does the work once. The future is awaited to its end, also if the task is asked to stop in the meantime; past
    /// the task's deadline it is dropped.
    fn run(&mut self, cx: Context<L, Self::Options>) -> impl Future<Output = Result<Self::Output>>;
}

/// The error of a run that must be tried again later: it doesn't count as a failure.
///
/// ```
/// use std::time::Duration;
/// use interloop::{Result, tasks::TryLater};
///
/// fn sweep() -> Result {
///     Err(TryLater::after(Duration::from_secs(5)))?
/// }
/// assert_eq!(sweep().unwrap_err().to_string(), "try later, after 5 s");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TryLater {
    /// The time until the next try.
    pub after: Duration,
}

impl TryLater {
    /// Returns the error of a run that is tried again after this time.
    pub fn after(time: Duration) -> Self {
        Self { after: time }
    }

    /// Returns it if the error is one.
    pub(super) fn of(error: &Error) -> Option<Self> {
        error.source()?.downcast_ref().copied()
    }
}

impl fmt::Display for TryLater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "try later, after {}", Seconds(self.after))
    }
}

impl std::error::Error for TryLater {}

/// Says why a run that was [asked for](crate::tasks::PeriodicHandle::run_now) has brought no result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunError {
    /// The run will be tried again.
    TryLater(TryLater),
    /// The run returned an error with this message.
    Failed(Arc<str>),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TryLater(later) => later.fmt(f),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for RunError {}

/// The types that a closure may return.
pub trait Outcome {
    /// The value of a successful run.
    type Value;

    /// Converts it into a result.
    fn into_result(self) -> Result<Self::Value>;
}

impl Outcome for () {
    type Value = ();

    fn into_result(self) -> Result {
        Ok(())
    }
}

impl<T, E: Into<Error>> Outcome for std::result::Result<T, E> {
    type Value = T;

    fn into_result(self) -> Result<T> {
        self.map_err(Into::into)
    }
}

/// A closure, called on the loop.
#[derive(Clone)]
pub struct Closure<F>(pub(super) F);

impl<L: EventLoop, R: Outcome, F: FnMut() -> R + Send + 'static> Work<L> for Closure<F> {
    type Options = NoOptions;
    type Output = R::Value;

    async fn run(&mut self, _: Context<L>) -> Result<R::Value> {
        (self.0)().into_result()
    }
}

/// An async closure, awaited on the loop.
#[derive(Clone)]
pub struct AsyncClosure<F>(pub(super) F);

impl<L: EventLoop, R: Outcome, F: AsyncFnMut() -> R + Send + 'static> Work<L> for AsyncClosure<F> {
    type Options = NoOptions;
    type Output = R::Value;

    async fn run(&mut self, _: Context<L>) -> Result<R::Value> {
        (self.0)().await.into_result()
    }
}

/// A closure, called on a thread of its own.
pub struct Blocking<F> {
    f: Arc<Mutex<F>>,
    workers: Option<Workers>,
}

impl<F> Closure<F> {
    pub(super) fn blocking(self) -> Blocking<F> {
        Blocking { f: Arc::new(Mutex::new(self.0)), workers: None }
    }
}

impl<L: EventLoop, R, F> Work<L> for Blocking<F>
where
    R: Outcome<Value: Send + 'static>,
    F: FnMut() -> R + Send + 'static,
{
    type Options = NoOptions;
    type Output = R::Value;

    async fn run(&mut self, cx: Context<L>) -> Result<R::Value> {
        let workers = match &self.workers {
            Some(workers) => workers,
            None => self.workers.insert(Workers::start(&cx, 1)?),
        };
        let f = self.f.clone();
        // There is one call at a time: nobody else has the lock.
        match workers.run(move || lock(&f)().into_result()).await {
            Ok(result) => result,
            // The panic has already been reported where it happened.
            Err(CallError::Panicked(message)) => resume_unwind(Box::new(message)),
            Err(error) => Err(error.into()),
        }
    }
}

impl<F: Clone> Clone for Blocking<F> {
    fn clone(&self) -> Self {
        Closure(lock(&self.f).clone()).blocking()
    }
}

macro_rules! opaque {
    ($($kind:ident)*) => {$(
        impl<F> fmt::Debug for $kind<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($kind))
            }
        }
    )*};
}
opaque!(Closure AsyncClosure Blocking);
