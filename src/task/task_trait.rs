//! Tasks, which users implement.

use std::{fmt, future::Future, marker::PhantomData};

use crate::{Context, EventLoop, NoOptions, Result, options::OptionDefaults, task::Offer};

/// One unit of work with a lifecycle, on a loop of kind `L`.
///
/// It is generic over the loop. A task for one loop is `impl Task<Glib> for Ui`; a task for any loop is
/// `impl<L: EventLoop> Task<L> for Echo`, and the program that adds it to a service picks the loop.
///
/// `run` is called once for each incarnation, on the loop's thread, and its future stays there: it may be `!Send`. The
/// task is ready once it calls [`cx.ready()`](Context::ready); [`cx.until_shutdown()`](Context::until_shutdown) does so
/// and then waits. A task ends in one of these ways:
///
/// * `Ok` before ready: it was a one-shot, ready and done. `Ok` after ready: done.
/// * `Err`, or a panic: it failed; the service stops, unless a [restart policy](crate::service::TaskSettings::restart)
///   says otherwise.
/// * [`Error::skip`](crate::Error::skip) before ready: it is skipped, and so are the tasks that require it.
/// * Past its deadline: its future is dropped at its current await.
///
/// ```
/// use interloop::{Context, EventLoop, NoOptions, Result, Task};
///
/// struct Greeter;
///
/// impl<L: EventLoop> Task<L> for Greeter {
///     type Options = NoOptions;
///
///     async fn run(&mut self, cx: Context<L>) -> Result {
///         cx.until_shutdown().await;
///         log::info!("good bye");
///         Ok(())
///     }
/// }
/// ```
pub trait Task<L: EventLoop>: Send + 'static {
    /// The task's options, as flags `--{task name}-{option}`; [`NoOptions`] if it has none.
    type Options: clap::Args + 'static;

    /// Runs one incarnation of the task.
    fn run(&mut self, cx: Context<L, Self::Options>) -> impl Future<Output = Result>;

    /// Returns the [handle](crate::task::TaskHandle) by which other tasks use this one, if it has one.
    ///
    /// Called once, when the task is added to a service.
    fn offer(&self) -> Option<Offer> {
        None
    }

    /// Returns the options that the task's own builder methods have set.
    ///
    /// `--help` shows them as the options' defaults; a dry run and [`Options`](crate::options::Options) show them as
    /// coming from code; [`cx.options()`](Context::options) has them unless a stronger source overrides them. Called
    /// once, when the task is added to a service. It is not called for a task that is recreated for each incarnation,
    /// since no value exists yet.
    ///
    /// ```
    /// use interloop::{Context, EventLoop, Result, Service, Task, Thread, clap, options::OptionDefaults};
    ///
    /// #[derive(clap::Args)]
    /// struct EchoOptions {
    ///     /// Listen on this port (default: 7)
    ///     #[arg(long)]
    ///     port: Option<u16>,
    /// }
    ///
    /// struct Echo {
    ///     port: Option<u16>, // set by a method `port`
    /// }
    ///
    /// impl<L: EventLoop> Task<L> for Echo {
    ///     type Options = EchoOptions;
    ///
    ///     async fn run(&mut self, cx: Context<L, EchoOptions>) -> Result {
    ///         let port = cx.options().port.unwrap_or(7); // the value from code too
    ///         # let _ = port;
    ///         Ok(cx.until_shutdown().await)
    ///     }
    ///
    ///     fn defaults(&self) -> OptionDefaults {
    ///         OptionDefaults::new().with_some("port", self.port)
    ///     }
    /// }
    ///
    /// let mut service = Service::new("echo");
    /// service.task_on::<Thread>("echo", Echo { port: Some(7000) });
    /// // --echo-port <PORT>  Listen on this port [default: 7000]
    /// ```
    fn defaults(&self) -> OptionDefaults {
        OptionDefaults::new()
    }

    /// Checks the configuration before anything starts, such as files that the options name.
    ///
    /// Called once, on the thread that starts the service, if the task is selected, also in a dry run. It is not called
    /// for a task that is recreated for each incarnation.
    ///
    /// # Errors
    ///
    /// Returns a one-line reason why this configuration is unusable; startup fails with it and exit code 78.
    fn check(&self, options: &Self::Options) -> Result {
        let _ = options;
        Ok(())
    }
}

/// Returns a task that runs an async closure: `task_fn::<Glib>(async |cx| { ..; Ok(()) })`.
pub fn task_fn<L: EventLoop>(
    f: impl AsyncFnOnce(Context<L>) -> Result + Send + 'static,
) -> impl Task<L, Options = NoOptions> {
    TaskFn { f: Some(f), on: PhantomData }
}

struct TaskFn<L, F> {
    f: Option<F>,
    on: PhantomData<fn() -> L>,
}

impl<L: EventLoop, F: AsyncFnOnce(Context<L>) -> Result + Send + 'static> Task<L> for TaskFn<L, F> {
    type Options = NoOptions;

    async fn run(&mut self, cx: Context<L>) -> Result {
        let f = self.f.take().expect("a task value runs once");
        f(cx).await
    }
}

impl<L, F> fmt::Debug for TaskFn<L, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskFn")
    }
}
