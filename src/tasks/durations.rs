//! Measured durations.

use std::time::Duration;

use crate::Context;
#[cfg(feature = "metrics")]
use crate::counters::Histogram;

/// The windows over which they are shown: one minute, and four.
#[cfg(feature = "metrics")]
const WINDOWS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(240)];

/// Records how long each operation of a kind took. Without the feature `metrics` nothing is kept.
#[derive(Debug)]
pub(super) struct Durations(#[cfg(feature = "metrics")] Histogram);

impl Durations {
    /// Records samples of the task's under this name.
    pub(super) fn of<L: crate::EventLoop, O>(cx: &Context<L, O>, name: &str) -> Self {
        #[cfg(not(feature = "metrics"))]
        let _ = (cx, name);
        Self(
            #[cfg(feature = "metrics")]
            cx.histogram(name, &WINDOWS),
        )
    }

    /// Records that one operation took this long.
    pub(super) fn took(&self, duration: Duration) {
        #[cfg(feature = "metrics")]
        self.0.record_duration(duration);
        #[cfg(not(feature = "metrics"))]
        let _ = duration;
    }
}
