//! The ticks of a cron expression, by two clocks: the system's clock says which time it is, and may be set; the other
//! one says how much time has passed.
//!
//! Each look compares the two. If the system's clock was set back, the next tick is recomputed: by the new time, the
//! old next tick may be far away. A time that has already occurred is then skipped if too little time has passed since
//! the last tick; so nothing runs twice, and nothing pauses for as long as the clock was set back by. If the clock was
//! set forward, the times that it jumped over run once.

use std::time::{Duration, Instant, SystemTime};

use super::super::choices::{Choices, FirstRun, MissedTicks, by_chance};
use super::Cron;

/// The time by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) time: Instant,
    pub(crate) time_of_day: SystemTime,
}

impl Now {
    /// Returns what the system's clock would have shown at that moment, had it been set then as it is now.
    fn time_of_day_at(&self, at: Instant) -> Option<SystemTime> {
        self.time_of_day.checked_sub(self.time.saturating_duration_since(at))
    }
}

/// The ticks of one incarnation.
#[derive(Debug)]
pub(crate) struct CronTicks {
    cron: Cron,
    missed: MissedTicks,
    jitter: Duration,
    /// None if there is no further tick.
    next: Option<SystemTime>,
    /// The delay of the next tick.
    delay: Duration,
    /// The latest tick, by the calendar and by the clock that is not set.
    last: Option<(SystemTime, Instant)>,
    /// The times at which the clocks were last compared.
    seen: Now,
    /// The system's clock was set forward since the latest tick.
    leapt: bool,
}

/// Missed ticks are counted up to this number.
const MOST: u64 = 10_000;
/// How often the clocks are compared while nothing is due: timers notice neither a clock that is set nor a machine that
/// slept.
const LOOK: Duration = Duration::from_secs(3600);
/// How far the clocks may drift apart between two looks without counting as set.
const DRIFT: Duration = Duration::from_secs(1);
/// Fixed times that have already occurred don't repeat within this time: cron(8)'s three hours.
const REPEAT: Duration = Duration::from_secs(3 * 3600);

impl CronTicks {
    pub(crate) fn begin(cron: Cron, choices: Choices, now: Now) -> Self {
        let Choices { first, missed, jitter } = choices;
        let (next, delay) = match first {
            FirstRun::AtOnce => (Some(now.time_of_day), Duration::ZERO),
            FirstRun::AfterInterval => (cron.after(now.time_of_day), by_chance(jitter)),
        };
        Self { cron, missed, jitter, next, delay, last: None, seen: now, leapt: false }
    }

    /// Returns how long to wait before the next look; zero if a tick is due.
    pub(crate) fn rest(&mut self, now: Now) -> Option<Duration> {
        self.look(now);
        Some(self.due()?.duration_since(now.time_of_day).unwrap_or_default().min(LOOK))
    }

    pub(crate) fn fire(&mut self, now: Now) -> u64 {
        self.look(now);
        let Some(this) = self.next else { return 0 };
        let leapt = std::mem::take(&mut self.leapt);
        self.delay = by_chance(self.jitter);
        self.last = Some((this, now.time));
        self.next = self.cron.after(this);
        let mut missed = 0;
        while (self.missed != MissedTicks::Burst || leapt)
            && let Some(next) = self.next.filter(|next| *next <= now.time_of_day)
        {
            missed += 1;
            self.next = self.cron.after(if missed < MOST { next } else { now.time_of_day });
        }
        missed
    }

    fn due(&self) -> Option<SystemTime> {
        self.next?.checked_add(self.delay)
    }

    /// Compares the clocks.
    fn look(&mut self, now: Now) {
        let seen = std::mem::replace(&mut self.seen, now);
        let Some(then) = now.time_of_day_at(seen.time) else { return };
        let was_due = self.due().is_some_and(|due| due <= seen.time_of_day);
        if then < seen.time_of_day && !was_due {
            self.next = self.after_step_back(then, now);
        } else if then.duration_since(seen.time_of_day).is_ok_and(|step| step > DRIFT) {
            self.leapt = true;
        }
    }

