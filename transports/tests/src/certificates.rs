//! Certificates, and clients that check them.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::PATIENCE;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;

/// A CA, and a folder with the certificates that it has signed.
#[derive(Debug)]
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Ca {
    /// Creates one with this name: its own certificate is `ca.pem`.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let ca = Self { issuer, folder: TempDir::new().unwrap() };
        fs::write(ca.path("ca.pem"), ca.issuer.pem()).unwrap();
        ca
    }

    /// Returns the path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the same path as text, for a command line.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("it is ASCII").to_owned()
    }

    /// Writes `{name}.pem` and `{name}.key`, for localhost; a second call writes new ones.
    pub fn sign(&self, name: &str) {
        self.sign_for(name, Duration::from_secs(3600));
    }

    /// Signs as [`sign`](Self::sign), valid for this time from now.
    pub fn sign_for(&self, name: &str, time: Duration) {
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = (SystemTime::now() + time).into();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), cert.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// Returns the certificate in `{name}.pem`.
    pub fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap()
    }

    /// Returns a client that trusts this CA; with a certificate of its own, if one is named.
    pub fn client(&self, certificate: Option<(&Ca, &str)>) -> ClientConnection {
        let config = self.config(certificate, rustls::DEFAULT_VERSIONS);
        ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap()
    }

    /// Returns the configuration that such clients share, including their sessions.
    pub fn config(
        &self,
        certificate: Option<(&Ca, &str)>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("ca")).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match certificate {
            None => builder.with_no_client_auth(),
            Some((ca, name)) => {
                let key = PrivateKeyDer::from_pem_file(ca.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![ca.certificate(name)], key).unwrap()
            }
        })
    }

    /// Returns the server's end of this connection, with the certificate of this name.
    pub fn server(&self, name: &str, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
        StreamOwned::new(ServerConnection::new(self.server_config(name)).unwrap(), stream)
    }

    /// Returns the configuration that servers with the certificate of this name share, including their sessions.
    pub fn server_config(&self, name: &str) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate(name)], key)
            .unwrap();
        Arc::new(config)
    }

    /// Returns a client's first message.
    pub fn hello(&self) -> Vec<u8> {
        let mut hello = Vec::new();
        self.client(None).write_tls(&mut hello).unwrap();
        hello
    }

    /// Returns a connection after its handshake.
    pub fn connect(&self, address: SocketAddr) -> Secure {
        let mut stream = StreamOwned::new(self.client(None), tcp(address));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).expect("the handshake succeeds");
        }
        stream
    }
}

/// A client's connection.
pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// Returns an unencrypted connection with a time limit for reads.
pub fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Returns the certificate that the server has shown.
pub fn shown(stream: &Secure) -> CertificateDer<'static> {
    stream.conn.peer_certificates().expect("a server has one")[0].clone().into_owned()
}

/// Waits for the end of a raw connection, and returns what came before it.
pub fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("still open"),
        _ => rest,
    }
}

/// Sends this, and nothing more.
pub fn say(address: SocketAddr, what: &[u8]) -> TcpStream {
    let mut stream = tcp(address);
    stream.write_all(what).expect("the connection is open");
    stream
}
