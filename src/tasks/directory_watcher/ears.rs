//! The system's events, which say where to look. Nothing more is taken from them, so it does no harm if they come late,
//! twice, or for nothing.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use notify::{
    Event, EventHandler,
    event::{AccessKind, AccessMode, EventKind, ModifyKind},
};

use super::super::common::lock;

/// If there are more places than this, all is looked at, and none is remembered.
const MOST: usize = 10_000;

/// Says where to look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    Everywhere,
    /// At these paths, each with whether it was written to.
    At(BTreeMap<PathBuf, bool>),
}

/// Collects the events.
pub(super) struct Inbox {
    root: PathBuf,
    heard: Mutex<Heard>,
    over: AtomicBool,
}

#[derive(Default)]
struct Heard {
    paths: BTreeMap<PathBuf, bool>,
    everywhere: bool,
    overflows: u64,
    /// The number of events so far.
    count: u64,
    /// The number of threads that listen.
    listening: usize,
    waker: Option<Waker>,
}

impl Heard {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.everywhere
    }
}

impl Inbox {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, heard: Mutex::default(), over: AtomicBool::new(false) }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Ends it: nobody wants to know any more.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ready when there is something to look at; returns the number of events so far.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<u64> {
        let mut heard = lock(&self.heard);
        if heard.is_empty() {
            heard.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(heard.count)
    }

    /// Returns the number of events so far.
    pub(super) fn count(&self) -> u64 {
        lock(&self.heard).count
    }

    /// Takes where to look, and how often the system's queue has overflowed.
    pub(super) fn take(&self) -> (Look, u64) {
        let mut heard = lock(&self.heard);
        let (paths, overflows) = (std::mem::take(&mut heard.paths), std::mem::take(&mut heard.overflows));
        let everywhere = std::mem::take(&mut heard.everywhere);
        (if everywhere { Look::Everywhere } else { Look::At(paths) }, overflows)
    }

    /// Waits until the threads that listen have ended.
    pub(super) async fn deaf(&self) {
        poll_fn(|context| {
            let mut heard = lock(&self.heard);
            if heard.listening == 0 {
                return Poll::Ready(());
            }
            heard.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn change(&self, change: impl FnOnce(&mut Heard)) {
        let waker = {
            let mut heard = lock(&self.heard);
            change(&mut heard);
            heard.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn note(&self, path: &Path, written: bool) {
        let is_inside = path.starts_with(&self.root) && path != self.root;
        if !is_inside && !self.root.starts_with(path) {
            // The event is not on the way to the folder.
            return;
        }
        self.change(|heard| {
            heard.count += 1;
            if !is_inside || heard.paths.len() >= MOST {
                heard.everywhere = true;
                heard.paths.clear();
            }
            if !heard.everywhere {
                *heard.paths.entry(path.to_owned()).or_default() |= written;
            }
        });
    }

    /// Notes that something was not heard.
    fn missed(&self, overflows: u64) {
        self.change(|heard| {
            heard.count += 1;
            heard.everywhere = true;
            heard.paths.clear();
            heard.overflows += overflows;
        });
    }

    /// Holds up all events until the guard is dropped, for tests.
    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Drop + '_ {
        lock(&self.heard)
    }
}

/// The handler that notify's thread calls; it is dropped at that thread's end.
pub(super) struct Ears {
    inbox: Arc<Inbox>,
    _alive: Arc<()>,
}

impl Ears {
    /// Makes a handler, and a weak reference that shows whether it still exists.
    pub(super) fn new(inbox: Arc<Inbox>) -> (Self, Weak<()>) {
        lock(&inbox.heard).listening += 1;
        let alive = Arc::new(());
        let weak = Arc::downgrade(&alive);
        (Self { inbox, _alive: alive }, weak)
    }
}

impl EventHandler for Ears {
    fn handle_event(&mut self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                log::debug!("events of {}: {error}", self.inbox.root.display());
                return self.inbox.missed(0);
            }
        };
        if event.need_rescan() {
            return self.inbox.missed(1);
        }
        let written = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
            // Looking at files, or reading them, changes nothing.
            EventKind::Access(_) => return,
            EventKind::Modify(ModifyKind::Data(_)) => true,
            _ => false,
        };
        event.paths.iter().for_each(|path| self.inbox.note(path, written));
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.inbox.change(|heard| heard.listening -= 1);
    }
}