    /// Returns the first tick after this time that has not already occurred.
    fn after_step_back(&self, time: SystemTime, now: Now) -> Option<SystemTime> {
        let mut next = self.cron.after(time)?;
        let Some((last, fired)) = self.last else { return Some(next) };
        // This is the same moment, by the clock as it is set now.
        let Some(fired) = now.time_of_day_at(fired) else { return Some(next) };
        while next <= last {
            let following = self.cron.after(next)?;
            let gone_by = next.duration_since(fired).unwrap_or_default();
            let half = following.duration_since(next).unwrap_or_default() / 2;
            let least = if self.cron.fields.is_wildcard { half } else { half.max(REPEAT) };
            if gone_by >= least {
                break;
            }
            next = following;
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;

    /// Two clocks and a schedule; runs are noted by the time that has really passed, in seconds.
    struct Bench {
        ticks: CronTicks,
        began: Instant,
        gone: u64,
        /// The time that the system's clock shows, in seconds.
        shown: u64,
        ran: Vec<u64>,
    }

    impl Bench {
        fn new(expression: &str, shown: u64, missed: MissedTicks) -> Self {
            Self::with(expression, shown, Choices { first: FirstRun::AfterInterval, missed, jitter: Duration::ZERO })
        }

        fn with(expression: &str, shown: u64, choices: Choices) -> Self {
            let began = Instant::now();
            let now = Now { time: began, time_of_day: UNIX_EPOCH + Duration::from_secs(shown) };
            let ticks = CronTicks::begin(expression.parse().expect("it is one"), choices, now);
            Self { ticks, began, gone: 0, shown, ran: Vec::new() }
        }

        fn now(&self) -> Now {
            let time_of_day = UNIX_EPOCH + Duration::from_secs(self.shown);
            Now { time: self.began + Duration::from_secs(self.gone), time_of_day }
        }

        /// Waits and runs, as a task does, for this long.
        fn go(&mut self, seconds: u64) -> &mut Self {
            let end = self.gone + seconds;
            loop {
                let rest = self.ticks.rest(self.now()).map_or(u64::MAX, |rest| rest.as_secs());
                if rest == 0 {
                    self.ticks.fire(self.now());
                    self.ran.push(self.gone);
                    continue;
                }
                let step = rest.min(end - self.gone);
                (self.gone, self.shown) = (self.gone + step, self.shown + step);
                if self.gone == end {
                    return self;
                }
            }
        }

        /// Sets the system's clock.
        fn set(&mut self, shown: u64) -> &mut Self {
            self.shown = shown;
            self
        }

        fn ran(&mut self) -> Vec<u64> {
            std::mem::take(&mut self.ran)
        }
    }

    /// A Tuesday.
    const NOON: u64 = 20_004 * DAY + 12 * HOUR;

    #[test]
    fn a_clock_set_back_by_an_hour_runs_nothing_twice_that_has_fixed_times() {
        for expression in ["0 12 * * * UTC", "0 12 * * TUE,WED UTC", "0,30 12 * * * UTC"] {
            let mut bench = Bench::new(expression, NOON - 2 * MINUTE, MissedTicks::Skip);
            bench.go(4 * MINUTE).set(NOON - HOUR + 2 * MINUTE).go(20 * HOUR);
            let ran = bench.ran();
            assert_eq!(ran.iter().filter(|at| **at < 62 * MINUTE + 120).count(), 1, "{expression}: {ran:?}");
            bench.go(DAY);
            assert!(bench.ran().contains(&(25 * HOUR + 2 * MINUTE)), "{expression}");
        }
    }

    #[test]
    fn a_clock_set_back_does_not_silence_what_goes_on_by_real_time() {
        for back in [1, HOUR, 5 * HOUR, DAY, 400 * DAY] {
            let mut bench = Bench::new("*/15 * * * * UTC", NOON - MINUTE, MissedTicks::Skip);
            bench.go(2 * MINUTE);
            let shown = bench.shown;
            bench.set(shown - back).go(2 * HOUR);
            let ran = bench.ran();
            assert!((8..=9).contains(&ran.len()), "{back}: {ran:?}");
            assert!(
                ran.windows(2)
                    .all(|pair| (pair[1] - pair[0]) / MINUTE == 15 || pair[1] - pair[0] == 15 * MINUTE + back),
                "{back}: {ran:?}"
            );
        }
    }

    #[test]
    fn a_second_back_right_after_a_tick_does_not_run_it_again() {
        for expression in ["* * * * * UTC", "0 * * * * UTC", "0 12 * * * UTC"] {
            let mut bench = Bench::new(expression, NOON - 10, MissedTicks::Skip);
            bench.go(11).set(NOON - 1).go(30);
            assert_eq!(bench.ran(), [10], "{expression}");
        }
    }

    #[test]
    fn a_clock_set_back_by_a_day_neither_repeats_a_daily_job_nor_rests_it_for_two_days() {
        for later in [1, 10, HOUR] {
            let mut bench = Bench::new("0 12 * * * UTC", NOON - 10, MissedTicks::Skip);
            bench.go(10 + later);
            let shown = bench.shown;
            // The second one is just before yesterday's noon.
            for back in [DAY, DAY + later + 1] {
                bench.set(shown - back);
                bench.go(3 * DAY - later);
                let ran = bench.ran();
                let gaps: Vec<_> = ran.windows(2).map(|pair| (pair[1] - pair[0]) / HOUR).collect();
                assert!(ran.len() >= 3 && gaps.iter().all(|gap| (23..=25).contains(gap)), "{later}, {back}: {ran:?}");
                bench = Bench::new("0 12 * * * UTC", NOON - 10, MissedTicks::Skip);
                bench.go(10 + later);
            }
        }
    }

    #[test]
    fn a_clock_that_was_far_ahead_at_the_start_does_not_hold_up_the_first_run() {
        let mut bench = Bench::new("0 12 * * * UTC", NOON + 4000 * DAY + 60, MissedTicks::Skip);
        bench.go(30).set(NOON - 2 * HOUR).go(3 * HOUR);
        assert_eq!(bench.ran(), [30 + 2 * HOUR]);
    }

    #[test]
    fn a_clock_set_forward_makes_one_run_however_missed_ticks_are_treated() {
        for missed in [MissedTicks::Skip, MissedTicks::Burst, MissedTicks::Delay] {
            for ahead in [20 * MINUTE, 5 * HOUR, 40 * DAY] {
                let mut bench = Bench::new("*/10 * * * * UTC", NOON + 1, missed);
                let shown = bench.go(10).shown;
                bench.set(shown + ahead).go(9 * MINUTE);
                assert!(bench.ran().len() <= 1, "{missed:?} {ahead}");
                bench.go(HOUR);
                let ran = bench.ran();
                assert!((6..=7).contains(&ran.len()), "{missed:?} {ahead}: {ran:?}");
            }
        }
    }

    #[test]
    fn a_clock_set_forward_is_noticed_within_the_hour() {
        let mut bench = Bench::new("0 12 * * * UTC", NOON + 60, MissedTicks::Skip);
        bench.go(60);
        // Half an hour before it, instead of nearly a day.
        bench.set(NOON + DAY - HOUR / 2).go(HOUR);
        assert_eq!(bench.ran().len(), 1);
    }

    #[test]
    fn there_and_back_again_changes_nothing() {
        let mut bench = Bench::new("0 12 * * * UTC", NOON - HOUR, MissedTicks::Burst);
        for _ in 0..3 {
            let shown = bench.shown;
            bench.set(shown + 50 * DAY).set(shown).go(DAY);
        }
        assert_eq!(bench.ran(), [HOUR, HOUR + DAY, HOUR + 2 * DAY]);
    }

    /// Makes ticks every ten minutes, from half a minute after the epoch on.
    fn ticks(missed: MissedTicks, first: FirstRun) -> Bench {
        Bench::with("*/10 * * * * UTC", 30, Choices { first, missed, jitter: Duration::ZERO })
    }

    /// Fires after the loop was busy until this time; returns how many ticks were missed, and when the next one is.
    fn fire(bench: &mut Bench, at: u64) -> (u64, Option<u64>) {
        (bench.gone, bench.shown) = (at - 30, at);
        let missed = bench.ticks.fire(bench.now());
        (missed, bench.ticks.next.map(|next| next.duration_since(UNIX_EPOCH).expect("later").as_secs()))
    }

    #[test]
    fn missed_times_are_skipped_or_made_up_for() {
        for missed in [MissedTicks::Skip, MissedTicks::Delay] {
            let mut bench = ticks(missed, FirstRun::AfterInterval);
            assert_eq!(fire(&mut bench, 2500), (3, Some(3000)));
        }
        let mut bench = ticks(MissedTicks::Burst, FirstRun::AfterInterval);
        for next in [1200, 1800, 2400, 3000] {
            assert_eq!(fire(&mut bench, 2500), (0, Some(next)));
        }
    }

    #[test]
    fn the_first_may_come_at_once() {
        let mut bench = ticks(MissedTicks::Skip, FirstRun::AtOnce);
        assert_eq!(bench.ticks.rest(bench.now()), Some(Duration::ZERO));
        assert_eq!(fire(&mut bench, 30), (0, Some(600)));
    }

    #[test]
    fn very_many_missed_ticks_are_caught_up_with_in_one_step() {
        let mut bench = ticks(MissedTicks::Skip, FirstRun::AfterInterval);
        let later = 600 * 1_000_000;
        assert_eq!(fire(&mut bench, later + 1), (MOST, Some(later + 600)));
    }
}
