//! Reads the files of a server's TLS, and says what is wrong with them.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use interloop::{Error, Result};
use rustls::{
    InconsistentKeys, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

/// The PEM files of a certificate and its key, and of the client CAs.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// The configuration made from the files, and the certificates in them.
pub(super) struct Pair {
    pub(super) config: Arc<ServerConfig>,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) client_ca: Vec<CertificateDer<'static>>,
}

impl TlsFiles {
    pub(super) fn of(cert: Option<PathBuf>, key: Option<PathBuf>, client_ca: Option<PathBuf>) -> Result<Option<Self>> {
        let why = match (cert, key, client_ca) {
            (Some(cert), Some(key), client_ca) => return Ok(Some(Self { cert, key, client_ca })),
            (None, None, None) => return Ok(None),
            (Some(cert), None, _) => format!("the certificate {} is named without its key: tls-key", Shown(&cert)),
            (None, Some(key), _) => format!("the key {} is named without its certificate: tls-cert", Shown(&key)),
            (None, None, Some(ca)) => format!(
                "the client CA {} is named without a certificate of the server's own: tls-cert, tls-key",
                Shown(&ca)
            ),
        };
        Err(Error::new(why))
    }

    /// Checks the files. It reads them, on this thread.
    ///
    /// # Errors
    ///
    /// Returns what is wrong, with the file concerned: it can't be read, it holds no certificate or key, or the files
    /// don't belong together.
    pub fn check(&self) -> Result {
        self.read(&[]).map(drop)
    }

    /// Returns what has changed since `old` was read, one line each.
    pub(super) fn changes(&self, old: &Pair, new: &Pair) -> Vec<String> {
        let mut changes = Vec::new();
        if old.chain != new.chain {
            changes.push(format!("the certificate in {} has changed", Shown(&self.cert)));
        }
        if let Some(ca) = self.client_ca.as_deref().filter(|_| old.client_ca != new.client_ca) {
            changes.push(format!("the client CAs in {} have changed", Shown(ca)));
        }
        changes
    }

    pub(super) fn read(&self, alpn: &[&str]) -> Result<Pair> {
        let (cert, key) = (read(&self.cert)?, read(&self.key)?);
        let ca = self.client_ca.as_deref().map(|path| certificates(path, &read(path)?)).transpose()?;
        let chain = certificates(&self.cert, &cert)?;
        let provider = Arc::new(ring::default_provider());
        let private = private_key(&self.key, &key, &provider)?;
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match (&self.client_ca, &ca) {
            (Some(path), Some(ca)) => {
                let roots = Arc::new(trusted(path, ca)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| unusable(path, error))?)
            }
            _ => builder.with_no_client_auth(),
        };
        let paired = builder.with_single_cert(chain.clone(), private);
        let mut config = paired.map_err(|error| unpaired(&self.cert, &self.key, &error))?;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        if ca.is_some() {
            // A resumed session shows no certificate, so nobody would check again whether it is still valid.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Pair { config: Arc::new(config), chain, client_ca: ca.unwrap_or_default() })
    }
}

pub(super) fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    fs::read(path).map_err(|error| Error::new(format!("can't read {}: {error}", Shown(path))))
}

pub(super) fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let read: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(Error::new(format!("there is no certificate in {}, or it is not PEM", Shown(path))))
        }
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(Error::new(format!("{} is not PEM", Shown(path)))),
    }
}

/// Returns the CAs in a file.
pub(super) fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore> {
    trusted(path, &certificates(path, pem)?)
}

fn trusted(path: &Path, certificates: &[CertificateDer<'static>]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for root in certificates {
        roots.add(root.clone()).map_err(|error| unusable(path, error))?;
    }
    Ok(roots)
}

/// Returns the key in a file, after a check that its kind can be used: so the error names the right file.
pub(super) fn private_key(path: &Path, pem: &[u8], provider: &CryptoProvider) -> Result<PrivateKeyDer<'static>> {
    let shown = Shown(path);
    let private = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| Error::new(format!("there is no private key in {shown}, or it is not PEM")))?;
    let loaded = provider.key_provider.load_private_key(private.clone_key());
    loaded.map_err(|error| Error::new(format!("the private key in {shown} can't be used: {error}")))?;
    Ok(private)
}

pub(super) fn unpaired(cert: &Path, key: &Path, error: &rustls::Error) -> Error {
    let (cert, key) = (Shown(cert), Shown(key));
    Error::new(match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("the private key in {key} is not that of the certificate in {cert}")
        }
        error => format!("the certificate in {cert} can't be used: {error}"),
    })
}

