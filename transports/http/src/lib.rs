#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod activity;
mod addresses;
mod body;
mod connection;
mod counts;
mod health;
mod hosted;
mod net;
mod options;
mod server;
mod settings;
mod sockets;
mod streams;
mod timers;
mod trace;

pub use interloop::net::Address;

#[cfg(any(target_os = "linux", feature = "tokio"))]
pub use crate::health::health;

pub use crate::{
    addresses::Addresses,
    body::{Body, BoxError},
    health::{Health, HealthOptions},
    hosted::Peer,
    options::HttpOptions,
    server::HttpServer,
};
