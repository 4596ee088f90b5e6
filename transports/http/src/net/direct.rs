//! tokio, used directly: its own sockets, and its workers, if it has any.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context as Poller, Poll, ready},
    time::{Duration, Instant},
};

use hyper_util::rt::TokioIo;
use interloop::{
    Context,
    net::{Bound, SocketFile, SocketRef},
};
use interloop_tokio::Tokio;
use pin_project_lite::pin_project;
use socket2::SockRef;
#[cfg(target_os = "linux")]
use tokio::net::unix::pipe::Receiver;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

use super::host::{Alarm, Host, Listener, Stream};
#[cfg(target_os = "linux")]
use super::timer_fd;
use crate::peer::Peer;

/// The context of a server on tokio.
pub(crate) struct Direct<'a, O>(pub(crate) &'a Context<Tokio, O>);

impl<O: 'static> Host for Direct<'_, O> {
    type Loop = Tokio;
    type Options = O;
    type Listener = DirectListener;
    type Stream = TokioIo<DirectStream>;
    type Alarm = DirectAlarm;

    fn cx(&self) -> &Context<Tokio, O> {
        self.0
    }

    fn listen(&self, socket: Bound) -> io::Result<DirectListener> {
        Ok(match socket {
            Bound::Tcp(socket) => DirectListener { kind: Kind::Tcp(TcpListener::from_std(socket)?), _file: None },
            Bound::Unix(socket, file) => {
                DirectListener { kind: Kind::Unix(UnixListener::from_std(socket)?), _file: file }
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    fn alarm(&self) -> io::Result<DirectAlarm> {
        DirectAlarm::new()
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> {
        tokio::time::sleep(time)
    }

    fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(connection).detach();
    }
}

pub(crate) struct DirectListener {
    kind: Kind,
    _file: Option<SocketFile>,
}

enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener for DirectListener {
    type Stream = TokioIo<DirectStream>;

    fn poll_accept(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<(Self::Stream, Peer)>> {
        let (stream, peer) = match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, address) = ready!(listener.poll_accept(cx))?;
                // The client may be gone already: the first read shows that.
                let _ = stream.set_nodelay(true);
                (DirectStream::Tcp { stream, read: 0 }, Peer::tcp(address))
            }
            Kind::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                (DirectStream::Unix { stream, read: 0 }, Peer::unix())
            }
        };
        Poll::Ready(Ok((TokioIo::new(stream), peer)))
    }

    fn accept_now(&self) -> io::Result<(Self::Stream, Peer)> {
        let (socket, address) = match &self.kind {
            Kind::Tcp(listener) => SockRef::from(listener).accept()?,
            Kind::Unix(listener) => SockRef::from(listener).accept()?,
        };
        socket.set_nonblocking(true)?;
        let (stream, peer) = match address.as_socket() {
            Some(address) => {
                let _ = socket.set_tcp_nodelay(true);
                (DirectStream::Tcp { stream: TcpStream::from_std(socket.into())?, read: 0 }, Peer::tcp(address))
            }
            None => (DirectStream::Unix { stream: UnixStream::from_std(socket.into())?, read: 0 }, Peer::unix()),
        };
        Ok((TokioIo::new(stream), peer))
    }
}

pin_project! {
    #[project = StreamProj]
    pub(crate) enum DirectStream {
        Tcp { #[pin] stream: TcpStream, read: usize },
        Unix { #[pin] stream: UnixStream, read: usize },
    }
}

impl Stream for TokioIo<DirectStream> {
    fn socket(&self) -> Option<SocketRef<'_>> {
        Some(match self.inner() {
            DirectStream::Tcp { stream, .. } => stream.into(),
            DirectStream::Unix { stream, .. } => stream.into(),
        })
    }

    fn last_read(&self) -> usize {
        match self.inner() {
            DirectStream::Tcp { read, .. } | DirectStream::Unix { read, .. } => *read,
        }
    }
}

macro_rules! on_either {
    ($stream:expr, $method:ident($($argument:expr),*)) => {
        match $stream.project() {
            StreamProj::Tcp { stream, .. } => stream.$method($($argument),*),
            StreamProj::Unix { stream, .. } => stream.$method($($argument),*),
        }
    };
}

impl AsyncRead for DirectStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Poller<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = on_either!(self.as_mut(), poll_read(cx, buf));
        let (StreamProj::Tcp { read, .. } | StreamProj::Unix { read, .. }) = self.project();
        *read = buf.filled().len() - before;
        polled
    }
}

impl AsyncWrite for DirectStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Poller<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_either!(self, poll_write(cx, buf))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Poller<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        on_either!(self, poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        on_either!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        on_either!(self, poll_shutdown(cx))
    }
}

/// A timer's descriptor is read like a pipe, so tokio treats it as one.
#[cfg(target_os = "linux")]
pub(crate) struct DirectAlarm(Receiver);

#[cfg(target_os = "linux")]
impl DirectAlarm {
    /// Creates it, on the loop's thread.
    fn new() -> io::Result<Self> {
        Ok(Self(Receiver::from_owned_fd_unchecked(timer_fd::create()?)?))
    }
}

#[cfg(target_os = "linux")]
impl Alarm for DirectAlarm {
    fn set(&mut self, time: Option<Instant>) -> io::Result<()> {
        timer_fd::set(&self.0, time)
    }

    fn poll(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(&mut [0; 8]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) struct DirectAlarm(Option<Pin<Box<tokio::time::Sleep>>>);

#[cfg(not(target_os = "linux"))]
impl DirectAlarm {
    fn new() -> io::Result<Self> {
        Ok(Self(None))
    }
}

#[cfg(not(target_os = "linux"))]
impl Alarm for DirectAlarm {
    fn set(&mut self, time: Option<Instant>) -> io::Result<()> {
        self.0 = time.map(|time| Box::pin(tokio::time::sleep_until(time.into())));
        Ok(())
    }

    fn poll(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx).map(Ok))
    }
}
