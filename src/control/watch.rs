//! Following the steps of all tasks.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    kit::{
        block,
        sync::{Mutex, lock},
    },
    words::state::Transition,
};

/// Follows the transitions of all tasks: first the present state of each (`from` and `to` are the same), then each step, none left out, to the end.
#[derive(Debug)]
pub struct Watch(pub(super) Arc<WatchQueue>);

/// The steps that a [`Watch`] has yet to take.
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

    /// Wakes who waits for what was pushed.
    pub(crate) fn wake(&self) {
        let waker = lock(&self.0).waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Watch {
    /// The next step; None once the service has ended.
    ///
    /// # Cancel safety
    ///
    /// No step is lost when it is dropped.
    pub fn next_step(&mut self) -> impl Future<Output = Option<Transition>> + Send + '_ {
        NextStep(&self.0)
    }

    /// Blocks this thread until the next step, or for `timeout`: None then, and once the service has ended.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Transition> {
        block::on(self.next_step(), Some(timeout)).flatten()
    }
}

struct NextStep<'a>(&'a WatchQueue);

impl Future for NextStep<'_> {
    type Output = Option<Transition>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Nothing of a waker's runs under the lock.
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
