#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod bus;
mod control;
mod handle;
mod interface;
mod jobs;
mod options;
mod permit;
mod runtime;
mod service;
mod sparts;

pub use zbus;

pub use crate::{
    bus::{Bus, connect},
    control::SERVICE_PATH,
    handle::DbusHandle,
    options::DbusOptions,
    service::{DbusService, Lost},
};
