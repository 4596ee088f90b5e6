//! All integration tests of this crate, in one binary: a module a behaviour.

mod attach;
mod conformance;
#[path = "../../../tokio/tests/it/util/mod.rs"]
mod util;
