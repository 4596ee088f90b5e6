//! Where a socket is.

use std::{fmt, net::SocketAddr, path::PathBuf};

/// Where a socket is, or the other end of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A Unix socket; empty for a client's, which has no name.
    Unix(PathBuf),
}

impl Address {
    /// The IP address and port, unless it is a Unix socket.
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
