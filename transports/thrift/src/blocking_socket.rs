//! Runs futures on a thread that may block: the thread waits for the socket on their behalf.

use std::{
    future::Future,
    io::{self, Read, Write},
    net::TcpStream,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Relaxed, Release},
        },
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use futures_util::io::{AsyncRead, AsyncWrite};
use interloop::net::Address;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// A connection whose futures this thread waits for.
pub(crate) struct BlockingSocket {
    socket: Socket,
    reads: AtomicBool,
    writes: AtomicBool,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// When the time is up, if ever.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) fn after(time: Option<Duration>) -> Self {
        Self(time.and_then(|time| Instant::now().checked_add(time)))
    }

    fn left(self) -> io::Result<Option<Duration>> {
        match self.0.map(|end| end.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
            left => Ok(left),
        }
    }
}

impl BlockingSocket {
    pub(crate) fn connect(address: &Address, deadline: Deadline) -> io::Result<Arc<Self>> {
        let socket = match address {
            Address::Tcp(address) => {
                let stream = match deadline.left()? {
                    Some(left) => TcpStream::connect_timeout(address, left)?,
                    None => TcpStream::connect(address)?,
                };
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Socket::Tcp(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Socket::Unix(stream)
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Arc::new(Self { socket, reads: AtomicBool::new(false), writes: AtomicBool::new(false) }))
    }

    /// Waits for a future that waits for nothing but this connection.
    pub(crate) fn wait_for<T>(&self, deadline: Deadline, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut future = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        let mut poller = Context::from_waker(&waker);
        loop {
            self.reads.store(false, Relaxed);
            self.writes.store(false, Relaxed);
            if let Poll::Ready(done) = future.as_mut().poll(&mut poller) {
                return done;
            }
            // Its parts may wake each other.
            let left = deadline.left()?;
            if !woken.0.swap(false, AcqRel) {
                self.wait(left)?;
            }
        }
    }

    fn wait(&self, left: Option<Duration>) -> io::Result<()> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::OUT, self.writes.load(Relaxed));
        // A future that waits for neither must learn of the end.
        flags.set(PollFlags::IN, self.reads.load(Relaxed) || flags.is_empty());
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut [PollFd::new(&self.socket, flags)], left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Release);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// The connection, for those futures.
pub(crate) struct BlockingStream(pub(crate) Arc<BlockingSocket>);

impl BlockingStream {
    fn attempt(&self, waits: &AtomicBool, mut once: impl FnMut() -> io::Result<usize>) -> Poll<io::Result<usize>> {
        loop {
            match once() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    waits.store(true, Relaxed);
                    return Poll::Pending;
                }
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncRead for BlockingStream {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.attempt(&self.0.reads, || match &self.0.socket {
            Socket::Tcp(stream) => (&mut &*stream).read(buf),
            Socket::Unix(stream) => (&mut &*stream).read(buf),
        })
    }
}

impl AsyncWrite for BlockingStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.attempt(&self.0.writes, || match &self.0.socket {
            Socket::Tcp(stream) => (&mut &*stream).write(buf),
            Socket::Unix(stream) => (&mut &*stream).write(buf),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match &self.0.socket {
            Socket::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
        })
    }
}
