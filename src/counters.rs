//! Counters: numbers that tasks keep, for the status.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A number that a task keeps, and anybody reads. `Clone` gives the same counter; any thread may use it.
///
/// ```
/// let requests = interloop::Counter::default();
/// requests.add(2);
/// requests.sub(1);
/// assert_eq!(requests.get(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds; wraps around at the end.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Subtracts, for what goes up and down, such as open connections.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
