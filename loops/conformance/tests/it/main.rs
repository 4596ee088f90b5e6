//! All integration tests of this crate, in one binary, with a module for each behaviour.

mod beat;
mod broken;
mod broken_net;
mod finding;
mod queue;
mod reference;
mod woken;
