//! What the server needs of a loop.

use std::{
    future::Future,
    io,
    task::{Context as Poller, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Read, Write};
use interloop::{
    Context,
    net::{Bound, Net, SocketRef},
};

use crate::peer::Peer;

/// The loop of a server, and the task's context on it.
pub(crate) trait Host {
    type Loop: Net;
    type Options: 'static;
    type Listener: Listener<Stream = Self::Stream>;
    type Stream: Stream;
    type Alarm: Alarm;

    fn cx(&self) -> &Context<Self::Loop, Self::Options>;

    fn listen(&self, socket: Bound) -> io::Result<Self::Listener>;

    fn alarm(&self) -> io::Result<Self::Alarm>;

    /// Waits for this time.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()>;

    /// Runs a connection as a child of the task.
    fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static);
}

/// A listening socket in the loop. A Unix socket's file is removed with it.
pub(crate) trait Listener {
    type Stream;

    fn poll_accept(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<(Self::Stream, Peer)>>;

    /// Accepts a connection that is established already, whether the loop has noticed or not.
    fn accept_now(&self) -> io::Result<(Self::Stream, Peer)>;
}

/// A connection in the loop. It is `Send`, since after an upgrade it belongs to a handler.
pub(crate) trait Stream: Read + Write + Send + Unpin + 'static {
    /// Returns the socket; None on a thread other than its loop's, where it doesn't work.
    fn socket(&self) -> Option<SocketRef<'_>>;

    /// Returns whether the client has sent something, whether the loop has noticed or not. It never blocks.
    fn has_bytes(&self) -> bool {
        self.socket().is_some_and(has_bytes)
    }

    /// Returns whether the client has announced that it sends no more in a way that its socket doesn't show; wakes when
    /// there is more to know.
    fn has_said_goodbye(&mut self, _: &mut Poller<'_>) -> io::Result<bool> {
        Ok(false)
    }

    /// Returns how many bytes the last ready read brought: hyper's buffer doesn't tell.
    fn last_read(&self) -> usize;
}

/// Rings at a time that can be changed.
pub(crate) trait Alarm {
    fn set(&mut self, time: Option<Instant>) -> io::Result<()>;

    /// Returns ready once it has rung.
    fn poll(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<()>>;
}

/// Returns whether something can be read from a socket. It never blocks, even if the loop's sockets would.
#[cfg(target_os = "linux")]
fn has_bytes(socket: SocketRef<'_>) -> bool {
    use rustix::net::{RecvFlags, recv};

    recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok_and(|(bytes, _)| bytes > 0)
}

/// Returns whether something can be read from a socket, which must be nonblocking.
#[cfg(not(target_os = "linux"))]
fn has_bytes(socket: SocketRef<'_>) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    socket2::SockRef::from(&socket).peek(&mut byte).is_ok_and(|bytes| bytes > 0)
}
