//! A heartbeat that nobody waits for: its asker looks later whether it was answered.

use std::sync::Arc;

use super::{shared::Shared, waiting::Heartbeat};
use crate::kit::sync::{Ordering, figure};

/// A heartbeat that was asked of a loop.
#[derive(Debug)]
pub(crate) struct Pulse(Arc<figure::AtomicBool>);

impl Pulse {
    /// Whether the loop has answered, or never will because it has ended.
    pub(crate) fn is_answered(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

struct Beat(Arc<figure::AtomicBool>);

impl Heartbeat for Beat {
    fn is_awaited(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    fn beat(self: Box<Self>) {}
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    /// Requests a heartbeat, without a way to wait for it.
    pub(crate) fn pulse(&self) -> Pulse {
        let answered = Arc::new(figure::AtomicBool::new(false));
        self.add_heartbeat(Box::new(Beat(answered.clone())));
        Pulse(answered)
    }
}
