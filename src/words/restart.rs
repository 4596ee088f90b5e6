//! The rules for restarting a task, or a loop, that has ended.

use std::time::Duration;

use super::state::Seconds;

/// Decides when a task, or a loop, that has ended is restarted.
///
/// The pause doubles from [`backoff`](Self::backoff)'s first to its longest, plus or minus a fifth, and starts over
/// after a [quiet](Self::quiet) window. More restarts than the [limit](Self::limit) within its window stop the service
/// with exit code 1.
///
/// An error that a stop of the service would explain (see [`Error::exited`](crate::Error::exited)) waits 200 ms for
/// that stop before a policy applies.
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

    /// Returns the default policy, which never restarts. A failure stops the service.
    pub const fn never() -> Self {
        Self::new(When::Never)
    }

    /// Returns a policy that restarts after an error, a panic, or a failed start.
    pub const fn on_failure() -> Self {
        Self::new(When::OnFailure)
    }

    /// Returns a policy that restarts after any end, unless it was asked to stop or skipped itself.
    pub const fn always() -> Self {
        Self::new(When::Always)
    }

    /// Sets the first pause and the longest; each pause is twice the previous one. 100 ms and 10 s by default.
    #[must_use]
    pub const fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.first = first;
        self.longest = longest;
        self
    }

    /// Sets how long it must run without failing for the backoff to start over: 60 s by default.
    #[must_use]
    pub const fn quiet(mut self, window: Duration) -> Self {
        self.quiet = window;
        self
    }

    /// Sets the limit: more than `restarts` within `window` stop the service with exit code 1. 5 in 60 s by default.
    #[must_use]
    pub const fn limit(mut self, restarts: u32, window: Duration) -> Self {
        self.limit = restarts;
        self.window = window;
        self
    }

    /// Restarts the tasks that require this one along with it: they stop before it and start after it.
    ///
    /// By default they are left alone.
    #[must_use]
    pub const fn with_dependents(mut self) -> Self {
        self.dependents = true;
        self
    }

    /// Refuses a limit that can't be reached: even if each run fails at once, with the shortest pauses, `limit` + 1
    /// restarts take the whole window.
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

    /// Returns how many seconds this many consecutive restarts pause for, with the jitter always downwards.
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
