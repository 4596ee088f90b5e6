//! Sockets and readiness, the same on every loop: what a task that doesn't care about its loop does its I/O by.
//!
//! A loop with sockets is a [`Net`]. Runtimes that bring their own fill it natively; any other loop that can watch one descriptor gets it all from the
//! core's [`Reactor`]: its adapter says [`Mailbox::set_reactor`](crate::Mailbox::set_reactor), and is a [`ReactorLoop`].
//!
//! Streams are those of futures-io: [`AsyncRead`] and [`AsyncWrite`]. Listening sockets are bound here, whatever the loop, so that errors, the modes of
//! Unix sockets and stale files are the same everywhere: see [`Bound`].
//!
//! ```
//! use std::time::Duration;
//! use futures_util::{AsyncReadExt, AsyncWriteExt};
//! use interloop::{Context, NoOptions, Result, Service, Task, Thread, net::{Accept, Bound, Net}};
//!
//! /// Answers each client with what it says, on any loop.
//! struct Echo;
//!
//! impl<L: Net> Task<L> for Echo {
//!     type Options = NoOptions;
//!
//!     async fn run(&mut self, cx: Context<L>) -> Result {
//!         let mut listener = cx.listen(Bound::tcp("127.0.0.1:0".parse()?)?)?;
//!         cx.bound(listener.address().clone());
//!         let accept = async {
//!             loop {
//!                 let (mut stream, _) = listener.accept().await?;
//!                 let echo = async move {
//!                     let mut text = [0; 1024];
//!                     while let Ok(length @ 1..) = stream.read(&mut text).await {
//!                         if stream.write_all(&text[..length]).await.is_err() {
//!                             break;
//!                         }
//!                     }
//!                 };
//!                 cx.spawn_local(echo).detach();
//!             }
//!         };
//!         let mut accept = std::pin::pin!(accept);
//!         let mut stop = std::pin::pin!(cx.until_shutdown());
//!         std::future::poll_fn(|cx| {
//!             use std::{future::Future, task::Poll};
//!             if stop.as_mut().poll(cx).is_ready() { Poll::Ready(Ok(())) } else { accept.as_mut().poll(cx) }
//!         })
//!         .await
//!     }
//! }
//!
//! # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! let mut service = Service::new("echo");
//! service.task_on::<Thread>("echo", Echo);
//! let running = service.start()?;
//! assert!(running.wait_started(Duration::from_secs(10)));
//! let address = running.addresses("echo")?[0].tcp().expect("it listens");
//! let mut client = std::net::TcpStream::connect(address)?;
//! std::io::Write::write_all(&mut client, b"hello")?;
//! let mut answer = [0; 5];
//! std::io::Read::read_exact(&mut client, &mut answer)?;
//! assert_eq!(&answer, b"hello");
//! assert_eq!(running.stop().code, 0);
//! # Ok(())
//! # }
//! ```

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    net::{SocketAddr, TcpStream},
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    task::{Context, Poll},
};

pub use futures_io::{AsyncRead, AsyncWrite};

use crate::Timers;
pub use crate::reactor::bind::{Bound, CantListen, SocketFile};
#[cfg(target_os = "linux")]
pub(crate) use crate::reactor::epoll::{Host, Installed};
pub(crate) use crate::reactor::resolve::resolve;
#[cfg(target_os = "linux")]
pub use crate::reactor::{
    epoll::{Reactor, ReactorLoop, ReactorThread, ReactorWaker, Sleep},
    sockets::{ReactorListener, ReactorStream},
    source::ReactorWatch,
};

/// A loop with sockets. What it makes belongs to the loop's thread, where all of this is called; it may be `!Send`.
///
/// Adapters implement it, or are a [`ReactorLoop`]; tasks use it through their [`Context`](crate::Context).
pub trait Net: Timers {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;
    /// A socket that listens.
    type Listener: Accept<Stream = Self::Stream> + 'static;
    /// A descriptor whose readiness is watched.
    type Watch: Watch + 'static;

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

    /// The socket of a connection: to look into it, or to set what the system offers. To read or write by it is to go behind the loop's back.
    fn socket(stream: &Self::Stream) -> BorrowedFd<'_>;

    /// Watches a descriptor: a pipe, a terminal, an eventfd, a device. It should be nonblocking.
    ///
    /// # Errors
    ///
    /// The system's: some descriptors, such as regular files, can't be watched.
    fn watch(native: &Self::Native, fd: OwnedFd) -> io::Result<Self::Watch>;
}

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
/// Readiness is remembered: it holds until [`clear`](Self::clear) says that an operation would have blocked, or moved less than was asked.
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
    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<()>> {
        poll_fn(move |cx| self.poll_ready(interest, cx))
    }
}

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Something can be read, or the other end is closed.
    Read,
    /// Something can be written, or the other end is closed.
    Write,
    /// Urgent data is there: TCP's out-of-band byte, a change of a file in `/sys` or `/proc`.
    Urgent,
}

/// Where a socket is, or the other end of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A Unix socket; empty for a client's, which has no name.
    Unix(PathBuf),
}

impl Address {
    /// The IP address and port, unless it is a Unix socket.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    pub(crate) fn unnamed() -> Self {
        Self::Unix(PathBuf::new())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) if path.as_os_str().is_empty() => f.write_str("unix"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A connected socket of std.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix stream.
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}
