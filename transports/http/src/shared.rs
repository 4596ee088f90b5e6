//! The state that a server shares with its connections.

use std::{
    any::Any,
    time::{Duration, Instant},
};

use interloop::{Shutdown, task::log_panic};
use interloop_listen::EndsHandle;
#[cfg(feature = "websocket")]
use interloop_listen::Permits;

use crate::{counts::Counts, cut_off::CutOff, peer::PeerExtensions, settings::Limits, timers::Timers};

/// The state that a server shares with its connections.
pub(crate) struct Server {
    pub(crate) target: String,
    pub(crate) shutdown: Shutdown,
    /// The service's shutdown: that of the server itself comes later, after the drain delay and after the tasks that
    /// depend on it.
    pub(crate) draining: Shutdown,
    pub(crate) limits: Limits,
    pub(crate) peers: PeerExtensions,
    pub(crate) timers: Timers,
    pub(crate) ends: EndsHandle,
    pub(crate) counts: Counts,
    /// Whether it was logged that a connection has the maximum number of requests open.
    #[cfg(feature = "http2")]
    pub(crate) has_told: std::sync::atomic::AtomicBool,
    /// Handlers of WebSockets, some of which have outlived their socket.
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
    /// Returns this time, or half of what is left of a stop, if that is less.
    pub(crate) fn within_the_stop(&self, time: Duration) -> Duration {
        let rest = self.shutdown.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()) / 2);
        rest.map_or(time, |rest| rest.min(time))
    }

    /// Logs once that a connection has the maximum number of requests open.
    #[cfg(feature = "http2")]
    pub(crate) fn has_no_streams_left(&self, peer: &crate::peer::Peer) {
        if !self.has_told.swap(true, std::sync::atomic::Ordering::Relaxed) {
            let most = self.limits.streams;
            log::warn!(target: &self.target, "the client {peer} has {most} requests open on one connection, as many as it may (max-streams): further ones wait at the client");
        }
    }

    /// Counts and logs a panic in a handler.
    pub(crate) fn panicked(&self, panic: Box<dyn Any + Send>) {
        self.counts.panics.add(1);
        log_panic(&self.target, "a handler", panic);
    }
}
