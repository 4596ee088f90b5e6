//! The traits of listening sockets and watched descriptors, on any loop.

#[cfg(unix)]
use std::os::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    unix::net::UnixStream,
};
use std::{
    future::{Future, poll_fn},
    io,
    net::TcpStream,
    task::{Context, Poll},
};

use crate::words::address::Address;

/// Accepts connections from a listening socket.
pub trait Accept {
    /// The type of an accepted connection.
    type Stream;

    /// Returns the address that it listens on.
    fn address(&self) -> &Address;

    /// Returns the next connection, and its peer's address.
    ///
    /// # Errors
    ///
    /// Returns the system's error. Most are transient: a client that gave up, too many open descriptors.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Stream, Address)>>;

    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`poll_accept`](Self::poll_accept).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, Address)>> {
        poll_fn(|cx| self.poll_accept(cx))
    }
}

/// Watches the readiness of a descriptor.
///
/// Readiness is remembered: it holds until [`clear`](Self::clear) says that an operation would have blocked, or moved
/// less than was asked.
///
/// A `Box<dyn Watch>` is one too. Unix only.
#[cfg(unix)]
pub trait Watch {
    /// Returns the descriptor.
    fn fd(&self) -> &OwnedFd;

    /// Resolves when an operation of this kind is worth a try. One waker for each kind is kept, the last one.
    ///
    /// # Errors
    ///
    /// Returns an error if the loop has ended.
    fn poll_ready(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Forgets the readiness, because an operation found none: waits for the next edge.
    fn clear(&self, interest: Interest);

    /// Waits until an operation of this kind is worth a try.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`poll_ready`](Self::poll_ready).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<()>>
    where
        Self: Sized,
    {
        poll_fn(move |cx| self.poll_ready(interest, cx))
    }
}

#[cfg(unix)]
impl<W: Watch + ?Sized> Watch for Box<W> {
    fn fd(&self) -> &OwnedFd {
        (**self).fd()
    }

    fn poll_ready(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_ready(interest, cx)
    }

    fn clear(&self, interest: Interest) {
        (**self).clear(interest);
    }
}

/// The kind of readiness to watch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Interest {
    /// Data can be read, or the peer has closed.
    Read,
    /// Data can be written, or the peer has closed.
    Write,
    /// Urgent data has arrived: TCP's out-of-band byte, a change of a file in `/sys` or `/proc`.
    Urgent,
}

/// A connected socket of std.
///
/// A loop that doesn't support a kind of socket refuses it with [`io::ErrorKind::Unsupported`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Socket {
    /// A TCP stream.
    Tcp(TcpStream),
    /// A Unix stream.
    #[cfg(unix)]
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

#[cfg(unix)]
impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

#[cfg(unix)]
impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}
