//! What travels to a loop.

use std::{any::Any, rc::Rc};

use super::local::Local;
use crate::kit::clock::Busy;

/// What the core itself wants done on a loop's thread.
pub(crate) type Errand = Box<dyn FnOnce(&Rc<Local>) + Send>;

/// A closure on its way to a loop.
pub(crate) enum Job {
    /// For the value of the address with this key.
    For(u64, Box<dyn Work>, Busy),
    /// For the loop itself: the core's own errands.
    Errand(Errand, Busy),
}

impl Job {
    /// It is on its way to where it is run, or, with the default, waits for that.
    pub(crate) fn mark(&mut self, busy: Busy) {
        match self {
            Self::For(.., marked) | Self::Errand(_, marked) => *marked = busy,
        }
    }
}

/// What is asked of the value that an address stands for.
pub(crate) trait Work: Send {
    /// On the value's loop.
    fn run(self: Box<Self>, local: &Rc<Local>, value: Rc<dyn Any>);
    /// To get back what was not accepted.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}
