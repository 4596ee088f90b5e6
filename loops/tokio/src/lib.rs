//! tokio as an event loop of Interloop.
//!
//! [`Tokio`] drives a runtime on a thread of its own. By default it is the current-thread runtime, so that tasks, their
//! children and what they spawn share that thread. With `--tokio-worker-threads N`, or
//! [`worker_threads(n)`](Tokio::worker_threads), it is the multi-thread one, whose workers run the futures that
//! [`Context::spawn`](interloop::Context::spawn) and `tokio::spawn` are given. Tasks may be `!Send` in both. The
//! [`native`](interloop::Context::native) loop of a task is tokio's own [`Handle`].
//!
//! ```
//! use std::time::Duration;
//! use interloop::{Service, task_fn};
//! use interloop_tokio::Tokio;
//! use tokio::net::TcpListener;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut service = Service::new("greeter");
//! let runtime = service.remote_to::<Tokio>();
//! service.task("listen", task_fn::<Tokio>(async |cx| {
//!     let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
//!     cx.export("address", listener.local_addr()?);
//!     cx.until_shutdown().await;
//!     Ok(())
//! }));
//!
//! let running = service.start()?;
//! assert!(running.wait_started_timeout(Duration::from_secs(10)));
//! // From any thread: a closure, or a future, that runs on the runtime.
//! let slept = runtime.spawn(|_| tokio::time::sleep(Duration::from_millis(1)));
//! assert_eq!(slept.wait_timeout(Duration::from_secs(10)), Ok(()));
//! assert_eq!(running.stop().code, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # tokio's libraries on another loop
//!
//! [`with_tokio`] gives a future on any other loop the context of a [`Tokio`] loop: its timers and sockets then work
//! there.
//!
//! # Where the runtime comes from
//!
//! | | the loop's thread | `cx.spawn` runs | at the loop's end |
//! |---|---|---|---|
//! | [`Tokio::default()`] | is the runtime's only one | there | the runtime shuts down |
//! | [`worker_threads(n)`](Tokio::worker_threads) | runs tasks and mailbox | on the workers | the runtime shuts down |
//! | [`from_builder`](Tokio::from_builder) | either, by the builder's kind | either | the runtime shuts down |
//! | [`from_handle`](Tokio::from_handle) | runs tasks and mailbox | on that runtime | the runtime continues |
//!
//! `tokio::task::spawn_local` works in tasks and in what they spawn by `cx.spawn_local`. Inside a `tokio::spawn` it
//! works on the runtime of [`Tokio::default()`] alone, and panics on the others.
//!
//! # On a runtime that is already there
//!
//! A loop [`from_handle`](Tokio::from_handle) still has a thread of its own: its mailbox and its tasks run there,
//! inside the runtime's context, so that they may be `!Send`, and so that a busy runtime doesn't hold up a stop. What
//! they [spawn](interloop::Context::spawn), by `cx.spawn` or `tokio::spawn`, runs on the runtime; its sockets and
//! timers are the runtime's. These are the differences:
//!
//! * The runtime is not shut down with the loop: futures given to it by `tokio::spawn` continue. It needs I/O and time
//!   enabled, as in `#[tokio::main]`.
//! * If the runtime is shut down, or dropped, before the loop has ended, the loop ends with an error that says so, and
//!   its tasks with it: end the service first. A task that is using a timer or a socket at that very moment may fail
//!   first, by tokio's own panic or error, which says the same.
//! * A current-thread runtime works only while a thread is inside its `block_on`: a main that blocks that thread, by
//!   `running.join()` for example, stops its sockets and timers. Await [`running.ended()`](interloop::Running::ended)
//!   there.
//! * `--tokio-worker-threads` is not available.
//! * The loop can be restarted like any other, but not on a runtime that is gone: each start then ends with that error.
//!
//! # The end
//!
//! When the last task has ended, the futures given to the runtime directly (`tokio::spawn`, `spawn_local`) are dropped
//! on the loop's thread, or on the workers, inside the runtime's context. Closures of `spawn_blocking` can't be
//! dropped: they get half of the time that is left until the loop's deadline, at most one second. A closure that still
//! runs then (a read from the terminal, for example) is left behind, with a warning.
//!
//! # Limits
//!
//! A bare `tokio::spawn` doesn't belong to a task, so neither the task's deadline nor its failure handling applies to
//! it. They do apply to [`Context::spawn`](interloop::Context::spawn). `block_in_place` panics on the loop's thread.

#![forbid(unsafe_code)]

mod net;
mod source;
mod with_tokio;

use std::{future::Future, time::Duration};

use interloop::{
    Error, EventLoop, Result,
    clap::{self, Arg, ArgMatches, Args, Command, FromArgMatches},
    event_loop::{Mailbox, Timers},
    options::OptionDefaults,
};
use tokio::runtime::{Builder, Handle};

use crate::source::Source;

pub use tokio;

pub use crate::{
    net::{TokioListener, TokioStream, TokioWatch},
    with_tokio::{WithTokio, with_tokio},
};

/// A tokio runtime on a thread of its own.
///
/// The loop's name, and so the prefix of its options, is `tokio`. See the [crate's documentation](crate).
#[derive(Clone, Debug, Default)]
pub struct Tokio {
    defaults: OptionDefaults,
    source: Source,
}

