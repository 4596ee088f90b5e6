//! The sockets of [async-io](async_io), for the event loops of Interloop that are built on it: smol and async-std.
//!
//! An adapter implements [`Net`](interloop::net::Net) and [`WatchFd`](interloop::net::WatchFd) by these types. The
//! first such loop starts one thread for the process, `async-io`, which never ends: it waits for the system when no
//! loop on async-io does. While idle, it sleeps.

#![forbid(unsafe_code)]

mod stream;
mod watch;

use std::{
    fmt, io,
    net::TcpListener,
    os::unix::net::UnixListener,
    task::{Context, Poll, ready},
};

use async_io::Async;
use interloop::net::{Accept, Address, Bound, SocketFile};

pub use async_io;

/// Starts the thread `async-io` now, if it doesn't run yet. Call this before the loop is driven.
///
/// Otherwise async-io starts the thread at a time of its own choice, which looks like a leaked thread.
pub fn start() {
    // The thread is started by the end of the first such call, at the latest.
    async_io::block_on(std::future::ready(()));
}

pub use crate::{stream::AsyncIoStream, watch::AsyncIoWatch};

/// A listening socket.
pub struct AsyncIoListener {
    kind: Kind,
    address: Address,
    _file: Option<SocketFile>,
}

enum Kind {
    Tcp(Async<TcpListener>),
    Unix(Async<UnixListener>),
}

impl AsyncIoListener {
    /// Wraps a listening socket.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn new(socket: Bound) -> io::Result<Self> {
        let address = socket.address()?;
        let (kind, file) = match socket {
            Bound::Tcp(listener) => (Kind::Tcp(Async::new(listener)?), None),
            Bound::Unix(listener, file) => (Kind::Unix(Async::new(listener)?), file),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { kind, address, _file: file })
    }
}

impl Accept for AsyncIoListener {
    type Stream = AsyncIoStream;

    fn address(&self) -> &Address {
        &self.address
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(AsyncIoStream, Address)>> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, from) = ready!(accept(listener, cx, TcpListener::accept))?;
                Poll::Ready(Async::new(stream).map(|stream| (AsyncIoStream::tcp(stream), from.into())))
            }
            Kind::Unix(listener) => {
                let (stream, from) = ready!(accept(listener, cx, UnixListener::accept))?;
                let path = from.as_pathname().map(Into::into).unwrap_or_default();
                Poll::Ready(Async::new(stream).map(|stream| (AsyncIoStream::unix(stream), Address::Unix(path))))
            }
        }
    }
}

fn accept<L, R>(
    listener: &Async<L>,
    cx: &mut Context<'_>,
    accept: impl Fn(&L) -> io::Result<R>,
) -> Poll<io::Result<R>> {
    loop {
        match accept(listener.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(listener.poll_readable(cx))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            accepted => return Poll::Ready(accepted),
        }
    }
}

impl fmt::Debug for AsyncIoListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncIoListener").field(&self.address).finish()
    }
}
