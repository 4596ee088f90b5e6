//! Sockets for tasks that run on any loop: listening, connecting, watching.

use std::{
    cell::OnceCell,
    fmt,
    future::Future,
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, ready},
};

use compio::{
    net::{TcpStream, UnixStream},
    runtime::fd::PollFd,
};
use interloop::net::{Accept, Address, Bound, Interest, Net, Socket, SocketFile, SocketRef, Watch, WatchFd};
use rustix::event::{PollFlags, Timespec, poll};
use socket2::{SockAddr, Socket as RawSocket};

use crate::{
    Compio, CompioNative,
    stream::{CompioStream, uninterrupted},
};

impl Net for Compio {
    type Stream = CompioStream;
    type Listener = CompioListener;

    fn listener(_: &CompioNative, socket: Bound) -> io::Result<CompioListener> {
        let address = socket.address()?;
        let (socket, file) = match socket {
            Bound::Tcp(listener) => (RawSocket::from(listener), None),
            Bound::Unix(listener, file) => (RawSocket::from(listener), file),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        socket.set_nonblocking(true)?;
        Ok(CompioListener { socket: PollFd::new(socket)?, address, _file: file })
    }

    fn stream(_: &CompioNative, socket: Socket) -> io::Result<CompioStream> {
        match socket {
            Socket::Tcp(stream) => Ok(CompioStream::tcp(PollFd::new(stream.into())?)),
            Socket::Unix(stream) => Ok(CompioStream::new(PollFd::new(stream.into())?)),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn connect(_: &CompioNative, address: Address) -> impl Future<Output = io::Result<CompioStream>> + 'static {
        connect(address)
    }

    fn socket(stream: &CompioStream) -> SocketRef<'_> {
        stream.into()
    }

    fn watch_boxed(native: &CompioNative, fd: OwnedFd) -> io::Result<Box<dyn Watch>> {
        Ok(Box::new(Self::watch(native, fd)?))
    }
}

impl WatchFd for Compio {
    type Watch = CompioWatch;

    fn watch(_: &CompioNative, fd: OwnedFd) -> io::Result<CompioWatch> {
        // Poll requests accept descriptors that epoll doesn't, and answer at once.
        let probe = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC)?;
        let none = rustix::event::epoll::EventFlags::empty();
        rustix::event::epoll::add(&probe, &fd, rustix::event::epoll::EventData::new_u64(0), none)?;
        Ok(CompioWatch { fd: PollFd::new(fd)?, urgent: OnceCell::new() })
    }
}

async fn connect(address: Address) -> io::Result<CompioStream> {
    match address {
        Address::Tcp(address) => Ok(CompioStream::tcp(TcpStream::connect(address).await?.into_poll_fd()?)),
        Address::Unix(path) => Ok(CompioStream::new(UnixStream::connect(path).await?.into_poll_fd()?)),
        other => Err(io::Error::new(io::ErrorKind::Unsupported, format!("can't connect to {other}"))),
    }
}

/// A listening socket.
pub struct CompioListener {
    socket: PollFd<RawSocket>,
    address: Address,
    _file: Option<SocketFile>,
}

impl Accept for CompioListener {
    type Stream = CompioStream;

    fn address(&self) -> &Address {
        &self.address
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(CompioStream, Address)>> {
        let (socket, from) = ready!(self.socket.poll_accept_with(cx, |socket| uninterrupted(|| socket.accept())))?;
        let socket = PollFd::new(socket)?;
        Poll::Ready(Ok(match from.as_socket() {
            Some(from) => (CompioStream::tcp(socket), from.into()),
            None => (CompioStream::new(socket), unix(&from)),
        }))
    }
}

/// Returns the address; it is empty for a client's socket, which has no name.
fn unix(from: &SockAddr) -> Address {
    Address::Unix(from.as_pathname().map(Into::into).unwrap_or_default())
}

impl fmt::Debug for CompioListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CompioListener").field(&self.address).finish()
    }
}

/// A descriptor whose readiness is watched. It asks the system each time which readiness there is.
#[derive(Debug)]
pub struct CompioWatch {
    fd: PollFd<OwnedFd>,
    /// compio doesn't ask for urgent data: an epoll instance of our own does, and becomes readable once there is some.
    urgent: OnceCell<PollFd<OwnedFd>>,
}

impl CompioWatch {
    fn urgent(&self) -> io::Result<&PollFd<OwnedFd>> {
        use rustix::event::epoll;

        if let Some(urgent) = self.urgent.get() {
            return Ok(urgent);
        }
        let tells = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&tells, &*self.fd, epoll::EventData::new_u64(0), epoll::EventFlags::PRI)?;
        let tells = PollFd::new(tells)?;
        Ok(self.urgent.get_or_init(|| tells))
    }
}

impl Watch for CompioWatch {
    fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    fn poll_ready(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (fd, flags) = match interest {
            Interest::Read => (&self.fd, PollFlags::IN),
            Interest::Write => (&self.fd, PollFlags::OUT),
            Interest::Urgent => (self.urgent()?, PollFlags::IN),
            _ => return Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        };
        while !is_ready(fd, flags)? {
            ready!(if flags == PollFlags::OUT { fd.poll_write_ready(cx) } else { fd.poll_read_ready(cx) })?;
        }
        Poll::Ready(Ok(()))
    }

    /// Does nothing: readiness is checked afresh in any case.
    fn clear(&self, _: Interest) {}
}

/// Whether the descriptor is ready. A closed one counts as ready, also after an error: the system says so unasked.
fn is_ready(fd: &PollFd<OwnedFd>, flags: PollFlags) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [rustix::event::PollFd::new(fd, flags)], Some(&now))? > 0)
}
