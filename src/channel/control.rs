//! How a future that a loop hosts is cancelled, and how it ended.

use atomic_waker::AtomicWaker;

use crate::kit::sync::{AtomicBool, Ordering};

/// How a hosted future ended.
#[derive(Debug)]
pub(crate) enum Ended<R> {
    Returned(R),
    Panicked(String),
    Cancelled,
}

/// Cancels a hosted future from any thread, by a flag that is checked before each poll, and the future's waker.
#[derive(Debug)]
pub(crate) struct Control {
    cancelled: AtomicBool,
    waker: AtomicWaker,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self { cancelled: AtomicBool::new(false), waker: AtomicWaker::new() }
    }

    pub(crate) fn cancel(&self) {
        self.mark();
        self.wake();
    }

    /// Marks the future as cancelled; the caller must [wake](Self::wake) it.
    pub(crate) fn mark(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Registers the waker to wake at a cancel; the last one counts.
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }
}
