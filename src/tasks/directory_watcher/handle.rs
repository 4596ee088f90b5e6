//! The way to a watcher, and the streams of changes.

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

/// The way to a [`DirectoryWatcher`](super::DirectoryWatcher), from any thread. It survives restarts.
#[derive(Clone)]
pub struct WatcherHandle {
    pub(super) task: TaskRef,
    pub(super) board: Arc<Board>,
}

impl WatcherHandle {
    /// The changes from here on.
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

/// The changes that a [`DirectoryWatcher`](super::DirectoryWatcher) sees, on any executor: made by [`WatcherHandle::changes`]. Nothing is lost on who is
/// slow, and no more is kept for him than there are files: what happens to a file meanwhile becomes one change.
pub struct Changes(Arc<Mutex<Pending>>);

impl Changes {
    /// Waits for the next change; None when the task has stopped, and none will come.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped: the next call brings it.
    pub async fn next(&mut self) -> Option<Change> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The next change, if there is one already.
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

/// What one stream has not brought yet.
#[derive(Default)]
struct Pending {
    /// Numbered by the time of the first change.
    order: BTreeMap<u64, PathBuf>,
    next: u64,
    files: BTreeMap<PathBuf, Meanwhile>,
    ended: bool,
    waker: Option<Waker>,
}

/// What a file was at first, and what it is.
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

/// All streams of one task, whatever its incarnation.
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

    /// An incarnation begins.
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

/// Held by all that may become an incarnation: with the last of them nothing more will come.
pub(super) struct Life(pub(super) Arc<Board>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.end();
    }
}
