//! All integration tests of this crate, in one binary: a module a behaviour.

mod attach;
mod command;
mod conformance;
mod glib;
mod queue;
mod tasks;
