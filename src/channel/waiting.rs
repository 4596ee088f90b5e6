//! Who waits for a loop: for an answer of its, or for a sign of life.

use std::sync::Weak;

use slab::Slab;

/// A reply that waits, as its target lists it.
pub(crate) trait Waiting: Send + Sync {
    fn stopped(&self);
    /// Has it polled once more.
    fn look_again(&self);
}

/// Replies that somebody waits for right now. Once the loop is dead nobody is taken in.
#[derive(Default)]
pub(super) struct WaitingList {
    pub(super) dead: bool,
    /// It keeps its memory: to wait costs no allocation.
    pub(super) replies: Slab<Weak<dyn Waiting>>,
}

/// Somebody who has asked for a sign of life. Dropped, it is told that there will be none.
pub(crate) trait Heartbeat: Send {
    /// Whether anybody still waits for it.
    fn is_awaited(&self) -> bool;
    /// The loop has looked.
    fn beat(self: Box<Self>);
}
