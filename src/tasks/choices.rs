//! What is to be chosen about ticks, by an interval or by a cron expression.

use std::time::Duration;

/// When the first run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirstRun {
    /// As soon as the task has started.
    AtOnce,
    /// One interval after the start; by a cron expression: at its next time.
    AfterInterval,
}

/// What becomes of the ticks that were missed because a run, or the loop, took too long. However it is, a tick that is late is made up for at once, and
/// there is never more than one run at a time. The words are tokio's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissedTicks {
    /// They are left out: the next one is on the grid of times that the first run has set.
    #[default]
    Skip,
    /// They are made up for, one after the other, until the grid is caught up with.
    Burst,
    /// They are left out, and the grid begins anew, with one interval after the late tick.
    Delay,
}

/// What somebody has chosen.
#[cfg(feature = "cron")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Choices {
    pub(super) first: FirstRun,
    pub(super) missed: MissedTicks,
    pub(super) jitter: Duration,
}

/// Somewhat, at most this.
pub(super) fn by_chance(most: Duration) -> Duration {
    if most.is_zero() { most } else { most.mul_f64(fastrand::f64()) }
}
