//! The contract by which an adapter makes a loop usable here, and the timers that most loops have.
//!
//! Every event loop can be woken from another thread and run a callback when woken; the contract needs no more.
//! [`Thread`](crate::Thread) is the reference: a loop that uses only std.

use std::{future::Future, time::Duration};

use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::{Result, event_loop::Mailbox, options::OptionDefaults};

/// A kind of loop (tokio, glib ...), and a plan for one.
///
/// [`drive`](Self::drive) builds the planned loop on the loop's thread, again at each restart.
///
/// # The contract
///
/// * The core calls `drive` on the loop's own thread (the main thread, if
///   [`needs_main_thread`](Self::needs_main_thread)), once for each incarnation.
/// * `drive` builds the loop; calls [`set_notify`](Mailbox::set_notify) (or awaits [`Mailbox::drive`], which does);
///   calls `started` with the loop's `Native` before the first turn; and takes turns until
///   [`Turn::Stop`](crate::event_loop::Turn::Stop). If a stop was requested before, the first turn says so.
/// * It never waits unless a turn returned [`Turn::Idle`](crate::event_loop::Turn::Idle); after
///   [`Turn::Again`](crate::event_loop::Turn::Again) it serves the loop's own events before the next turn.
/// * If it can watch a descriptor, or at least be woken, it provides sockets to its tasks: see [`Mailbox::set_reactor`]
///   and [`net`](crate::net).
/// * It drops the mailbox, which holds the `Native`, before it tears down the loop and returns. If it returns without
///   `Turn::Stop`, returns an error, or panics, the loop has died, and its tasks with it.
///
/// The trait isn't object safe, on purpose: it is convenient to implement, and the core makes its own objects.
///
/// # Examples
///
/// A loop that only parks its thread:
///
/// ```
/// use interloop::{EventLoop, NoOptions, Result, event_loop::{Mailbox, Turn}};
///
/// #[derive(Clone, Default)]
/// struct Park;
///
/// impl EventLoop for Park {
///     const NAME: &'static str = "park";
///     type Options = NoOptions;
///     type Native = ();
///
///     fn drive(self, _: NoOptions, mut mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, ())) -> Result {
///         let thread = std::thread::current();
///         mailbox.set_notify(move || thread.unpark());
///         started(&mailbox, ());
///         loop {
///             match mailbox.turn() {
///                 Turn::Stop => return Ok(()),
///                 Turn::Again => {}
///                 Turn::Idle => std::thread::park(),
///             }
///         }
///     }
/// }
/// ```
pub trait EventLoop: Default + Clone + Send + 'static {
    /// The default name of an instance and its thread, and the prefix of its options, such as `tokio`:
    /// `[a-z][a-z0-9-]*`.
    const NAME: &'static str;

    /// Whether each task gets an instance and a thread of its own, with the task's name, on which it may block.
    const THREAD_A_TASK: bool = false;

    /// The loop's options, such as `--tokio-worker-threads`.
    type Options: clap::Args + 'static;

    /// The loop's native handle, which tasks see. May be `!Send`.
    type Native: 'static;

    /// Whether the loop must be driven by the process's main thread. Only one instance of a service can be.
    fn needs_main_thread(&self) -> bool {
        false
    }

    /// Returns the process-wide resource that an instance claims, if any.
    ///
    /// If two instances claim the same resource, startup fails.
    fn claims(&self) -> Option<&'static str> {
        None
    }

    /// Returns the options that the plan's builder methods have set, as `Tokio::default().worker_threads(4)` does.
    ///
    /// None by default; see [`OptionDefaults`] for how a plan keeps them. Called once for each instance, on the thread
    /// that starts the service, before options are read.
    fn defaults(&self) -> OptionDefaults {
        OptionDefaults::new()
    }

    /// Checks the configuration before anything starts, as [`Task::check`](crate::Task::check) does.
    ///
    /// Called once for each instance that is used, on the thread that starts the service, also in a dry run.
    ///
    /// # Errors
    ///
    /// Returns a one-line reason why this plan can't work with these options; startup fails with it and exit code 78.
    fn check(&self, options: &Self::Options) -> Result {
        let _ = options;
        Ok(())
    }

    /// Builds the loop on this thread and drives it until the mailbox says stop; see the contract above.
    ///
    /// # Errors
    ///
    /// Returns an error if the loop can't be built, or breaks.
    fn drive(
        self,
        options: Self::Options,
        mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, Self::Native) + 'static,
    ) -> Result;
}

/// A loop with timers, on which [`Context::sleep`](crate::Context::sleep), [`interval`](crate::Context::interval) and
/// [`timeout`](crate::Context::timeout) are built.
pub trait Timers: EventLoop {
    /// Returns a future that is ready once `duration` has passed, never before. Called and polled on the loop's thread.
    fn sleep(native: &Self::Native, duration: Duration) -> impl Future<Output = ()> + 'static;
}

/// The empty option set, for tasks and loops without options.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOptions {}

impl FromArgMatches for NoOptions {
    fn from_arg_matches(_: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Ok(Self {})
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> std::result::Result<(), clap::Error> {
        Ok(())
    }
}

impl Args for NoOptions {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}
