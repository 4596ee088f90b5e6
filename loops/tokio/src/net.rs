//! Sockets for tasks that run on any loop: tokio's own.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use interloop::net::{
    Accept, Address, AsyncRead, AsyncWrite, Bound, Interest, Net, Socket, SocketFile, SocketRef, Watch, WatchFd,
};
use tokio::{
    io::unix::AsyncFd,
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    runtime::Handle,
};
use tokio_util::{
    compat::{Compat, TokioAsyncReadCompatExt},
    either::Either,
};

use crate::Tokio;

/// A connection: TCP, without delay, or a Unix stream.
#[derive(Debug)]
pub struct TokioStream(Compat<Either<TcpStream, UnixStream>>);

impl TokioStream {
    /// The client may be gone already: the first read shows that.
    fn tcp(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self(Either::Left(stream).compat())
    }

    fn unix(stream: UnixStream) -> Self {
        Self(Either::Right(stream).compat())
    }

    /// Returns tokio's own stream.
    ///
    /// # Errors
    ///
    /// Returns the stream itself if it isn't TCP.
    pub fn into_tcp(self) -> Result<TcpStream, Self> {
        match self.0.into_inner() {
            Either::Left(stream) => Ok(stream),
            other => Err(Self(other.compat())),
        }
    }

    /// Returns tokio's own stream.
    ///
    /// # Errors
    ///
    /// Returns the stream itself if it isn't a Unix stream.
    pub fn into_unix(self) -> Result<UnixStream, Self> {
        match self.0.into_inner() {
            Either::Right(stream) => Ok(stream),
            other => Err(Self(other.compat())),
        }
    }
}

impl AsFd for TokioStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.0.get_ref() {
            Either::Left(stream) => stream.as_fd(),
            Either::Right(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for TokioStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for TokioStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

impl Net for Tokio {
    type Stream = TokioStream;
    type Listener = TokioListener;

    fn listener(native: &Handle, socket: Bound) -> io::Result<TokioListener> {
        let _entered = native.enter();
        let address = socket.address()?;
        let (kind, file) = match socket {
            Bound::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                (Kind::Tcp(TcpListener::from_std(listener)?), None)
            }
            Bound::Unix(listener, file) => {
                listener.set_nonblocking(true)?;
                (Kind::Unix(UnixListener::from_std(listener)?), file)
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(TokioListener { kind, address, _file: file })
    }

    fn stream(native: &Handle, socket: Socket) -> io::Result<TokioStream> {
        let _entered = native.enter();
        match socket {
            Socket::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Ok(TokioStream::tcp(TcpStream::from_std(stream)?))
            }
            Socket::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Ok(TokioStream::unix(UnixStream::from_std(stream)?))
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn connect(_: &Handle, address: Address) -> impl Future<Output = io::Result<TokioStream>> + 'static {
        connect(address)
    }

    fn socket(stream: &TokioStream) -> SocketRef<'_> {
        stream.into()
    }

    fn watch_boxed(native: &Handle, fd: OwnedFd) -> io::Result<Box<dyn Watch>> {
        Ok(Box::new(Self::watch(native, fd)?))
    }
}

impl WatchFd for Tokio {
    type Watch = TokioWatch;

    fn watch(native: &Handle, fd: OwnedFd) -> io::Result<TokioWatch> {
        use tokio::io::Interest;
        let _entered = native.enter();
        let interest = Interest::READABLE | Interest::WRITABLE;
        #[cfg(target_os = "linux")]
        let interest = interest | Interest::PRIORITY;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types whose descriptor may change: an OwnedFd's doesn't"
        )]
        let fd = AsyncFd::with_interest(fd, interest)?;
        Ok(TokioWatch { fd: Rc::new(fd), urgent: RefCell::default() })
    }
}

/// Polled on the loop's thread, within the runtime.
async fn connect(address: Address) -> io::Result<TokioStream> {
    match address {
        Address::Tcp(address) => Ok(TokioStream::tcp(TcpStream::connect(address).await?)),
        Address::Unix(path) => Ok(TokioStream::unix(UnixStream::connect(path).await?)),
        other => Err(io::Error::new(io::ErrorKind::Unsupported, format!("can't connect to {other}"))),
    }
}

/// A listening socket.
pub struct TokioListener {
    kind: Kind,
    address: Address,
    _file: Option<SocketFile>,
}

enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Accept for TokioListener {
    type Stream = TokioStream;

    fn address(&self) -> &Address {
        &self.address
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(TokioStream, Address)>> {
        Poll::Ready(Ok(match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, from) = ready!(listener.poll_accept(cx))?;
                (TokioStream::tcp(stream), from.into())
            }
            Kind::Unix(listener) => {
                let (stream, from) = ready!(listener.poll_accept(cx))?;
                let path = from.as_pathname().map(Into::into).unwrap_or_default();
                (TokioStream::unix(stream), Address::Unix(path))
            }
        }))
    }
}

impl fmt::Debug for TokioListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokioListener").field(&self.address).finish()
    }
}

type Urgent = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// A descriptor whose readiness is watched.
pub struct TokioWatch {
    fd: Rc<AsyncFd<OwnedFd>>,
    /// tokio shows this kind of readiness only to futures.
    urgent: RefCell<Option<Urgent>>,
}

impl Watch for TokioWatch {
    fn fd(&self) -> &OwnedFd {
        self.fd.get_ref()
    }

    fn poll_ready(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match interest {
            Interest::Read => self.fd.poll_read_ready(cx).map_ok(drop),
            Interest::Write => self.fd.poll_write_ready(cx).map_ok(drop),
            Interest::Urgent => {
                let mut urgent = self.urgent.borrow_mut();
                let fd = self.fd.clone();
                let waiting = urgent.get_or_insert_with(|| Box::pin(urgent_data(fd)));
                let polled = ready!(waiting.as_mut().poll(cx));
                *urgent = None;
                Poll::Ready(polled)
            }
            _ => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    fn clear(&self, interest: Interest) {
        let interest = match interest {
            Interest::Read => tokio::io::Interest::READABLE,
            Interest::Write => tokio::io::Interest::WRITABLE,
            #[cfg(target_os = "linux")]
            Interest::Urgent => tokio::io::Interest::PRIORITY,
            _ => return,
        };
        let _ = self.fd.try_io(interest, |_| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    }
}

#[cfg(target_os = "linux")]
async fn urgent_data(fd: Rc<AsyncFd<OwnedFd>>) -> io::Result<()> {
    fd.ready(tokio::io::Interest::PRIORITY).await.map(drop)
}

#[cfg(not(target_os = "linux"))]
async fn urgent_data(_: Rc<AsyncFd<OwnedFd>>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl fmt::Debug for TokioWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokioWatch").field(self.fd.get_ref()).finish()
    }
}
