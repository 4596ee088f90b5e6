//! Connections.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{Shutdown, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    pin::Pin,
    task::{Context, Poll},
};

use async_io::Async;
use futures_util::{
    future::Either,
    io::{AsyncRead, AsyncWrite},
};
use interloop::net::{Address, Socket};

/// A connection: TCP, without delay, or a Unix stream.
#[derive(Debug)]
pub struct AsyncIoStream(Either<Async<TcpStream>, Async<UnixStream>>);

impl AsyncIoStream {
    /// Takes a connected socket in.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn new(socket: Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(stream) => Async::new(stream).map(Self::tcp),
            Socket::Unix(stream) => Async::new(stream).map(Self::unix),
        }
    }

    /// The client may be gone already: that shows at the first read.
    pub(crate) fn tcp(stream: Async<TcpStream>) -> Self {
        let _ = stream.get_ref().set_nodelay(true);
        Self(Either::Left(stream))
    }

    pub(crate) fn unix(stream: Async<UnixStream>) -> Self {
        Self(Either::Right(stream))
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the socket.
    pub async fn connect(address: Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Async::<TcpStream>::connect(address).await.map(Self::tcp),
            Address::Unix(path) => Async::<UnixStream>::connect(path).await.map(Self::unix),
            other => Err(io::Error::new(io::ErrorKind::Unsupported, format!("can't connect to {other}"))),
        }
    }

    /// async-io's own, from which smol's can be made: `smol::net::TcpStream::from(..)`.
    pub fn into_inner(self) -> Either<Async<TcpStream>, Async<UnixStream>> {
        self.0
    }
}

impl AsFd for AsyncIoStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Either::Left(stream) => stream.as_fd(),
            Either::Right(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for AsyncIoStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read_vectored(cx, bufs)
    }
}

impl AsyncWrite for AsyncIoStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Sends no more, which async-io's own doesn't do: the other end reads to the end, and may go on sending.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = match &self.0 {
            Either::Left(stream) => stream.get_ref().shutdown(Shutdown::Write),
            Either::Right(stream) => stream.get_ref().shutdown(Shutdown::Write),
        };
        Poll::Ready(match closed {
            // It is closed already.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            done => done,
        })
    }
}
