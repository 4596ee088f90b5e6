//! The address of a socket.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

/// The address of a socket, or of its peer.
///
/// Its text is `127.0.0.1:8000`, `[::1]:8000`, or the absolute path of a Unix socket. It parses from the same text, so
/// an option can have this type.
///
/// ```
/// use interloop::{clap, net::Address};
///
/// #[derive(clap::Args)]
/// struct ClientOptions {
///     /// Connect to this address, or to the Unix socket at this path
///     #[arg(long, default_value = "127.0.0.1:8000")]
///     server: Address,
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// assert_eq!("[::1]:80".parse::<Address>()?.tcp().map(|address| address.port()), Some(80));
/// assert_eq!("/run/hello.sock".parse::<Address>()?, Address::Unix("/run/hello.sock".into()));
/// assert!("localhost:80".parse::<Address>().is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A Unix socket; empty for a client's, which has no name.
    Unix(PathBuf),
}

impl Address {
    /// Returns the IP address and port, unless it is a Unix socket.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    pub(crate) fn unnamed() -> Self {
        Self::Unix(PathBuf::new())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) if path.as_os_str().is_empty() => f.write_str("unix"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// It is serialized as its text.
#[cfg(feature = "serde")]
impl serde::Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Host names are refused: a host may have several addresses, which only a lookup finds.
impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| ParseAddressError(text.to_owned()))
    }
}

/// The error of a text that is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseAddressError(String);

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no address: {:?}; it must be IP:PORT or the absolute path of a Unix socket", self.0)
    }
}

impl std::error::Error for ParseAddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["127.0.0.1:8000", "[::1]:80", "/run/hello.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "unix", "localhost:80", "127.0.0.1", "hello.sock"] {
            let why = format!("no address: {text:?}; it must be IP:PORT or the absolute path of a Unix socket");
            assert_eq!(text.parse::<Address>().unwrap_err().to_string(), why);
        }
    }
}
