//! What is due when: at most one time for each thing that can be due.

use std::collections::{BTreeMap, BTreeSet};

use super::{LoopId, Now, TaskId};

/// What is due. Of those due at the same time, the first listed comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The end of the drain.
    Drain,
    /// The end of the time that the whole stop has.
    Shutdown,
    /// The end of the task's backoff, start, stop or cancel, whichever its state is about.
    Task(TaskId),
    /// The end of the loop's backoff or stop.
    Loop(LoopId),
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Now, Timer)>,
    due: BTreeMap<Timer, Now>,
}

impl Timers {
    /// Sets a timer, in place of what it was set to.
    pub(super) fn set(&mut self, timer: Timer, at: Now) {
        self.clear(timer);
        self.due.insert(timer, at);
        self.queue.insert((at, timer));
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.due.remove(&timer) {
            self.queue.remove(&(at, timer));
        }
    }

    pub(super) fn get(&self, timer: Timer) -> Option<Now> {
        self.due.get(&timer).copied()
    }

    pub(super) fn next(&self) -> Option<Now> {
        self.queue.first().map(|&(at, _)| at)
    }

    /// Takes out the earliest timer that is due, and the time it was set to.
    pub(super) fn pop_due(&mut self, now: Now) -> Option<(Now, Timer)> {
        let &(at, timer) = self.queue.first()?;
        (at <= now).then(|| {
            self.clear(timer);
            (at, timer)
        })
    }
}
