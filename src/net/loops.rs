//! The traits of loops with sockets: their own, or the reactor's.

#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::{future::Future, io};

use futures_io::{AsyncRead, AsyncWrite};

#[cfg(unix)]
use crate::reactor::traits::Watch;
use crate::{
    event_loop::contract::Timers,
    reactor::{
        bind::Bound,
        socket_ref::SocketRef,
        traits::{Accept, Socket},
    },
    words::address::Address,
};
#[cfg(target_os = "linux")]
use crate::{
    event_loop::thread::Thread,
    reactor::{
        connect::connect,
        epoll::Reactor,
        sockets::{ReactorListener, ReactorStream},
        source::ReactorWatch,
    },
};

/// A loop with sockets; they belong to the loop's thread, where all of this is called, and may be `!Send`.
///
/// The trait is the same on every system; the Unix-only part is [`WatchFd`]. Adapters implement both, or are a
/// [`ReactorLoop`]; tasks use them through their [`Context`](crate::Context).
pub trait Net: Timers {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;
    /// A listening socket.
    type Listener: Accept<Stream = Self::Stream> + 'static;

    /// Registers a listening socket with the loop.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    fn listener(native: &Self::Native, socket: Bound) -> io::Result<Self::Listener>;

    /// Registers a connected socket with the loop.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    fn stream(native: &Self::Native, socket: Socket) -> io::Result<Self::Stream>;

    /// Connects without blocking; if the future is dropped, nothing is left behind.
    fn connect(native: &Self::Native, address: Address) -> impl Future<Output = io::Result<Self::Stream>> + 'static;

    /// Returns a connection's socket, to inspect it or to set socket options.
    ///
    /// Don't read or write through it: that bypasses the loop.
    fn socket(stream: &Self::Stream) -> SocketRef<'_>;

    /// Watches a descriptor, as [`WatchFd::watch`] does, for code that is generic over `Net`.
    ///
    /// Servers use it to notice that a client has gone. A loop that is a [`WatchFd`] returns its own watch in a box;
    /// any other loop keeps this default, and servers do without.
    ///
    /// # Errors
    ///
    /// Returns [`io::ErrorKind::Unsupported`] if the loop watches no descriptors; otherwise the system's error.
    #[cfg(unix)]
    fn watch_boxed(native: &Self::Native, fd: OwnedFd) -> io::Result<Box<dyn Watch>> {
        let _ = (native, fd);
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("the loop {} watches no descriptors", Self::NAME)))
    }
}

/// A loop that watches any descriptor, not only its own sockets. Unix only. All methods are called on the loop's
/// thread.
#[cfg(unix)]
pub trait WatchFd: Net {
    /// A descriptor whose readiness is watched.
    type Watch: Watch + 'static;

    /// Watches a descriptor: a pipe, a terminal, an eventfd, a device. It should be nonblocking.
    ///
    /// # Errors
    ///
    /// Returns the system's error: some descriptors, such as regular files, can't be watched.
    fn watch(native: &Self::Native, fd: OwnedFd) -> io::Result<Self::Watch>;
}

/// A loop that watches the core's [`Reactor`], and so has [`Net`] and [`WatchFd`].
///
/// Its `drive` must call [`Mailbox::set_reactor`](crate::event_loop::Mailbox::set_reactor).
#[cfg(target_os = "linux")]
pub trait ReactorLoop: Timers {}

#[cfg(target_os = "linux")]
impl<L: ReactorLoop> Net for L {
    type Stream = ReactorStream;
    type Listener = ReactorListener;

    fn listener(_: &L::Native, socket: Bound) -> io::Result<ReactorListener> {
        ReactorListener::new(&Reactor::current()?, socket)
    }

    fn stream(_: &L::Native, socket: Socket) -> io::Result<ReactorStream> {
        ReactorStream::new(&Reactor::current()?, socket)
    }

    fn connect(_: &L::Native, address: Address) -> impl Future<Output = io::Result<ReactorStream>> + 'static {
        let reactor = Reactor::current();
        async move { connect(&reactor?, &address).await }
    }

    fn socket(stream: &ReactorStream) -> SocketRef<'_> {
        stream.socket().into()
    }

    fn watch_boxed(native: &L::Native, fd: OwnedFd) -> io::Result<Box<dyn Watch>> {
        Ok(Box::new(L::watch(native, fd)?))
    }
}

#[cfg(target_os = "linux")]
impl<L: ReactorLoop> WatchFd for L {
    type Watch = ReactorWatch;

    fn watch(_: &L::Native, fd: OwnedFd) -> io::Result<ReactorWatch> {
        ReactorWatch::new(&Reactor::current()?, fd)
    }
}

#[cfg(target_os = "linux")]
impl ReactorLoop for Thread {}
