//! The amount of work in a turn.

use std::time::Duration;

use crate::kit::clock::clock;

/// How many jobs and polls a turn runs at most.
const BATCH_JOBS: u32 = 256;
/// How long a turn lasts at most, except for its current job.
pub(super) const BATCH_TIME: Duration = if cfg!(loom) { Duration::MAX } else { Duration::from_millis(1) };

/// Counts a turn's work. The clock is read after every job while jobs are slow, and after every sixteenth while they
/// are fast.
pub(super) struct Batch {
    began: Duration,
    jobs: u32,
    stride: u32,
    next_look: u32,
    looked: Duration,
}

impl Batch {
    const FAST: Duration = Duration::from_micros(20);

    pub(super) fn new(now: Duration) -> Self {
        Self { began: now, jobs: 0, stride: 1, next_look: 1, looked: Duration::ZERO }
    }

    pub(super) fn is_spent(&mut self, is_empty: impl FnOnce() -> bool) -> bool {
        self.jobs += 1;
        if self.jobs >= BATCH_JOBS {
            return true;
        }
        // A single job, the usual case, needs no look at the clock; once a second one has arrived in the meantime, an
        // empty queue proves nothing.
        if self.jobs < self.next_look || (self.jobs == 1 && is_empty()) {
            return false;
        }
        let elapsed = clock().saturating_sub(self.began);
        self.stride = if elapsed - self.looked < Self::FAST { (self.stride * 2).min(16) } else { 1 };
        self.next_look = self.jobs + self.stride;
        self.looked = elapsed;
        elapsed >= BATCH_TIME
    }
}
