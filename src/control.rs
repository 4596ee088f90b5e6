//! A running service as others see it and steer it: the handle, what it shows, the way to its supervisor, the ways to
//! its tasks.
//!
//! Here belongs what works from any thread, before, during and after the run. It asks the supervisor for what is to
//! happen, and does none of it.
//!
//! May use: kit, words, logging, counters, lifecycle, options, channel.

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
