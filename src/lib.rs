//! Runs several event loops in one process as one service: each loop has its own thread. They start in the order of
//! their dependencies, reach each other, and stop together, on time, with a report.
//!
//! Lifecycle crates know one runtime, and event loops have no lifecycle; the code between them is usually threads,
//! channels and `idle_add` written by hand. Here a service is a set of tasks, each on the loop it needs (tokio, glib
//! with GTK, a plain thread, a loop of your own). One mailbox connects all of them; it is written, measured and
//! model-checked once.
//!
//! ```no_run
//! use std::{cell::RefCell, process::ExitCode, time::Duration};
//!
//! use interloop::{Service, Thread, task_fn, tasks::Periodic};
//!
//! fn main() -> ExitCode {
//!     let mut service = Service::new("counter");
//!     // A slot for a value on some loop, and the Remote that reaches it from any thread, from now on.
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
//! * A **[`Service`]** is a process: a name, tasks, one lifecycle. [`Service::run`] runs it as the process;
//!   [`Service::start`] runs it inside another program. A [`ServiceHandle`] controls it from any thread.
//! * A **[`Task`]** is one unit of work: a name, options, dependencies, an `async fn run`. It sees the service only
//!   through its [`Context`]. [`tasks`] has built-in ones.
//! * An **[`EventLoop`]** is a kind of loop, and the plan for one; an instance drives one thread. [`Thread`] is the
//!   reference implementation and needs only std; others are separate crates: `interloop-tokio`, `interloop-glib`. A
//!   new one takes about forty lines.
//! * A **[`Remote`]** reaches a value on its loop from any thread: [`post`](Remote::post), [`call`](Remote::call),
//!   [`spawn`](Remote::spawn). Calls return a [`Reply`], which always resolves. The other end is the loop's
//!   [`Mailbox`](event_loop::Mailbox).
//! * A **[`Shutdown`]** is the signal that asks a task to stop: awaitable, blocking, pollable, latched, with a reason
//!   and a deadline.
//!
//! # Modules
//!
//! The root has the names that programs use most. The rest is grouped by subject; each name has one path:
//!
//! | module | for |
//! |---|---|
//! | [`tasks`] | built-in tasks: periodic work, cron, pollers, queues, workers, child processes, watched folders |
//! | [`service`] | settings of tasks and loops; the parts of the status and the report |
//! | [`options`] | live options; [`Secret`](options::Secret), [`duration`](options::duration) |
//! | [`counters`] | what tasks measure, and how to read it |
//! | [`channel`] | promises, and what loops return when they don't accept a call |
//! | [`task`] | for authors of tasks: handles, threads, the clock |
//! | [`event_loop`], [`net`] | for authors of loops: the contract, the mailbox, timers; sockets |
//! | `testing` | for tests, with the feature `testing` |
//!
//! # Lifecycle
//!
//! `Waiting -> Starting -> Running -> Stopping -> Stopped | Failed | Cancelled | Abandoned`, and `Skipped`: see
//! [`State`]. A task starts once the tasks it requires are running; it is running once it calls
//! [`cx.ready()`](Context::ready). A stop goes in reverse order: each task stops once the tasks that depend on it have
//! ended; tasks marked [`last`](service::TaskSettings::last) stop after all others. If a task exceeds its deadline, its
//! future is dropped on its loop; if the loop doesn't act on that within a second, it is left behind and named. A task
//! that fails stops the service, unless its [`RestartPolicy`] restarts it. Callers that wait for something that is gone
//! get an error.
//!
//! # Exit codes
//!
//! | code | meaning |
//! |---|---|
//! | 0 | asked to stop, or all done, and everything ended; or `--help`, `--dry-run` and the like were printed |
//! | 1 | a task or a start failed, or a restart limit was hit |
//! | 2 | the command line is wrong |
//! | 78 | an unusable configuration: dependencies, flag collisions, environment, `--config` file, log file |
//! | 124 | something exceeded its deadline, and was cancelled or left behind |
//! | 128 + n | forced by signal n |
//!
//! # Signals
//!
//! [`Service::run`] handles signals, [`start`](Service::start) doesn't. INT or TERM stops the service in order; the
//! same signal again cancels everything at once; the same signal a third time exits immediately, even if every thread
//! is stuck. An INT and a TERM together don't escalate, and repeats of a signal within 250 ms count once. USR1 writes
//! the [status](Status) to the log. HUP rereads the option files, as [`reload`](ServiceHandle::reload) does, and
//! reopens the log file; if it means that the terminal is gone, it stops the service.
//! [`docs/signals.md`](https://docs.rs/crate/interloop/latest/source/docs/signals.md) has the table, and lists what is
//! restored after `run`.
//!
//! # Options
//!
//! Tasks, loops and the service declare their options as [`clap::Args`]. Values come from the command line, the
//! environment (`{VARIABLE}_FILE` too), systemd's credentials, a TOML file and code, in descending priority. They can
//! be [set](options::Options::set) while the service runs, and tasks can [listen](Context::option_changes) for changes.
//! [`docs/options.md`](https://docs.rs/crate/interloop/latest/source/docs/options.md) describes them in full.
//!
//! # Limits
//!
//! A panic that can't unwind (`panic = "abort"`, a panic in a C callback) ends the process. Values on a thread that was
//! left behind are leaked, never dropped elsewhere. A future that runs a nested main loop blocks its loop's mailbox.
//! The service knows nothing of work that a task hands to its runtime directly instead of through its [`Context`]. If a
//! task added by [`task_with`](Service::task_with) returns `Ok` without filling its slot, callers of that slot wait
//! until the service stops; the log says so once.
//!
//! # Tests
//!
//! The feature `testing` runs services and tasks inside tests, with a clock that the test advances:
//! `interloop::testing`, and `docs/testing.md`.
//!
//! # Features
//!
//! * `cli` (default): [`Service::run`] reads the command line and the environment.
//! * `command` (default): child processes as tasks and within tasks; adds futures-io and rustix, as `net` does. Linux
//!   only.
//! * `config` (default): `--config`, options from a TOML file; adds toml, 5 crates in all.
//! * `derive` (default): `#[derive(clap::Args)]` through [`clap`]; adds clap_derive, 6 crates in all. Without it,
//!   options must implement [`clap::Args`] by hand.
//! * `logging` (default): [`Service::run`] installs a logger; adds fern and rustix.
//!   [`docs/logging.md`](https://docs.rs/crate/interloop/latest/source/docs/logging.md) has its options and limits.
//! * `metrics` (default): [`counters::Histogram`], and counters selected by regular expression; adds regex-lite.
//! * `net` (default): sockets and readiness on every loop; adds futures-io, rustix and socket2.
//! * `supervised` (default): [`Service::run`] tells systemd, s6 and others how the service is doing; adds rustix. Linux
//!   only.
//!   [`docs/service-managers.md`](https://docs.rs/crate/interloop/latest/source/docs/service-managers.md) says what.
//! * `cron`: periodic tasks by cron expressions with time zones; adds jiff.
//! * `serde`: makes what a status page shows serializable, [`Status`] and [`Report`] and more; adds serde.
//! * `stall-stacks`: the stack of a loop that stalls (`--stall-after`), or is left behind; adds pprof. Linux with glibc
//!   only: [`docs/stalls.md`](https://docs.rs/crate/interloop/latest/source/docs/stalls.md).
//! * `testing`: the test kit, `interloop::testing`, with a fake clock; adds no crate. For `[dev-dependencies]`.
//! * `tracing`: one span for each task; calls to other loops carry the caller's span; adds tracing.
//! * `watch`: `tasks::DirectoryWatcher`; adds notify and rustix.
//! * `unstable-store`: `tasks::queue::Store`, where a queue keeps its items; adds no crate. **Unstable**: APIs behind a
//!   feature with this prefix may change in any release;
//!   [`docs/releasing.md`](https://docs.rs/crate/interloop/latest/source/docs/releasing.md) lists what else may change.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// The rooms, lowest first: kit, words, logging, reactor, inherited, counters, lifecycle, options, channel, control, event_loop,
// net, task, service; tasks and testing are above all of them. A room uses only rooms before it in this list; its head
// says which.
pub mod channel;
mod control;
pub mod counters;
pub mod event_loop;
#[cfg(feature = "net")]
mod inherited;
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

/// Runs the page's program as a test.
#[cfg(all(doctest, feature = "metrics"))]
#[doc = include_str!("../docs/counters.md")]
struct CountersPage;

/// Runs the page's programs as tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/options.md")]
struct OptionsPage;

/// Runs the page's program as a test.
#[cfg(doctest)]
#[doc = include_str!("../docs/stalls.md")]
struct StallsPage;

/// Runs the page's programs as tests.
#[cfg(all(doctest, feature = "tracing"))]
#[doc = include_str!("../docs/tracing.md")]
struct TracingPage;

/// Runs the page's programs as tests.
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
