//! Streams and listening sockets on the reactor.

use std::{
    fmt,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    net::{Shutdown, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixListener,
    },
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_io::{AsyncRead, AsyncWrite};
use rustix::net::{SocketFlags, acceptfrom_with};

use super::{
    bind::{Bound, SocketFile},
    epoll::Reactor,
    source::Source,
    traits::{Accept, Interest, Socket},
};
use crate::words::address::Address;

/// A connection on the [`Reactor`]: TCP with `TCP_NODELAY`, or a Unix stream.
pub struct ReactorStream {
    source: Source<Socket>,
}

impl ReactorStream {
    /// Registers a connected socket with the reactor.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub fn new(reactor: &Reactor, socket: Socket) -> io::Result<Self> {
        match &socket {
            Socket::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                // The peer may be gone already: that shows at the first read.
                let _ = stream.set_nodelay(true);
            }
            Socket::Unix(stream) => stream.set_nonblocking(true)?,
        }
        Ok(Self { source: Source::new(reactor, socket)? })
    }

    /// Registers a nonblocking socket that is still connecting.
    pub(super) fn connecting(reactor: &Reactor, socket: Socket) -> io::Result<Self> {
        Ok(Self { source: Source::new(reactor, socket)? })
    }

    /// Resolves once the connection is made, or has failed.
    pub(super) fn poll_connected(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.source.poll_ready(Interest::Write, cx))?;
        Poll::Ready(match self.source.io.take_error()? {
            None => Ok(()),
            Some(error) => Err(error),
        })
    }

    /// Returns the socket.
    pub fn socket(&self) -> &Socket {
        &self.source.io
    }
}

impl Socket {
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
        }
    }

    fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).read(buf),
            Self::Unix(stream) => (&*stream).read(buf),
        }
    }

    fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).read_vectored(bufs),
            Self::Unix(stream) => (&*stream).read_vectored(bufs),
        }
    }

    fn write(&self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).write(buf),
            Self::Unix(stream) => (&*stream).write(buf),
        }
    }

    fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).write_vectored(bufs),
            Self::Unix(stream) => (&*stream).write_vectored(bufs),
        }
    }

    fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl AsyncRead for ReactorStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.source.poll_bytes(Interest::Read, cx, buf.len(), |socket| socket.read(buf))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let asked = bufs.iter().map(|buf| buf.len()).sum();
        self.source.poll_bytes(Interest::Read, cx, asked, |socket| socket.read_vectored(bufs))
    }
}

impl AsyncWrite for ReactorStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.source.poll_bytes(Interest::Write, cx, buf.len(), |socket| socket.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let asked = bufs.iter().map(|buf| buf.len()).sum();
        self.source.poll_bytes(Interest::Write, cx, asked, |socket| socket.write_vectored(bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Sends no more: the peer reads to the end, and may continue to send.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self.source.io.shutdown_write() {
            // It is closed already.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            done => done,
        })
    }
}

impl fmt::Debug for ReactorStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReactorStream").field(&self.source.io).finish()
    }
}

/// A listening socket on the [`Reactor`].
pub struct ReactorListener {
    source: Source<Listening>,
    reactor: Reactor,
    address: Address,
    _file: Option<SocketFile>,
}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl ReactorListener {
    /// Registers a listening socket with the reactor.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub fn new(reactor: &Reactor, socket: Bound) -> io::Result<Self> {
        let address = socket.address()?;
        let (listening, file) = match socket {
            Bound::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                (Listening::Tcp(listener), None)
            }
            Bound::Unix(listener, file) => {
                listener.set_nonblocking(true)?;
                (Listening::Unix(listener), file)
            }
        };
        Ok(Self { source: Source::new(reactor, listening)?, reactor: reactor.clone(), address, _file: file })
    }
}

impl Accept for ReactorListener {
    type Stream = ReactorStream;

    fn address(&self) -> &Address {
        &self.address
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(ReactorStream, Address)>> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let attempt = |socket: &Listening| Ok(acceptfrom_with(socket, flags)?);
        let (fd, from) = ready!(self.source.poll_io(Interest::Read, cx, attempt))?;
        let (socket, from) = match &self.source.io {
            Listening::Tcp(_) => {
                let from = from.and_then(|from| std::net::SocketAddr::try_from(from).ok());
                (Socket::Tcp(fd.into()), from.map_or_else(Address::unnamed, Address::Tcp))
            }
            Listening::Unix(_) => (Socket::Unix(fd.into()), Address::unnamed()),
        };
        if let Socket::Tcp(stream) = &socket {
            let _ = stream.set_nodelay(true);
        }
        Poll::Ready(Ok((ReactorStream { source: Source::new(&self.reactor, socket)? }, from)))
    }
}

impl fmt::Debug for ReactorListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReactorListener").field(&self.address).finish()
    }
}
