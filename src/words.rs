//! The vocabulary of services, for all rooms: states and their causes, errors, when to restart, the request to stop,
//! addresses.
//!
//! This room has values, and futures that wait for one. Nothing here affects a service, or knows its parts.
//!
//! May use: kit.

#[cfg(feature = "net")]
pub(crate) mod address;
pub(crate) mod call_error;
pub(crate) mod error;
pub(crate) mod hints;
pub(crate) mod names;
pub(crate) mod restart;
pub(crate) mod shutdown;
pub(crate) mod state;
pub(crate) mod suspect;
