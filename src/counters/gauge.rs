//! A number that goes up and down.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A number that goes up and down, such as open connections; clones are the same gauge, usable from any thread.
///
/// ```
/// let open = interloop::counters::Gauge::default();
/// open.add(2.0);
/// open.sub(1.0);
/// assert_eq!(open.get(), 1.0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Replaces the number.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds to the number.
    pub fn add(&self, value: f64) {
        let up = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // This can't fail: there is always a new value.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, up);
    }

    /// Subtracts from the number.
    pub fn sub(&self, value: f64) {
        self.add(-value);
    }

    /// Returns the present number.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}
