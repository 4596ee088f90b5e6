//! Any loop with [`Net`]: what is served stays on its thread.

use std::{
    cell::RefCell,
    future::Future,
    io::{self, IoSlice},
    os::fd::{BorrowedFd, OwnedFd},
    pin::Pin,
    task::{Context as Poller, Poll, ready},
    time::{Duration, Instant},
};

use futures_util::io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};
use interloop::{
    Context, Remote,
    net::{Accept, Address, Bound, Interest, Net, Socket, Watch},
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
    type Alarm = NeutralAlarm<L>;

    fn cx(&self) -> &Context<L, O> {
        self.cx
    }

    fn listen(&self, socket: Bound) -> io::Result<NeutralListener<L, O>> {
        let direct = match &socket {
            Bound::Tcp(listener) => SockRef::from(listener).try_clone()?,
            Bound::Unix(listener, _) => SockRef::from(listener).try_clone()?,
        };
        let listener = self.cx.listen(socket)?;
        Ok(NeutralListener { listener, direct, cx: self.cx.clone(), home: self.home.clone() })
    }

    fn alarm(&self) -> io::Result<NeutralAlarm<L>> {
        NeutralAlarm::new(self.cx)
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> {
        self.cx.sleep(time)
    }

    /// Not on workers: its socket is the loop's.
    fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.cx.spawn_local(connection).detach();
    }
}

pub(crate) struct NeutralListener<L: Net, O> {
    listener: L::Listener,
    /// The same socket, for a look at it that the loop knows nothing of.
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

/// A connection that may be handed to other threads, though it works on its own alone: a handler that has upgraded it may be anywhere.
pub(crate) struct NeutralStream<L: Net> {
    stream: Option<Homebound<L::Stream>>,
    read: usize,
    home: Remote<()>,
}

/// What is dropped on its own thread or never.
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
            // Where the task has ended, it is not dropped at all.
            let _ = self.home.post(move |()| drop(stream));
        }
    }
}

impl<L: Net> Stream for NeutralStream<L> {
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.here().map(|stream| L::socket(stream))
    }

    fn last_read(&self) -> usize {
        self.read
    }
}

/// The most that is read at once.
const SCRATCH: usize = 16 << 10;

thread_local!(static SCRATCHES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });

impl<L: Net> Read for NeutralStream<L> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Poller<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let stream = self.stream()?;
        // hyper's memory is not initialized: to read by way of memory that is costs less than to initialize it each time.
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

#[cfg(target_os = "linux")]
pub(crate) struct NeutralAlarm<L: Net>(L::Watch);

#[cfg(target_os = "linux")]
impl<L: Net> NeutralAlarm<L> {
    fn new<O>(cx: &Context<L, O>) -> io::Result<Self> {
        Ok(Self(cx.watch(timer_fd::create()?)?))
    }
}

#[cfg(target_os = "linux")]
impl<L: Net> Alarm for NeutralAlarm<L> {
    fn set(&mut self, time: Option<Instant>) -> io::Result<()> {
        timer_fd::set(self.0.fd(), time)
    }

    fn poll(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_ready(Interest::Read, cx))?;
            if timer_fd::has_rung(self.0.fd())? {
                return Poll::Ready(Ok(()));
            }
            self.0.clear(Interest::Read);
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) struct NeutralAlarm<L: Net> {
    sleep: Box<dyn Fn(Duration) -> Pin<Box<dyn Future<Output = ()>>>>,
    set: Option<Pin<Box<dyn Future<Output = ()>>>>,
    of: std::marker::PhantomData<L>,
}

#[cfg(not(target_os = "linux"))]
impl<L: Net> NeutralAlarm<L> {
    fn new<O: 'static>(cx: &Context<L, O>) -> io::Result<Self> {
        let cx = cx.clone();
        Ok(Self { sleep: Box::new(move |time| Box::pin(cx.sleep(time))), set: None, of: std::marker::PhantomData })
    }
}

#[cfg(not(target_os = "linux"))]
impl<L: Net> Alarm for NeutralAlarm<L> {
    fn set(&mut self, time: Option<Instant>) -> io::Result<()> {
        self.set = time.map(|time| (self.sleep)(time.saturating_duration_since(Instant::now())));
        Ok(())
    }

    fn poll(&mut self, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        self.set.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx).map(Ok))
    }
}
