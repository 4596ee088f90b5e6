//! Choices about ticks, for an interval and for a cron expression.

use std::time::Duration;

/// Says when the first run takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirstRun {
    /// As soon as the task has started.
    AtOnce,
    /// One interval after the start; with a cron expression, at its next time.
    AfterInterval,
}

/// Says what happens to ticks that were missed because a run, or the loop, took too long.
///
/// In every case a late tick runs at once, and there is never more than one run at a time. The names are tokio's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissedTicks {
    /// Missed ticks are skipped: the next one is on the schedule that the first run has set.
    #[default]
    Skip,
    /// Missed ticks are made up for, one after the other, until the schedule is caught up with.
    Burst,
    /// Missed ticks are skipped, and the schedule restarts with the next tick one interval after the late one.
    Delay,
}

/// The user's choices.
#[cfg(feature = "cron")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Choices {
    pub(super) first: FirstRun,
    pub(super) missed: MissedTicks,
    pub(super) jitter: Duration,
}

/// Returns a random duration, at most this long.
pub(super) fn by_chance(most: Duration) -> Duration {
    if most.is_zero() { most } else { most.mul_f64(fastrand::f64()) }
}
