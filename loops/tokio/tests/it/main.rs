//! All integration tests of this crate, in one binary, with a module for each behaviour.

mod command;
mod conformance;
mod foreign_main;
mod queue;
mod runtimes;
mod stalls;
mod tasks;
mod tokio;
