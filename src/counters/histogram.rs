//! Values that are measured: how many, their sum and range, since ever and over windows.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::buckets::Buckets;
use crate::kit::{
    clock::{clock, clock_at},
    sync::{Mutex, lock},
};

/// Into how many parts a window is split, which come and go as wholes.
const PARTS: u64 = 8;
/// The histograms count whole numbers: of values, billionths. So seconds are kept to the nanosecond.
const SCALE: f64 = 1e9;
/// What is more is counted as this.
const MOST: f64 = 1e19;

/// Values that are measured, such as durations or sizes: their count, sum, average, minimum and maximum since ever, and over windows of time, there
/// with percentiles. `Clone` gives the same samples; any thread may use them. What is [read](Self::read) belongs together.
///
/// A window moves on in eighths of its length: it shows the last seven to eight of them. Percentiles are within 1 %, of values from 1e-9 to 1e10. Memory is
/// bounded, whatever is recorded: some kilobytes for each eighth of a window that has values.
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
    /// Of something only while the count is not 0.
    min: f64,
    max: f64,
}

struct Window {
    length: Duration,
    /// How long a part is, in nanoseconds.
    width: u64,
    parts: Vec<Part>,
}

/// What was recorded within one of the times into which a window's length divides all time.
#[derive(Default)]
struct Part {
    number: u64,
    totals: Totals,
    /// Made with the first value.
    buckets: Option<Buckets>,
}

impl Histogram {
    /// A histogram with these windows.
    ///
    /// # Panics
    ///
    /// When a window is shorter than a microsecond.
    pub fn new(windows: &[Duration]) -> Self {
        let mut lengths = windows.to_vec();
        lengths.sort_unstable();
        lengths.dedup();
        let shortest = lengths.first().copied().unwrap_or(Duration::MAX);
        assert!(shortest >= Duration::from_micros(1), "a window must not be shorter than a microsecond");
        let windows = lengths.into_iter().map(Window::new).collect();
        Self(Arc::new(Mutex::new(Inner { total: Totals::default(), windows })))
    }

    /// Takes a value. What is no finite number is left out; the percentiles take what is below 0 for 0.
    pub fn record(&self, value: f64) {
        self.record_at(value, clock());
    }

    /// Takes a duration, in seconds.
    pub fn record_duration(&self, duration: Duration) {
        self.record(duration.as_secs_f64());
    }

    /// Takes the time since `began`, in seconds: a little faster than [`record_duration`](Self::record_duration) of what has elapsed, which asks for the
    /// time once more.
    pub fn record_since(&self, began: Instant) {
        let now = Instant::now();
        self.record_at(now.saturating_duration_since(began).as_secs_f64(), clock_at(now));
    }

    pub(crate) fn record_at(&self, value: f64, now: Duration) {
        if !value.is_finite() {
            return;
        }
        let mut inner = lock(&self.0);
        inner.total.take(value);
        inner.windows.iter_mut().for_each(|window| window.take(value, now));
    }

    /// What there is, of one moment.
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
        inner.windows.iter_mut().for_each(|window| window.parts.clear());
    }
}

impl Totals {
    fn take(&mut self, value: f64) {
        self.merge(&Self { count: 1, sum: value, min: value, max: value });
    }

    proptest! {
        #[test]
        fn it_says_what_hdrhistogram_says(
            first in prop::collection::vec(number(), 1..200),
            second in prop::collection::vec(number(), 0..200),
            quantiles in prop::collection::vec(0.000_001..=1.0, 1..20),
        ) {
            let (mut ours, mut theirs) = (Histogram::default(), hdrhistogram::Histogram::<u32>::new(2).unwrap());
            theirs.auto(true);
            let (mut more, mut theirs_more) = (Histogram::default(), theirs.clone());
            // What was forgotten leaves no trace.
            second.iter().for_each(|&number| ours.record(number));
            ours.reset();
            for &number in &first {
                ours.record(number);
                theirs.record(number).unwrap();
            }
            for &number in &second {
                more.record(number);
                theirs_more.record(number).unwrap();
            }
            ours.add(&more);
            theirs.add(&theirs_more).unwrap();
            for quantile in quantiles {
                // After a merge the greatest number that theirs knows is one less.
                let least = |number: u64| number.min(u64::MAX - 1);
                let (ours, theirs) = (ours.quantile(quantile).map(least), least(theirs.value_at_quantile(quantile)));
                prop_assert_eq!(ours, Some(theirs), "{}", quantile);
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

/// [`Histogram`] at one moment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HistogramReading {
    /// How many values, since ever.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Their average; None without values.
    pub average: Option<f64>,
    /// The least.
    pub min: Option<f64>,
    /// The most.
    pub max: Option<f64>,
    /// The same over each window, the shortest first.
    pub windows: Vec<WindowReading>,
}

/// What [`Histogram`] had in a window.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WindowReading {
    /// Its length, in seconds.
    pub window: f64,
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Their average; None without values.
    pub average: Option<f64>,
    /// The least.
    pub min: Option<f64>,
    /// The most.
    pub max: Option<f64>,
    /// The median.
    pub p50: Option<f64>,
    /// What 99 % don't pass.
    pub p99: Option<f64>,
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Histogram").field(&self.read()).finish()
    }
}
