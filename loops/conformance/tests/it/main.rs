//! All integration tests of this crate, in one binary: a module a behaviour.

mod beat;
mod broken;
mod broken_net;
mod finding;
mod reference;
mod woken;
