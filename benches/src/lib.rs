//! Interloop against hand-written code, in one run.
//!
//! - [`baseline`]: hand-written code, as the documentation it links recommends. It lives in `benches/baseline/` and
//!   knows nothing of Interloop.
//! - [`ours`]: the same measured through Interloop, and the bounds that must hold.
//! - [`suite`]: comparisons, rounds, interleaving; [`stats`] and [`report`]: the printed and written results.
//! - [`pin`], [`process`], [`http_load`], [`tls_load`], [`grpc_load`], [`thrift_load`], [`dbus_load`]: measuring tools.

#[path = "../baseline/mod.rs"]
pub mod baseline;
mod connections;
pub mod dbus_load;
pub mod grpc_load;
pub mod http_load;
pub mod log_load;
pub mod ours;
pub mod pin;
pub mod process;
pub mod report;
pub mod stats;
pub mod suite;
pub mod thrift_load;
pub mod tls_load;
