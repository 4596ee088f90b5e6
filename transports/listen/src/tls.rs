//! TLS of what a server accepts, on any loop: certificates, which a reload reads again, handshakes within limits, streams.

mod acceptor;
mod connector;
mod files;
mod handshake;
mod options;
mod stream;
mod turns;

use std::sync::{Mutex, PoisonError};

use interloop::{Context, EventLoop, Result, counters::Meter, options::OnReload};

use self::{acceptor::Shared, files::Pair};
pub use self::{
    acceptor::TlsAcceptor,
    connector::TlsConnector,
    files::TlsFiles,
    handshake::HandshakeError,
    options::{TlsOptions, TlsSettings},
    stream::TlsStream,
};

/// The TLS of a server: its certificate, read again with each reload as long as this is kept, and its limits.
#[derive(Debug)]
pub struct Tls {
    acceptor: TlsAcceptor,
    _reloads: OnReload,
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
        let pair = settings.files.read(alpn)?;
        let shared = Shared::new(pair.config.clone(), settings, meter);
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
