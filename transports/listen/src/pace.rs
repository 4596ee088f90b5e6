//! How long a peer may make a server wait: all transports share this.
//!
//! There are two kinds of waits. The rest of something that has an end (a head, a body, an answer that the client
//! takes) has a minimum rate: [`Pace`] and [`Wait`]. Something that may rightly be silent (a stream of messages, a
//! WebSocket, server-sent events) has none, only proof of life: [`bind`](crate::bind) turns on the system's keep-alive
//! for its sockets.

use std::time::{Duration, Instant};

/// How long a connection that ends anyway may take for its farewell, and for the rest of what its peer was sending.
pub const FAREWELL: Duration = Duration::from_secs(1);
/// How long, at the stop, a peer may take nothing of its last answers: the system reports free space only after the
/// peer has taken a good part of what is buffered.
pub const LAST_ROOM: Duration = Duration::from_secs(5);

/// Returns the time from which nothing more is waited for, at a stop that ends at this deadline: a bit before it, since
/// a delay that a peer causes is no failure of the server.
pub fn last_call(deadline: Instant) -> Instant {
    let rest = deadline.saturating_duration_since(Instant::now());
    deadline.checked_sub(MARGIN.min(rest / 8)).unwrap_or(deadline)
}

/// How much earlier, at most.
const MARGIN: Duration = Duration::from_secs(1);

/// The minimum rate at which a peer must send the rest of what it has begun, or take what it is sent.
///
/// A peer may fall behind the rate by the grace; faster bytes make up for that, but aren't saved for later. So neither
/// a byte a second nor a fast beginning renews the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pace {
    /// How far the peer may fall behind; None is no limit.
    pub grace: Option<Duration>,
    /// Bytes a second; with 0 any byte makes up for everything.
    pub rate: usize,
}

impl Pace {
    /// Returns the same rate, with this grace if it is shorter.
    #[must_use]
    pub fn within(self, grace: Option<Duration>) -> Self {
        Self { grace: self.grace.into_iter().chain(grace).min(), ..self }
    }

    /// Returns how much time this number of bytes makes up for.
    fn worth(&self, bytes: u64) -> Duration {
        match self.rate {
            _ if bytes == 0 => Duration::ZERO,
            0 => Duration::MAX,
            rate => Duration::try_from_secs_f64(bytes as f64 / rate as f64).unwrap_or(Duration::MAX),
        }
    }
}

/// The waits for one thing that has an end, and what is left of the grace.
#[derive(Debug)]
pub struct Wait {
    pace: Pace,
    /// When the current wait began.
    since: Option<Instant>,
    behind: Duration,
}

impl Wait {
    /// Creates one that waits for nothing yet.
    pub fn new(pace: Pace) -> Self {
        Self { pace, since: None, behind: Duration::ZERO }
    }

    /// Begins to wait, if it doesn't wait already.
    pub fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Ends the wait.
    pub fn end(&mut self, now: Instant) {
        self.settle(now);
        self.since = None;
    }

    /// Notes that the peer has sent, or taken, this number of bytes.
    pub fn moved(&mut self, bytes: u64, now: Instant) {
        self.settle(now);
        self.behind = self.behind.saturating_sub(self.pace.worth(bytes));
    }

    /// Limits what is left of the grace to this, from now on for good.
    pub fn hurry(&mut self, grace: Duration, now: Instant) {
        self.settle(now);
        let left = self.left().map_or(grace, |left| left.min(grace));
        self.pace = self.pace.within(Some(grace));
        self.behind = self.pace.grace.unwrap_or(grace).saturating_sub(left);
    }

    /// Restores the full grace; a wait in progress starts over now.
    pub fn forgive(&mut self, now: Instant) {
        self.behind = Duration::ZERO;
        self.since = self.since.map(|_| now);
    }

    /// Returns how long the peer may still take, once something is waited for; None is no limit.
    pub fn left(&self) -> Option<Duration> {
        Some(self.pace.grace?.saturating_sub(self.behind))
    }

