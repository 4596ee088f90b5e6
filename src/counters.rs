//! Counters, gauges, histograms, exported values and warnings of tasks and services, and how to read them.
//!
//! A [`Meter`] writes: [`Context::meter`](crate::Context::meter) returns a task's own. [`Counters`] reads those of all
//! tasks: [`ServiceHandle::counters`](crate::ServiceHandle::counters). Values last through all incarnations of a task.
//! [`docs/counters.md`](https://docs.rs/crate/interloop/latest/source/docs/counters.md) lists names, kinds and formats.

// A `Registry` holds the values of one task, or of the service. Adding takes no lock and allocates nothing: see
// `counter`. A histogram has a lock, so that each reading is consistent.
//
// This room writes values; `control` reads the values of all tasks.
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