impl Tokio {
    /// Adds this many workers, which run [spawned](interloop::Context::spawn) futures: the runtime is then a
    /// multi-thread one. With 0, the default, everything runs on the loop's thread. The option `--tokio-worker-threads`
    /// takes precedence.
    ///
    /// ```
    /// # use interloop::{Service, task_fn};
    /// # use interloop_tokio::Tokio;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut service = Service::new("workers");
    /// service.event_loop("tokio", Tokio::default().worker_threads(4));
    /// service.task("count", task_fn::<Tokio>(async |cx| {
    ///     assert_eq!(cx.native().metrics().num_workers(), 4);
    ///     Ok(())
    /// }));
    /// assert_eq!(service.start()?.join().code, 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn worker_threads(self, threads: usize) -> Self {
        Self { defaults: self.defaults.with("worker-threads", threads), ..self }
    }

    /// Drives a runtime that this builder makes, of either kind.
    ///
    /// `make` is called on the loop's thread, again at each restart of the loop. Drivers of I/O and time are enabled in
    /// any case, and `--tokio-worker-threads`, unless it is 0, takes precedence over the builder's own number.
    ///
    /// The runtime is the loop's own: it is shut down at the loop's end. Everything else is as the builder says, such
    /// as names of threads, hooks and `event_interval`. If the builder is a current-thread one, [`worker_threads`]
    /// other than 0 make the loop's start fail; so does an error of the builder.
    ///
    /// [`worker_threads`]: Self::worker_threads
    ///
    /// ```
    /// # use interloop::{Service, task_fn};
    /// # use interloop_tokio::Tokio;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::runtime::Builder;
    ///
    /// let mut service = Service::new("mine");
    /// let plan = Tokio::from_builder(|| {
    ///     let mut builder = Builder::new_multi_thread();
    ///     builder.worker_threads(2).thread_name("mine").max_blocking_threads(16);
    ///     builder
    /// });
    /// service.event_loop("tokio", plan);
    /// service.task("ask", task_fn::<Tokio>(async |cx| {
    ///     let name = cx.spawn(async { std::thread::current().name().map(str::to_owned) }).await?;
    ///     assert_eq!(name.as_deref(), Some("mine"));
    ///     Ok(())
    /// }));
    /// assert_eq!(service.start()?.join().code, 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn from_builder(make: impl Fn() -> Builder + Send + Sync + 'static) -> Self {
        Self { source: Source::builder(make), ..Self::default() }
    }

    /// Runs on an existing runtime, such as that of `#[tokio::main]`. See [the crate's
    /// documentation](crate#on-a-runtime-that-is-already-there).
    ///
    /// ```
    /// # use interloop::{Service, task_fn};
    /// # use interloop_tokio::Tokio;
    /// use tokio::runtime::Handle;
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     let mut service = Service::new("guest");
    ///     service.event_loop("tokio", Tokio::from_handle(Handle::current()));
    ///     service.task("greet", task_fn::<Tokio>(async |cx| {
    ///         // On one of the runtime's workers.
    ///         cx.spawn(async { println!("hello") }).await?;
    ///         Ok(())
    ///     }));
    ///     let running = service.start()?;
    ///     assert_eq!(running.ended().await.code, 0);
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn from_handle(runtime: Handle) -> Self {
        Self { source: Source::handle(runtime), ..Self::default() }
    }
}

/// The options of [`Tokio`]: `--tokio-worker-threads`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TokioOptions {
    /// The number of threads beside the loop's own that run spawned futures; with 0 they all run on the loop's own.
    pub worker_threads: usize,
}

impl FromArgMatches for TokioOptions {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Ok(Self { worker_threads: matches.get_one("worker_threads").copied().unwrap_or(0) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for TokioOptions {
    fn augment_args(command: Command) -> Command {
        let threads = Arg::new("worker_threads").long("worker-threads").value_name("N").default_value("0");
        let threads = threads.value_parser(clap::value_parser!(usize));
        command
            .arg(threads.help("Threads beside the loop's own that run what is spawned; 0: all runs on the loop's own"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl EventLoop for Tokio {
    const NAME: &'static str = "tokio";
    type Options = TokioOptions;
    type Native = Handle;

    fn defaults(&self) -> OptionDefaults {
        self.defaults.clone()
    }

    fn check(&self, options: &TokioOptions) -> Result {
        match (&self.source, options.worker_threads) {
            (Source::Given(_), 1..) => Err(Error::new(
                "it runs on a runtime that is already there, whose worker-threads it can't choose: they must be 0",
            )),
            _ => Ok(()),
        }
    }

    fn drive(
        self,
        options: TokioOptions,
        mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, Handle),
    ) -> Result {
        self.source.drive(options.worker_threads, mailbox, started)
    }
}

impl Timers for Tokio {
    fn sleep(native: &Handle, duration: Duration) -> impl Future<Output = ()> + 'static {
        // The timer belongs to the runtime in whose context it is made.
        let _entered = native.enter();
        tokio::time::sleep(duration)
    }
}

/// The README's program compiles.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