    /// Returns whether anything is waited for.
    pub fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// Returns whether the peer has its full grace again.
    pub fn is_even(&self) -> bool {
        self.behind.is_zero()
    }

    /// Returns how long the peer may still take: None if nothing is waited for, or if there is no limit.
    pub fn rest(&self, now: Instant) -> Option<Duration> {
        let waited = now.saturating_duration_since(self.since?);
        Some(self.left()?.saturating_sub(waited))
    }

    fn settle(&mut self, now: Instant) {
        if let Some(since) = &mut self.since {
            self.behind += now.saturating_duration_since(*since);
            // Another thread may have read the clock earlier.
            *since = now.max(*since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PACE: Pace = Pace { grace: Some(Duration::from_secs(20)), rate: 500 };

    /// Returns after how long bytes that come this often, while they are waited for, are too late.
    fn late_after(pace: Pace, bytes: u64, every: Duration) -> Option<Duration> {
        let begin = Instant::now();
        let mut wait = Wait::new(pace);
        let mut now = begin;
        while now < begin + 3600 * SECOND {
            wait.begin(now);
            let rest = wait.rest(now)?;
            if rest < every {
                return Some(now + rest - begin);
            }
            now += every;
            wait.moved(bytes, now);
            wait.end(now);
        }
        None
    }

    #[test]
    fn a_trickle_does_not_renew_the_limit() {
        let late = late_after(PACE, 1, SECOND).expect("it is too slow");
        assert!(late < 21 * SECOND, "{late:?}");
        assert_eq!(late_after(PACE, 500, SECOND), None);
        assert_eq!(late_after(PACE, 4000, 8 * SECOND), None);
        assert!(late_after(PACE, 490, SECOND).is_some());
        assert_eq!(late_after(PACE, 0, 5 * SECOND), Some(20 * SECOND));
    }

    #[test]
    fn a_fast_beginning_is_not_saved_for_later() {
        let begin = Instant::now();
        let mut wait = Wait::new(PACE);
        wait.begin(begin);
        wait.moved(1 << 30, begin + SECOND);
        assert_eq!(wait.rest(begin + SECOND), Some(20 * SECOND));
        assert_eq!(wait.rest(begin + 22 * SECOND), Some(Duration::ZERO));
    }

    #[test]
    fn only_waiting_counts() {
        let begin = Instant::now();
        let mut wait = Wait::new(PACE);
        // A chunk every hour that takes a second to come.
        for hour in 0..100 {
            let now = begin + 3600 * hour * SECOND;
            assert_eq!(wait.rest(now), None);
            wait.begin(now);
            wait.moved(500, now + SECOND);
            wait.end(now + SECOND);
        }
        assert!(wait.is_even());
    }

    #[test]
    fn without_a_rate_any_byte_will_do() {
        let pace = Pace { rate: 0, ..PACE };
        assert_eq!(late_after(pace, 1, 19 * SECOND), None);
        assert_eq!(late_after(pace, 1, 21 * SECOND), Some(20 * SECOND));
    }

    #[test]
    fn without_a_grace_there_is_no_limit() {
        let mut wait = Wait::new(Pace { grace: None, rate: 500 });
        let begin = Instant::now();
        wait.begin(begin);
        assert_eq!(wait.rest(begin + 3600 * SECOND), None);
        // Until the stop.
        wait.hurry(FAREWELL, begin + 3600 * SECOND);
        assert_eq!(wait.rest(begin + 3600 * SECOND), Some(FAREWELL));
    }

    #[test]
    fn who_has_to_hurry_gets_no_more_than_was_left() {
        let begin = Instant::now();
        let mut wait = Wait::new(PACE);
        wait.begin(begin);
        wait.hurry(5 * SECOND, begin + 18 * SECOND);
        assert_eq!(wait.rest(begin + 18 * SECOND), Some(2 * SECOND));
        wait.moved(1 << 20, begin + 19 * SECOND);
        assert_eq!(wait.rest(begin + 19 * SECOND), Some(5 * SECOND));
    }
}
