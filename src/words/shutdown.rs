//! The signal that asks a task or a loop to stop.
//!
//! Invariants:
//! 1. `requested` goes from false to true once, under the lock, after reason and deadline are stored: a thread that
//!    sees it true, and takes the lock, finds them. By Release and Acquire it also sees everything done before the
//!    request.
//! 2. A waiter puts its waker into the list under the lock and only if `requested` is false there; the request takes
//!    the whole list under the same lock. So a waiter is either in the list that is woken, or has seen the request.
//! 3. No waker is cloned, dropped or called under the lock: the supervisor takes it, and a waker is user code.

#[cfg(all(test, loom))]
mod loom_models;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::state::Reason;
use crate::kit::{
    block,
    sync::{AtomicBool, Mutex, Ordering, lock},
};

/// The signal that asks a task to stop: awaitable, blocking, pollable. It is latched, and the first reason wins.
///
/// Clones are the same signal, usable from any thread.
#[derive(Clone)]
pub struct Shutdown(Arc<State>);

struct State {
    requested: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    request: Option<(Reason, Option<Instant>)>,
    waiters: BTreeMap<u64, Waker>,
    next: u64,
}

impl Shutdown {
    pub(crate) fn new() -> Self {
        Self(Arc::new(State { requested: AtomicBool::new(false), inner: Mutex::new(Inner::default()) }))
    }

    /// Requests the shutdown; returns false if it had been requested before.
    pub(crate) fn request(&self, reason: Reason, deadline: Option<Instant>) -> bool {
        let Some(waiters) = self.latch(reason, deadline) else { return false };
        waiters.into_iter().for_each(Waker::wake);
        true
    }

    /// Requests the shutdown, and returns the wakers that the caller must wake; `None` if it had been requested before.
    pub(crate) fn latch(&self, reason: Reason, deadline: Option<Instant>) -> Option<Vec<Waker>> {
        let waiters = {
            let mut inner = lock(&self.0.inner);
            if inner.request.is_some() {
                return None;
            }
            inner.request = Some((reason, deadline));
            // Release: pairs with the Acquire of `is_requested` (invariant 1).
            self.0.requested.store(true, Ordering::Release);
            std::mem::take(&mut inner.waiters)
        };
        Some(waiters.into_values().collect())
    }

    /// Whether the shutdown has been requested.
    #[inline]
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::Acquire)
    }

    /// Returns the reason, once the shutdown is requested.
    pub fn reason(&self) -> Option<Reason> {
        lock(&self.0.inner).request.as_ref().map(|(reason, _)| reason.clone())
    }

    /// Returns the time by which the task must have ended, once the shutdown is requested and if there is a deadline.
    pub fn deadline(&self) -> Option<Instant> {
        lock(&self.0.inner).request.as_ref().and_then(|(_, deadline)| *deadline)
    }

    /// Waits until the shutdown is requested.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the signal is latched.
    pub fn requested(&self) -> Requested {
        Requested { shutdown: self.clone(), waiter: None }
    }

    /// Blocks this thread until the shutdown is requested, for at most `timeout`; returns whether it is requested.
    ///
    /// The request comes from the supervisor's thread, so it wakes a loop that blocks here; but the loop does nothing
    /// else meanwhile.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.is_requested() || block::on(self.requested(), Some(timeout)).is_some()
    }

    /// Blocks this thread until the shutdown is requested. See [`wait_timeout`](Self::wait_timeout).
    pub fn wait(&self) {
        if !self.is_requested() {
            block::on(self.requested(), None);
        }
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").field("reason", &self.reason()).finish()
    }
}

/// The future that [`Shutdown::requested`] returns; `Send`, on any executor.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Requested {
    shutdown: Shutdown,
    waiter: Option<u64>,
}

impl Future for Requested {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.shutdown.is_requested() {
            return Poll::Ready(());
        }
        let this = &mut *self;
        if let Some(id) = &this.waiter {
            let inner = lock(&this.shutdown.0.inner);
            if inner.waiters.get(id).is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
        }
        let waker = cx.waker().clone();
        let mut inner = lock(&this.shutdown.0.inner);
        if inner.request.is_some() {
            drop(inner);
            return Poll::Ready(());
        }
        let id = *this.waiter.get_or_insert_with(|| {
            inner.next += 1;
            inner.next
        });
        let before = inner.waiters.insert(id, waker);
        drop(inner);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Requested {
    fn drop(&mut self) {
        if let Some(id) = self.waiter {
            let waker = lock(&self.shutdown.0.inner).waiters.remove(&id);
            drop(waker);
        }
    }
}
