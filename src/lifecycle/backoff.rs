//! The pause before a restart, and the decision whether there is one.

use std::{collections::VecDeque, time::Duration};

use super::{Now, RestartPolicy};
use crate::words::restart::When;

/// The past restarts of one task or loop, as far as its policy looks back.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// Consecutive restarts without a quiet window between them: the exponent of the next pause.
    in_a_row: u32,
    /// When the restarts within the window were decided, oldest first; never more than the limit.
    recent: VecDeque<Now>,
}

impl Restarts {
    /// Counts one more restart and returns the pause before it; `None` if the limit is hit.
    ///
    /// `ran` is how long it had been ready: a long quiet time makes the backoff start over.
    pub(super) fn next(
        &mut self,
        policy: &RestartPolicy,
        now: Now,
        ran: Option<Duration>,
        random: &mut fastrand::Rng,
    ) -> Option<Duration> {
        while self.recent.front().is_some_and(|&at| now.saturating_sub(at) >= policy.window) {
            self.recent.pop_front();
        }
        if self.recent.len() >= policy.limit as usize {
            return None;
        }
        if ran.is_some_and(|ran| ran >= policy.quiet) {
            self.in_a_row = 0;
        }
        let pause = jittered(pause(policy, self.in_a_row), policy.jitter, random);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.recent.push_back(now);
        Some(pause)
    }
}

/// Whether the policy restarts after such an end.
pub(super) fn covers(policy: &RestartPolicy, failed: bool) -> bool {
    match policy.when {
        When::Never => false,
        When::OnFailure => failed,
        When::Always => true,
    }
}

/// Returns the pause before the restart after `in_a_row` others, without jitter.
fn pause(policy: &RestartPolicy, in_a_row: u32) -> Duration {
    policy.first.saturating_mul(2u32.saturating_pow(in_a_row)).min(policy.longest)
}

/// Adds jitter, so that tasks that failed together do not come back together.
fn jittered(pause: Duration, jitter: f64, random: &mut fastrand::Rng) -> Duration {
    let factor = 1.0 + jitter * (2.0 * random.f64() - 1.0);
    Duration::try_from_secs_f64(pause.as_secs_f64() * factor).unwrap_or(pause)
}
