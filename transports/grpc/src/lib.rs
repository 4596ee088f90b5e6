#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod call;
mod counts;
mod health;
mod reflection;
mod routes;
mod server;

pub use interloop_http::{Address, Addresses, HttpOptions};

pub use crate::server::GrpcServer;
