//! The handle to a watcher, and the streams of changes.

use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll, Waker},
};

use futures_core::Stream;

use super::{super::common::lock, Change, Entry};
use crate::task::{TaskHandle, TaskRef};

/// A handle to a [`DirectoryWatcher`](super::DirectoryWatcher), for any thread. It survives restarts.
#[derive(Clone)]
pub struct WatcherHandle {
    pub(super) task: TaskRef,
    pub(super) board: Arc<Board>,
}

impl WatcherHandle {
    /// Returns a stream of the changes from here on.
    pub fn changes(&self) -> Changes {
        Changes(self.board.subscribe())
    }
}

impl TaskHandle for WatcherHandle {
    fn task(&self) -> &TaskRef {
        &self.task
    }

    fn ended(&self) {
        self.board.end();
    }
}

impl fmt::Debug for WatcherHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatcherHandle").field("task", &self.task).finish_non_exhaustive()
    }
}

/// A stream of the changes that a [`DirectoryWatcher`](super::DirectoryWatcher) sees, for any executor: made by
/// [`WatcherHandle::changes`].
///
/// A slow reader loses nothing, and no more is kept for it than there are files: all that happens to a file in the
/// meantime becomes one change.
pub struct Changes(Arc<Mutex<Pending>>);

impl Changes {
    /// Waits for the next change; returns None once the task has stopped and no change will come.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the next call brings the change.
    pub async fn next(&mut self) -> Option<Change> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Returns the next change, if there is one already.
    pub fn try_next(&mut self) -> Option<Change> {
        lock(&self.0).pop()
    }
}

impl Stream for Changes {
    type Item = Change;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        let mut pending = lock(&self.0);
        if let Some(change) = pending.pop() {
            return Poll::Ready(Some(change));
        }
        if pending.ended {
            return Poll::Ready(None);
        }
        pending.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("pending", &lock(&self.0).files.len()).finish()
    }
}

/// The changes that one stream has not brought yet.
#[derive(Default)]
struct Pending {
    /// The paths, numbered by the time of their first change.
    order: BTreeMap<u64, PathBuf>,
    next: u64,
    files: BTreeMap<PathBuf, Meanwhile>,
    ended: bool,
    waker: Option<Waker>,
}

/// A file before its first pending change, and after the latest.
struct Meanwhile {
    number: u64,
    first: Option<Entry>,
    latest: Option<Entry>,
}

impl Pending {
    fn push(&mut self, change: &Change) {
        let (path, new) = (change.path(), change.after().cloned());
        match self.files.get_mut(path) {
            Some(Meanwhile { number, first: None, .. }) if new.is_none() => {
                self.order.remove(number);
                self.files.remove(path);
            }
            Some(meanwhile) => meanwhile.latest = new,
            None => {
                self.next += 1;
                let meanwhile = Meanwhile { number: self.next, first: change.before().cloned(), latest: new };
                self.order.insert(self.next, path.to_owned());
                self.files.insert(path.to_owned(), meanwhile);
            }
        }
    }

    fn pop(&mut self) -> Option<Change> {
        let (_, path) = self.order.pop_first()?;
        let Meanwhile { first, latest, .. } = self.files.remove(&path)?;
        Change::between(first, latest)
    }
}

/// All streams of one task, across its incarnations.
#[derive(Default)]
pub(super) struct Board(Mutex<Streams>);

#[derive(Default)]
struct Streams {
    ended: bool,
    streams: Vec<Weak<Mutex<Pending>>>,
}

impl Board {
    fn subscribe(&self) -> Arc<Mutex<Pending>> {
        let mut board = lock(&self.0);
        let pending = Arc::new(Mutex::new(Pending { ended: board.ended, ..Pending::default() }));
        board.streams.retain(|stream| stream.strong_count() > 0);
        board.streams.push(Arc::downgrade(&pending));
        pending
    }

    fn for_each(&self, ended: bool, change: impl Fn(&mut Pending)) {
        let streams = {
            let mut board = lock(&self.0);
            board.ended = ended;
            board.streams.retain(|stream| stream.strong_count() > 0);
            board.streams.iter().filter_map(Weak::upgrade).collect::<Vec<_>>()
        };
        for stream in streams {
            let waker = {
                let mut pending = lock(&stream);
                pending.ended = ended;
                change(&mut pending);
                pending.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Begins an incarnation.
    pub(super) fn begin(&self) {
        self.for_each(false, |_| ());
    }

    pub(super) fn tell(&self, change: &Change) {
        self.for_each(false, |pending| pending.push(change));
    }

    pub(super) fn end(&self) {
        self.for_each(true, |_| ());
    }
}

/// Held by all values that may become an incarnation: after the last of them nothing more will come.
pub(super) struct Life(pub(super) Arc<Board>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.end();
    }
}
