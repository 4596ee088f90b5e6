//! All that the server needs of a loop: sockets, an alarm, a place for its connections ([`host`]). Any loop with
//! [`Net`](interloop::net::Net) provides it ([`neutral`]); tokio is used directly ([`direct`]), and its workers serve.

#[cfg(feature = "tokio")]
mod direct;
mod host;
mod neutral;
#[cfg(target_os = "linux")]
mod timer_fd;

#[cfg(feature = "tokio")]
pub(crate) use self::direct::Direct;
pub(crate) use self::{
    host::{Alarm, Host, Listener, Stream},
    neutral::Neutral,
};
