//! All integration tests of this crate, in one binary, with a module for each behaviour.

mod attach;
mod command;
mod conformance;
mod glib;
mod queue;
mod stalls;
mod tasks;
