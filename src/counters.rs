//! Counters, gauges, samples, exported values, warnings: what tasks and services say of themselves, and how all of it is read.
//!
//! A [`Book`] has what one task, or the service, keeps, through all incarnations. A [`Meter`] writes into it, [`Counters`] reads all books of a service.
//!
//! Adding locks nothing and allocates nothing: see `counter`. A set of samples has a lock, so that what is read belongs together.
//!
//! May use: kit, words.

mod asked;
mod asking;
pub(crate) mod book;
mod counter;
mod gauge;
mod meter;
pub(crate) mod reading;
#[cfg(feature = "metrics")]
mod samples;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(feature = "metrics")]
pub use self::samples::{Samples, SamplesReading, WindowReading};
pub(crate) use self::{
    asked::Asked,
    asking::{Asker, BookReadings, MeterOf},
    book::Book,
};
pub use self::{book::Warning, counter::Counter, gauge::Gauge, meter::Meter};
