//! All integration tests of this crate, in one binary: a module a behaviour.

mod command;
mod conformance;
mod foreign_main;
mod queue;
mod runtimes;
mod tasks;
mod tokio;
