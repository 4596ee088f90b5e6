//! TLS of what a server accepts, on any loop: certificates, which a reload reads again, handshakes within limits, streams.

mod connector;
mod files;
mod handshake;
mod options;
mod stream;
mod turns;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use interloop::{
    Context, EventLoop, Result,
    counters::{Counter, Meter},
    options::OnReload,
};
use rustls::ServerConfig;

pub use self::{
    connector::TlsConnector,
    files::TlsFiles,
    handshake::HandshakeError,
    options::{TlsOptions, TlsSettings},
    stream::TlsStream,
};
use self::{files::Pair, turns::Turns};

/// The TLS of a server: its certificate, read again with each reload as long as this is kept, and its limits.
#[derive(Debug)]
pub struct Tls {
    acceptor: TlsAcceptor,
    _reloads: OnReload,
}

/// Makes TLS connections of those that were accepted: `Clone` gives the same.
#[derive(Clone)]
pub struct TlsAcceptor(Arc<Shared>);

struct Shared {
    config: Mutex<Arc<ServerConfig>>,
    limit: Option<Duration>,
    turns: Turns,
    handshakes: Counter,
    failures: Counter,
}

impl Tls {
    /// Reads the certificate and its key. `alpn` are the protocols that are spoken, the preferred one first; a client that names others is refused.
    ///
    /// Counters, of this meter: `tls_handshakes`, `tls_handshake_failures`.
    ///
    /// # Errors
    ///
    /// What is wrong with the files, as [`TlsFiles::check`].
    pub fn new<L: EventLoop, O>(
        cx: &Context<L, O>,
        settings: &TlsSettings,
        alpn: &'static [&'static str],
        meter: &Meter,
    ) -> Result<Self> {
        meter.describe("tls_handshakes", "", "TLS handshakes that have succeeded.");
        meter.describe("tls_handshake_failures", "", "TLS handshakes that have failed, or took too long.");
        let pair = settings.files.read(alpn)?;
        let shared = Arc::new(Shared {
            config: Mutex::new(pair.config.clone()),
            limit: settings.handshake_timeout,
            turns: Turns::new(settings.max_handshakes),
            handshakes: meter.counter("tls_handshakes"),
            failures: meter.counter("tls_handshake_failures"),
        });
        let (files, target) = (settings.files.clone(), cx.target().to_owned());
        let (in_force, seen) = (shared.clone(), Mutex::new(pair));
        let apply = {
            let files = files.clone();
            move |new: Pair| {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let changes = files.changes(&seen, &new);
                for change in &changes {
                    log::info!(target: &target, "{change}");
                }
                // The same certificates go on with the same sessions.
                if !changes.is_empty() {
                    *in_force.lock() = new.config.clone();
                    *seen = new;
                }
            }
        };
        let reloads = cx.on_reload(move || files.read(alpn), apply);
        Ok(Self { acceptor: TlsAcceptor(shared), _reloads: reloads })
    }

    /// What makes the connections, on any thread.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Arc<ServerConfig>> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").field("limit", &self.0.limit).finish_non_exhaustive()
    }
}
