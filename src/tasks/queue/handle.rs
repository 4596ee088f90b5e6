//! The handle to a queue, for any thread.

use std::{fmt, future::Future, sync::Arc};

use super::{
    core::Core,
    in_process::InProcess,
    store::{DeadLetter, Store},
};
use crate::{
    CallError, Error, Reply,
    task::{TaskHandle, TaskRef},
};

/// A handle that submits items to a [`Queue`](super::Queue), from any thread or loop: `Clone + Send + Sync`.
///
/// It can be used before the service starts: submitted items wait. It survives restarts of the task. After the task's
/// end it returns [`Stopped`](SubmitError::Stopped), and gives the item back.
pub struct QueueHandle<T, R = ()>(pub(super) Arc<Core<T, R>>);

impl<T: Send + 'static, R: Send + 'static> QueueHandle<T, R> {
    /// Makes a handle for a queue that is later made [with](super::Queue::with_handle) it. This is needed for a queue
    /// that is recreated for each incarnation. The store is in memory.
    pub fn new() -> Self {
        Self::kept_in(InProcess::new())
    }

    /// Like [`new`](Self::new), with this store.
    ///
    /// **Unstable**: see [`Store`].
    #[cfg(feature = "unstable-store")]
    pub fn stored_in(store: impl Store<T>) -> Self {
        Self::kept_in(store)
    }

    fn kept_in(store: impl Store<T>) -> Self {
        Self(Core::new(Box::new(store)))
    }

    /// Submits an item; waits for room, in the order of the callers. Returns the reply of the work.
    ///
    /// If the reply is dropped, the work continues; if it fails, or has failed, nobody is told, and the failure is the
    /// service's. To submit an item without a reply, use [`post`](Self::post).
    ///
    /// # Errors
    ///
    /// The item comes back if the queue has stopped, if the item is a duplicate and refused, or if the store failed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready drops the item. The item was then not submitted, as far as that is in the
    /// store's power, and nobody else loses their turn.
    pub fn submit(&self, item: T) -> impl Future<Output = Result<Reply<R>, SubmitError<T>>> + Send + use<T, R> {
        let core = self.0.clone();
        async move { core.put(item, true).await.map(replied) }
    }

    /// Submits an item, at once or not at all.
    ///
    /// # Errors
    ///
    /// Those of [`submit`](Self::submit), and [`Full`](SubmitError::Full).
    pub fn try_submit(&self, item: T) -> Result<Reply<R>, SubmitError<T>> {
        self.0.try_put(item, true).map(replied)
    }

    /// Submits an item without a reply; waits for room, in the order of the callers. Nobody holds a reply, so a failure
    /// of the work is the service's.
    ///
    /// # Errors
    ///
    /// Those of [`submit`](Self::submit).
    ///
    /// # Cancel safety
    ///
    /// That of [`submit`](Self::submit).
    pub fn post(&self, item: T) -> impl Future<Output = Result<(), SubmitError<T>>> + Send + use<T, R> {
        let core = self.0.clone();
        async move { core.put(item, false).await.map(drop) }
    }

    /// Submits an item without a reply, at once or not at all.
    ///
    /// # Errors
    ///
    /// Those of [`try_submit`](Self::try_submit).
    pub fn try_post(&self, item: T) -> Result<(), SubmitError<T>> {
        self.0.try_put(item, false).map(drop)
    }

    /// Submits all items, in order, and waits for the results, in the same order. Besides the items in progress, at
    /// most as many as there is room for are submitted at a time.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, it submits no more; the items already submitted continue without a reply.
    pub fn map<I>(&self, items: I) -> impl Future<Output = Vec<Result<R, MapError<T>>>> + use<I, T, R>
    where
        I: IntoIterator<Item = T>,
    {
        let core = self.0.clone();
        async move {
            let mut replies = Vec::new();
            for item in items {
                replies.push(core.clone().put(item, true).await.map(replied));
            }
            let mut results = Vec::with_capacity(replies.len());
            for reply in replies {
                results.push(match reply {
                    Ok(reply) => reply.await.map_err(MapError::Failed),
                    Err(error) => Err(MapError::Refused(error)),
                });
            }
            results
        }
    }

    /// Returns how many items wait, as far as the store knows.
    pub fn depth(&self) -> usize {
        self.0.store.current_depth()
    }

    /// Takes out the items that were [given back](super::Queue::give_back_at_stop) at the end because nobody worked on
    /// them, in the order in which they would have been worked on.
    pub fn take_left(&self) -> Vec<T> {
        self.0.take_left()
    }

    /// Takes out the dead letters, the oldest first.
    ///
    /// These are the items that were given up after their last attempt, that failed with nobody holding the reply, or
    /// that were cancelled while in progress. A store may keep them elsewhere.
    pub fn take_dead_letters(&self) -> Vec<DeadLetter<T>> {
        self.0.take_dead_letters()
    }
}

fn replied<R>(reply: Option<Reply<R>>) -> Reply<R> {
    reply.expect("it was asked for")
}

impl<T: Send + 'static, R: Send + 'static> Default for QueueHandle<T, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, R> Clone for QueueHandle<T, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + 'static, R: Send + 'static> TaskHandle for QueueHandle<T, R> {
    fn task(&self) -> &TaskRef {
        &self.0.task
    }

    fn ended(&self) {
        self.0.end();
    }
}

impl<T, R> fmt::Debug for QueueHandle<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueHandle")
            .field("task", &self.0.task)
            .field("depth", &self.0.store.current_depth())
            .finish_non_exhaustive()
    }
}

/// Says why an item was not submitted, and gives the item back.
#[non_exhaustive]
pub enum SubmitError<T> {
    /// The queue is stopping, or has ended, or will never start.
    Stopped(T),
    /// There is no room.
    Full(T),
    /// An item of the same key is not done yet.
    Duplicate(T),
    /// The store failed.
    Store(T, Error),
}

impl<T> SubmitError<T> {
    /// Returns the item that was not submitted.
    pub fn into_inner(self) -> T {
        match self {
            Self::Stopped(item) | Self::Full(item) | Self::Duplicate(item) | Self::Store(item, _) => item,
        }
    }

    /// Whether trying again later may help.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl<T> fmt::Debug for SubmitError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped(_) => f.write_str("Stopped(..)"),
            Self::Full(_) => f.write_str("Full(..)"),
            Self::Duplicate(_) => f.write_str("Duplicate(..)"),
            Self::Store(_, error) => write!(f, "Store(.., {error})"),
        }
    }
}

impl<T> fmt::Display for SubmitError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped(_) => f.write_str("the queue has stopped"),
            Self::Full(_) => f.write_str("the queue is full"),
            Self::Duplicate(_) => f.write_str("the same is in the queue already"),
            Self::Store(_, error) => write!(f, "the queue's store failed: {error}"),
        }
    }
}

impl<T> std::error::Error for SubmitError<T> {}

/// Says why an item of a [`map`](QueueHandle::map) has no result.
#[non_exhaustive]
pub enum MapError<T> {
    /// The item was not submitted.
    Refused(SubmitError<T>),
    /// The work had no result.
    Failed(CallError),
}

impl<T> fmt::Debug for MapError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => f.debug_tuple("Refused").field(error).finish(),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl<T> fmt::Display for MapError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<T> std::error::Error for MapError<T> {}
