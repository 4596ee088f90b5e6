//! The known readiness of a descriptor.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use rustix::event::epoll::EventFlags;

use super::traits::Interest;

const READ: u8 = 1;
const WRITE: u8 = 2;
const URGENT: u8 = 4;
/// The peer will send no more: reading is always worth a try.
const READ_CLOSED: u8 = 8;
/// Nothing can be sent any more: writing is always worth a try.
const WRITE_CLOSED: u8 = 16;

/// The readiness of a descriptor, as far as the reactor knows. All on one thread: it changes in the reactor's turns,
/// and when an operation has found otherwise.
#[derive(Default)]
pub(super) struct Readiness {
    bits: Cell<u8>,
    wakers: RefCell<[Option<Waker>; 3]>,
    on_ready: RefCell<Option<Rc<dyn Fn()>>>,
}

impl Readiness {
    /// Takes in an edge from the system, though nothing may have changed.
    pub(super) fn news(&self, flags: EventFlags) {
        let any = |of: EventFlags| flags.intersects(of);
        let mut news = 0;
        if any(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            news |= READ;
        }
        if any(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR) {
            news |= WRITE;
        }
        if any(EventFlags::PRI) {
            news |= URGENT;
        }
        if any(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            news |= READ_CLOSED;
        }
        if any(EventFlags::HUP | EventFlags::ERR) {
            news |= WRITE_CLOSED;
        }
        self.bits.set(self.bits.get() | news);
        // Outside of any borrow: a waker, or a callback, may do anything.
        for (index, bit) in [READ, WRITE, URGENT].into_iter().enumerate() {
            if news & bit != 0 {
                let waker = self.wakers.borrow_mut()[index].take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
        let on_ready = self.on_ready.borrow().clone();
        if let Some(on_ready) = on_ready {
            on_ready();
        }
    }

    pub(super) fn poll(&self, interest: Interest, cx: &Context<'_>) -> Poll<()> {
        if self.is_ready(interest) {
            return Poll::Ready(());
        }
        match &mut self.wakers.borrow_mut()[interest as usize] {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Whether an operation of this kind is worth a try.
    pub(super) fn is_ready(&self, interest: Interest) -> bool {
        self.bits.get() & (bit(interest) | closed(interest)) != 0
    }

    /// Sets the callback for each edge, in place of the previous one.
    pub(super) fn set_on_ready(&self, on_ready: Option<Rc<dyn Fn()>>) {
        let old = std::mem::replace(&mut *self.on_ready.borrow_mut(), on_ready);
        drop(old);
    }

    pub(super) fn forget(&self, bits: u8) {
        self.bits.set(self.bits.get() & !bits);
    }
}

pub(super) fn bit(interest: Interest) -> u8 {
    match interest {
        Interest::Read => READ,
        Interest::Write => WRITE,
        Interest::Urgent => URGENT,
    }
}

pub(super) fn closed(interest: Interest) -> u8 {
    match interest {
        Interest::Read => READ_CLOSED,
        Interest::Write => WRITE_CLOSED,
        Interest::Urgent => 0,
    }
}
