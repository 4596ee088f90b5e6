//! What the server asks of a loop.

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

    /// Waits for so long.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()>;

    /// Runs a connection as a child of the task.
    fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static);
}

/// A listening socket in the loop. A Unix socket's file goes with it.
pub(crate) trait Listener {
    type Stream;

    fn poll_accept(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<(Self::Stream, Peer)>>;

    /// A connection that is there already, whether the loop has noticed or not.
    fn accept_now(&self) -> io::Result<(Self::Stream, Peer)>;
}

/// A connection in the loop. `Send`, since after an upgrade it belongs to a handler.
pub(crate) trait Stream: Read + Write + Send + Unpin + 'static {
    /// None where it doesn't work: on another thread than its loop's.
    fn socket(&self) -> Option<SocketRef<'_>>;

    /// Whether the client has sent something, whether the loop has noticed or not. It never blocks.
    fn has_bytes(&self) -> bool {
        self.socket().is_some_and(has_bytes)
    }

    /// Whether the client has said that it sends no more in a way that its socket doesn't show; wakes when there is
    /// more to know.
    fn has_said_goodbye(&mut self, _: &mut Poller<'_>) -> io::Result<bool> {
        Ok(false)
    }

    /// How many bytes the last read had that was ready: hyper's memory doesn't tell.
    fn last_read(&self) -> usize;
}

/// Rings at a time that can be set anew.
pub(crate) trait Alarm {
    fn set(&mut self, time: Option<Instant>) -> io::Result<()>;

    /// Ready once it has rung.
    fn poll(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<()>>;
}

/// Whether something can be read from a socket. It never blocks, also where the loop's sockets would.
#[cfg(target_os = "linux")]
fn has_bytes(socket: SocketRef<'_>) -> bool {
    use rustix::net::{RecvFlags, recv};

    recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok_and(|(bytes, _)| bytes > 0)
}

/// Whether something can be read from a socket, which must not block.
#[cfg(not(target_os = "linux"))]
fn has_bytes(socket: SocketRef<'_>) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    socket2::SockRef::from(&socket).peek(&mut byte).is_ok_and(|bytes| bytes > 0)
}
