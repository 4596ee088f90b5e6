//! Several event loops in one process, as one service: each loop on its own thread, all started in the order of their
//! dependencies, all reachable from each other, all stopped together, on time, with a report.
//!
//! Lifecycle crates know one runtime; event loops have no lifecycle; and between them people write threads, channels
//! and `idle_add` by hand. Here a service is a set of tasks, each on the loop it wants (tokio, glib with GTK, a plain
//! thread, a loop of your own), and the glue is one mailbox that is written, measured and model-checked once, for all
//! of them.
//!
//! ```no_run
//! use std::{cell::RefCell, process::ExitCode, time::Duration};
//!
//! use interloop::{Service, Thread, task_fn, tasks::Periodic};
//!
//! fn main() -> ExitCode {
//!     let mut service = Service::new("counter");
//!     // A place on some loop, and the Remote that reaches it: from any thread, from now on.
//!     let (slot, count) = service.slot::<RefCell<u64>>("count");
//!     service.task("keeper", task_fn::<Thread>(async move |cx| {
//!         cx.fill(slot, RefCell::new(0)); // lives and dies on this thread: it need not be Send
//!         cx.until_shutdown().await;      // ready, then wait
//!         Ok(())
//!     }));
//!     let every = Periodic::new(Duration::from_secs(1), move || count.call(|count| *count.borrow_mut() += 1).detach());
//!     service.task_on::<Thread>("ticker", every).requires("keeper");
//!     service.run() // argv, environment, log, signals; the exit code says how it ended
//! }
//! ```
//!
//! # Anatomy
//!
//! * A **[`Service`]** is a process: a name, tasks, one lifecycle. [`Service::run`] is the process; [`Service::start`]
//!   runs it inside something else. A [`ServiceHandle`] controls it from any thread.
//! * A **[`Task`]** is one unit of work: a name, options, dependencies, an `async fn run`. Its [`Context`] is all it
//!   sees. [`tasks`] has ready-made ones.
//! * An **[`EventLoop`]** is a kind of loop, and a plan for one; an instance drives one thread. [`Thread`] is the
//!   reference, made of std alone; others are crates of their own: `interloop-tokio`, `interloop-glib`. Writing one
//!   takes some forty lines.
//! * A **[`Remote`]** reaches a value on its loop from any thread: [`post`](Remote::post), [`call`](Remote::call),
//!   [`spawn`](Remote::spawn). What comes back is a [`Reply`], which always resolves. The other end is the loop's
//!   [`Mailbox`](event_loop::Mailbox).
//! * A **[`Shutdown`]** is the signal that a task is asked to stop: awaitable, blocking, pollable, latched, with a
//!   reason and a deadline.
//!
//! # Modules
//!
//! The root has what programs write. The rest is by subject, one path to a name:
//!
//! | module | for |
//! |---|---|
//! | [`tasks`] | built-in tasks: periodic work, cron, pollers, queues, workers, child processes, watched folders |
//! | [`service`] | settings of tasks and loops; what status and report are made of |
//! | [`options`] | options read and changed while the service runs; [`Secret`](options::Secret), [`duration`](options::duration) |
//! | [`counters`] | what tasks measure, and how it is read |
//! | [`channel`] | promises, and what loops give back when they don't accept a call |
//! | [`task`] | for those who write tasks: handles, threads, the clock |
//! | [`event_loop`], [`net`] | for those who write loops: the contract, the mailbox, timers; sockets |
//! | `testing` | for tests, with the feature `testing` |
//!
//! # Lifecycle
//!
//! `Waiting -> Starting -> Running -> Stopping -> Stopped | Failed | Cancelled | Abandoned`, and `Skipped`: see
//! [`State`]. A task starts when what it requires runs; it is running when it says [`cx.ready()`](Context::ready). A
//! stop goes backwards, each task when those that depend on it have ended; tasks marked
//! [`last`](service::TaskSettings::last) come after all others. Past its deadline a task's future is dropped on its
//! loop; a loop that doesn't act on that within a second is left behind, and named. A task that fails stops the
//! service, unless its [`RestartPolicy`] starts it again. Whoever waits for something that is gone is told so.
//!
//! # Exit codes
//!
//! | code | meaning |
//! |---|---|
//! | 0 | asked to stop, or all done, and everything ended; what was asked for (`--help`, `--dry-run`) was printed |
//! | 1 | a task or a start failed, or a restart limit was hit |
//! | 2 | the words of the command line are wrong |
//! | 78 | a configuration that can't work: dependencies, flags that collide, the environment, the file of `--config`, the log file |
//! | 124 | something ran past its deadline, and was cancelled or left behind |
//! | 128 + n | forced by signal n |
//!
//! # Signals
//!
//! [`Service::run`] handles them, [`start`](Service::start) doesn't. INT or TERM stops the service in order; the same
//! signal again cancels everything, now; the same a third time leaves at once, even if every thread is stuck. INT and
//! TERM after each other don't escalate, and the same signal within 250 ms counts once. USR1 writes the
//! [status](Status) to the log. HUP reads the files of options again, as [`reload`](ServiceHandle::reload), and reopens
//! the log file; if it means that the terminal is gone, it stops the service.
//! [`docs/signals.md`](https://docs.rs/crate/interloop/latest/source/docs/signals.md) has the table, and what is given
//! back after `run`.
//!
//! # Options
//!
//! Tasks, loops and the service declare theirs as [`clap::Args`]. Their values come from the command line, the
//! environment (`{VARIABLE}_FILE` too), systemd's credentials, a TOML file and code, the strongest first; they can be
//! [set](options::Options::set) while the service runs, and tasks [listen](Context::option_changes).
//! [`docs/options.md`](https://docs.rs/crate/interloop/latest/source/docs/options.md) has all of it.
//!
//! # Limits
//!
//! A panic that can't unwind (`panic = "abort"`, a panic in a C callback) ends the process. What lives on a thread that
//! was left behind is leaked, never dropped elsewhere. A future that runs a nested main loop blocks its loop's mailbox.
//! What a task hands to its runtime directly, past its [`Context`], is that runtime's business. Who calls a slot that
//! its task, made by [`task_with`](Service::task_with), never filled before it ended with `Ok` waits until the service
//! stops; the log tells of it, once.
//!
//! # Tests
//!
//! The feature `testing` runs services and tasks inside tests, with a clock that the test moves: `interloop::testing`,
//! and `docs/testing.md`.
//!
//! # Features
//!
//! * `cli` (default): [`Service::run`] reads the command line and the environment.
//! * `command` (default): child processes as tasks, and for tasks; adds futures-io and rustix, as `net` does. Linux.
//! * `config` (default): `--config`, options from a TOML file; adds toml, 5 crates in all.
//! * `derive` (default): `#[derive(clap::Args)]` through [`clap`]; adds clap_derive, 6 crates in all. Without it
//!   options implement [`clap::Args`] by hand.
//! * `logging` (default): [`Service::run`] installs a logger; adds fern and rustix.
//!   [`docs/logging.md`](https://docs.rs/crate/interloop/latest/source/docs/logging.md) has its options and limits.
//! * `metrics` (default): [`counters::Histogram`], counters by regular expression; adds regex-lite.
//! * `net` (default): sockets and readiness on every loop; adds futures-io, rustix and socket2.
//! * `cron`: periodic tasks by cron expressions with time zones; adds jiff.
//! * `serde`: [`Status`] can be serialized; adds serde.
//! * `testing`: the kit for tests, `interloop::testing`, with a fake clock; adds no crate. For `[dev-dependencies]`.
//! * `tracing`: a span a task, and the caller's span goes along with what is asked of other loops; adds tracing.
//! * `watch`: `tasks::DirectoryWatcher`; adds notify and rustix.
//! * `unstable-store`: `tasks::queue::Store`, where a queue keeps its items; adds no crate. **Unstable**: what a
//!   feature of such a name brings may change in any release;
//!   [`docs/releasing.md`](https://docs.rs/crate/interloop/latest/source/docs/releasing.md) lists what else may.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// The rooms, from the ground up: kit, words, logging, reactor, counters, lifecycle, options, channel, control,
// event_loop, net, task, service; and above all of them tasks and testing. A room uses rooms before it in this list,
// never after it; its head says which.
pub mod channel;
mod control;
pub mod counters;
pub mod event_loop;
mod kit;
mod lifecycle;
#[cfg(feature = "logging")]
mod logging;
#[cfg(feature = "net")]
pub mod net;
pub mod options;
mod reactor;
pub mod service;
pub mod task;
pub mod tasks;
#[cfg(feature = "testing")]
pub mod testing;
mod words;

pub use clap;

/// Its program is a test.
#[cfg(all(doctest, feature = "metrics"))]
#[doc = include_str!("../docs/counters.md")]
struct CountersPage;

/// And so is this one's.
#[cfg(doctest)]
#[doc = include_str!("../docs/options.md")]
struct OptionsPage;

/// And so is this one's.
#[cfg(all(doctest, feature = "tracing"))]
#[doc = include_str!("../docs/tracing.md")]
struct TracingPage;

/// And so are this one's.
#[cfg(all(doctest, feature = "derive", feature = "testing"))]
#[doc = include_str!("../docs/writing-a-task.md")]
struct WritingATaskPage;

pub use crate::{
    channel::{remote::Remote, reply::Reply, slot::Slot},
    control::{handle::ServiceHandle, report::Report, status::Status},
    event_loop::{
        contract::{EventLoop, NoOptions},
        thread::Thread,
    },
    service::{builder::Service, running::Running},
    task::{
        context::Context,
        task_trait::{Task, task_fn},
    },
    words::{
        call_error::CallError,
        error::{Error, Result},
        restart::RestartPolicy,
        shutdown::Shutdown,
        state::{Cause, Reason, State},
    },
};
