//! Timers for loops without their own: a queue of deadlines on the loop's thread.

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

/// A timer queue for a loop that has no timers, or none that a future can wait for.
///
/// Deadlines fire in order, those of the same instant in the order in which they were set. Clones are the same queue.
/// It stays on the loop's thread.
///
/// The loop must wait no longer than [`timeout`](Self::timeout) says, and then call [`fire`](Self::fire);
/// [`Timers::sleep`](crate::event_loop::Timers::sleep) is [`sleep`](Self::sleep).
///
/// ```
/// use std::{future::Future, thread, time::Duration};
/// use interloop::{EventLoop, NoOptions, Result, event_loop::{Mailbox, TimerQueue, Timers, Turn}};
///
/// #[derive(Clone, Default)]
/// struct Park;
///
/// impl EventLoop for Park {
///     const NAME: &'static str = "park";
///     type Options = NoOptions;
///     type Native = TimerQueue;
///
///     fn drive(self, _: NoOptions, mut mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, TimerQueue)) -> Result {
///         let (thread, timers) = (thread::current(), TimerQueue::default());
///         mailbox.set_notify(move || thread.unpark());
///         started(&mailbox, timers.clone());
///         loop {
///             timers.fire();
///             match mailbox.turn() {
///                 Turn::Stop => return Ok(()),
///                 Turn::Again => {}
///                 Turn::Idle => match timers.timeout() {
///                     Some(rest) => thread::park_timeout(rest),
///                     None => thread::park(),
///                 },
///             }
///         }
///     }
/// }
///
/// impl Timers for Park {
///     fn sleep(timers: &TimerQueue, duration: Duration) -> impl Future<Output = ()> + 'static {
///         timers.sleep(duration)
///     }
/// }
/// ```
#[derive(Clone, Default)]
pub struct TimerQueue(Rc<Inner>);

#[derive(Default)]
struct Inner {
    wakers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next_id: Cell<u64>,
}

impl TimerQueue {
    /// Returns a future that is ready once `duration` has passed, never before. The timer is set at its first poll.
    pub fn sleep(&self, duration: Duration) -> TimerSleep {
        let id = self.0.next_id.get();
        self.0.next_id.set(id + 1);
        // A time too far for the clock is never.
        TimerSleep { key: Instant::now().checked_add(duration).map(|deadline| (deadline, id)), timers: self.clone() }
    }

    /// Wakes all timers that are due.
    pub fn fire(&self) {
        if self.0.wakers.borrow().is_empty() {
            return;
        }
        let now = Instant::now();
        loop {
            let due = {
                let mut wakers = self.0.wakers.borrow_mut();
                match wakers.first_entry() {
                    Some(first) if first.key().0 <= now => first.remove(),
                    _ => return,
                }
            };
            due.wake();
        }
    }

    /// Returns the earliest deadline.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.wakers.borrow().first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Returns the time to the earliest deadline, which is how long the loop may wait; `None` means until it is woken.
    pub fn timeout(&self) -> Option<Duration> {
        self.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Wakes all, due or not.
    #[cfg(all(feature = "net", target_os = "linux"))]
    pub(crate) fn wake_all(&self) {
        let wakers = std::mem::take(&mut *self.0.wakers.borrow_mut());
        wakers.into_values().for_each(Waker::wake);
    }
}

impl fmt::Debug for TimerQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerQueue").field("pending", &self.0.wakers.borrow().len()).finish()
    }
}

/// The future that [`TimerQueue::sleep`] returns.
///
/// # Cancel safety
///
/// Dropping it only cancels the timer.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct TimerSleep {
    timers: TimerQueue,
    key: Option<(Instant, u64)>,
}

impl Future for TimerSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(key) = self.key else { return Poll::Pending };
        if key.0 <= Instant::now() {
            return Poll::Ready(());
        }
        self.timers.0.wakers.borrow_mut().insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for TimerSleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = self.timers.0.wakers.borrow_mut().remove(&key);
            drop(waker);
        }
    }
}
