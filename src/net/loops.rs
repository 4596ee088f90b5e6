//! The loops that have sockets: those that bring them, and those that watch the reactor.

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

/// A loop with sockets. What it makes belongs to the loop's thread, where all of this is called; it may be `!Send`.
///
/// It is the same on every system; what there is on Unix alone is [`WatchFd`]. Adapters implement both, or are a
/// [`ReactorLoop`]; tasks use them through their [`Context`](crate::Context).
pub trait Net: Timers {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;
    /// A socket that listens.
    type Listener: Accept<Stream = Self::Stream> + 'static;

    /// Takes a listening socket into the loop.
    ///
    /// # Errors
    ///
    /// The system's.
    fn listener(native: &Self::Native, socket: Bound) -> io::Result<Self::Listener>;

    /// Takes a connected socket into the loop.
    ///
    /// # Errors
    ///
    /// The system's.
    fn stream(native: &Self::Native, socket: Socket) -> io::Result<Self::Stream>;

    /// Connects. It never blocks; dropped, it leaves nothing behind.
    fn connect(native: &Self::Native, address: Address) -> impl Future<Output = io::Result<Self::Stream>> + 'static;

    /// The socket of a connection: to look into it, or to set what the system offers. To read or write by it is to go
    /// behind the loop's back.
    fn socket(stream: &Self::Stream) -> SocketRef<'_>;

    /// Watches a descriptor, as [`WatchFd::watch`], for code that is written for any `Net`: servers see by it that a
    /// client has gone. A loop that is a [`WatchFd`] returns what its `watch` does, in a box; any other leaves this as
    /// it is, and servers do without.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] from a loop that watches no descriptors; otherwise the system's.
    #[cfg(unix)]
    fn watch_boxed(native: &Self::Native, fd: OwnedFd) -> io::Result<Box<dyn Watch>> {
        let _ = (native, fd);
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("the loop {} watches no descriptors", Self::NAME)))
    }
}

/// A loop that watches any descriptor, not only its own sockets. Unix. All of it is called on the loop's thread.
#[cfg(unix)]
pub trait WatchFd: Net {
    /// A descriptor whose readiness is watched.
    type Watch: Watch + 'static;

    /// Watches a descriptor: a pipe, a terminal, an eventfd, a device. It should be nonblocking.
    ///
    /// # Errors
    ///
    /// The system's: some descriptors, such as regular files, can't be watched.
    fn watch(native: &Self::Native, fd: OwnedFd) -> io::Result<Self::Watch>;
}

/// A loop that watches the core's [`Reactor`], and so has [`Net`] and [`WatchFd`]: its `drive` called
/// [`Mailbox::set_reactor`](crate::event_loop::Mailbox::set_reactor).
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
