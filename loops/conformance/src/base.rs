//! The contract of an event loop: start, stop, calls, panics, drops, timers, restarts, rest. Each check's name says
//! what it checks.

#![allow(missing_docs, reason = "the names are sentences")]

mod calls;
mod drops;
mod leaks;
mod panics;
mod posts;
mod stops;
mod timers;
mod wakes;

pub use self::{calls::*, drops::*, leaks::*, panics::*, posts::*, stops::*, timers::*, wakes::*};
