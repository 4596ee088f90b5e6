//! Follows the transitions of all tasks.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;

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
pub struct Transitions(pub(super) Arc<WatchQueue>);

/// The transitions that a [`Transitions`] has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct WatchQueue(Mutex<WatchState>);

#[derive(Debug, Default)]
struct WatchState {
    steps: VecDeque<Transition>,
    ended: bool,
    waker: Option<Waker>,
}

impl WatchQueue {
    pub(super) fn push(&self, step: Transition) {
        lock(&self.0).steps.push_back(step);
    }

    pub(super) fn end(&self) {
        lock(&self.0).ended = true;
    }

    /// Wakes the waiter for what was pushed.
    pub(crate) fn wake(&self) {
        let waker = lock(&self.0).waker.take();
        if let Some(waker) = waker {
            waker.wake();
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
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
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
        // No waker code runs under the lock.
        let waker = cx.waker().clone();
        let mut state = lock(&self.0.0);
        match state.steps.pop_front() {
            Some(step) => Poll::Ready(Some(step)),
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
