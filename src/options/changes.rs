//! How a task is told that its options have changed.

use std::{
    fmt,
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use clap::FromArgMatches;
use futures_core::Stream;

use super::cell::OptionCell;

/// A stream of a task's options as they change; [`Context::option_changes`](crate::Context::option_changes) returns it.
///
/// While it exists, the task counts as one that listens.
pub struct OptionChanges<O> {
    cell: Arc<OptionCell>,
    id: u64,
    /// The version that the task knows.
    seen: u64,
    of: PhantomData<fn() -> O>,
}

impl<O: FromArgMatches> OptionChanges<O> {
    pub(crate) fn new(cell: Arc<OptionCell>, seen: u64) -> Self {
        Self { id: cell.listen(), cell, seen, of: PhantomData }
    }

    /// Waits until the options have changed since the incarnation's start or the last call, and returns all of them.
    ///
    /// A slow listener gets the latest. The stream never ends: let a child wait for it, or wait for the task's shutdown
    /// too.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no change.
    pub async fn next(&mut self) -> Rc<O> {
        poll_fn(|cx| self.poll_newer(cx)).await
    }

    fn poll_newer(&mut self, cx: &mut Context<'_>) -> Poll<Rc<O>> {
        while let Some((version, matches)) = self.cell.newer(self.seen, self.id, cx.waker()) {
            self.seen = version;
            // They were checked before they were put in force.
            if let Ok(options) = O::from_arg_matches(&matches) {
                return Poll::Ready(Rc::new(options));
            }
        }
        Poll::Pending
    }
}

/// A stream that never ends.
impl<O: FromArgMatches> Stream for OptionChanges<O> {
    type Item = Rc<O>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Rc<O>>> {
        self.get_mut().poll_newer(cx).map(Some)
    }
}

impl<O> Drop for OptionChanges<O> {
    fn drop(&mut self) {
        self.cell.stop_listening(self.id);
    }
}

impl<O> fmt::Debug for OptionChanges<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OptionChanges").field("seen", &self.seen).finish_non_exhaustive()
    }
}
