//! Any loop with [`Net`]: connections are served on its thread.

use std::{
    cell::RefCell,
    future::Future,
    io::{self, IoSlice},
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
    time::{Duration, Instant},
};

use futures_util::io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};
#[cfg(target_os = "linux")]
use interloop::net::{Interest, Watch};
use interloop::{
    Context, Remote,
    net::{Accept, Address, Bound, Net, Socket, SocketRef},
};
use send_wrapper::SendWrapper;
use socket2::SockRef;

use super::host::{Alarm, Host, Listener, Stream};
#[cfg(target_os = "linux")]
use super::timer_fd;
use crate::peer::Peer;

/// The context of a server on any loop.
pub(crate) struct Neutral<'a, L: Net, O> {
    cx: &'a Context<L, O>,
    home: Remote<()>,
}

impl<'a, L: Net, O> Neutral<'a, L, O> {
    pub(crate) fn new(cx: &'a Context<L, O>) -> Self {
        Self { cx, home: cx.share(()) }
    }
}

impl<L: Net, O: 'static> Host for Neutral<'_, L, O> {
    type Loop = L;
    type Options = O;
    type Listener = NeutralListener<L, O>;
    type Stream = NeutralStream<L>;
    type Alarm = NeutralAlarm;

    fn cx(&self) -> &Context<L, O> {
        self.cx
    }

    fn listen(&self, socket: Bound) -> io::Result<NeutralListener<L, O>> {
        let direct = SockRef::from(&socket).try_clone()?;
        let listener = self.cx.listen(socket)?;
        Ok(NeutralListener { listener, direct, cx: self.cx.clone(), home: self.home.clone() })
    }

    fn alarm(&self) -> io::Result<NeutralAlarm> {
        NeutralAlarm::new(self.cx)
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> {
        self.cx.sleep(time)
    }

    /// Stays off workers: its socket belongs to the loop.
    fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.cx.spawn_local(connection).detach();
    }
}

pub(crate) struct NeutralListener<L: Net, O> {
    listener: L::Listener,
    /// A duplicate of the socket, for checks that bypass the loop.
    direct: socket2::Socket,
    cx: Context<L, O>,
    home: Remote<()>,
}

impl<L: Net, O> Listener for NeutralListener<L, O> {
    type Stream = NeutralStream<L>;

    fn poll_accept(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<(NeutralStream<L>, Peer)>> {
        let (stream, address) = ready!(self.listener.poll_accept(cx))?;
        Poll::Ready(Ok((NeutralStream::new(stream, &self.home), peer(&address))))
    }

    fn accept_now(&self) -> io::Result<(NeutralStream<L>, Peer)> {
        let (socket, address) = self.direct.accept()?;
        let (socket, peer) = match address.as_socket() {
            Some(address) => (Socket::Tcp(socket.into()), Peer::tcp(address)),
            None => (Socket::Unix(OwnedFd::from(socket).into()), Peer::unix()),
        };
        Ok((NeutralStream::new(self.cx.stream(socket)?, &self.home), peer))
    }
}

fn peer(address: &Address) -> Peer {
    address.tcp().map_or_else(Peer::unix, Peer::tcp)
}

/// A connection that may move to other threads, though it works only on its own: a handler that has upgraded it may be
/// anywhere.
pub(crate) struct NeutralStream<L: Net> {
    stream: Option<Homebound<L::Stream>>,
    read: usize,
    home: Remote<()>,
}

/// A value that is dropped on its own thread or never.
struct Homebound<S>(Option<SendWrapper<S>>);

impl<S> Drop for Homebound<S> {
    fn drop(&mut self) {
        if self.0.as_ref().is_some_and(|stream| !stream.valid()) {
            std::mem::forget(self.0.take());
        }
    }
}

impl<L: Net> NeutralStream<L> {
    fn new(stream: L::Stream, home: &Remote<()>) -> Self {
        Self { stream: Some(Homebound(Some(SendWrapper::new(stream)))), read: 0, home: home.clone() }
    }

    fn here(&self) -> Option<&SendWrapper<L::Stream>> {
        self.stream.as_ref()?.0.as_ref().filter(|stream| stream.valid())
    }

    fn stream(&mut self) -> io::Result<Pin<&mut L::Stream>> {
        match self.stream.as_mut().and_then(|stream| stream.0.as_mut()) {
            Some(stream) if stream.valid() => Ok(Pin::new(&mut **stream)),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "the connection works on its loop's thread alone")),
        }
    }
}

impl<L: Net> Drop for NeutralStream<L> {
    fn drop(&mut self) {
        if self.here().is_none() {
            let stream = self.stream.take();
            // If the task has ended, it is not dropped at all.
            let _ = self.home.post(move |()| drop(stream));
        }
    }
}

impl<L: Net> Stream for NeutralStream<L> {
    fn socket(&self) -> Option<SocketRef<'_>> {
        self.here().map(|stream| L::socket(stream))
    }

    fn last_read(&self) -> usize {
        self.read
    }
}

/// The maximum size of one read.
const SCRATCH: usize = 16 << 10;

thread_local!(static SCRATCHES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });

impl<L: Net> Read for NeutralStream<L> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Poller<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let stream = self.stream()?;
        // hyper's buffer is not initialized: reading into initialized memory and copying costs less than initializing
        // it each time.
        let polled = SCRATCHES.with_borrow_mut(|scratch| {
            scratch.resize(SCRATCH, 0);
            let length = buf.remaining().min(SCRATCH);
            let read = ready!(stream.poll_read(cx, &mut scratch[..length]))?;
            buf.put_slice(&scratch[..read]);
            Poll::Ready(Ok::<_, io::Error>(read))
        });
        self.read = ready!(polled)?;
        Poll::Ready(Ok(()))
    }
}

impl<L: Net> Write for NeutralStream<L> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Poller<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_close(cx)
    }
}

/// A timer's descriptor on a loop that watches descriptors; otherwise the loop's own timer.
pub(crate) enum NeutralAlarm {
    #[cfg(target_os = "linux")]
    Descriptor(Box<dyn Watch>),
    Sleep {
        sleep: Box<dyn Fn(Duration) -> Sleep>,
        set: Option<Sleep>,
    },
}

/// A future of the loop's timers.
type Sleep = Pin<Box<dyn Future<Output = ()>>>;

impl NeutralAlarm {
    fn new<L: Net, O: 'static>(cx: &Context<L, O>) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        match L::watch_boxed(cx.native(), timer_fd::create()?) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            watch => return Ok(Self::Descriptor(watch?)),
        }
        let cx = cx.clone();
        Ok(Self::Sleep { sleep: Box::new(move |time| Box::pin(cx.sleep(time))), set: None })
    }
}

impl Alarm for NeutralAlarm {
    fn set(&mut self, time: Option<Instant>) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Descriptor(watch) => timer_fd::set(watch.fd(), time),
            Self::Sleep { sleep, set } => {
                *set = time.map(|time| sleep(time.saturating_duration_since(Instant::now())));
                Ok(())
            }
        }
    }

    fn poll(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Descriptor(watch) => loop {
                ready!(watch.poll_ready(Interest::Read, cx))?;
                if timer_fd::has_rung(watch.fd())? {
                    return Poll::Ready(Ok(()));
                }
                watch.clear(Interest::Read);
            },
            Self::Sleep { set, .. } => {
                ready!(set.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx)));
                // It has rung, and rings once.
                *set = None;
                Poll::Ready(Ok(()))
            }
        }
    }
}
