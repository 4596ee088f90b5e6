//! What is said of a service by all who speak of it: states and their causes, errors, when to restart, the request to
//! stop, addresses.
//!
//! Here belong values, and what waits for one. Nothing here does anything to a service, or knows what one is made of.
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
