//! All integration tests of this crate, in one binary: a module a behaviour.

mod conformance;
mod mio;
#[path = "../../../tokio/tests/it/util/mod.rs"]
mod util;
