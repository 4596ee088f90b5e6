#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod awaited;
mod blocking;
#[cfg(any(feature = "http", feature = "tls"))]
mod blocking_socket;
mod client;
mod connection;
mod counts;
#[cfg(feature = "http")]
mod http_client;
mod messages;
mod multiplexed;
mod options;
mod processing;
#[cfg(feature = "http")]
mod route;
#[cfg(feature = "tls")]
mod secure;
mod server;
mod settings;
mod shared;
mod stream;
mod walk;
mod wire;

pub use interloop::net::Address;
#[cfg(feature = "tls")]
pub use interloop_listen::TlsConnector;
pub use interloop_listen::{Addresses, Listen};

#[cfg(feature = "tls")]
pub use crate::blocking::connect_with_tls;
#[cfg(feature = "http")]
pub use crate::route::ThriftRoute;
pub use crate::{
    blocking::connect,
    client::{Calls, ThriftClient},
    multiplexed::Multiplexed,
    options::ThriftOptions,
    server::ThriftServer,
    walk::Protocol,
    wire::{Input, Output, Wire},
};
