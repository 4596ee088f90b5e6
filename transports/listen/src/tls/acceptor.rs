//! The state that all handshakes of a server share: its current certificate, its limits and its counters.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use interloop::counters::{Counter, Meter};
use rustls::ServerConfig;

use super::{options::TlsSettings, turns::Turns};

/// Makes TLS connections of accepted ones. Clones share the same state.
#[derive(Clone)]
pub struct TlsAcceptor(pub(super) Arc<Shared>);

pub(super) struct Shared {
    config: Mutex<Arc<ServerConfig>>,
    pub(super) limit: Option<Duration>,
    pub(super) turns: Turns,
    pub(super) handshakes: Counter,
    pub(super) failures: Counter,
}

impl Shared {
    pub(super) fn new(config: Arc<ServerConfig>, settings: &TlsSettings, meter: &Meter) -> Arc<Self> {
        meter.describe("tls_handshakes", "", "TLS handshakes that have succeeded.");
        meter.describe("tls_handshake_failures", "", "TLS handshakes that have failed, or took too long.");
        Arc::new(Self {
            config: Mutex::new(config),
            limit: settings.handshake_timeout,
            turns: Turns::new(settings.max_handshakes),
            handshakes: meter.counter("tls_handshakes"),
            failures: meter.counter("tls_handshake_failures"),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Arc<ServerConfig>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").field("limit", &self.0.limit).finish_non_exhaustive()
    }
}
