#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accepting;
mod activity;
mod body;
mod connection;
mod counts;
mod cut_off;
#[cfg(feature = "websocket")]
mod events;
mod handling;
mod health;
mod hosts;
mod io;
mod line;
mod messages;
#[cfg(feature = "metrics")]
mod metrics_text;
mod net;
mod options;
mod peer;
#[cfg(feature = "http2")]
mod pings;
mod room;
#[cfg(feature = "tls")]
mod secure;
mod server;
mod settings;
mod shared;
mod streams;
mod timers;
mod trace;
mod unread;
mod upgraded;
#[cfg(feature = "websocket")]
mod websocket;

pub use interloop::net::Address;
pub use interloop_listen::{Addresses, Listen};

#[cfg(any(target_os = "linux", feature = "tokio"))]
pub use crate::health::health;

pub use crate::{
    body::{Body, BoxError},
    health::{Health, HealthOptions},
    options::HttpOptions,
    peer::Peer,
    server::{FromFn, HttpServer},
    timers::{Timer, Timers},
};
#[cfg(feature = "websocket")]
pub use crate::{
    events::{Event, Events},
    websocket::{Close, InvalidCloseCode, Message, SendError, WebSocket, WebSocketSender, WebSocketUpgrade},
};
