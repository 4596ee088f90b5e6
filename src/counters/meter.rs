//! Makes counters, gauges and histograms.

use std::{fmt, sync::Arc};

use super::{
    Asked, Counter, Gauge,
    registry::{Instrument, Key, Registry},
};

/// Makes the counters, gauges and histograms of a task or of the whole service, on any thread.
///
/// [`Context::meter`](crate::Context::meter) returns a task's, [`ServiceHandle::meter`](crate::ServiceHandle::meter)
/// the service's. The same name and labels always return the same one. `Clone + Send + Sync`.
///
/// ```
/// # use interloop::{Service, Thread, task_fn};
/// # let mut service = Service::new("shop");
/// let meter = service.handle().meter();
/// meter.describe("orders", "", "Orders taken, by the way they came.");
/// let by_phone = meter.label("way", "phone").counter("orders");
/// let by_mail = meter.label("way", "mail").counter("orders");
/// by_mail.add(1);
/// # drop(by_phone);
/// ```
#[derive(Clone)]
pub struct Meter {
    registry: Arc<Registry>,
    labels: Vec<(String, String)>,
    namespace: Option<String>,
}

impl Meter {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry, labels: Vec::new(), namespace: None }
    }

    /// Returns a meter that also sets this label, in place of a label with the same name.
    #[must_use]
    pub fn label(&self, name: &str, value: impl fmt::Display) -> Self {
        let mut meter = self.clone();
        meter.labels.retain(|(known, _)| known != name);
        meter.labels.push((name.to_owned(), value.to_string()));
        meter.labels.sort();
        meter
    }

    /// Returns a meter whose exported names have this prefix in place of the service's name.
    ///
    /// A task of a library uses it to have the same names in any service.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// Sets the unit (`seconds`, `bytes`, or empty) and the help text of all that have this name, for exports.
    pub fn describe(&self, name: &str, unit: &str, help: &str) {
        self.registry.describe(name, |family| {
            family.unit = unit.to_owned();
            family.help = help.to_owned();
        });
        self.key(name);
    }

    /// Returns a counter.
    ///
    /// # Panics
    ///
    /// Panics if a gauge or a histogram has this name and these labels.
    pub fn counter(&self, name: &str) -> Counter {
        let take = |found: &Instrument| match found {
            Instrument::Counter(counter) => Some(counter.clone()),
            _ => None,
        };
        self.registry.enter(&self.key(name), || Instrument::Counter(Counter::default()), take)
    }

    /// Returns a gauge.
    ///
    /// # Panics
    ///
    /// Panics if a counter, a histogram or a gauge with a callback has this name and these labels.
    pub fn gauge(&self, name: &str) -> Gauge {
        let take = |found: &Instrument| match found {
            Instrument::Gauge(gauge) => Some(gauge.clone()),
            _ => None,
        };
        self.registry.enter(&self.key(name), || Instrument::Gauge(Gauge::default()), take)
    }

    /// Registers a gauge whose callback is called at each read.
    ///
    /// It replaces a gauge with the same name and labels. A task's gauge is removed when the task ends.
    ///
    /// The callback runs on a thread of the service, `gauges`, one after the other, and should answer at once. If it
    /// takes more than 500 ms, or panics, the gauge is omitted from the reading, a
    /// [warning](crate::ServiceHandle::warnings) names it, and it isn't called again before it has come back. It can
    /// read counters; gauges with callbacks are omitted when it reads them.
    ///
    /// # Panics
    ///
    /// Panics if a counter or a histogram has this name and these labels.
    pub fn gauge_from(&self, name: &str, ask: impl Fn() -> f64 + Send + Sync + 'static) {
        self.registry.ask(self.key(name), Asked::new(ask));
    }

    /// Returns a histogram with these windows; an existing one keeps its own.
    ///
    /// # Panics
    ///
    /// Panics if a counter or a gauge has this name and these labels, or a window is shorter than a microsecond.
    #[cfg(feature = "metrics")]
    pub fn histogram(&self, name: &str, windows: &[std::time::Duration]) -> super::Histogram {
        let take = |found: &Instrument| match found {
            Instrument::Histogram(samples) => Some(samples.clone()),
            _ => None,
        };
        let samples = super::Histogram::new(windows);
        self.registry.enter(&self.key(name), || Instrument::Histogram(samples), take)
    }

    fn key(&self, name: &str) -> Key {
        if let Some(namespace) = &self.namespace {
            self.registry.describe(name, |family| family.namespace = Some(namespace.clone()));
        }
        Key { name: name.to_owned(), labels: self.labels.clone() }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("labels", &self.labels).finish_non_exhaustive()
    }
}
