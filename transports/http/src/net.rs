//! All that the server asks of a loop: sockets, an alarm, names. Tokio's, for now; this module is what becomes generic.

use std::{
    future::Future,
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use interloop::net::{Bound, SocketFile};
use pin_project_lite::pin_project;
use socket2::SockRef;
#[cfg(target_os = "linux")]
use tokio::net::unix::pipe::Receiver;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

use crate::{activity::Activity, hosted::Peer, server::Seat};

/// A listening socket in the loop. A Unix socket's file goes with it.
pub(crate) struct Listener {
    kind: ListenerKind,
    _file: Option<SocketFile>,
}

enum ListenerKind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// On the loop's thread.
    pub(crate) fn new(socket: Bound) -> io::Result<Self> {
        Ok(match socket {
            Bound::Tcp(socket) => Self { kind: ListenerKind::Tcp(TcpListener::from_std(socket)?), _file: None },
            Bound::Unix(socket, file) => {
                Self { kind: ListenerKind::Unix(UnixListener::from_std(socket)?), _file: file }
            }
        })
    }

    /// A connection that is there already, whether the loop has noticed or not.
    pub(crate) fn accept_now(&self) -> io::Result<(Stream, Peer)> {
        let (socket, address) = match &self.kind {
            ListenerKind::Tcp(listener) => SockRef::from(listener).accept()?,
            ListenerKind::Unix(listener) => SockRef::from(listener).accept()?,
        };
        socket.set_nonblocking(true)?;
        Ok(match address.as_socket() {
            Some(address) => {
                let _ = socket.set_tcp_nodelay(true);
                (Stream::Tcp { stream: TcpStream::from_std(socket.into())? }, Peer::tcp(address))
            }
            None => (Stream::Unix { stream: UnixStream::from_std(socket.into())? }, Peer::unix()),
        })
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        match &self.kind {
            ListenerKind::Tcp(listener) => {
                let (stream, address) = ready!(listener.poll_accept(cx))?;
                // The client may be gone already: that shows at the first read.
                let _ = stream.set_nodelay(true);
                Poll::Ready(Ok((Stream::Tcp { stream }, Peer::tcp(address))))
            }
            ListenerKind::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(Ok((Stream::Unix { stream }, Peer::unix())))
            }
        }
    }
}

pin_project! {
    #[project = StreamProj]
    pub(crate) enum Stream {
        Tcp { #[pin] stream: TcpStream },
        Unix { #[pin] stream: UnixStream },
    }
}

impl Stream {
    /// Whether the client has sent something, whether the loop has noticed or not.
    fn has_bytes(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = match self {
            Self::Tcp { stream } => SockRef::from(stream).peek(&mut byte),
            Self::Unix { stream } => SockRef::from(stream).peek(&mut byte),
        };
        peeked.is_ok_and(|bytes| bytes > 0)
    }
}

macro_rules! on_either {
    ($stream:expr, $method:ident($($argument:expr),*)) => {
        match $stream.project() {
            StreamProj::Tcp { stream } => stream.$method($($argument),*),
            StreamProj::Unix { stream } => stream.$method($($argument),*),
        }
    };
}

/// A connection as hyper takes it.
pub(crate) fn io(stream: Stream, activity: Arc<Activity>, seat: Seat) -> TokioIo<Io> {
    TokioIo::new(Io { stream, activity, _seat: seat })
}

pin_project! {
    /// A connection that leaves marks of what it does. It is an open one until this is dropped: after an upgrade too, when it belongs to a handler.
    pub(crate) struct Io {
        #[pin]
        stream: Stream,
        activity: Arc<Activity>,
        _seat: Seat,
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        let polled = on_either!(this.stream.as_mut(), poll_read(cx, buf));
        if polled.is_ready() {
            this.activity.has_read();
        } else if this.activity.is_last_look() && this.stream.has_bytes() {
            this.activity.found();
        }
        polled
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_either!(self.project().stream, poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_either!(self.project().stream, poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self.project().stream, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        ready!(on_either!(this.stream.as_mut(), poll_shutdown(cx)))?;
        if this.activity.is_farewell() {
            // To close while the client still sends would reset the connection, and the response might be lost on the way: the rest is read and
            // thrown away. The connection's time limits put an end to it.
            let mut scratch = [0; 4096];
            loop {
                let mut scratch = ReadBuf::new(&mut scratch);
                match ready!(on_either!(this.stream.as_mut(), poll_read(cx, &mut scratch))) {
                    Ok(()) if !scratch.filled().is_empty() => {}
                    _ => break,
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Rings at a time that can be set anew.
///
/// On Linux it is a descriptor of its own, which costs the loop nothing until it rings: tokio's timers cost it each turn.
/// A timer is read like a pipe, so that is what tokio takes it for.
#[cfg(target_os = "linux")]
pub(crate) struct Alarm(Receiver);

#[cfg(target_os = "linux")]
impl Alarm {
    /// On the loop's thread.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = rustix::time::TimerfdFlags::NONBLOCK | rustix::time::TimerfdFlags::CLOEXEC;
        let fd = rustix::time::timerfd_create(rustix::time::TimerfdClockId::Monotonic, flags)?;
        Ok(Self(Receiver::from_owned_fd_unchecked(fd)?))
    }

    pub(crate) fn set(&mut self, time: Option<std::time::Instant>) -> io::Result<()> {
        let rest = time.map(|time| time.saturating_duration_since(std::time::Instant::now()));
        // Zero would be never.
        let rest = rest.map_or(Duration::ZERO, |rest| rest.max(Duration::from_nanos(1)));
        let once = rustix::time::Itimerspec {
            it_interval: rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: rest.try_into().unwrap_or(rustix::time::Timespec { tv_sec: i64::MAX, tv_nsec: 0 }),
        };
        rustix::time::timerfd_settime(&self.0, rustix::time::TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Ready once it has rung.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(&mut [0; 8]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

/// Rings at a time that can be set anew.
#[cfg(not(target_os = "linux"))]
pub(crate) struct Alarm(Option<Pin<Box<tokio::time::Sleep>>>);

#[cfg(not(target_os = "linux"))]
impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(None))
    }

    pub(crate) fn set(&mut self, time: Option<std::time::Instant>) -> io::Result<()> {
        self.0 = time.map(|time| Box::pin(tokio::time::sleep_until(time.into())));
        Ok(())
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx).map(Ok))
    }
}

/// Waits for so long.
pub(crate) fn sleep(time: Duration) -> impl Future<Output = ()> + Send {
    tokio::time::sleep(time)
}

/// The addresses of a host.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    // An address needs no look-up, and so no thread.
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}
