//! Measured values: their count, sum and range, in total and over windows.

use std::{
    fmt,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use super::buckets::Buckets;
use crate::kit::{
    clock::{clock, clock_at},
    sync::{Mutex, lock},
};

/// The number of parts of a window; a part enters and leaves the window as a whole.
const PARTS: u64 = 8;
/// The histograms count whole numbers, billionths of the values. So seconds are kept to the nanosecond.
const SCALE: f64 = 1e9;
/// Larger values are counted as this.
const MOST: f64 = 1e19;

/// Measured values such as durations or sizes; clones are the same histogram, usable from any thread.
///
/// It has their count, sum, average, minimum and maximum, in total and over windows of time; windows have percentiles
/// too. Each [reading](Self::read) is consistent.
///
/// A window advances in eighths of its length: it covers the last seven to eight of them. Percentiles are within 1 %,
/// for values from 1e-9 to 1e10. Memory is bounded, whatever is recorded: some kilobytes for each eighth of a window
/// that has values.
///
/// ```
/// use std::time::Duration;
///
/// let sizes = interloop::counters::Histogram::new(&[Duration::from_secs(60)]);
/// sizes.record(3.0);
/// sizes.record(5.0);
/// let reading = sizes.read();
/// assert_eq!((reading.count, reading.average), (2, Some(4.0)));
/// assert_eq!(reading.windows[0].max, Some(5.0));
/// ```
#[derive(Clone)]
pub struct Histogram(Arc<Mutex<Inner>>);

struct Inner {
    total: Totals,
    windows: Vec<Window>,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    count: u64,
    sum: f64,
    /// Meaningful only while the count is not 0.
    min: f64,
    max: f64,
}

struct Window {
    length: Duration,
    /// The length of a part, in nanoseconds.
    width: u64,
    parts: Vec<Part>,
    /// The part of the last value, and the interval of times that go there, in nanoseconds.
    current: usize,
    span: Range<u64>,
}

/// The values of one of the intervals into which a window's length divides all time.
#[derive(Default)]
struct Part {
    number: u64,
    totals: Totals,
    /// Created with the first value.
    buckets: Option<Buckets>,
}

impl Histogram {
    /// Returns a histogram with these windows.
    ///
    /// # Panics
    ///
    /// Panics if a window is shorter than a microsecond.
    pub fn new(windows: &[Duration]) -> Self {
        let mut lengths = windows.to_vec();
        lengths.sort_unstable();
        lengths.dedup();
        let shortest = lengths.first().copied().unwrap_or(Duration::MAX);
        assert!(shortest >= Duration::from_micros(1), "a window must not be shorter than a microsecond");
        let windows = lengths.into_iter().map(Window::new).collect();
        Self(Arc::new(Mutex::new(Inner { total: Totals::default(), windows })))
    }

    /// Records a value. A value that is not finite is ignored; percentiles count a negative value as 0.
    pub fn record(&self, value: f64) {
        self.record_at(value, clock());
    }

    /// Records a duration, in seconds.
    pub fn record_duration(&self, duration: Duration) {
        self.record(duration.as_secs_f64());
    }

    /// Records the time since `began`, in seconds.
    ///
    /// It is slightly faster than [`record_duration`](Self::record_duration) with the elapsed time, which reads the
    /// clock once more.
    pub fn record_since(&self, began: Instant) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(began);
        self.take(elapsed.as_secs_f64(), whole_nanos(elapsed), clock_at(now));
    }

    pub(crate) fn record_at(&self, value: f64, now: Duration) {
        if value.is_finite() {
            self.take(value, (value * SCALE).min(MOST) as u64, now);
        }
    }

    /// Records a value, given also in billionths.
    fn take(&self, value: f64, whole: u64, now: Duration) {
        let mut inner = lock(&self.0);
        inner.total.take(value);
        let now = whole_nanos(now);
        inner.windows.iter_mut().for_each(|window| window.take(value, whole, now));
    }

    /// Returns a consistent reading.
    pub fn read(&self) -> HistogramReading {
        self.read_at(clock())
    }

    pub(crate) fn read_at(&self, now: Duration) -> HistogramReading {
        let inner = lock(&self.0);
        let Totals { count, sum, .. } = inner.total;
        let windows = inner.windows.iter().map(|window| window.read(now)).collect();
        let [average, min, max] = inner.total.figures();
        HistogramReading { count, sum, average, min, max, windows }
    }

    pub(crate) fn reset(&self) {
        let mut inner = lock(&self.0);
        inner.total = Totals::default();
        inner.windows.iter_mut().for_each(Window::clear);
    }
}

