//! The bare HTTP server with TLS, as a program: see `bare_tls.rs`; and the certificate that all servers show.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::process::sibling;
use crate::suite::Failure;

/// The comparison of HTTP over TLS by CPU time.
pub const TLS: &str = "tls-cpu";
/// The comparison of handshakes by CPU time.
pub const HANDSHAKE: &str = "tls-handshake-cpu";
/// The contestant that TLS is compared with.
pub const BARE_TLS: &str = "bare axum and tokio-rustls, current-thread";
/// The recommendation that it follows.
pub const LINK: &str = "https://github.com/tokio-rs/axum/tree/main/examples/low-level-rustls";

/// A self-signed certificate for `localhost`. Its files lie beside the program, and are rewritten in each run.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate in the form that clients want.
    pub der: Vec<u8>,
    /// The path of the certificate, as PEM.
    pub cert: PathBuf,
    /// The path of the key, as PEM.
    pub key: PathBuf,
}

static CERTIFICATE: LazyLock<Result<Certificate, String>> =
    LazyLock::new(|| Certificate::write().map_err(|error| format!("no certificate: {error}")));

impl Certificate {
    /// Returns the certificate of this run.
    pub fn get() -> Result<&'static Self, Failure> {
        CERTIFICATE.as_ref().map_err(|error| error.clone().into())
    }

    fn write() -> Result<Self, Failure> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let program = std::env::current_exe()?;
        let (cert, key) = (program.with_extension("cert.pem"), program.with_extension("key.pem"));
        fs::write(&cert, made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
        Ok(Self { der: made.cert.der().to_vec(), cert, key })
    }
}

/// Returns the command of the bare server.
pub fn bare_tls(address: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("bare-tls")?);
    let certificate = Certificate::get()?;
    command.arg(address.to_string()).args([&certificate.cert, &certificate.key]);
    Ok(command)
}
