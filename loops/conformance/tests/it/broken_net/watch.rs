//! A watched descriptor with one thing wrong.

use std::{
    cell::Cell,
    io,
    os::fd::OwnedFd,
    rc::Rc,
    task::{Context, Poll},
};

use interloop::net::{Interest, ReactorWatch, Watch};

use super::fault::{Fault, Shared};

pub(crate) struct FaultyWatch {
    inner: ReactorWatch,
    shared: Rc<Shared>,
    was_read: Cell<bool>,
    was_full: Cell<bool>,
}

impl FaultyWatch {
    pub(crate) fn new(inner: ReactorWatch, shared: &Rc<Shared>) -> Self {
        Self { inner, shared: shared.clone(), was_read: Cell::new(false), was_full: Cell::new(false) }
    }
}

impl Watch for FaultyWatch {
    fn fd(&self) -> &OwnedFd {
        self.inner.fd()
    }

    fn poll_ready(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match (self.shared.fault, interest) {
            (Fault::IsSilentAboutUrgentData, Interest::Urgent) => Poll::Pending,
            (Fault::TellsThatItCanBeReadOnce, Interest::Read) if self.was_read.get() => Poll::Pending,
            (Fault::TellsThatItCanBeWrittenOnce, Interest::Write) if self.was_full.get() => Poll::Pending,
            (Fault::TellsReadinessWithoutEnd, Interest::Write) if self.was_full.get() => Poll::Ready(Ok(())),
            _ => self.inner.poll_ready(interest, cx),
        }
    }

    fn clear(&self, interest: Interest) {
        match interest {
            Interest::Read => self.was_read.set(true),
            Interest::Write => self.was_full.set(true),
            _ => {}
        }
        self.inner.clear(interest);
    }
}
