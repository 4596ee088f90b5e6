//! The options of a server's TLS.

use std::{path::PathBuf, time::Duration};

use interloop::{
    Result, clap,
    options::{OptionDefaults, duration},
};

use super::files::TlsFiles;
use crate::unless_zero;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HANDSHAKES: usize = 1000;

/// Options to flatten into those of a server that speaks TLS: they take precedence over the [`Listen`](crate::Listen)
/// of its code.
#[derive(clap::Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct TlsOptions {
    /// Serve over TLS, with the certificate in this PEM file, followed by any intermediates
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key, a PEM file
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Serve only clients with a certificate of one of the CAs in this PEM file
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,

    /// Close connections that take longer for the TLS handshake; 0 is never (default: 10s)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub tls_handshake_timeout: Option<Duration>,

    /// Run at most this many TLS handshakes at once, others wait; 0 is no limit (default: 1000)
    #[arg(long, value_name = "N")]
    pub tls_max_handshakes: Option<usize>,
}

/// The TLS settings of a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsSettings {
    /// The certificate, its key, and the CAs whose certificates clients need.
    pub files: TlsFiles,
    /// How long a handshake may take, from the start of the connection; None is no limit.
    pub handshake_timeout: Option<Duration>,
    /// The maximum number of handshakes at once, each counted from its client's first message.
    pub max_handshakes: usize,
}

impl TlsOptions {
    /// Returns these options as defaults that code has set.
    pub(crate) fn defaults(&self) -> OptionDefaults {
        let path = |path: &'_ Option<PathBuf>| path.as_ref().and_then(|path| path.to_str()).map(str::to_owned);
        OptionDefaults::new()
            .with_some("tls-cert", path(&self.tls_cert))
            .with_some("tls-key", path(&self.tls_key))
            .with_some("tls-client-ca", path(&self.tls_client_ca))
            .with_duration("tls-handshake-timeout", self.tls_handshake_timeout)
            .with_some("tls-max-handshakes", self.tls_max_handshakes)
    }

    /// Resolves the settings: these options take precedence, then the code's, then the defaults. None if neither names
    /// a certificate.
    pub(crate) fn settings(&self, code: &Self) -> Result<Option<TlsSettings>> {
        let either = |options: &Option<PathBuf>, code: &Option<PathBuf>| options.as_ref().or(code.as_ref()).cloned();
        let files = TlsFiles::of(
            either(&self.tls_cert, &code.tls_cert),
            either(&self.tls_key, &code.tls_key),
            either(&self.tls_client_ca, &code.tls_client_ca),
        )?;
        let limit = self.tls_handshake_timeout.or(code.tls_handshake_timeout).unwrap_or(HANDSHAKE_TIMEOUT);
        let max_handshakes = match self.tls_max_handshakes.or(code.tls_max_handshakes) {
            None => MAX_HANDSHAKES,
            Some(0) => usize::MAX,
            Some(handshakes) => handshakes,
        };
        Ok(files.map(|files| TlsSettings { files, handshake_timeout: unless_zero(limit), max_handshakes }))
    }

    /// Merges later values into these: they override.
    pub(crate) fn merge(&mut self, later: Self) {
        let Self { tls_cert, tls_key, tls_client_ca, tls_handshake_timeout, tls_max_handshakes } = later;
        self.tls_cert = tls_cert.or(self.tls_cert.take());
        self.tls_key = tls_key.or(self.tls_key.take());
        self.tls_client_ca = tls_client_ca.or(self.tls_client_ca.take());
        self.tls_handshake_timeout = tls_handshake_timeout.or(self.tls_handshake_timeout);
        self.tls_max_handshakes = tls_max_handshakes.or(self.tls_max_handshakes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cert: Option<&str>, key: Option<&str>, ca: Option<&str>) -> TlsOptions {
        let path = |name: Option<&str>| name.map(PathBuf::from);
        TlsOptions { tls_cert: path(cert), tls_key: path(key), tls_client_ca: path(ca), ..TlsOptions::default() }
    }

    #[test]
    fn one_file_without_the_other_is_named() {
        let none = TlsOptions::default();
        let why = |options: TlsOptions| options.settings(&none).unwrap_err().to_string();
        assert!(none.settings(&none).is_ok_and(|settings| settings.is_none()));
        assert_eq!(why(of(Some("/c.pem"), None, None)), "the certificate /c.pem is named without its key: tls-key");
        assert_eq!(why(of(None, Some("/k.pem"), None)), "the key /k.pem is named without its certificate: tls-cert");
        let why = why(of(None, None, Some("/ca.pem")));
        assert_eq!(why, "the client CA /ca.pem is named without a certificate of the server's own: tls-cert, tls-key");
    }

    #[test]
    fn options_come_before_code_and_code_before_defaults() {
        let code = TlsOptions { tls_max_handshakes: Some(0), ..of(Some("/c.pem"), Some("/k.pem"), None) };
        let options = TlsOptions { tls_handshake_timeout: Some(Duration::ZERO), ..of(None, Some("/l.pem"), None) };
        let settings = options.settings(&code).unwrap().expect("there is a certificate");
        assert_eq!((settings.handshake_timeout, settings.max_handshakes), (None, usize::MAX));
        assert_eq!(settings.files.key.to_str(), Some("/l.pem"));
        let settings = code.settings(&none()).unwrap().expect("there is a certificate");
        assert_eq!(settings.handshake_timeout, Some(HANDSHAKE_TIMEOUT));
    }

    #[test]
    fn what_is_said_later_goes_before() {
        let mut said = of(Some("/c.pem"), Some("/k.pem"), Some("/ca.pem"));
        said.merge(of(Some("/d.pem"), Some("/l.pem"), None));
        let (cert, key, ca) = (said.tls_cert.unwrap(), said.tls_key.unwrap(), said.tls_client_ca.unwrap());
        assert_eq!([cert, key, ca].map(|path| path.display().to_string()), ["/d.pem", "/l.pem", "/ca.pem"]);
    }

    fn none() -> TlsOptions {
        TlsOptions::default()
    }
}
