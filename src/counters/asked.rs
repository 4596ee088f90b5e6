//! A gauge that is a closure.

use std::sync::{Arc, atomic::AtomicBool};

/// A gauge that is a closure.
pub(crate) struct Asked {
    pub(super) ask: Box<dyn Fn() -> f64 + Send + Sync>,
    /// Whether it was left behind and has not come back.
    pub(super) stuck: AtomicBool,
    /// Whether there is a warning about it.
    pub(super) named: AtomicBool,
}

impl Asked {
    pub(crate) fn new(ask: impl Fn() -> f64 + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { ask: Box::new(ask), stuck: AtomicBool::new(false), named: AtomicBool::new(false) })
    }
}
