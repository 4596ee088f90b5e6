//! All integration tests of this crate, in one binary: one module per behaviour.

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

// Generated code looks for it here.
#[cfg(feature = "thrift")]
use interloop_fb303::fb303;
