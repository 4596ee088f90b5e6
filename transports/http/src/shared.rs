//! What the connections of a server share, and the server with them.

use std::{
    any::Any,
    time::{Duration, Instant},
};

use interloop::{Shutdown, task::panic_message};
use interloop_listen::EndsHandle;
#[cfg(feature = "websocket")]
use interloop_listen::Permits;

use crate::{counts::Counts, cut_off::CutOff, peer::PeerExtensions, settings::Limits, timers::Timers};

/// What the connections of a server share.
pub(crate) struct Server {
    pub(crate) target: String,
    pub(crate) shutdown: Shutdown,
    /// The service's: that of the server itself comes later, after the drain delay, and after those that depend on it.
    pub(crate) draining: Shutdown,
    pub(crate) limits: Limits,
    pub(crate) peers: PeerExtensions,
    pub(crate) timers: Timers,
    pub(crate) ends: EndsHandle,
    pub(crate) counts: Counts,
    /// It was said that a connection has as many requests open as it may.
    #[cfg(feature = "http2")]
    pub(crate) has_told: std::sync::atomic::AtomicBool,
    /// Handlers of WebSockets, of which some have outlived their socket.
    #[cfg(feature = "websocket")]
    pub(crate) handlers: Permits,
    pub(crate) cut_off: CutOff,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cut_off.tell(&self.target);
    }
}

impl Server {
    /// This long, or half of what is left of a stop, if that is less.
    pub(crate) fn within_the_stop(&self, time: Duration) -> Duration {
        let rest = self.shutdown.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()) / 2);
        rest.map_or(time, |rest| rest.min(time))
    }

    /// A connection has as many requests open as it may: said once.
    #[cfg(feature = "http2")]
    pub(crate) fn has_no_streams_left(&self, peer: &crate::peer::Peer) {
        if !self.has_told.swap(true, std::sync::atomic::Ordering::Relaxed) {
            let most = self.limits.streams;
            log::warn!(target: &self.target, "the client {peer} has {most} requests open on one connection, as many as it may (max-streams): further ones wait at the client");
        }
    }

    /// Takes note of a panic in a handler.
    pub(crate) fn panicked(&self, panic: Box<dyn Any + Send>) {
        self.counts.panics.add(1);
        log::error!(target: &self.target, "a handler panicked: {}", panic_message(panic));
    }
}
