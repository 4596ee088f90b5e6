//! TLS for accepted connections, on any loop: certificates, which a reload reads again, handshakes within limits,
//! streams.

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

/// The TLS of a server: its certificate, which each reload reads again as long as this value lives, and its limits.
#[derive(Debug)]
pub struct Tls {
    acceptor: TlsAcceptor,
    _reloads: OnReload,
}

impl Tls {
    /// Reads the certificate and its key. `alpn` lists the protocols that the server speaks, the preferred one first; a
    /// client that offers only others is refused.
    ///
    /// It counts in this meter: `tls_handshakes`, `tls_handshake_failures`.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with the files, as [`TlsFiles::check`] does.
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
                // With unchanged certificates, sessions stay valid.
                if !changes.is_empty() {
                    *in_force.lock() = new.config.clone();
                    *seen = new;
                }
            }
        };
        let reloads = cx.on_reload(move || files.read(alpn), apply);
        Ok(Self { acceptor: TlsAcceptor(shared), _reloads: reloads })
    }

    /// Returns the acceptor, which makes TLS connections on any thread.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}
