#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod activity;
mod body;
mod connection;
mod counts;
mod health;
mod hosted;
mod net;
mod options;
mod server;
mod settings;
mod streams;
mod timers;
mod trace;

pub use interloop::net::Address;
pub use interloop_listen::Addresses;

#[cfg(any(target_os = "linux", feature = "tokio"))]
pub use crate::health::health;

pub use crate::{
    body::{Body, BoxError},
    health::{Health, HealthOptions},
    hosted::Peer,
    options::HttpOptions,
    server::HttpServer,
};

/// For the transports that are built on this one: no part of what is promised.
#[doc(hidden)]
pub mod parts {
    pub use crate::timers::{Timer, Timers};
}
