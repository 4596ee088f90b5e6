//! The lifecycle of a service as a pure state machine: events and a clock go in, actions come out. No threads, no I/O.
//!
//! The [`supervisor`](crate::service::supervisor) feeds it events and performs its actions. So the order of starts and
//! stops, deadlines, restarts and exit codes are tested here with a clock that is a number.
//!
//! May use: words.

mod backoff;
mod deadlines;
mod dependencies;
mod event;
mod machine;
mod plan;
pub(crate) mod planning;
#[cfg(all(test, not(loom)))]
#[allow(dead_code, reason = "what a failing case prints")]
mod properties;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use self::machine::Mutant;
#[cfg(all(test, not(loom)))]
pub(crate) use self::machine::Phase;
pub(crate) use self::{
    event::{Action, Ending, Event, Outcome},
    machine::Lifecycle,
    plan::{LoopId, LoopPlan, Now, Plan, TaskId, TaskPlan},
};
pub(crate) use crate::words::restart::RestartPolicy;
