//! Who is at the other end of a connection.

use std::{fmt, net::SocketAddr};

/// Who is at the other end: an extension of each request, if [asked for](crate::HttpServer::with_peers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(Option<SocketAddr>);

impl Peer {
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        Self(Some(address))
    }

    pub(crate) fn unix() -> Self {
        Self(None)
    }

    /// Its IP address and port; None for a client of a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}
