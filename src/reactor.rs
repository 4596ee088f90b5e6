//! Sockets, readiness and timers on one thread: one epoll instance behind a single descriptor, and a queue of
//! deadlines.
//!
//! This room works with descriptors and deadlines of the current thread. It knows no kind of loop: `net` builds the
//! sockets of one from it. Users see all of it as [`net`](crate::net).
//!
//! May use: words.

#[cfg(feature = "net")]
pub(crate) mod bind;
#[cfg(all(feature = "net", target_os = "linux"))]
pub(crate) mod connect;
#[cfg(all(feature = "net", target_os = "linux"))]
pub(crate) mod epoll;
#[cfg(all(feature = "net", target_os = "linux"))]
pub(crate) mod of_thread;
#[cfg(all(feature = "net", target_os = "linux"))]
mod readiness;
#[cfg(feature = "net")]
pub(crate) mod resolve;
#[cfg(feature = "net")]
pub(crate) mod socket_ref;
#[cfg(all(feature = "net", target_os = "linux"))]
pub(crate) mod sockets;
#[cfg(all(feature = "net", target_os = "linux"))]
pub(crate) mod source;
pub(crate) mod timers;
#[cfg(feature = "net")]
pub(crate) mod traits;
