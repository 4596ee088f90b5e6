//! tokio as an event loop of Interloop.
//!
//! [`Tokio`] drives a runtime on a thread of its own: the current-thread one by default, so that tasks, their children and what they spawn share that
//! thread; with `--tokio-worker-threads N` the multi-thread one, whose workers run what [`Context::spawn`](interloop::Context::spawn) and `tokio::spawn` are
//! given. Tasks may be `!Send` in both. What tasks see as their [`native`](interloop::Context::native) loop is tokio's own [`Handle`].
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
//! assert_eq!(slept.wait(Duration::from_secs(10)), Ok(()));
//! assert_eq!(running.stop().code, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # tokio's libraries on another loop
//!
//! [`with_tokio`] gives a future on any other loop the context of a [`Tokio`] loop: its timers and sockets then work there.
//!
//! # The end
//!
//! When the last task has ended, what was given to the runtime directly (`tokio::spawn`, `spawn_local`) is dropped on the loop's thread, or on the workers,
//! inside the runtime's context. Closures of `spawn_blocking` can't be dropped: they get half of what is left until the loop's deadline, at most one
//! second. One that still runs then (a read from the terminal, say) is left behind, with a warning.
//!
//! # Limits
//!
//! A bare `tokio::spawn` doesn't belong to a task: neither its deadline nor its failure. [`Context::spawn`](interloop::Context::spawn) does. `block_in_place`
//! panics on the loop's thread.

#![forbid(unsafe_code)]

mod net;
mod with_tokio;

use std::{
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

use interloop::{
    EventLoop, Result, Shutdown,
    clap::{self, Arg, ArgMatches, Args, Command, FromArgMatches},
    event_loop::{Mailbox, Timers},
};
use tokio::{
    runtime::{Builder, Handle, LocalOptions},
    task::{self, LocalSet},
};

pub use crate::{
    net::{TokioListener, TokioStream, TokioWatch},
    with_tokio::{WithTokio, with_tokio},
};

/// A tokio runtime on a thread of its own.
///
/// Its name, and so the prefix of its options, is `tokio`. See the [crate's documentation](crate).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tokio {}

/// The options of [`Tokio`]: `--tokio-worker-threads`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TokioOptions {
    /// Threads beside the loop's own that run what is spawned; 0: all runs on the loop's own
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

    fn drive(
        self,
        options: TokioOptions,
        mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, Handle),
    ) -> Result {
        match options.worker_threads {
            0 => drive_alone(mailbox, started),
            workers => drive_with_workers(workers, mailbox, started),
        }
    }
}

/// How many tasks run at most before sockets are looked at. With tokio's own 61 a few that always have something to do, such as connections that are flooded
/// with requests, keep what others have sent waiting for as many of their turns.
const TURN: u32 = 8;

/// The thread does it all. The runtime takes `!Send` futures itself: one poll less on the way than through a `LocalSet`.
fn drive_alone(mailbox: Mailbox<Tokio>, started: impl FnOnce(&Mailbox<Tokio>, Handle)) -> Result {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(TURN)
        .thread_name(format!("{}-blocking", mailbox.name()))
        .build_local(LocalOptions::default())?;
    let runtime = Rc::new(runtime);
    // Weak: the runtime has to be ours alone when it is shut down.
    let spawner = Rc::downgrade(&runtime);
    mailbox.set_spawner(move |future| {
        if let Some(runtime) = spawner.upgrade() {
            runtime.spawn_local(future);
        }
    });
    started(&mailbox, runtime.handle().clone());
    let end = End::of(&mailbox);
    // Unconstrained: jobs run in here, and none may find tokio's budget used up by those before it.
    runtime.block_on(task::unconstrained(mailbox.drive(task::yield_now)));
    let runtime = Rc::into_inner(runtime).expect("the spawner went with the mailbox, and only lent it");
    end.shut_down(|patience| runtime.shutdown_timeout(patience));
    Ok(())
}

/// The thread runs the mailbox and the `!Send` futures; the workers run the others, the sockets and the timers.
fn drive_with_workers(
    workers: usize,
    mailbox: Mailbox<Tokio>,
    started: impl FnOnce(&Mailbox<Tokio>, Handle),
) -> Result {
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .event_interval(TURN)
        .thread_name(format!("{}-worker", mailbox.name()))
        .build()?;
    let local = Rc::new(LocalSet::new());
    let spawner = Rc::downgrade(&local);
    mailbox.set_spawner(move |future| {
        if let Some(local) = spawner.upgrade() {
            local.spawn_local(future);
        }
    });
    let handle = runtime.handle().clone();
    mailbox.set_workers(move |future| drop(handle.spawn(future)));
    started(&mailbox, runtime.handle().clone());
    let end = End::of(&mailbox);
    local.block_on(&runtime, task::unconstrained(mailbox.drive(task::yield_now)));
    {
        // What lives in there may look for the runtime when it is dropped.
        let _entered = runtime.enter();
        drop(local);
    }
    end.shut_down(|patience| runtime.shutdown_timeout(patience));
    Ok(())
}

/// The end of a runtime: closures of `spawn_blocking` can't be cancelled, and dropping the runtime would wait for them for ever.
struct End {
    name: String,
    shutdown: Shutdown,
}

impl End {
    const PATIENCE: Duration = Duration::from_secs(1);

    /// To be made while there is a mailbox.
    fn of(mailbox: &Mailbox<Tokio>) -> Self {
        Self { name: mailbox.name().to_owned(), shutdown: mailbox.shutdown() }
    }

    fn shut_down(self, shut_down: impl FnOnce(Duration)) {
        let begun = Instant::now();
        let rest =
            self.shutdown.deadline().map_or(Self::PATIENCE, |deadline| deadline.saturating_duration_since(begun));
        // Past the deadline the thread is given up: half of the rest keeps well clear of that.
        let patience = (rest / 2).min(Self::PATIENCE);
        shut_down(patience);
        if !patience.is_zero() && begun.elapsed() >= patience {
            log::warn!("loop {}: a blocking closure did not end within {patience:?} and is left behind", self.name);
        }
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
