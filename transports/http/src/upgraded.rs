//! A connection that was upgraded: what a user's handler speaks over it isn't HTTP any more, and no time limit of HTTP
//! applies. But the server's stop doesn't wait for it without limit.
//!
//! When the server is asked to stop, reads of such a connection end as if the client had finished, so a handler that
//! reads learns of the stop. It may still write, for [`AT_THE_STOP`]; then its permit is released, and its reads and
//! writes fail.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use interloop_listen::Permit;

use crate::{peer::Peer, shared::Server, timers::Timer};

/// How long a handler may go on writing once the server stops; half of what is left of the stop, if that is less.
const AT_THE_STOP: Duration = Duration::from_secs(2);

const OPEN: u8 = 0;
/// Reads have ended.
const ENDING: u8 = 1;
const CLOSED: u8 = 2;

/// The state that the connection's own future shares with its socket, which is elsewhere.
pub(crate) struct Upgraded {
    stage: AtomicU8,
    inner: Mutex<Inner>,
}

struct Inner {
    /// The connection's permit, as long as its socket is open.
    permit: Option<Permit>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The waker of the connection's own future.
    guard: Option<Waker>,
}

impl Upgraded {
    pub(crate) fn new(permit: Permit) -> Self {
        let inner = Inner { permit: Some(permit), reader: None, writer: None, guard: None };
        Self { stage: AtomicU8::new(OPEN), inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the socket is gone, or at the stop ends the wait for it.
    pub(crate) async fn guard(&self, server: &Server, peer: Peer) {
        if self.lock().permit.is_none() {
            return;
        }
        let mut requested = server.shutdown.requested();
        let mut timer = Timer::new(&server.timers);
        poll_fn(|cx| {
            {
                let mut inner = self.lock();
                if inner.permit.is_none() {
                    return Poll::Ready(());
                }
                if !inner.guard.as_ref().is_some_and(|guard| guard.will_wake(cx.waker())) {
                    inner.guard = Some(cx.waker().clone());
                }
            }
            if Pin::new(&mut requested).poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.stage.load(Ordering::Acquire) == OPEN {
                self.enter(ENDING);
                timer.set(server.within_the_stop(AT_THE_STOP));
            }
            if timer.poll(cx).is_pending() {
                return Poll::Pending;
            }
            log::debug!(target: &server.target, "an upgraded connection from {peer} is closed: its handler has not ended it");
            self.enter(CLOSED);
            self.release();
            Poll::Ready(())
        })
        .await;
    }

    fn enter(&self, stage: u8) {
        self.stage.store(stage, Ordering::Release);
        let (reader, writer) = {
            let mut inner = self.lock();
            (inner.reader.take(), inner.writer.take())
        };
        reader.into_iter().chain(writer).for_each(Waker::wake);
    }

    /// Notes that the socket is gone, or given up.
    pub(crate) fn release(&self) {
        let (permit, guard) = {
            let mut inner = self.lock();
            (inner.permit.take(), inner.guard.take())
        };
        drop(permit);
        guard.into_iter().for_each(Waker::wake);
    }

    /// Returns the result of a read: before the stop, what the socket returned.
    pub(crate) fn read(&self, cx: &Context<'_>, polled: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        if polled.is_pending() {
            self.waits(cx, |inner| &mut inner.reader);
        }
        match (self.stage.load(Ordering::Acquire), &polled) {
            (OPEN, _) | (ENDING, Poll::Ready(_)) => polled,
            // Nothing was read: that is the end.
            (ENDING, Poll::Pending) => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(closed())),
        }
    }

    /// Returns the result of a write or a flush.
    pub(crate) fn write<T>(&self, cx: &Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending() {
            self.waits(cx, |inner| &mut inner.writer);
        }
        if self.stage.load(Ordering::Acquire) == CLOSED { Poll::Ready(Err(closed())) } else { polled }
    }

    /// Registers the waker. The stage must be checked after this: a change in between shows then, or wakes.
    fn waits(&self, cx: &Context<'_>, slot: impl FnOnce(&mut Inner) -> &mut Option<Waker>) {
        let mut inner = self.lock();
        let slot = slot(&mut inner);
        if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *slot = Some(cx.waker().clone());
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the server has stopped")
}
