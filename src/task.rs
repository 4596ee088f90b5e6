//! A task: what users write, what it sees, and one run of it.
//!
//! Here belongs what happens on a task's loop between its start and its end. When it is started, stopped or started anew is none of its business.
//!
//! May use: kit, words, reactor, counters, lifecycle, options, channel, control, event_loop, net.

pub(crate) mod context;
pub(crate) mod erased;
pub(crate) mod incarnation;
pub(crate) mod program_end;
pub(crate) mod service_clock;
pub(crate) mod task_trait;
pub(crate) mod thread;
