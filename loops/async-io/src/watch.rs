//! The readiness of any descriptor.

use std::{
    cell::OnceCell,
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, ready},
};

use async_io::Async;
use interloop::net::{Interest, Watch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A descriptor whose readiness is watched.
///
/// It asks the system each time which readiness there is: async-io only reports that something has happened since it
/// was asked to look.
#[derive(Debug)]
pub struct AsyncIoWatch {
    fd: Async<OwnedFd>,
    /// async-io doesn't know urgent data: an epoll instance of our own does, and becomes readable once there is some.
    urgent: OnceCell<Async<OwnedFd>>,
}

impl AsyncIoWatch {
    /// Watches the descriptor.
    ///
    /// # Errors
    ///
    /// The system's error: some descriptors, such as regular files, can't be watched.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { fd: Async::new(fd)?, urgent: OnceCell::new() })
    }

    #[cfg(target_os = "linux")]
    fn urgent(&self) -> io::Result<&Async<OwnedFd>> {
        use rustix::event::epoll;

        if let Some(urgent) = self.urgent.get() {
            return Ok(urgent);
        }
        let tells = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&tells, self.fd.get_ref(), epoll::EventData::new_u64(0), epoll::EventFlags::PRI)?;
        let tells = Async::new(tells)?;
        Ok(self.urgent.get_or_init(|| tells))
    }

    #[cfg(not(target_os = "linux"))]
    fn urgent(&self) -> io::Result<&Async<OwnedFd>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Watch for AsyncIoWatch {
    fn fd(&self) -> &OwnedFd {
        self.fd.get_ref()
    }

    fn poll_ready(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (fd, flags) = match interest {
            Interest::Read => (&self.fd, PollFlags::IN),
            Interest::Write => (&self.fd, PollFlags::OUT),
            Interest::Urgent => (self.urgent()?, PollFlags::IN),
            _ => return Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        };
        while !is_ready(fd.get_ref(), flags)? {
            ready!(if flags == PollFlags::OUT { fd.poll_writable(cx) } else { fd.poll_readable(cx) })?;
        }
        Poll::Ready(Ok(()))
    }

    /// Does nothing: readiness is checked afresh in any case.
    fn clear(&self, _: Interest) {}
}

/// Whether the descriptor is ready. A closed one counts as ready, also after an error: the system says so unasked.
fn is_ready(fd: &OwnedFd, flags: PollFlags) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(fd, flags)], Some(&now))? > 0)
}
