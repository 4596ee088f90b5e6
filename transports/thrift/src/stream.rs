//! A connection of a server or of a client: the loop's own, or one over TLS.

use std::{
    io,
    pin::Pin,
    task::{Context as Poller, Poll},
};

use futures_util::io::{AsyncRead, AsyncWrite};
use interloop::net::{Net, SocketRef};
#[cfg(feature = "tls")]
use interloop_listen::TlsStream;

/// A connection of a server or of a client.
pub(crate) enum Stream<L: Net> {
    Plain(L::Stream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<L::Stream>>),
}

macro_rules! on_either {
    ($stream:expr, $method:ident($($argument:expr),*)) => {
        match $stream.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).$method($($argument),*),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

impl<L: Net> AsyncRead for Stream<L> {
    fn poll_read(self: Pin<&mut Self>, poller: &mut Poller<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        on_either!(self, poll_read(poller, buf))
    }
}

impl<L: Net> AsyncWrite for Stream<L> {
    fn poll_write(self: Pin<&mut Self>, poller: &mut Poller<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_either!(self, poll_write(poller, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<io::Result<()>> {
        on_either!(self, poll_flush(poller))
    }

    fn poll_close(self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<io::Result<()>> {
        on_either!(self, poll_close(poller))
    }
}

impl<L: Net> Stream<L> {
    /// Returns whether the peer must be told of the end before the socket is closed.
    pub(crate) fn says_goodbye(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// Returns whether the server at the other end has neither closed the connection nor sent anything unasked.
    pub(crate) fn poll_is_open(&mut self, poller: &mut Poller<'_>) -> Poll<bool> {
        let _ = &poller;
        match self {
            Self::Plain(stream) => Poll::Ready(is_quiet(L::socket(stream))),
            // Messages of TLS itself don't count: to know, one must read, once the loop has noticed what is there.
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                if Pin::new(&mut **stream).poll_read(poller, &mut [0; 1]).is_ready() {
                    return Poll::Ready(false);
                }
                if is_quiet(L::socket(stream.get_ref())) { Poll::Ready(true) } else { Poll::Pending }
            }
        }
    }

    /// Returns whether something can be read, whether the loop has noticed or not.
    #[cfg(target_os = "linux")]
    pub(crate) fn has_bytes(&mut self) -> bool {
        use rustix::net::{RecvFlags, recv};

        let socket = match self {
            Self::Plain(stream) => L::socket(stream),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                if stream.has_bytes() {
                    return true;
                }
                L::socket(stream.get_ref())
            }
        };
        recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok_and(|(bytes, _)| bytes > 0)
    }

    /// Returns whether decrypted bytes are left; what the loop hasn't noticed is unknown.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn has_bytes(&mut self) -> bool {
        match self {
            Self::Plain(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.has_bytes(),
        }
    }
}

/// Returns whether nothing has come, nor the end.
#[cfg(target_os = "linux")]
pub(crate) fn is_quiet(socket: SocketRef<'_>) -> bool {
    use rustix::{
        io::Errno,
        net::{RecvFlags, recv},
    };

    let peeked = recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    matches!(peeked, Err(Errno::WOULDBLOCK | Errno::INTR))
}

/// Returns true: the next call shows it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_quiet(_: SocketRef<'_>) -> bool {
    true
}
