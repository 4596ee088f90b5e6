//! All integration tests of this crate, in one binary, with a module for each behaviour.

mod conformance;
mod mio;
mod stalls;
