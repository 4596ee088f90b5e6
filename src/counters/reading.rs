//! A reading of a counter, a gauge or a histogram.

#[cfg(feature = "metrics")]
use super::histogram::HistogramReading;

/// A counter, a gauge or a histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Reading {
    /// The reading of a [`Counter`](crate::counters::Counter).
    Counter(u64),
    /// The reading of a [`Gauge`](crate::counters::Gauge).
    ///
    /// A gauge with a [callback](crate::counters::Meter::gauge_from) that doesn't answer in time or panics is omitted,
    /// and a [warning](crate::ServiceHandle::warnings) names it.
    Gauge(f64),
    /// The reading of a [`Histogram`](crate::counters::Histogram).
    #[cfg(feature = "metrics")]
    Histogram(HistogramReading),
}

impl Reading {
    /// Returns each number with its name.
    ///
    /// A single number has an empty name; those of a histogram are `count`, `sum`, `average`, `min`, `max`, and, for
    /// each window, `p99.60` and so on, with the window's seconds.
    pub fn numbers(&self) -> Vec<(String, f64)> {
        match self {
            Self::Counter(value) => vec![(String::new(), *value as f64)],
            Self::Gauge(value) => vec![(String::new(), *value)],
            #[cfg(feature = "metrics")]
            Self::Histogram(samples) => {
                let HistogramReading { count, sum, average, min, max, windows } = samples;
                let mut numbers = vec![("count".to_owned(), *count as f64), ("sum".to_owned(), *sum)];
                let figures = [("average", average), ("min", min), ("max", max)];
                numbers.extend(figures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), (*value)?))));
                for of in windows {
                    numbers.push((format!("count.{}", of.window), of.count as f64));
                    numbers.push((format!("sum.{}", of.window), of.sum));
                    let values = of.figures().into_iter();
                    numbers.extend(values.map(|(name, value)| (format!("{name}.{}", of.window), value)));
                }
                numbers
            }
        }
    }
}

#[cfg(feature = "metrics")]
impl super::histogram::WindowReading {
    /// Returns the figures that exist, by name.
    pub(crate) fn figures(&self) -> Vec<(&'static str, f64)> {
        let Self { average, min, max, p50, p99, .. } = self;
        let figures = [("average", average), ("min", min), ("max", max), ("p50", p50), ("p99", p99)];
        figures.into_iter().filter_map(|(name, value)| Some((name, (*value)?))).collect()
    }
}
