//! All that the server asks of a loop: sockets, an alarm, a place for its connections. Any loop with [`Net`](interloop::net::Net) has it
//! ([`neutral`]); tokio is asked without a detour ([`direct`]), and its workers serve.

#[cfg(feature = "tokio")]
mod direct;
mod neutral;
#[cfg(target_os = "linux")]
mod timer_fd;

use std::{
    future::Future,
    io::{self, IoSlice},
    os::fd::AsFd,
    pin::Pin,
    sync::Arc,
    task::{Context as Poller, Poll, ready},
    time::{Duration, Instant},
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use interloop::{Context, EventLoop, net::Bound};
use interloop_listen::Seat;

#[cfg(feature = "tokio")]
pub(crate) use self::direct::Direct;
pub(crate) use self::neutral::Neutral;
use crate::{activity::Activity, hosted::Peer};

/// The loop of a server, and the task's context on it.
pub(crate) trait Host {
    type Loop: EventLoop;
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
    /// Whether the client has sent something, whether the loop has noticed or not.
    fn has_bytes(&self) -> bool;

    /// How many bytes the last read had that was ready: hyper's memory doesn't tell.
    fn last_read(&self) -> usize;
}

/// Rings at a time that can be set anew.
pub(crate) trait Alarm {
    fn set(&mut self, time: Option<Instant>) -> io::Result<()>;

    /// Ready once it has rung.
    fn poll(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<()>>;
}

/// A connection that leaves marks of what it does. It is an open one until this is dropped: after an upgrade too, when it belongs to a handler.
pub(crate) struct Io<S> {
    stream: S,
    activity: Arc<Activity>,
    _seat: Seat,
}

impl<S> Io<S> {
    pub(crate) fn new(stream: S, activity: Arc<Activity>, seat: Seat) -> Self {
        Self { stream, activity, _seat: seat }
    }

    fn has_written(&self, polled: &Poll<io::Result<usize>>) {
        self.activity.waits_for_room(polled.is_pending());
        if let Poll::Ready(Ok(bytes)) = polled {
            self.activity.server.counts.sent.add(*bytes as u64);
        }
    }
}

impl<S: Stream> Read for Io<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Poller<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(read) = &polled {
            if read.is_ok() {
                self.activity.server.counts.received.add(self.stream.last_read() as u64);
            }
            self.activity.has_read();
        } else if self.activity.is_last_look() && self.stream.has_bytes() {
            self.activity.found();
        }
        polled
    }
}

impl<S: Stream> Write for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Poller<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.has_written(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut whole = [0; SMALL];
        let polled = match gather(bufs, &mut whole) {
            Some(whole) => Pin::new(&mut self.stream).poll_write(cx, whole),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        };
        self.has_written(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        // Over TLS what was written may still be there.
        self.activity.waits_for_room(polled.is_pending());
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        if self.activity.is_farewell() {
            // To close while the client still sends would reset the connection, and the response might be lost on the way: the rest is read and
            // thrown away. The connection's time limits put an end to it.
            let mut scratch = [0; 4096];
            loop {
                let mut scratch = ReadBuf::new(&mut scratch);
                match ready!(Pin::new(&mut self.stream).poll_read(cx, scratch.unfilled())) {
                    Ok(()) if !scratch.filled().is_empty() => {}
                    _ => break,
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Up to this length a head and its body are sent as one piece: to copy so little costs less than to have the system gather it.
const SMALL: usize = 512;

/// The pieces as one, if they are small.
fn gather<'a>(pieces: &[IoSlice<'_>], whole: &'a mut [u8; SMALL]) -> Option<&'a [u8]> {
    let mut length = 0;
    for piece in pieces {
        whole.get_mut(length..)?.get_mut(..piece.len())?.copy_from_slice(piece);
        length += piece.len();
    }
    Some(&whole[..length])
}

/// Whether something can be read from a socket. It never blocks, also where the loop's sockets would.
#[cfg(target_os = "linux")]
fn has_bytes(socket: impl AsFd) -> bool {
    use rustix::net::{RecvFlags, recv};

    recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok_and(|(bytes, _)| bytes > 0)
}

/// Whether something can be read from a socket, which must not block.
#[cfg(not(target_os = "linux"))]
fn has_bytes(socket: impl AsFd) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    socket2::SockRef::from(&socket).peek(&mut byte).is_ok_and(|bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_sent_as_one_and_large_ones_as_they_are() {
        let (head, body, rest) = ([b'h'; 100], [b'b'; 300], [b'r'; 112]);
        let pieces = [&head[..], &body, &rest].map(IoSlice::new);
        let gathered = gather(&pieces, &mut [0; SMALL]).map(<[u8]>::to_vec);
        assert_eq!(gathered, Some([&head[..], &body, &rest].concat()));
        assert_eq!(gather(&[], &mut [0; SMALL]), Some(&[][..]));
        let one_more = [&head[..], &body, &rest, b"!"].map(IoSlice::new);
        assert_eq!(gather(&one_more, &mut [0; SMALL]), None);
    }
}
