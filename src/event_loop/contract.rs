//! What an adapter supplies to make a foreign loop one of ours, and the timers that most loops bring.
//!
//! Every loop in the world can be woken from another thread and run a callback when woken: that is all that is asked of
//! it. [`Thread`](crate::Thread) is the reference: a loop of nothing but std.

use std::{future::Future, time::Duration};

use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::{Result, event_loop::Mailbox, options::OptionDefaults};

/// A kind of loop (tokio, glib ...), and a plan for one. What it plans is built by [`drive`](Self::drive), on the
/// loop's thread, again at each restart.
///
/// # The contract
///
/// * The core calls `drive` on the loop's own thread (the main thread, if
///   [`needs_main_thread`](Self::needs_main_thread)), once an incarnation.
/// * `drive` builds the loop; calls [`set_notify`](Mailbox::set_notify) (or awaits [`Mailbox::drive`], which does);
///   calls `started`, with what tasks see of the loop, before the first turn; and takes turns until
///   [`Turn::Stop`](crate::event_loop::Turn::Stop). A stop may have been requested before: the first turn says so.
/// * It never waits without having been told [`Turn::Idle`](crate::event_loop::Turn::Idle), and after
///   [`Turn::Again`](crate::event_loop::Turn::Again) it serves the loop's own events before the next turn.
/// * If it can watch a descriptor, or at least be woken, it gives its tasks sockets: see [`Mailbox::set_reactor`] and
///   [`net`](crate::net).
/// * It drops the mailbox, which holds the `Native`, before it tears the loop down, and returns. Returning without
///   `Turn::Stop`, or an error, or a panic: the loop has died, and its tasks with it.
///
/// It isn't object safe, on purpose: what a user implements is comfortable; the core makes its own objects.
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
    /// `tokio`: the default name of an instance and its thread, and the prefix of its options. `[a-z][a-z0-9-]*`.
    const NAME: &'static str;

    /// Whether each task gets an instance, and so a thread, of its own, named for the task, on which it may block.
    const THREAD_A_TASK: bool = false;

    /// Its flags: `--tokio-worker-threads`.
    type Options: clap::Args + 'static;

    /// What tasks see of their loop. May be `!Send`.
    type Native: 'static;

    /// Whether it has to be driven by the process's main thread. Only one instance of a service can.
    fn needs_main_thread(&self) -> bool {
        false
    }

    /// What of the process's an instance claims for itself: two instances that claim the same are refused before the
    /// start.
    fn claims(&self) -> Option<&'static str> {
        None
    }

    /// What this plan gives its options, by its builder methods: `Tokio::default().worker_threads(4)`. None by default;
    /// see [`OptionDefaults`] for how a plan keeps them.
    ///
    /// Called once for each instance, on the thread that starts the service, before options are read.
    fn defaults(&self) -> OptionDefaults {
        OptionDefaults::new()
    }

    /// Looks at what can be wrong before anything starts, as [`Task::check`](crate::Task::check) does. Called once for
    /// each instance that is used, on the thread that starts the service, by a dry run too.
    ///
    /// # Errors
    ///
    /// Why this plan can't work with these options, in one line: the service ends with it, and with exit code 78.
    fn check(&self, options: &Self::Options) -> Result {
        let _ = options;
        Ok(())
    }

    /// Builds the loop on this thread and drives it until the mailbox says stop. See the contract above.
    ///
    /// # Errors
    ///
    /// When the loop can't be built, or breaks.
    fn drive(
        self,
        options: Self::Options,
        mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, Self::Native) + 'static,
    ) -> Result;
}

/// A loop with timers: what [`Context::sleep`](crate::Context::sleep), [`interval`](crate::Context::interval) and
/// [`timeout`](crate::Context::timeout) stand on.
pub trait Timers: EventLoop {
    /// A future that is ready once `duration` has passed, never before. Called and polled on the loop's thread.
    fn sleep(native: &Self::Native, duration: Duration) -> impl Future<Output = ()> + 'static;
}

/// For tasks and loops without options.
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
