//! The threads of a task: those that run, and those that are left behind.
//!
//! Invariants:
//! 1. No thread begins once `closed` is set, under the lock; so a caller that closes them, and finds none running, has
//!    seen the last.
//! 2. A thread is removed from `running`, under the lock, after all its work; so it is never named as left behind when
//!    it has ended.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::report::LeftBehind;
use crate::words::state::Seconds;

/// How long the threads of a task may take once everything else of it is gone, and no other limit applies: less than
/// the supervisor gives the loop.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// Up to this many threads that are left behind are named individually. If there are more, one line names the first of
/// them and counts all.
const FEW: usize = 3;

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
    /// No more threads can begin.
    closed: bool,
    /// The task was cancelled: they should have ended by now.
    cancelled: bool,
    left: Option<Left>,
}

/// The running threads are left behind.
struct Left {
    since: Instant,
    count: usize,
}

/// The warning and the log line on threads that are left behind, or have ended since.
pub(crate) struct Notice {
    /// The warning's name.
    pub(crate) warning: String,
    pub(crate) text: String,
    /// The line of the log.
    pub(crate) line: String,
}

impl Threads {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that their task was cancelled: they have the grace from now on.
    pub(crate) fn cancel(&self) {
        self.lock().cancelled = true;
        self.changed.notify_all();
    }

    /// Registers a thread and returns its number; `None` if no more can begin.
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

    /// Removes a thread that has ended; returns the notice if it was left behind.
    pub(crate) fn end(&self, id: u64) -> Option<Notice> {
        let late = {
            let mut state = self.lock();
            let ended = state.running.remove(&id);
            let all = state.running.is_empty();
            ended.zip(state.left.as_ref()).and_then(|(name, left)| Notice::late(&name, left.count, all))
        };
        self.changed.notify_all();
        late
    }

    /// Accepts no more threads; returns whether all have ended.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.lock();
        state.closed = true;
        state.running.is_empty()
    }

    /// Waits until all have ended, for the grace at most; if a stop sets the limit, until it cancels the task, and the
    /// grace from then on. Returns the notices on threads that are left behind, and warns of them under the lock, so
    /// before any of them ends.
    pub(crate) fn wait(&self, stops: bool, warn: impl Fn(&Notice)) -> Vec<Notice> {
        let goes_on = |state: &mut State| !state.running.is_empty();
        let mut state = self.lock();
        if stops {
            let until = self.changed.wait_while(state, |state| goes_on(state) && !state.cancelled);
            state = until.unwrap_or_else(PoisonError::into_inner);
        }
        let until = self.changed.wait_timeout_while(state, GRACE, goes_on);
        let (mut state, _) = until.unwrap_or_else(PoisonError::into_inner);
        if goes_on(&mut state) {
            state.left = Some(Left { since: Instant::now(), count: state.running.len() });
        }
        let notices = Notice::left(&state.running.values().cloned().collect::<Vec<_>>());
        notices.iter().for_each(warn);
        notices
    }

    /// Whether some were left behind and have not ended since.
    pub(crate) fn is_left_behind(&self) -> bool {
        let state = self.lock();
        state.left.is_some() && !state.running.is_empty()
    }

    /// Returns those that were left behind and have not ended since, and for how long.
    fn left(&self) -> Vec<(Arc<str>, Duration)> {
        let state = self.lock();
        let Some(Left { since, .. }) = state.left else { return Vec::new() };
        let held = since.elapsed() + GRACE;
        state.running.values().map(|name| (name.clone(), held)).collect()
    }
}

/// Returns the threads that are left behind, of all incarnations of a task, for the report.
pub(crate) fn left_behind(incarnations: &[Arc<Threads>]) -> Vec<LeftBehind> {
    let left = incarnations.iter().flat_map(|threads| threads.left()).collect::<Vec<_>>();
    if left.len() <= FEW {
        return left.into_iter().map(|(name, held)| LeftBehind::new(format!("thread {name}"), held)).collect();
    }
    let (names, held): (Vec<_>, Vec<_>) = left.into_iter().unzip();
    let what = format!("{} threads, {}", names.len(), first_of(&names));
    vec![LeftBehind::new(what, held.into_iter().max().unwrap_or_default())]
}

impl Notice {
    /// Returns the notices on the threads that are left behind now.
    fn left(names: &[Arc<str>]) -> Vec<Self> {
        let grace = Seconds(GRACE);
        if names.len() <= FEW {
            let text = format!("has not ended within {grace} of its task: it is left behind");
            let each = |name| {
                let thread = format!("thread {name}");
                Self { line: format!("{thread} {text}"), warning: thread, text: text.clone() }
            };
            return names.iter().map(each).collect();
        }
        let text = format!(
            "{} have not ended within {grace} of their task: they are left behind: {}",
            names.len(),
            first_of(names)
        );
        vec![Self { line: format!("threads: {text}"), warning: "threads".to_owned(), text }]
    }

    /// Returns the notice when one of `count` threads that were left behind has ended, which may be the last.
    fn late(name: &str, count: usize, is_last: bool) -> Option<Self> {
        let (warning, line) = if count <= FEW {
            let thread = format!("thread {name}");
            (thread.clone(), format!("{thread}, which was left behind, has ended"))
        } else if is_last {
            ("threads".to_owned(), format!("all {count} threads that were left behind have ended"))
        } else {
            return None;
        };
        Some(Self { warning, text: String::new(), line })
    }
}

/// Returns the first of many names.
fn first_of(names: &[Arc<str>]) -> String {
    let first = names.iter().take(FEW).map(|name| &**name).collect::<Vec<_>>();
    format!("{} and {} more", first.join(", "), names.len() - first.len())
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().running.values()).finish()
    }
}
