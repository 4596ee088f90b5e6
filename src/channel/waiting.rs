//! The waiters of a loop: for an answer, or for a heartbeat.

use std::sync::Weak;

use slab::Slab;

/// A waiting reply, as its target lists it.
pub(crate) trait Waiting: Send + Sync {
    fn stopped(&self);
    /// Has the reply polled once more.
    fn look_again(&self);
}

/// The replies that are awaited right now. Once the loop is dead no more are accepted.
#[derive(Default)]
pub(super) struct WaitingList {
    pub(super) dead: bool,
    /// It keeps its memory, so that waiting costs no allocation.
    pub(super) replies: Slab<Weak<dyn Waiting>>,
}

/// A request for a heartbeat. Dropping it says that there will be none.
pub(crate) trait Heartbeat: Send {
    /// Whether the caller still waits.
    fn is_awaited(&self) -> bool;
    /// Answers: the loop has checked its mailbox.
    fn beat(self: Box<Self>);
}
