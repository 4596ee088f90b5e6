//! Tasks: what users write.

use std::{fmt, future::Future, marker::PhantomData};

use crate::{Context, EventLoop, NoOptions, Result, options::OptionDefaults, task::Offer};

/// One unit of work with a lifecycle, on a loop of kind `L`.
///
/// It is generic over the loop: for one loop, `impl Task<Glib> for Ui`; for any, `impl<L: EventLoop> Task<L> for Echo`,
/// and who adds it to a service picks the loop.
///
/// `run` is called once an incarnation, on the loop's thread, and its future stays there: it may be `!Send`. The task
/// is ready when it says [`cx.ready()`](Context::ready); [`cx.until_shutdown()`](Context::until_shutdown) says so and
/// waits. How it ends:
///
/// * `Ok` before ready: it was a one-shot, ready and done. `Ok` after ready: done.
/// * `Err`, or a panic: it failed; the service stops, unless a [restart policy](crate::service::TaskSettings::restart)
///   says otherwise.
/// * [`Error::skip`](crate::Error::skip) before ready: it is skipped, and so is what requires it.
/// * Past its deadline its future is dropped, at the await where it stands.
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
    /// Its flags: `--{task name}-{option}`. [`NoOptions`] if it has none.
    type Options: clap::Args + 'static;

    /// Does the work.
    fn run(&mut self, cx: Context<L, Self::Options>) -> impl Future<Output = Result>;

    /// The [handle](crate::task::TaskHandle) by which others use it, if it has one. Asked once, when it is added to a
    /// service.
    fn offer(&self) -> Option<Offer> {
        None
    }

    /// Tells which of its options its code has set, by whatever methods have built it: `--help` shows these as the
    /// options' defaults, a dry run and [`Options`](crate::options::Options) as coming from code, and
    /// [`cx.options()`](Context::options) has them where nothing stronger says otherwise. Asked once, when the task is
    /// added to a service; a task that is made anew for each incarnation is not asked, since there is none yet.
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
    ///         let port = cx.options().port.unwrap_or(7); // that of the code too
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

    /// Looks at what can be wrong before anything starts, such as files that the options name. Called once, on the
    /// thread that starts the service, if the task is selected, by a dry run too; of a task that is made anew for each
    /// incarnation it is not called.
    ///
    /// # Errors
    ///
    /// Why this configuration can't work: in one line, with which the service ends, and with exit code 78.
    fn check(&self, options: &Self::Options) -> Result {
        let _ = options;
        Ok(())
    }
}

/// A task from an async closure: `task_fn::<Glib>(async |cx| { ..; Ok(()) })`.
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
