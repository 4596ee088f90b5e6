//! The other end of a connection.

use std::{fmt, net::SocketAddr, sync::Arc};

use http::Extensions;

/// The other end of a connection: an extension of each request, if [asked for](crate::HttpServer::with_peers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(Option<SocketAddr>);

impl Peer {
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        Self(Some(address))
    }

    pub(crate) fn unix() -> Self {
        Self(None)
    }

    /// Returns its IP address and port; None for a client of a Unix socket.
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

type Insert = dyn Fn(Peer, &mut Extensions) + Send + Sync;

/// The extensions that describe the peer of each request.
#[derive(Clone, Default)]
pub(crate) struct PeerExtensions(Vec<Arc<Insert>>);

impl PeerExtensions {
    /// Inserts the [`Peer`] itself.
    pub(crate) fn of_peers() -> Self {
        let mut this = Self::default();
        this.add(Some);
        this
    }

    pub(crate) fn add<T: Clone + Send + Sync + 'static>(
        &mut self,
        make: impl Fn(Peer) -> Option<T> + Send + Sync + 'static,
    ) {
        self.0.push(Arc::new(move |peer, extensions| {
            if let Some(extension) = make(peer) {
                extensions.insert(extension);
            }
        }));
    }

    pub(crate) fn insert(&self, peer: Peer, extensions: &mut Extensions) {
        self.0.iter().for_each(|insert| insert(peer, extensions));
    }
}

impl fmt::Debug for PeerExtensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerExtensions").field(&self.0.len()).finish()
    }
}
