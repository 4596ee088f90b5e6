//! The threads of a task: which run, and which are left behind.
//!
//! Invariants:
//! 1. Nothing begins once `closed` is set, under the lock; so who closes them, and finds none running, has seen the last.
//! 2. A thread is taken out of `running`, under the lock, after all that it has done; so it is never named as left behind when it has ended.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::report::LeftBehind;

/// How long the threads of a task may take once all else of it is gone, and nothing else says how long: less than the supervisor gives the loop.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// The threads of one incarnation.
#[derive(Default)]
pub(crate) struct Threads {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    running: BTreeMap<u64, Arc<str>>,
    /// None begins any more.
    closed: bool,
    /// They were to end by now: the task was cancelled.
    cancelled: bool,
    /// Since when those that run are left behind.
    left: Option<Instant>,
}

impl Threads {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Their task was cancelled: they have the grace from now on.
    pub(crate) fn cancel(&self) {
        self.lock().cancelled = true;
        self.changed.notify_all();
    }

    /// One begins: its number; None: nothing begins any more.
    pub(crate) fn begin(&self, name: &Arc<str>) -> Option<u64> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let id = state.next;
        state.next += 1;
        state.running.insert(id, name.clone());
        Some(id)
    }

    /// One has ended; says whether it was left behind.
    pub(crate) fn end(&self, id: u64) -> bool {
        let was_left = {
            let mut state = self.lock();
            state.running.remove(&id);
            state.left.is_some()
        };
        self.changed.notify_all();
        was_left
    }

    /// None begins any more; whether all have ended.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.lock();
        state.closed = true;
        state.running.is_empty()
    }

    /// Waits until all have ended, for the grace at most; if a stop says how long, until that cancels the task, and the grace from then on. Returns the
    /// names of those that are left behind.
    pub(crate) fn wait(&self, stops: bool) -> Vec<Arc<str>> {
        let goes_on = |state: &mut State| !state.running.is_empty();
        let mut state = self.lock();
        if stops {
            let until = self.changed.wait_while(state, |state| goes_on(state) && !state.cancelled);
            state = until.unwrap_or_else(PoisonError::into_inner);
        }
        let until = self.changed.wait_timeout_while(state, GRACE, goes_on);
        let (mut state, _) = until.unwrap_or_else(PoisonError::into_inner);
        if goes_on(&mut state) {
            state.left = Some(Instant::now());
        }
        state.running.values().cloned().collect()
    }

    /// Those that are left behind, and have not ended since.
    pub(crate) fn left_behind(&self) -> Vec<LeftBehind> {
        let state = self.lock();
        let Some(left) = state.left else { return Vec::new() };
        let names = state.running.values();
        names.map(|name| LeftBehind::new(format!("thread {name}"), left.elapsed() + GRACE)).collect()
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().running.values()).finish()
    }
}

/// The name of the warning that a thread is left behind.
pub(crate) fn warning(thread: &str) -> String {
    format!("thread {thread}")
}
