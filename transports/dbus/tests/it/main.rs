//! All integration tests of this crate, in one binary: one module per behaviour.

mod control;
mod hostile;
mod methods;
mod names;
mod permit;
mod python;
mod serving;
mod sparts;
mod stopping;
mod threads;
mod util;
