//! The client's side of TLS.

use std::{fmt, io, path::Path, sync::Arc};

use interloop::{
    Error, Result,
    net::{AsyncRead, AsyncWrite},
};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder,
    client::{Resumption, WantsClientCert},
    crypto::ring,
    pki_types::ServerName,
};

use super::{
    files::{certificates, private_key, read, roots, unpaired},
    stream::TlsStream,
};

/// How a client speaks TLS: which CAs it trusts, and which certificate it shows itself. Clones share the same state.
///
/// Each connection makes a full handshake and checks the server's certificate: sessions are not resumed.
#[derive(Clone)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
}

impl TlsConnector {
    /// Trusts servers with a certificate from one of the CAs in this PEM file. It reads the file, on this thread.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with the file.
    pub fn new(ca: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::of(trusting(ca.as_ref())?.with_no_client_auth()))
    }

    /// Works as [`new`](Self::new), for servers that require a client certificate: the one in this PEM file, whose
    /// private key is in another.
    ///
    /// # Errors
    ///
    /// Returns an error if the files are unusable or don't belong together.
    pub fn with_certificate(ca: impl AsRef<Path>, cert: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self> {
        let (cert, key) = (cert.as_ref(), key.as_ref());
        let chain = certificates(cert, &read(cert)?)?;
        let private = private_key(key, &read(key)?, &ring::default_provider())?;
        let config = trusting(ca.as_ref())?.with_client_auth_cert(chain, private);
        Ok(Self::of(config.map_err(|error| unpaired(cert, key, &error))?))
    }

    fn of(mut config: ClientConfig) -> Self {
        // A resumed session shows no certificate, so the server's would never be checked again.
        config.resumption = Resumption::disabled();
        Self { config: Arc::new(config) }
    }

    /// Makes a TLS connection of this stream. The server's certificate must be valid for this host name or IP address.
    ///
    /// # Errors
    ///
    /// Returns an error if the connection breaks, or one end doesn't trust the other.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection. It has no time limit of its own.
    pub async fn connect<S>(&self, stream: S, name: &str) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is no host name")))?;
        let connection = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        let mut stream = TlsStream::new(stream, connection);
        stream.shake_hands().await?;
        Ok(stream)
    }
}

fn trusting(ca: &Path) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let roots = roots(ca, &read(ca)?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(Error::from)?;
    Ok(builder.with_root_certificates(roots))
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnector")
    }
}
