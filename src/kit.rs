//! Tools that std lacks, and that know nothing of services.
//!
//! This room has tools that any other program could use. Nothing here knows loops, tasks or a lifecycle.
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
