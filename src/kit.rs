//! Tools that know nothing of services: what std lacks for a crate like this one.
//!
//! Here belongs what would be useful in any other program too. What speaks of loops, tasks or a lifecycle does not.
//!
//! May use: nothing of ours.

pub(crate) mod block;
pub(crate) mod clock;
pub(crate) mod coalesced;
pub(crate) mod discard;
pub(crate) mod panics;
pub(crate) mod proc;
pub(crate) mod sync;
pub(crate) mod trace;
