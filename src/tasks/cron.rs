//! Ticks by the calendar.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::ticks::{FirstRun, MissedTicks, Timing, by_chance};

/// Times by a cron expression, in a time zone: minute, hour, day of the month, month, day of the week, and the zone's name by IANA. What the fields may say
/// is what the crate cronexpr knows: names, ranges, steps, `L`, `W`, `#`.
///
/// The time zone is part of the expression, since a time without one is none. A time that the zone skips, when the clocks go forward, comes with the
/// first minute after the gap that fits; when they go back, it is the calendar that counts.
///
/// A tick is waited for by the loop's timers: a system clock that is set meanwhile, or a machine that sleeps, is noticed when the timer is up.
///
/// ```
/// use interloop::tasks::Cron;
///
/// # fn main() -> Result<(), interloop::tasks::CronError> {
/// let nightly: Cron = "30 3 * * MON-FRI Europe/Berlin".parse()?;
/// assert_eq!(nightly.to_string(), "30 3 * * MON-FRI Europe/Berlin");
/// let error = "30 3 * * *".parse::<Cron>().unwrap_err();
/// assert!(error.to_string().contains("timezone"), "{error}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cron {
    text: Box<str>,
    times: cronexpr::Crontab,
}

impl Cron {
    /// The first of its times that comes later than this, if there is one in the next four years.
    pub fn after(&self, time: SystemTime) -> Option<SystemTime> {
        let nanoseconds = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i128::try_from(since.as_nanos()).ok()?,
            Err(before) => -i128::try_from(before.duration().as_nanos()).ok()?,
        };
        let from = cronexpr::MakeTimestamp::from_nanosecond(nanoseconds).ok()?;
        self.times.find_next(from).ok().map(|next| next.timestamp().into())
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let times = cronexpr::parse_crontab(text).map_err(|error| {
            // It draws an arrow below the expression, and says at its head what is wrong.
            let said = error.to_string();
            let why = said.lines().last().unwrap_or_default().trim_start_matches([' ', '^']).to_owned();
            CronError { text: text.into(), why }
        })?;
        Ok(Self { text: text.into(), times })
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cron").field(&self.text).finish()
    }
}

/// A text that is no [`Cron`] expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronError {
    text: Box<str>,
    why: String,
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no cron expression such as \"0 3 * * * Europe/Berlin\": \"{}\": {}", self.text, self.why)
    }
}

impl std::error::Error for CronError {}

/// The ticks of one incarnation.
#[derive(Debug)]
pub(super) struct CronTicks {
    cron: Cron,
    missed: MissedTicks,
    jitter: Duration,
    /// None: there is none any more.
    next: Option<SystemTime>,
    /// By how much the next one comes later.
    delay: Duration,
}

/// So many missed ticks are counted; beyond, the clock has been set.
const MOST: u64 = 10_000;

impl CronTicks {
    pub(super) fn begin(cron: Cron, timing: &Timing, now: SystemTime) -> Self {
        let (next, delay) = match timing.first {
            FirstRun::AtOnce => (Some(now), Duration::ZERO),
            FirstRun::AfterInterval => (cron.after(now), by_chance(timing.jitter)),
        };
        Self { cron, missed: timing.missed, jitter: timing.jitter, next, delay }
    }

    pub(super) fn rest(&self, now: SystemTime) -> Option<Duration> {
        let due = self.next?.checked_add(self.delay)?;
        Some(due.duration_since(now).unwrap_or_default())
    }

    pub(super) fn fire(&mut self, now: SystemTime) -> u64 {
        let Some(this) = self.next else { return 0 };
        self.delay = by_chance(self.jitter);
        self.next = self.cron.after(this);
        let mut missed = 0;
        while self.missed != MissedTicks::Burst
            && let Some(next) = self.next.filter(|next| *next <= now)
        {
            missed += 1;
            self.next = self.cron.after(if missed < MOST { next } else { now });
        }
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    /// Seconds from one moment to the next three times.
    fn next_three(expression: &str, from: u64) -> Vec<u64> {
        let cron: Cron = expression.parse().expect("it is one");
        let times = std::iter::successors(Some(at(from)), |time| cron.after(*time)).skip(1).take(3);
        times.map(|time| time.duration_since(at(from)).expect("later").as_secs()).collect()
    }

    /// 2024-03-30, 00:00 UTC: the night before the clocks of Berlin go forward.
    const BEFORE_SUMMER: u64 = 1_711_756_800;
    const HOUR: u64 = 3600;

    #[test]
    fn times_are_those_of_the_time_zone() {
        assert_eq!(next_three("0 12 * * * UTC", BEFORE_SUMMER), [12 * HOUR, 36 * HOUR, 60 * HOUR]);
        // An hour ahead, and from the second day on two.
        assert_eq!(next_three("0 12 * * * Europe/Berlin", BEFORE_SUMMER), [11 * HOUR, 34 * HOUR, 58 * HOUR]);
    }

    #[test]
    fn what_never_comes_is_none() {
        let cron: Cron = "0 0 30 2 * UTC".parse().expect("the words are right");
        assert_eq!(cron.after(at(0)), None);
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (text, why) in [("* * * * * Mars/Crater", "timezone Mars/Crater"), ("61 * * * * UTC", "61"), ("", "")] {
            let error = text.parse::<Cron>().expect_err("wrong").to_string();
            assert!(error.contains(why) && !error.contains('\n'), "{error}");
        }
    }

    fn ticks(missed: MissedTicks, first: FirstRun) -> CronTicks {
        let timing = Timing { missed, ..Timing::every(Duration::ZERO, first) };
        CronTicks::begin("*/10 * * * * UTC".parse().expect("it is one"), &timing, at(30))
    }

    #[test]
    fn missed_times_are_skipped_or_made_up_for() {
        for missed in [MissedTicks::Skip, MissedTicks::Delay] {
            let mut ticks = ticks(missed, FirstRun::AfterInterval);
            assert_eq!(ticks.next, Some(at(600)));
            assert_eq!((ticks.fire(at(2500)), ticks.next), (3, Some(at(3000))));
        }
        let mut ticks = ticks(MissedTicks::Burst, FirstRun::AfterInterval);
        for next in [1200, 1800, 2400, 3000] {
            assert_eq!((ticks.fire(at(2500)), ticks.next), (0, Some(at(next))));
        }
    }

    #[test]
    fn the_first_may_come_at_once() {
        let mut ticks = ticks(MissedTicks::Skip, FirstRun::AtOnce);
        assert_eq!(ticks.next, Some(at(30)));
        assert_eq!((ticks.fire(at(30)), ticks.next), (0, Some(at(600))));
    }

    #[test]
    fn a_clock_that_is_set_far_ahead_is_caught_up_with_in_one_step() {
        let mut ticks = ticks(MissedTicks::Skip, FirstRun::AfterInterval);
        let later = 600 * 1_000_000;
        assert_eq!((ticks.fire(at(later + 1)), ticks.next), (MOST, Some(at(later + 600))));
    }
}
