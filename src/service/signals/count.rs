//! The meaning of a repeated signal.

use std::time::{Duration, Instant};

/// How long a repeated signal counts as an echo of the previous one: a shell and a supervisor both send it, or a key
/// bounces.
pub(super) const SAME_SIGNAL: Duration = Duration::from_millis(250);

/// Counts INT, or TERM. Each has its own count: two different signals come from two senders of the same request.
#[derive(Debug, Default)]
pub(super) struct Count {
    taken: u32,
    at: Option<Instant>,
}

/// The request that a signal makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// No new request.
    Echo,
    Stop,
    HardStop,
    Leave,
}

impl Count {
    pub(super) fn take(&mut self, now: Instant) -> Wish {
        if self.at.is_some_and(|at| now.saturating_duration_since(at) < SAME_SIGNAL) {
            return Wish::Echo;
        }
        self.at = Some(now);
        self.taken = self.taken.saturating_add(1);
        match self.taken {
            1 => Wish::Stop,
            2 => Wish::HardStop,
            _ => Wish::Leave,
        }
    }

    /// Returns the time from which any further signal asks to exit.
    pub(super) fn armed_at(&self) -> Option<Instant> {
        self.at.filter(|_| self.taken >= 2).map(|at| at + SAME_SIGNAL)
    }
}

#[cfg(test)]
mod tests {
    use super::{Wish::*, *};

    fn at(times: &[u64]) -> Vec<Wish> {
        let (begun, mut count) = (Instant::now(), Count::default());
        times.iter().map(|&ms| count.take(begun + Duration::from_millis(ms))).collect()
    }

    #[test]
    fn a_signal_stops_then_stops_hard_then_leaves() {
        assert_eq!(at(&[0, 250, 500, 750]), [Stop, HardStop, Leave, Leave]);
    }

    #[test]
    fn the_same_signal_within_a_quarter_of_a_second_of_one_that_counts_is_an_echo() {
        assert_eq!(at(&[0, 0, 1, 249, 250, 499, 500]), [Stop, Echo, Echo, Echo, HardStop, Echo, Leave]);
        // A key that is hit again and again does get through.
        assert_eq!(at(&[0, 100, 200, 300, 400, 500, 600]), [Stop, Echo, Echo, HardStop, Echo, Echo, Leave]);
    }

    #[test]
    fn the_handler_is_armed_when_the_second_one_has_no_echoes_any_more() {
        let (begun, mut count) = (Instant::now(), Count::default());
        assert_eq!(count.armed_at(), None);
        count.take(begun);
        assert_eq!(count.armed_at(), None);
        let second = begun + Duration::from_secs(7);
        count.take(second);
        assert_eq!(count.armed_at(), Some(second + SAME_SIGNAL));
    }
}
