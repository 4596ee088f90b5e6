//! Counters, gauges, samples, exported values, warnings: what tasks and services say of themselves, and how all of it is read.
//!
//! A [`Registry`] has what one task, or the service, keeps, through all incarnations. A [`Meter`] writes into it, [`Counters`](crate::Counters) reads those of all.
//!
//! Adding locks nothing and allocates nothing: see `counter`. A set of samples has a lock, so that what is read belongs together.
//!
//! May use: kit, words.

mod asked;
mod asking;
mod counter;
mod gauge;
#[cfg(feature = "metrics")]
mod histogram;
mod meter;
pub(crate) mod reading;
pub(crate) mod registry;
#[cfg(feature = "metrics")]
mod samples;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(feature = "metrics")]
pub use self::samples::{Samples, SamplesReading, WindowReading};
pub(crate) use self::{
    asked::Asked,
    asking::{Asker, MeterOf, RegistryReadings},
    registry::Registry,
};
pub use self::{counter::Counter, gauge::Gauge, meter::Meter, registry::Warning};