/// Returns whole nanoseconds: 64 bits of them last for 584 years, and divide several times as fast as 128.
fn whole_nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

impl Totals {
    fn take(&mut self, value: f64) {
        self.merge(&Self { count: 1, sum: value, min: value, max: value });
    }

    fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Returns the average, the minimum and the maximum.
    fn figures(&self) -> [Option<f64>; 3] {
        let some = |value| (self.count > 0).then_some(value);
        [some(self.sum / self.count as f64), some(self.min), some(self.max)]
    }
}

impl Window {
    fn new(length: Duration) -> Self {
        let width = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX) / PARTS;
        Self { length, width, parts: Vec::new(), current: 0, span: 0..0 }
    }

    /// Returns the number of the part that `now` is in.
    fn number(&self, now: u64) -> u64 {
        now / self.width
    }

    #[inline]
    fn take(&mut self, value: f64, whole: u64, now: u64) {
        if !self.span.contains(&now) {
            self.turn_to(now);
        }
        let part = &mut self.parts[self.current];
        part.totals.take(value);
        part.buckets.get_or_insert_default().record(whole);
    }

    /// Makes the part of this time current.
    #[inline(never)]
    fn turn_to(&mut self, now: u64) {
        let number = self.number(now);
        if self.parts.is_empty() {
            self.parts.resize_with(PARTS as usize, Part::default);
        }
        self.current = (number % PARTS) as usize;
        let begin = number * self.width;
        self.span = begin..begin.saturating_add(self.width);
        let part = &mut self.parts[self.current];
        if part.number != number {
            part.number = number;
            part.totals = Totals::default();
            // Its memory is kept for new values.
            part.buckets.iter_mut().for_each(Buckets::reset);
        }
    }

    fn clear(&mut self) {
        self.parts.clear();
        self.span = 0..0;
    }

    fn read(&self, now: Duration) -> WindowReading {
        let last = self.number(whole_nanos(now));
        let mut totals = Totals::default();
        let mut merged = Buckets::default();
        for part in self.parts.iter().filter(|part| part.number <= last && last - part.number < PARTS) {
            totals.merge(&part.totals);
            if let Some(buckets) = part.buckets.as_ref().filter(|_| part.totals.count > 0) {
                merged.add(buckets);
            }
        }
        let [average, min, max] = totals.figures();
        let percentile = |quantile| {
            let value = merged.quantile(quantile)? as f64 / SCALE;
            Some(value.clamp(totals.min, totals.max))
        };
        WindowReading {
            window: self.length.as_secs_f64(),
            count: totals.count,
            sum: totals.sum,
            average,
            min,
            max,
            p50: percentile(0.5),
            p99: percentile(0.99),
        }
    }
}

/// A reading of a [`Histogram`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HistogramReading {
    /// The total number of values.
    pub count: u64,
    /// The sum of the values.
    pub sum: f64,
    /// The average; `None` without values.
    pub average: Option<f64>,
    /// The minimum; `None` without values.
    pub min: Option<f64>,
    /// The maximum; `None` without values.
    pub max: Option<f64>,
    /// The same over each window, the shortest first.
    pub windows: Vec<WindowReading>,
}

/// A reading of a [`Histogram`] over one window.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WindowReading {
    /// The window's length, in seconds.
    pub window: f64,
    /// The number of values.
    pub count: u64,
    /// The sum of the values.
    pub sum: f64,
    /// The average; `None` without values.
    pub average: Option<f64>,
    /// The minimum; `None` without values.
    pub min: Option<f64>,
    /// The maximum; `None` without values.
    pub max: Option<f64>,
    /// The median; `None` without values.
    pub p50: Option<f64>,
    /// The 99th percentile; `None` without values.
    pub p99: Option<f64>,
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Histogram").field(&self.read()).finish()
    }
}
