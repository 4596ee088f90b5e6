#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod call;
mod counts;
mod health;
mod limited;
mod options;
mod reflection;
mod routes;
mod server;

pub use interloop_http::{Address, Addresses, HttpOptions, Listen};

pub use crate::{options::GrpcOptions, server::GrpcServer};
