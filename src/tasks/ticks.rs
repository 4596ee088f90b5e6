//! Ticks: when each run is due.

use std::time::{Duration, Instant};

use super::choices::{FirstRun, MissedTicks, by_chance};
#[cfg(feature = "cron")]
use super::{
    choices::Choices,
    cron::{Cron, CronTicks, Now},
};
use crate::task::ServiceClock;

/// The user's timing.
#[derive(Clone, Debug)]
pub(super) struct Timing {
    pub(super) interval: Duration,
    pub(super) first: FirstRun,
    pub(super) missed: MissedTicks,
    pub(super) jitter: Duration,
    #[cfg(feature = "cron")]
    pub(super) cron: Option<Cron>,
}

impl Timing {
    pub(super) fn every(interval: Duration, first: FirstRun) -> Self {
        Self {
            interval,
            first,
            missed: MissedTicks::default(),
            jitter: Duration::ZERO,
            #[cfg(feature = "cron")]
            cron: None,
        }
    }
}

/// The ticks of one incarnation.
#[derive(Debug)]
pub(super) struct Ticks {
    clock: ServiceClock,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Grid(Grid),
    #[cfg(feature = "cron")]
    Cron(CronTicks),
}

impl Ticks {
    pub(super) fn begin(timing: &Timing, clock: &ServiceClock) -> Self {
        let clock = clock.clone();
        #[cfg(feature = "cron")]
        if let Some(cron) = &timing.cron {
            let choices = Choices { first: timing.first, missed: timing.missed, jitter: timing.jitter };
            let ticks = CronTicks::begin(cron.clone(), choices, now(&clock));
            return Self { clock, kind: Kind::Cron(ticks) };
        }
        Self { kind: Kind::Grid(Grid::begin(timing, clock.now())), clock }
    }

    /// Returns how long to wait for the next tick, at most: zero if it is due, None if there is none.
    pub(super) fn rest(&mut self) -> Option<Duration> {
        match &mut self.kind {
            Kind::Grid(grid) => grid.rest(self.clock.now()),
            #[cfg(feature = "cron")]
            Kind::Cron(ticks) => ticks.rest(now(&self.clock)),
        }
    }

    /// Handles a tick that is due, and moves on to the next one. Returns how many were skipped.
    pub(super) fn fire(&mut self) -> u64 {
        match &mut self.kind {
            Kind::Grid(grid) => grid.fire(self.clock.now()),
            #[cfg(feature = "cron")]
            Kind::Cron(ticks) => ticks.fire(now(&self.clock)),
        }
    }

    /// Whether a run that has just ended, after this long, took too long.
    pub(super) fn is_slow(&mut self, took: Duration) -> bool {
        match &self.kind {
            Kind::Grid(grid) => took > grid.period,
            #[cfg(feature = "cron")]
            Kind::Cron(_) => self.rest().is_some_and(|rest| rest.is_zero()),
        }
    }
}

#[cfg(feature = "cron")]
fn now(clock: &ServiceClock) -> Now {
    Now { time: clock.now(), time_of_day: clock.time_of_day() }
}

/// Ticks at a fixed period.
#[derive(Debug)]
pub(super) struct Grid {
    period: Duration,
    missed: MissedTicks,
    /// The maximal delay of a tick behind its place in the schedule.
    jitter: Duration,
    /// None if it is beyond the end of the clock.
    next: Option<Instant>,
    /// The delay of the next tick.
    delay: Duration,
}

/// The lateness below which a tick still counts as on time: timers are not that exact.
const TOLERANCE: Duration = Duration::from_millis(5);

impl Grid {
    fn begin(timing: &Timing, now: Instant) -> Self {
        let (period, missed, jitter) = (timing.interval, timing.missed, timing.jitter);
        let (next, delay) = match timing.first {
            FirstRun::AtOnce => (Some(now), Duration::ZERO),
            FirstRun::AfterInterval => (now.checked_add(period), by_chance(jitter)),
        };
        Self { period, missed, jitter, next, delay }
    }

    fn rest(&self, now: Instant) -> Option<Duration> {
        Some(self.next?.checked_add(self.delay)?.saturating_duration_since(now))
    }

    fn fire(&mut self, now: Instant) -> u64 {
        let Some(this) = self.next else { return 0 };
        let late = now.saturating_duration_since(this).saturating_sub(self.delay);
        let missed = (late.as_nanos() / self.period.as_nanos()).min(u128::from(u32::MAX)) as u32;
        self.delay = by_chance(self.jitter);
        let (after, missed) = match self.missed {
            MissedTicks::Burst => (self.period, 0),
            MissedTicks::Delay if late > TOLERANCE => (late.saturating_add(self.period), missed),
            MissedTicks::Skip | MissedTicks::Delay => {
                (self.period.saturating_mul(missed).saturating_add(self.period), missed)
            }
        };
        self.next = this.checked_add(after);
        u64::from(missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// Ticks every second from the start; returns what each of these late looks sees, in seconds.
    fn seen(missed: MissedTicks, looks: &[f64]) -> Vec<(u64, f64)> {
        let start = Instant::now();
        let timing = Timing { missed, ..Timing::every(S, FirstRun::AtOnce) };
        let mut grid = Grid::begin(&timing, start);
        let look = |at: &f64| {
            let now = start + Duration::from_secs_f64(*at);
            let skipped = grid.fire(now);
            let next = (grid.next.expect("not that far") - start).as_secs_f64();
            (skipped, (next * 1000.0).round() / 1000.0)
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn ticks_in_time_are_on_the_grid_however_those_that_are_missed_are_treated() {
        for missed in [MissedTicks::Skip, MissedTicks::Burst, MissedTicks::Delay] {
            assert_eq!(seen(missed, &[0.0, 1.0, 2.004]), [(0, 1.0), (0, 2.0), (0, 3.0)]);
        }
    }

    #[test]
    fn missed_ticks_are_skipped() {
        assert_eq!(seen(MissedTicks::Skip, &[0.0, 3.5, 4.0]), [(0, 1.0), (2, 4.0), (0, 5.0)]);
    }

    #[test]
    fn missed_ticks_are_made_up_for() {
        assert_eq!(
            seen(MissedTicks::Burst, &[0.0, 3.5, 3.5, 3.5, 4.0]),
            [(0, 1.0), (0, 2.0), (0, 3.0), (0, 4.0), (0, 5.0)]
        );
    }

    #[test]
    fn missed_ticks_delay_the_grid() {
        assert_eq!(seen(MissedTicks::Delay, &[0.0, 3.5, 4.5]), [(0, 1.0), (2, 4.5), (0, 5.5)]);
    }

    #[test]
    fn jitter_is_late_by_no_more_than_it_may_and_does_not_move_the_grid() {
        let start = Instant::now();
        let jitter = Duration::from_millis(500);
        let mut grid = Grid::begin(&Timing { jitter, ..Timing::every(S, FirstRun::AfterInterval) }, start);
        let mut delays = Vec::new();
        for number in 1..200 {
            let due = grid.rest(start).expect("not that far");
            let delay = due - S * number;
            assert!(delay <= jitter, "{delay:?}");
            delays.push(delay);
            assert_eq!(grid.fire(start + due), 0);
        }
        delays.dedup();
        assert!(delays.len() > 100, "by chance");
    }

    #[test]
    fn an_interval_beyond_the_clock_is_never() {
        let now = Instant::now();
        let mut grid = Grid::begin(&Timing::every(Duration::MAX, FirstRun::AtOnce), now);
        assert_eq!((grid.fire(now), grid.rest(now)), (0, None));
    }
}
