//! All integration tests of this crate, in one binary: a module a behaviour.

mod base;
#[cfg(feature = "thrift")]
mod calls;
#[cfg(feature = "thrift")]
mod methods;
#[cfg(all(feature = "profile", feature = "thrift"))]
mod profile;
#[cfg(feature = "thrift")]
mod python;
mod util;

// Where generated code looks for it.
#[cfg(feature = "thrift")]
use interloop_fb303::fb303;
