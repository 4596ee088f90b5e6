//! All integration tests of this crate, in one binary: one module per behaviour.

mod abuse;
mod axum_main;
#[cfg(feature = "websocket")]
mod browser;
mod cut_off;
mod descriptors;
mod drain;
#[cfg(feature = "http2")]
mod ends;
#[cfg(feature = "websocket")]
mod events;
#[cfg(feature = "http2")]
mod floods;
mod from_fn;
mod full;
mod health;
#[cfg(feature = "http2")]
mod hostile;
#[cfg(feature = "http2")]
mod http2;
mod layers;
mod limits;
mod listening;
mod methods;
mod metrics;
mod serving;
#[cfg(feature = "http2")]
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
#[cfg(not(feature = "http2"))]
mod without_http2;
