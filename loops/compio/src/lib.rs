//! compio, whose operations complete rather than become ready, as an event loop of Interloop.
//!
//! [`Compio`] drives a [`Runtime`] on a thread of its own: by io_uring where the system permits it, otherwise by
//! polling. All of compio works in its tasks. Tasks, their children and what they spawn share that thread and may be
//! `!Send`.
//!
//! ```
//! use std::time::Duration;
//! use compio::{io::{AsyncReadExt, AsyncWriteExt}, net::{TcpListener, TcpStream}};
//! use interloop::{Service, task_fn};
//! use interloop_compio::{Compio, compio};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut service = Service::new("greeter");
//! let compio = service.remote_to::<Compio>();
//! service.task("listen", task_fn::<Compio>(async |cx| {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     cx.export("address", listener.local_addr()?);
//!     let greet = async move {
//!         while let Ok((mut stream, _)) = listener.accept().await {
//!             let _ = stream.write_all("hello").await;
//!         }
//!     };
//!     cx.spawn_local(greet).detach();
//!     cx.until_shutdown().await;
//!     Ok(())
//! }));
//!
//! let running = service.start()?;
//! assert!(running.wait_started_timeout(Duration::from_secs(10)));
//! let address = running.status().tasks[0].exports["address"].clone();
//! // From any thread: a closure, or a future, that runs on the runtime.
//! let greeting = compio.spawn(|_| async move {
//!     let mut stream = TcpStream::connect(address).await?;
//!     stream.read_to_end(Vec::new()).await.0?;
//!     std::io::Result::Ok(())
//! });
//! greeting.wait_timeout(Duration::from_secs(10))??;
//! assert_eq!(running.stop().code, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Tasks that run on any loop
//!
//! `interloop::net` reads into buffers that belong to the caller, which a completion can't do: its streams receive into
//! a buffer of their own, and copy; large transfers are read directly. They send without waiting if there is room, and
//! accept and connect as compio does.
//!
//! # The end
//!
//! Futures spawned on the runtime directly are dropped with it, on the loop's thread.

#![forbid(unsafe_code)]

mod net;
mod stream;

use std::{
    fmt,
    future::{Future, pending, poll_fn},
    rc::{Rc, Weak},
    str::FromStr,
    task::Poll,
    time::{Duration, Instant},
};

use compio::{
    driver::{DriverType, ProactorBuilder},
    runtime::{Runtime, RuntimeBuilder},
};
use interloop::{
    EventLoop, Result,
    clap::{self, Arg, ArgMatches, Args, Command, FromArgMatches, ValueEnum, builder::PossibleValue},
    event_loop::{Mailbox, Timers},
    options::OptionDefaults,
};

pub use compio;

pub use crate::{
    net::{CompioListener, CompioWatch},
    stream::CompioStream,
};

/// A compio runtime on a thread of its own.
///
/// The loop's name, and so the prefix of its options, is `compio`. See the [crate's documentation](crate).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Compio {
    defaults: OptionDefaults,
}

impl Compio {
    /// Sets the driver; [`Driver::Auto`] by default. The option `--compio-driver` takes precedence. If the system
    /// doesn't permit the driver, the loop fails to start.
    ///
    /// ```
    /// # use interloop::{Service, task_fn};
    /// # use interloop_compio::{Compio, Driver};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut service = Service::new("polls");
    /// service.event_loop("compio", Compio::default().driver(Driver::Poll));
    /// service.task("ask", task_fn::<Compio>(async |cx| {
    ///     let runtime = cx.native().runtime().expect("the task runs on it");
    ///     assert!(runtime.driver_type().is_polling());
    ///     Ok(())
    /// }));
    /// assert_eq!(service.start()?.join().code, 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn driver(self, driver: Driver) -> Self {
        Self { defaults: self.defaults.with("driver", driver) }
    }
}

/// The options of [`Compio`]: `--compio-driver`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CompioOptions {
    /// The driver of the runtime.
    pub driver: Driver,
}

impl FromArgMatches for CompioOptions {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Ok(Self { driver: matches.get_one("driver").copied().unwrap_or_default() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for CompioOptions {
    fn augment_args(command: Command) -> Command {
        let driver = Arg::new("driver").long("driver").value_name("DRIVER").default_value("auto");
        command.arg(driver.value_parser(clap::value_parser!(Driver)).help("What it stands on"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The driver of a compio runtime. `--compio-driver` takes it as text: `auto`, `io-uring` or `poll`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Driver {
    /// io_uring where the system permits it, otherwise polling.
    #[default]
    Auto,
    /// io_uring.
    IoUring,
    /// epoll.
    Poll,
}

impl ValueEnum for Driver {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::IoUring, Self::Poll]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Auto => PossibleValue::new("auto").help("io_uring where the system permits it, else polling"),
            Self::IoUring => PossibleValue::new("io-uring").help("io_uring"),
            Self::Poll => PossibleValue::new("poll").help("epoll"),
        })
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::IoUring => "io-uring",
            Self::Poll => "poll",
        })
    }
}

impl FromStr for Driver {
    type Err = ParseDriverError;

    fn from_str(text: &str) -> std::result::Result<Self, ParseDriverError> {
        let known = Self::value_variants().iter().find(|driver| driver.to_string() == text);
        known.copied().ok_or_else(|| ParseDriverError(text.to_owned()))
    }
}

/// The error of a text that is no [`Driver`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseDriverError(String);

impl fmt::Display for ParseDriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no driver {:?}: it must be auto, io-uring or poll", self.0)
    }
}

impl std::error::Error for ParseDriverError {}

/// A task's view of its compio loop.
#[derive(Clone)]
pub struct CompioNative {
    runtime: Weak<Runtime>,
}

impl CompioNative {
    /// Returns the runtime, for example to spawn on it directly; None once the loop has ended. A caller that keeps it
    /// keeps its futures alive.
    pub fn runtime(&self) -> Option<Rc<Runtime>> {
        self.runtime.upgrade()
    }
}

impl fmt::Debug for CompioNative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CompioNative")
    }
}

impl EventLoop for Compio {
    const NAME: &'static str = "compio";
    type Options = CompioOptions;
    type Native = CompioNative;

    fn defaults(&self) -> OptionDefaults {
        self.defaults.clone()
    }

    fn drive(
        self,
        options: CompioOptions,
        mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, CompioNative),
    ) -> Result {
        let mut proactor = ProactorBuilder::new();
        match options.driver {
            Driver::Auto => {}
            Driver::IoUring => drop(proactor.driver_type(DriverType::IoUring)),
            Driver::Poll => drop(proactor.driver_type(DriverType::Poll)),
        }
        let runtime = Rc::new(RuntimeBuilder::new().with_proactor(proactor).build()?);
        let native = CompioNative { runtime: Rc::downgrade(&runtime) };
        let spawner = native.clone();
        mailbox.set_spawner(move |future| {
            if let Some(runtime) = spawner.runtime() {
                runtime.spawn(future).detach();
            }
        });
        started(&mailbox, native);
        runtime.block_on(mailbox.drive(yield_now));
        Ok(())
    }
}

/// Ready at the next poll: in between, the runtime has looked at its completions.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Timers for Compio {
    fn sleep(_: &CompioNative, duration: Duration) -> impl Future<Output = ()> + 'static {
        let deadline = Instant::now().checked_add(duration);
        async move {
            match deadline {
                Some(deadline) => compio::time::sleep_until(deadline).await,
                // A time beyond the clock never comes.
                None => pending().await,
            }
        }
    }
}

/// The README's program compiles.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
