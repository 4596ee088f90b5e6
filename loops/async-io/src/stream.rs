//! Connections.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    net::{Shutdown, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_io::Async;
use interloop::net::{Address, AsyncRead, AsyncWrite, Socket};

/// A connection: TCP, without delay, or a Unix stream.
///
/// It remembers whether another try is worthwhile: after a read or a write that moved less than was asked, it doesn't
/// try again in vain, but has async-io wait at once. async-io's own streams find that out by an operation that would
/// block, one or two for each request.
#[derive(Debug)]
pub struct AsyncIoStream {
    kind: Kind,
    readable: bool,
    writable: bool,
}

#[derive(Debug)]
enum Kind {
    Tcp(Async<TcpStream>),
    Unix(Async<UnixStream>),
}

impl AsyncIoStream {
    /// Wraps a connected socket.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn new(socket: Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(stream) => Async::new(stream).map(Self::tcp),
            Socket::Unix(stream) => Async::new(stream).map(Self::unix),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn new_kind(kind: Kind) -> Self {
        Self { kind, readable: true, writable: true }
    }

    /// The client may be gone already: the first read shows that.
    pub(crate) fn tcp(stream: Async<TcpStream>) -> Self {
        let _ = stream.get_ref().set_nodelay(true);
        Self::new_kind(Kind::Tcp(stream))
    }

    pub(crate) fn unix(stream: Async<UnixStream>) -> Self {
        Self::new_kind(Kind::Unix(stream))
    }

    /// Connects to the address.
    ///
    /// # Errors
    ///
    /// The system's error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket.
    pub async fn connect(address: Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Async::<TcpStream>::connect(address).await.map(Self::tcp),
            Address::Unix(path) => Async::<UnixStream>::connect(path).await.map(Self::unix),
            other => Err(io::Error::new(io::ErrorKind::Unsupported, format!("can't connect to {other}"))),
        }
    }

    /// Returns async-io's own stream, which converts into smol's: `smol::net::TcpStream::from(..)`.
    ///
    /// # Errors
    ///
    /// Returns the stream itself if it isn't TCP.
    pub fn into_tcp(self) -> Result<Async<TcpStream>, Self> {
        match self.kind {
            Kind::Tcp(stream) => Ok(stream),
            _ => Err(self),
        }
    }

    /// Returns async-io's own stream, which converts into smol's: `smol::net::unix::UnixStream::from(..)`.
    ///
    /// # Errors
    ///
    /// Returns the stream itself if it isn't a Unix stream.
    pub fn into_unix(self) -> Result<Async<UnixStream>, Self> {
        match self.kind {
            Kind::Unix(stream) => Ok(stream),
            _ => Err(self),
        }
    }
}

impl AsFd for AsyncIoStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(stream) => stream.as_fd(),
            Kind::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncIoStream {
    fn poll_read_with(
        &mut self,
        cx: &mut Context<'_>,
        asked: usize,
        mut read: impl FnMut(&mut dyn Read) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if !self.readable {
                ready!(match &self.kind {
                    Kind::Tcp(stream) => stream.poll_readable(cx),
                    Kind::Unix(stream) => stream.poll_readable(cx),
                })?;
                self.readable = true;
            }
            let read = match &self.kind {
                Kind::Tcp(stream) => read(&mut stream.get_ref()),
                Kind::Unix(stream) => read(&mut stream.get_ref()),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    // async-io waits for the state, not for its change: it reports what has come in the meantime,
                    // including the end.
                    self.readable = !read.as_ref().is_ok_and(|read| (1..asked).contains(read));
                    return Poll::Ready(read);
                }
            }
        }
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        asked: usize,
        mut write: impl FnMut(&mut dyn Write) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if !self.writable {
                ready!(match &self.kind {
                    Kind::Tcp(stream) => stream.poll_writable(cx),
                    Kind::Unix(stream) => stream.poll_writable(cx),
                })?;
                self.writable = true;
            }
            let written = match &self.kind {
                Kind::Tcp(stream) => write(&mut stream.get_ref()),
                Kind::Unix(stream) => write(&mut stream.get_ref()),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => {
                    self.writable = !written.as_ref().is_ok_and(|written| (1..asked).contains(written));
                    return Poll::Ready(written);
                }
            }
        }
    }
}

impl AsyncRead for AsyncIoStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read_with(cx, buf.len(), |stream| stream.read(buf))
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let asked = bufs.iter().map(|buf| buf.len()).sum();
        self.poll_read_with(cx, asked, |stream| stream.read_vectored(bufs))
    }
}

impl AsyncWrite for AsyncIoStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, buf.len(), |stream| stream.write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let asked = bufs.iter().map(|buf| buf.len()).sum();
        self.poll_write_with(cx, asked, |stream| stream.write_vectored(bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends the sending half, which async-io's own streams don't do: the other end reads to the end, and may still
    /// send.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = match &self.kind {
            Kind::Tcp(stream) => stream.get_ref().shutdown(Shutdown::Write),
            Kind::Unix(stream) => stream.get_ref().shutdown(Shutdown::Write),
        };
        Poll::Ready(match closed {
            // The connection is closed already.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            done => done,
        })
    }
}
