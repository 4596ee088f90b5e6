//! The deadlines: at most one for each thing that can be due.

use std::collections::{BTreeMap, BTreeSet};

use super::{LoopId, Now, TaskId};

/// A deadline. If several are due at the same time, the first listed comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The end of the drain.
    Drain,
    /// The end of the time limit for the whole stop.
    Shutdown,
    /// The end of the task's backoff, start, stop or cancel, depending on its state.
    Task(TaskId),
    /// The end of the loop's backoff or stop.
    Loop(LoopId),
    /// The end of the time in which a stop would explain the error that the task ended with.
    Suspect(TaskId),
    /// The time at which a slow start of the task is reported.
    SlowStart(TaskId),
}

/// The deadlines. Those for threads to act use a separate clock: the real one, even if the service's is a fake.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Now, Timer)>,
    of_threads: BTreeSet<(Now, Timer)>,
    due: BTreeMap<Timer, Now>,
}

impl Timers {
    /// Sets a timer, in place of its previous value.
    pub(super) fn set(&mut self, timer: Timer, at: Now) {
        self.clear(timer);
        self.due.insert(timer, at);
        self.queue.insert((at, timer));
    }

    /// Sets a timer by the clock of the threads.
    pub(super) fn set_for_thread(&mut self, timer: Timer, at: Now) {
        self.clear(timer);
        self.due.insert(timer, at);
        self.of_threads.insert((at, timer));
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.due.remove(&timer) {
            self.queue.remove(&(at, timer));
            self.of_threads.remove(&(at, timer));
        }
    }

    pub(super) fn get(&self, timer: Timer) -> Option<Now> {
        self.due.get(&timer).copied()
    }

    /// Returns the earliest deadline by each of the two clocks.
    pub(super) fn next(&self) -> (Option<Now>, Option<Now>) {
        let first = |queue: &BTreeSet<(Now, Timer)>| queue.first().map(|&(at, _)| at);
        (first(&self.queue), first(&self.of_threads))
    }

    /// Removes the earliest timer that is due, and returns it with its time.
    pub(super) fn pop_due(&mut self, now: Now, threads_now: Now) -> Option<(Now, Timer)> {
        let service = self.queue.first().copied().filter(|&(at, _)| at <= now);
        let thread = self.of_threads.first().copied().filter(|&(at, _)| at <= threads_now);
        let (at, timer) = service.into_iter().chain(thread).min()?;
        self.clear(timer);
        Some((at, timer))
    }
}
