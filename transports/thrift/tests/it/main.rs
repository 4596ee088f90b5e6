//! All integration tests of this crate, in one binary: one module per behaviour.

mod abuse;
mod client;
mod drain;
mod generated;
mod memory;
mod methods;
mod oneway;
#[cfg(feature = "http")]
mod over_http;
mod python;
#[cfg(feature = "http")]
mod route;
mod serving;
mod slow;
#[cfg(feature = "tls")]
mod tls;
mod util;
