//! A running service as seen and controlled from outside: the handle, the status, the way to its supervisor and to its
//! tasks.
//!
//! This room works from any thread, before, during and after the run. It sends requests to the supervisor, and carries
//! out none of them.
//!
//! May use: kit, words, logging, reactor, counters, lifecycle, options, channel.

pub(crate) mod counters;
pub(crate) mod events;
pub(crate) mod handle;
pub(crate) mod measurement;
mod openmetrics;
pub(crate) mod options;
pub(crate) mod report;
pub(crate) mod status;
pub(crate) mod status_board;
pub(crate) mod task_handle;
pub(crate) mod task_info;
pub(crate) mod task_threads;
pub(crate) mod watch;
