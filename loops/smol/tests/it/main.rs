//! All integration tests of this crate, in one binary: a module a behaviour.

mod conformance;
mod foreign_main;
mod smol;
