//! Timers for loops that bring none: a queue of deadlines on the loop's thread.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// Deadlines in order; those of the same instant in the order in which they were set.
#[derive(Default)]
pub(crate) struct TimerQueue {
    wakers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next_id: Cell<u64>,
}

impl TimerQueue {
    /// A future that is ready once `duration` has passed.
    pub(crate) fn sleep(self: Rc<Self>, duration: Duration) -> Sleep {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        // A time too far for the clock is never.
        Sleep { key: Instant::now().checked_add(duration).map(|deadline| (deadline, id)), timers: self }
    }

    /// Wakes all that are due.
    pub(crate) fn fire(&self) {
        if self.wakers.borrow().is_empty() {
            return;
        }
        let now = Instant::now();
        loop {
            let due = {
                let mut wakers = self.wakers.borrow_mut();
                match wakers.first_entry() {
                    Some(first) if first.key().0 <= now => first.remove(),
                    _ => return,
                }
            };
            due.wake();
        }
    }

    /// The earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.wakers.borrow().first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// The time to the earliest deadline.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Wakes all, due or not.
    #[cfg(all(feature = "net", target_os = "linux"))]
    pub(crate) fn wake_all(&self) {
        let wakers = std::mem::take(&mut *self.wakers.borrow_mut());
        wakers.into_values().for_each(Waker::wake);
    }
}

impl fmt::Debug for TimerQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerQueue").field("pending", &self.wakers.borrow().len()).finish()
    }
}

/// The future of [`TimerQueue::sleep`].
#[derive(Debug)]
pub(crate) struct Sleep {
    timers: Rc<TimerQueue>,
    key: Option<(Instant, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(key) = self.key else { return Poll::Pending };
        if key.0 <= Instant::now() {
            return Poll::Ready(());
        }
        self.timers.wakers.borrow_mut().insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = self.timers.wakers.borrow_mut().remove(&key);
            drop(waker);
        }
    }
}
