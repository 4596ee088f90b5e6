#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

use std::{collections::HashMap, pin::pin, time::Duration};

use interloop::{
    Context, Result, ServiceHandle, Task,
    counters::{Counters, HistogramReading, Measurement, Reading},
    event_loop::Timers,
    options::{OptionDefaults, duration},
};
use metrics::{Label, Unit, counter, describe_counter, describe_gauge, gauge};

/// Hands the readings of a service to the recorder of the `metrics` facade: [at each call](Self::export), or as a task.
///
/// The task exports at its start, at regular intervals (`--{task}-interval`), and at its stop. It must be marked
/// [`last`](interloop::service::TaskSettings::last), so that its last export comes after all other tasks have ended.
///
/// A service may have one exporter at a time: two would both add the increments of its counters.
#[derive(Debug)]
pub struct Exporter {
    counters: Counters,
    interval: Duration,
    /// The value of each counter at the last export.
    told: HashMap<(String, Vec<Label>), u64>,
}

impl Exporter {
    /// Makes an exporter for this service.
    pub fn new(service: &ServiceHandle) -> Self {
        Self { counters: service.counters(), interval: Duration::from_secs(10), told: HashMap::new() }
    }

    /// Sets how often the task exports, unless its options say otherwise; 10 s by default.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        assert!(!interval.is_zero(), "{NO_INTERVAL}");
        self.interval = interval;
        self
    }

    /// Reads all metrics, and tells the recorder: the process's, or, on this thread, one of
    /// `metrics::with_local_recorder`.
    pub fn export(&mut self) {
        for measurement in self.counters.measurements() {
            let Measurement { name, labels, unit, help, reading, .. } = measurement;
            let labels = labels.into_iter().map(|(name, value)| Label::new(name, value)).collect();
            let family = Family { name, unit: Unit::from_string(&unit), help };
            match reading {
                Reading::Counter(value) => self.count(family, labels, value),
                // The gauge was asked for its value, and panicked.
                Reading::Gauge(value) if value.is_nan() => {}
                Reading::Gauge(value) => family.show(labels, value),
                Reading::Histogram(samples) => self.histogram(&family, &labels, &samples),
                _ => {}
            }
        }
    }

    /// Adds the increment since the last export; if the counter has restarted, the whole value.
    fn count(&mut self, family: Family, labels: Vec<Label>, value: u64) {
        let Family { name, unit, help } = family;
        if let Some(unit) = unit {
            describe_counter!(name.clone(), unit, help);
        } else {
            describe_counter!(name.clone(), help);
        }
        let told = self.told.insert((name.clone(), labels.clone()), value).unwrap_or(0);
        counter!(name, labels).increment(value.checked_sub(told).unwrap_or(value));
    }

    fn histogram(&mut self, family: &Family, labels: &[Label], samples: &HistogramReading) {
        self.count(Family { unit: None, ..family.with("count") }, labels.to_vec(), samples.count);
        family.with("sum").show(labels.to_vec(), samples.sum);
        for window in &samples.windows {
            let figures = [
                ("average", window.average),
                ("min", window.min),
                ("max", window.max),
                ("p50", window.p50),
                ("p99", window.p99),
            ];
            for (stat, value) in figures {
                // A window without samples has no values: the last ones don't stay.
                let of = [Label::new("window", window.window.to_string()), Label::from_static_parts("stat", stat)];
                family.with("window").show([labels, &of].concat(), value.unwrap_or(f64::NAN));
            }
        }
    }
}

const NO_INTERVAL: &str = "the interval must not be zero";

/// The common properties of all readings of one name.
struct Family {
    name: String,
    unit: Option<Unit>,
    help: String,
}

impl Family {
    fn with(&self, suffix: &str) -> Self {
        Self { name: format!("{}_{suffix}", self.name), unit: self.unit, help: self.help.clone() }
    }

    fn show(self, labels: Vec<Label>, value: f64) {
        let Self { name, unit, help } = self;
        if let Some(unit) = unit {
            describe_gauge!(name.clone(), unit, help);
        } else {
            describe_gauge!(name.clone(), help);
        }
        gauge!(name, labels).set(value);
    }
}

/// The options of an [`Exporter`].
#[derive(clap::Args, Clone, Debug)]
pub struct ExporterOptions {
    /// How often to export
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    interval: Option<Duration>,
}

fn interval(text: &str) -> std::result::Result<Duration, String> {
    let interval = duration(text)?;
    if interval.is_zero() { Err(NO_INTERVAL.into()) } else { Ok(interval) }
}

impl<L: Timers> Task<L> for Exporter {
    type Options = ExporterOptions;

    async fn run(&mut self, cx: Context<L, ExporterOptions>) -> Result {
        let interval = cx.options().interval.unwrap_or(self.interval);
        let mut stop = pin!(cx.until_shutdown());
        loop {
            self.export();
            if cx.timeout(interval, stop.as_mut()).await.is_ok() {
                break;
            }
        }
        self.export();
        Ok(())
    }

    fn defaults(&self) -> OptionDefaults {
        OptionDefaults::new().with_duration("interval", Some(self.interval))
    }
}
