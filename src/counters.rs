//! Counters, gauges, histograms, exported values and warnings: what tasks and services measure, and how it is read.
//!
//! A [`Meter`] writes: [`Context::meter`](crate::Context::meter) gives a task its own. [`Counters`] reads those of all
//! tasks: [`ServiceHandle::counters`](crate::ServiceHandle::counters). Values last through all incarnations of a task.
//! [`docs/counters.md`](https://docs.rs/crate/interloop/latest/source/docs/counters.md) has names, kinds and formats.

// A `Registry` has what one task, or the service, keeps. Adding takes no lock and allocates nothing: see `counter`. A
// histogram has a lock, so that one reading is consistent.
//
// Here belongs what is written; what reads the values of all tasks is in `control`.
//
// May use: kit, words.

mod asked;
mod asking;
#[cfg(feature = "metrics")]
mod buckets;
mod counter;
mod gauge;
#[cfg(feature = "metrics")]
mod histogram;
mod meter;
pub(crate) mod reading;
pub(crate) mod registry;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(feature = "metrics")]
pub use self::histogram::{Histogram, HistogramReading, WindowReading};
pub(crate) use self::{
    asked::Asked,
    asking::{Asker, MeterOf, RegistryReadings},
    registry::Registry,
};
pub use self::{counter::Counter, gauge::Gauge, meter::Meter, reading::Reading, registry::Warning};
#[cfg(feature = "metrics")]
pub use crate::control::counters::PatternError;
pub use crate::control::{counters::Counters, measurement::Measurement};
