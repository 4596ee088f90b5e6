#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod base;
#[cfg(feature = "thrift")]
#[allow(missing_docs, missing_debug_implementations, rust_2018_idioms, clippy::all, reason = "generated")]
pub mod fb303;
mod fb_status;
#[cfg(feature = "thrift")]
mod handler;
mod profile;
#[cfg(feature = "profile")]
mod profiler;
#[cfg(feature = "thrift")]
mod server;

pub use crate::{
    base::{Base, Refused},
    fb_status::FbStatus,
    profile::CpuProfile,
};
#[cfg(feature = "thrift")]
pub use interloop_thrift::{Addresses, Listen};

#[cfg(feature = "thrift")]
pub use crate::{
    handler::{Fb303, HasFb303},
    server::{Fb303Options, Fb303Server},
};
