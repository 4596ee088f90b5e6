//! All integration tests of this crate, in one binary: a module a behaviour.

mod abuse;
mod axum_main;
#[cfg(feature = "websocket")]
mod browser;
mod cut_off;
mod descriptors;
mod drain;
mod ends;
#[cfg(feature = "websocket")]
mod events;
mod floods;
mod from_fn;
mod health;
mod hostile;
mod layers;
mod limits;
mod listening;
mod methods;
mod metrics;
mod serving;
mod slow;
mod sockets_alone;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tracing")]
mod tracing;
mod upgrades;
mod util;
#[cfg(feature = "websocket")]
mod websocket;