fn unusable(path: &Path, error: impl fmt::Display) -> Error {
    Error::new(format!("{} can't be used: {error}", Shown(path)))
}

/// A file's path. If the user has mistaken the option for the file's content, it may hold a key, which must not be
/// shown.
pub(super) struct Shown<'a>(pub(super) &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string_lossy();
        if text.contains(['\n', '\r']) || text.starts_with("-----BEGIN") {
            return f.write_str("(a file's content instead of its path)");
        }
        f.write_str(&text.escape_debug().to_string())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    struct Folder(TempDir);

    impl Folder {
        fn new() -> Self {
            Self(TempDir::new().unwrap())
        }

        fn file(&self, name: &str, content: &str) -> PathBuf {
            let path = self.0.path().join(name);
            fs::write(&path, content).unwrap();
            path
        }

        fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            let cert = self.file(&format!("{name}.pem"), &made.cert.pem());
            (cert, self.file(&format!("{name}.key"), &made.signing_key.serialize_pem()))
        }
    }

    fn why(cert: &Path, key: &Path, ca: Option<&Path>) -> String {
        let files = TlsFiles { cert: cert.into(), key: key.into(), client_ca: ca.map(Into::into) };
        let why = files.check().expect_err("it is wrong").to_string();
        assert_eq!(why.lines().count(), 1, "{why}");
        why
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file() {
        let folder = Folder::new();
        let ((cert, key), (_, other)) = (folder.pair("a"), folder.pair("b"));
        let files = TlsFiles { cert: cert.clone(), key: key.clone(), client_ca: Some(cert.clone()) };
        assert!(files.check().is_ok());
        let (none, junk) = (folder.0.path().join("none.pem"), folder.file("junk.pem", "hello"));
        let broken = folder.file("broken.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
        let half = folder.file("half.pem", "-----BEGIN CERTIFICATE-----\nMIIB");
        let (dir, name) = (folder.0.path().display(), |path: &Path| path.display().to_string());
        assert_eq!(
            why(&none, &key, None),
            format!("can't read {dir}/none.pem: No such file or directory (os error 2)")
        );
        assert!(why(&cert, &none, None).starts_with(&format!("can't read {dir}/none.pem")));
        assert_eq!(why(&junk, &key, None), format!("there is no certificate in {}, or it is not PEM", name(&junk)));
        assert_eq!(why(&cert, &junk, None), format!("there is no private key in {}, or it is not PEM", name(&junk)));
        assert!(why(&broken, &key, None).starts_with(&format!("the certificate in {dir}/broken.pem can't be used")));
        assert_eq!(why(&half, &key, None), format!("{} is not PEM", name(&half)));
        let mismatch = format!("the private key in {dir}/b.key is not that of the certificate in {dir}/a.pem");
        assert_eq!(why(&cert, &other, None), mismatch);
        assert!(why(&cert, &key, Some(&broken)).starts_with(&format!("{dir}/broken.pem can't be used")));
        // Key and certificate confused.
        assert!(why(&key, &cert, None).starts_with("there is no certificate in"));
    }

    #[test]
    fn a_change_is_told_of_the_file_that_has_changed() {
        let folder = Folder::new();
        let ((cert, key), (ca, _)) = (folder.pair("server"), folder.pair("ca"));
        let files = TlsFiles { cert: cert.clone(), key, client_ca: Some(ca.clone()) };
        let first = files.read(&[]).unwrap();
        folder.file("ca.pem", &format!("# a comment\n{}", fs::read_to_string(&ca).unwrap()));
        assert_eq!(files.changes(&first, &files.read(&[]).unwrap()), [""; 0]);
        folder.pair("ca");
        let second = files.read(&[]).unwrap();
        assert_eq!(files.changes(&first, &second), [format!("the client CAs in {} have changed", ca.display())]);
        folder.pair("server");
        let third = files.read(&[]).unwrap();
        assert_eq!(files.changes(&second, &third), [format!("the certificate in {} has changed", cert.display())]);
        assert_eq!(files.changes(&first, &third).len(), 2);
    }

    #[test]
    fn a_key_in_the_place_of_a_path_is_not_shown() {
        let content = Path::new("-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----");
        let said = why(content, content, None);
        assert!(said.contains("a file's content instead of its path") && !said.contains("secret"), "{said}");
    }
}
