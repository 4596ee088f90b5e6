//! All integration tests of this crate, in one binary: one module per behaviour.

mod abuse;
mod drain;
mod generated;
mod health;
mod methods;
mod python;
mod reflection;
mod slow;
mod util;
