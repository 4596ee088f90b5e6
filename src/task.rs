//! APIs that tasks use beside [`Context`](crate::Context): handles that they offer, threads of their own, the service's
//! clock.
//!
//! A task that other tasks control [offers](crate::Task::offer) a [`TaskHandle`].
//! [`Context::thread`](crate::Context::thread) starts a [`TaskThread`]; [`Context::clock`](crate::Context::clock)
//! returns the [`ServiceClock`], which tests can advance, and [`Context::busy`](crate::Context::busy) tells it of work
//! in flight. A [`ProgramEnd`] tells the service how a child process ended.

// This room does what happens on a task's loop between the task's start and its end. The service decides when a task is
// started, stopped and restarted.
//
// May use: kit, words, reactor, counters, lifecycle, options, channel, control, event_loop, net.

pub(crate) mod context;
pub(crate) mod erased;
pub(crate) mod incarnation;
pub(crate) mod program_end;
pub(crate) mod service_clock;
pub(crate) mod task_trait;
pub(crate) mod thread;

pub use self::{
    context::{Elapsed, Interval},
    program_end::ProgramEnd,
    service_clock::{Busy, ServiceClock},
    thread::TaskThread,
};
pub use crate::{
    control::task_handle::{Offer, TaskHandle, TaskRef},
    kit::panics::{log_panic, panic_message},
    words::{shutdown::Requested, suspect::TooLate},
};
