//! A descriptor in the reactor.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    task::{Context, Poll},
};

use super::{
    epoll::Reactor,
    readiness::{Readiness, bit, closed},
    traits::{Interest, Watch},
};

/// A descriptor in the reactor. It leaves the reactor before it closes.
pub(super) struct Source<F: AsFd> {
    pub(super) io: F,
    readiness: Rc<Readiness>,
    key: u64,
    reactor: Reactor,
}

impl<F: AsFd> Source<F> {
    pub(super) fn new(reactor: &Reactor, io: F) -> io::Result<Self> {
        let readiness = Rc::<Readiness>::default();
        let key = reactor.add(io.as_fd(), readiness.clone())?;
        Ok(Self { io, readiness, key, reactor: reactor.clone() })
    }

    pub(super) fn poll_ready(&self, interest: Interest, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.readiness.poll(interest, cx).map(Ok)
    }

    pub(super) fn clear(&self, interest: Interest) {
        self.readiness.forget(bit(interest));
    }

    /// Tries the operation while it is worth a try, until it is done or would block.
    pub(super) fn poll_io<R>(
        &self,
        interest: Interest,
        cx: &Context<'_>,
        mut attempt: impl FnMut(&F) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        loop {
            std::task::ready!(self.readiness.poll(interest, cx));
            match attempt(&self.io) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Closed, and yet not: the next edge tells again, as after any try that would have blocked.
                    self.readiness.forget(bit(interest) | closed(interest));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Runs [`poll_io`](Self::poll_io) for bytes: if fewer bytes than asked are moved, there is nothing more for now,
    /// without another try.
    pub(super) fn poll_bytes(
        &self,
        interest: Interest,
        cx: &Context<'_>,
        asked: usize,
        attempt: impl FnMut(&F) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let moved = std::task::ready!(self.poll_io(interest, cx, attempt))?;
        if (1..asked).contains(&moved) {
            self.clear(interest);
        }
        Poll::Ready(Ok(moved))
    }

    pub(super) fn set_on_ready(&self, on_ready: Option<Rc<dyn Fn()>>) {
        self.readiness.set_on_ready(on_ready);
    }
}

impl<F: AsFd> Drop for Source<F> {
    fn drop(&mut self) {
        self.reactor.remove(self.key, self.io.as_fd());
    }
}

/// A descriptor whose readiness the [`Reactor`] watches.
pub struct ReactorWatch(Source<OwnedFd>);

impl ReactorWatch {
    /// Watches the descriptor.
    ///
    /// # Errors
    ///
    /// Returns the system's error: some descriptors, such as regular files, can't be watched.
    pub fn new(reactor: &Reactor, fd: OwnedFd) -> io::Result<Self> {
        Source::new(reactor, fd).map(Self)
    }

    /// Sets a callback that runs on the loop's thread at each edge of the descriptor.
    ///
    /// [`poll_ready`](Watch::poll_ready) tells the present readiness. A panic of the callback propagates through the
    /// loop.
    pub fn on_ready(&self, callback: impl Fn() + 'static) {
        self.0.set_on_ready(Some(Rc::new(callback)));
    }

    /// Whether an operation of this kind is worth a try.
    pub fn is_ready(&self, interest: Interest) -> bool {
        self.0.readiness.is_ready(interest)
    }
}

impl Watch for ReactorWatch {
    fn fd(&self) -> &OwnedFd {
        &self.0.io
    }

    fn poll_ready(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(interest, cx)
    }

    fn clear(&self, interest: Interest) {
        self.0.clear(interest);
    }
}

impl AsFd for ReactorWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.io.as_fd()
    }
}

impl fmt::Debug for ReactorWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReactorWatch").field(&self.0.io).finish()
    }
}
