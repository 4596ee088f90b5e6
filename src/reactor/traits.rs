//! What a socket that listens, and a descriptor that is watched, can do, on whatever loop.

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

/// Takes connections from a listening socket.
pub trait Accept {
    /// What it takes.
    type Stream;

    /// Where it listens.
    fn address(&self) -> &Address;

    /// The next connection, and where it comes from.
    ///
    /// # Errors
    ///
    /// The system's. Most pass: a client that gave up, too many open descriptors.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Stream, Address)>>;

    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// Those of [`poll_accept`](Self::poll_accept).
    ///
    /// # Cancel safety
    ///
    /// No connection is lost when it is dropped.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, Address)>> {
        poll_fn(|cx| self.poll_accept(cx))
    }
}

/// Watches the readiness of a descriptor.
///
/// Readiness is remembered: it holds until [`clear`](Self::clear) says that an operation would have blocked, or moved
/// less than was asked.
///
/// A `Box<dyn Watch>` is one too. Unix.
#[cfg(unix)]
pub trait Watch {
    /// The descriptor.
    fn fd(&self) -> &OwnedFd;

    /// Ready when an operation of this kind is worth a try. One waker a kind is kept, the last one.
    ///
    /// # Errors
    ///
    /// When the loop has ended.
    fn poll_ready(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// It was found not to be ready after all: waits for the next news.
    fn clear(&self, interest: Interest);

    /// Waits until an operation of this kind is worth a try.
    ///
    /// # Errors
    ///
    /// Those of [`poll_ready`](Self::poll_ready).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped.
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

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Interest {
    /// Something can be read, or the other end is closed.
    Read,
    /// Something can be written, or the other end is closed.
    Write,
    /// Urgent data is there: TCP's out-of-band byte, a change of a file in `/sys` or `/proc`.
    Urgent,
}

/// A connected socket of std.
///
/// A loop that doesn't know a kind of socket refuses it with [`io::ErrorKind::Unsupported`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Socket {
    /// TCP.
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
