//! smol as an event loop of Interloop.
//!
//! [`Smol`] drives a [`LocalExecutor`] on a thread of its own, by [`smol::block_on`], so that all of smol works in its
//! tasks: sockets, timers, files, processes. Tasks, their children and what they [spawn](SmolNative::spawn) share that
//! thread and may be `!Send`. With `--smol-worker-threads N` further threads run the futures that
//! [`Context::spawn`](interloop::Context::spawn) is given.
//!
//! ```
//! use std::time::Duration;
//! use interloop::{Service, task_fn};
//! use interloop_smol::{Smol, smol};
//! use smol::{io::{AsyncReadExt, AsyncWriteExt}, net::{TcpListener, TcpStream}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut service = Service::new("greeter");
//! let smol = service.remote_to::<Smol>();
//! service.task("listen", task_fn::<Smol>(async |cx| {
//!     let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
//!     cx.export("address", listener.local_addr()?);
//!     let greet = cx.native().spawn(async move {
//!         while let Ok((mut stream, _)) = listener.accept().await {
//!             let _ = stream.write_all(b"hello").await;
//!         }
//!     });
//!     cx.until_shutdown().await;
//!     greet.cancel().await;
//!     Ok(())
//! }));
//!
//! let running = service.start()?;
//! assert!(running.wait_started_timeout(Duration::from_secs(10)));
//! let address = running.status().tasks[0].exports["address"].clone();
//! // From any thread: a closure, or a future, that runs on the executor.
//! let greeting = smol.spawn(|_| async move {
//!     let mut text = String::new();
//!     TcpStream::connect(address).await?.read_to_string(&mut text).await?;
//!     std::io::Result::Ok(text)
//! });
//! assert_eq!(greeting.wait_timeout(Duration::from_secs(10))??, "hello");
//! assert_eq!(running.stop().code, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # The end
//!
//! Futures spawned on the executor directly are dropped with it, on the loop's thread. smol's own threads belong to the
//! process as a whole, and never end: see the README.
//!
//! # Limits
//!
//! A bare `smol::spawn` doesn't belong to a task, so neither the task's deadline nor its failure handling applies to
//! it; it runs on threads that no service stops.

#![forbid(unsafe_code)]

mod workers;

use std::{
    fmt,
    future::Future,
    io,
    os::fd::OwnedFd,
    rc::{Rc, Weak},
    time::Duration,
};

use interloop::{
    EventLoop, Result,
    clap::{self, Arg, ArgMatches, Args, Command, FromArgMatches},
    event_loop::{Mailbox, Timers},
    net::{Address, Bound, Net, Socket, SocketRef, Watch, WatchFd},
    options::OptionDefaults,
};
use interloop_async_io::{AsyncIoListener, AsyncIoStream, AsyncIoWatch};
use smol::{LocalExecutor, Task, Timer};

pub use smol;

use crate::workers::Workers;

/// smol's executor on a thread of its own.
///
/// The loop's name, and so the prefix of its options, is `smol`. See the [crate's documentation](crate).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Smol {
    defaults: OptionDefaults,
}

impl Smol {
    /// Adds this many threads beside the loop's own, which run [spawned](interloop::Context::spawn) futures; with 0,
    /// the default, they all run on the loop's own. The option `--smol-worker-threads` takes precedence.
    ///
    /// ```
    /// # use interloop::{Service, task_fn};
    /// # use interloop_smol::Smol;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut service = Service::new("workers");
    /// service.event_loop("smol", Smol::default().worker_threads(2));
    /// service.task("spawn", task_fn::<Smol>(async |cx| {
    ///     let name = cx.spawn(async { std::thread::current().name().map(str::to_owned) }).await?;
    ///     assert_eq!(name.as_deref(), Some("smol-worker"));
    ///     Ok(())
    /// }));
    /// assert_eq!(service.start()?.join().code, 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn worker_threads(self, threads: usize) -> Self {
        Self { defaults: self.defaults.with("worker-threads", threads) }
    }
}

/// The options of [`Smol`]: `--smol-worker-threads`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SmolOptions {
    /// The number of threads beside the loop's own that run spawned futures; with 0 they all run on the loop's own.
    pub worker_threads: usize,
}

impl FromArgMatches for SmolOptions {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Ok(Self { worker_threads: matches.get_one("worker_threads").copied().unwrap_or(0) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for SmolOptions {
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

/// A task's view of its smol loop: the loop's executor.
#[derive(Clone)]
pub struct SmolNative {
    executor: Weak<LocalExecutor<'static>>,
}

impl SmolNative {
    /// Runs a future, which may be `!Send`, on the loop's thread, independently of the task: its end and its failure
    /// are the caller's business. When the loop has ended, the future is dropped.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        match self.executor.upgrade() {
            Some(executor) => executor.spawn(future),
            None => LocalExecutor::new().spawn(future),
        }
    }
}

impl fmt::Debug for SmolNative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmolNative")
    }
}

impl EventLoop for Smol {
    const NAME: &'static str = "smol";
    type Options = SmolOptions;
    type Native = SmolNative;

    fn defaults(&self) -> OptionDefaults {
        self.defaults.clone()
    }

    fn drive(
        self,
        options: SmolOptions,
        mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, SmolNative),
    ) -> Result {
        interloop_async_io::start();
        let workers = Workers::start(options.worker_threads, &mailbox)?;
        let executor = Rc::new(LocalExecutor::new());
        let native = SmolNative { executor: Rc::downgrade(&executor) };
        let spawner = native.clone();
        mailbox.set_spawner(move |future| spawner.spawn(future).detach());
        started(&mailbox, native);
        smol::block_on(executor.run(mailbox.drive(smol::future::yield_now)));
        drop(executor);
        drop(workers);
        Ok(())
    }
}

impl Timers for Smol {
    fn sleep(_: &SmolNative, duration: Duration) -> impl Future<Output = ()> + 'static {
        let timer = Timer::after(duration);
        async {
            timer.await;
        }
    }
}

impl Net for Smol {
    type Stream = AsyncIoStream;
    type Listener = AsyncIoListener;

    fn listener(_: &SmolNative, socket: Bound) -> io::Result<AsyncIoListener> {
        AsyncIoListener::new(socket)
    }

    fn stream(_: &SmolNative, socket: Socket) -> io::Result<AsyncIoStream> {
        AsyncIoStream::new(socket)
    }

    fn connect(_: &SmolNative, address: Address) -> impl Future<Output = io::Result<AsyncIoStream>> + 'static {
        AsyncIoStream::connect(address)
    }

    fn socket(stream: &AsyncIoStream) -> SocketRef<'_> {
        stream.into()
    }

    fn watch_boxed(native: &SmolNative, fd: OwnedFd) -> io::Result<Box<dyn Watch>> {
        Ok(Box::new(Self::watch(native, fd)?))
    }
}

impl WatchFd for Smol {
    type Watch = AsyncIoWatch;

    fn watch(_: &SmolNative, fd: OwnedFd) -> io::Result<AsyncIoWatch> {
        AsyncIoWatch::new(fd)
    }
}

/// The README's program compiles.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
