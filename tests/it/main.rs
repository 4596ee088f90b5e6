//! All integration tests of this crate, in one binary: one module per behaviour.

mod blocked;
mod calls;
mod command;
mod context;
mod counters;
#[cfg(all(feature = "cron", feature = "testing"))]
mod cron;
#[cfg(feature = "watch")]
mod directory_watcher;
mod drops;
mod embedding;
mod failure;
mod foreign;
mod graph_errors;
mod handles;
mod host_logger;
mod idle;
mod live_options;
mod loop_defaults;
#[cfg(feature = "net")]
mod net;
#[cfg(all(feature = "command", feature = "testing"))]
mod part_of_stop;
mod periodic;
mod poller;
mod promises;
mod queue;
#[cfg(feature = "unstable-store")]
mod queue_store;
mod remote;
mod restart;
mod rooms;
mod scale;
#[cfg(all(feature = "command", feature = "config"))]
mod secrets;
#[cfg(feature = "testing")]
mod slow_start;
mod sparts;
mod stalls;
mod start;
mod stop;
mod task_threads;
mod tasks_as_guests;
#[cfg(feature = "testing")]
mod testing;
mod thread_locals;
#[cfg(feature = "tracing")]
mod tracing;
#[cfg(feature = "tracing")]
mod tracing_log;
mod user_code;
mod util;
mod words;
