//! Follows the transitions of all tasks, and the changes of the whole service.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use futures_core::Stream;

use super::status::Phase;
use crate::{
    kit::{
        block,
        sync::{Mutex, lock},
    },
    words::state::Transition,
};

/// Follows the transitions of all tasks to the end, without gaps.
///
/// It begins with the present state of each (`from` and `to` are the same).
#[derive(Debug)]
pub struct Transitions(pub(super) Arc<WatchQueue<Transition>>);

/// Follows the whole service to its end, without gaps; [`ServiceHandle::watch_phases`] returns it.
///
/// It begins with the present phase and, if there is one, its deadline.
///
/// [`ServiceHandle::watch_phases`]: crate::ServiceHandle::watch_phases
///
/// ```
/// use std::time::Duration;
/// use interloop::{Service, Thread, service::{Phase, PhaseChange}, task_fn};
///
/// let mut service = Service::new("part");
/// service.task("idle", task_fn::<Thread>(async |cx| {
///     cx.until_shutdown().await;
///     Ok(())
/// }));
/// let running = service.start()?;
/// let mut changes = running.watch_phases();
/// while let Some(change) = changes.wait_timeout(Duration::from_secs(10)) {
///     match change {
///         PhaseChange::Entered(Phase::Running) => running.request_shutdown("seen enough"),
///         PhaseChange::Entered(phase) => println!("{phase}"),
///         PhaseChange::ReloadEnded { error: Some(error), .. } => println!("not reloaded: {error}"),
///         _ => {}
///     }
/// }
/// assert_eq!(running.phase(), Phase::Ended);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PhaseChanges(pub(super) Arc<WatchQueue<PhaseChange>>);

/// A change of the whole service, as those who tell a service manager of it need it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PhaseChange {
    /// The service has entered this phase.
    Entered(Phase),
    /// The time at which the present phase is over at the latest, as far as is known, by the service's clock.
    ///
    /// In [`Phase::Starting`] each task and loop that starts can move it: by then every task that has begun its start
    /// is ready or has failed. In [`Phase::Stopping`] all tasks that are left are cancelled at that time, drain
    /// included; the service ends within a few seconds of it. It is rounded up to a second.
    Deadline(Instant),
    /// A reload of the options has begun. Several can run at the same time.
    ReloadBegun,
    /// A reload of the options has ended.
    #[non_exhaustive]
    ReloadEnded {
        /// The reasons why nothing was changed, one a line; `None` if the reload was applied.
        error: Option<Arc<str>>,
    },
}

/// The items that a watcher has not taken yet.
#[derive(Debug)]
pub(crate) struct WatchQueue<T>(Mutex<WatchState<T>>);

#[derive(Debug)]
struct WatchState<T> {
    items: VecDeque<T>,
    ended: bool,
    waker: Option<Waker>,
}

impl<T> Default for WatchQueue<T> {
    fn default() -> Self {
        Self(Mutex::new(WatchState { items: VecDeque::new(), ended: false, waker: None }))
    }
}

impl<T> WatchQueue<T> {
    pub(super) fn push(&self, item: T) {
        lock(&self.0).items.push_back(item);
    }

    pub(super) fn end(&self) {
        lock(&self.0).ended = true;
    }

    /// Returns the waker of the waiter for what was pushed.
    pub(super) fn take_waker(&self) -> Option<Waker> {
        lock(&self.0).waker.take()
    }

    /// Wakes the waiter for what was pushed.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.take_waker() {
            waker.wake();
        }
    }

    fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<T>> {
        // No waker code runs under the lock.
        let waker = cx.waker().clone();
        let mut state = lock(&self.0);
        match state.items.pop_front() {
            Some(item) => Poll::Ready(Some(item)),
            None if state.ended => Poll::Ready(None),
            None => {
                let before = state.waker.replace(waker);
                drop(state);
                drop(before);
                Poll::Pending
            }
        }
    }
}

impl Transitions {
    /// Waits for the next transition; returns `None` once the service has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no transition.
    pub async fn next(&mut self) -> Option<Transition> {
        poll_fn(|cx| self.0.poll_next(cx)).await
    }

    /// Blocks this thread until the next transition; returns `None` once the service has ended.
    pub fn wait(&mut self) -> Option<Transition> {
        block::on(self.next(), None).flatten()
    }

    /// Waits as [`wait`](Self::wait) does, but for at most `timeout`; then it returns `None`, too.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Transition> {
        block::on(self.next(), Some(timeout)).flatten()
    }
}

impl Stream for Transitions {
    type Item = Transition;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Transition>> {
        self.0.poll_next(cx)
    }
}

impl PhaseChanges {
    /// Waits for the next change; returns `None` once the service has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no change.
    pub async fn next(&mut self) -> Option<PhaseChange> {
        poll_fn(|cx| self.0.poll_next(cx)).await
    }

    /// Blocks this thread until the next change; returns `None` once the service has ended.
    pub fn wait(&mut self) -> Option<PhaseChange> {
        block::on(self.next(), None).flatten()
    }

    /// Waits as [`wait`](Self::wait) does, but for at most `timeout`; then it returns `None`, too.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<PhaseChange> {
        block::on(self.next(), Some(timeout)).flatten()
    }
}

impl Stream for PhaseChanges {
    type Item = PhaseChange;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PhaseChange>> {
        self.0.poll_next(cx)
    }
}
