//! The jobs that travel to a loop.

use std::{any::Any, rc::Rc};

use super::local::Local;
use crate::kit::clock::Busy;

/// Work of the core itself on a loop's thread.
pub(crate) type Errand = Box<dyn FnOnce(&Rc<Local>) + Send>;

/// A closure on its way to a loop.
pub(crate) enum Job {
    /// For the value of the address with this key.
    For(u64, Box<dyn Work>, Busy),
    /// For the loop itself: an errand of the core.
    Errand(Errand, Busy),
}

impl Job {
    /// Marks the job as on its way to its loop or, with the default, as waiting for that.
    pub(crate) fn mark(&mut self, busy: Busy) {
        match self {
            Self::For(.., marked) | Self::Errand(_, marked) => *marked = busy,
        }
    }
}

/// Work on the value that an address stands for.
pub(crate) trait Work: Send {
    /// Runs the work on the value's loop.
    fn run(self: Box<Self>, local: &Rc<Local>, value: Rc<dyn Any>);
    /// Returns the work as `Any`, to recover what was not accepted.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}
