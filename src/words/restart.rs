//! When a task, or a loop, that has ended is started again.

use std::time::Duration;

use super::state::Seconds;

/// When a task, or a loop, that has ended is started again.
///
/// The backoff doubles from [`backoff`](Self::backoff)'s first to its longest pause, give or take a fifth, and begins
/// anew after a [quiet](Self::quiet) window. More restarts than the [limit](Self::limit) within its window stop the
/// service with 1.
///
/// An error that a stop of the service would explain (see [`Error::exited`](crate::Error::exited)) waits 200 ms for
/// that stop before a policy has its turn.
///
/// ```
/// use interloop::RestartPolicy;
/// let policy = RestartPolicy::on_failure().limit(3, std::time::Duration::from_secs(10));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RestartPolicy {
    pub(crate) when: When,
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    pub(crate) jitter: f64,
    pub(crate) quiet: Duration,
    pub(crate) limit: u32,
    pub(crate) window: Duration,
    pub(crate) dependents: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Never,
    OnFailure,
    Always,
}

impl RestartPolicy {
    const fn new(when: When) -> Self {
        Self {
            when,
            first: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            jitter: 0.2,
            quiet: Duration::from_secs(60),
            limit: 5,
            window: Duration::from_secs(60),
            dependents: false,
        }
    }

    /// Never started again: the default. A failure stops the service.
    pub const fn never() -> Self {
        Self::new(When::Never)
    }

    /// Started again after an error, a panic, or a start that failed.
    pub const fn on_failure() -> Self {
        Self::new(When::OnFailure)
    }

    /// Started again however it ended, unless it was asked to stop or skipped itself.
    pub const fn always() -> Self {
        Self::new(When::Always)
    }

    /// The first pause and the longest; each pause is twice the one before. 100 ms and 10 s by default.
    #[must_use]
    pub const fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.first = first;
        self.longest = longest;
        self
    }

    /// How long it must have run without failing for the backoff to begin anew. 60 s by default.
    #[must_use]
    pub const fn quiet(mut self, window: Duration) -> Self {
        self.quiet = window;
        self
    }

    /// More than `restarts` within `window` stop the service with exit code 1. 5 in 60 s by default.
    #[must_use]
    pub const fn limit(mut self, restarts: u32, window: Duration) -> Self {
        self.limit = restarts;
        self.window = window;
        self
    }

    /// Restart what requires this task along with it: stopped before it, started after it. By default it is left alone.
    #[must_use]
    pub const fn with_dependents(mut self) -> Self {
        self.dependents = true;
        self
    }

    /// Refuses a limit that can't be hit: even failing at once and with the shortest pauses, `limit` + 1 restarts take
    /// the whole window.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.when == When::Never {
            return Ok(());
        }
        let restarts = u64::from(self.limit) + 1;
        let least = self.least_time_of(restarts);
        if least < self.window.as_secs_f64() {
            return Ok(());
        }
        Err(format!(
            "the restart limit can't be hit: {restarts} restarts pause for {least:.1} s at least (backoff {} to {}), the window is {}",
            Seconds(self.first),
            Seconds(self.longest),
            Seconds(self.window),
        ))
    }

    /// How many seconds so many restarts in a row pause for, with the jitter always downwards.
    fn least_time_of(&self, restarts: u64) -> f64 {
        let (mut pause, mut left, mut sum) = (self.first.min(self.longest), restarts, 0.0);
        while left > 0 && !pause.is_zero() && pause < self.longest {
            sum += pause.as_secs_f64();
            pause = pause.saturating_mul(2).min(self.longest);
            left -= 1;
        }
        (sum + pause.as_secs_f64() * left as f64) * (1.0 - self.jitter)
    }
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self::never()
    }
}
