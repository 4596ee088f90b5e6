//! Makes counters, gauges and samples.

use std::{fmt, sync::Arc};

use super::{
    Asked, Counter, Gauge,
    registry::{Instrument, Key, Registry},
};

/// Makes the counters, gauges and samples of a task ([`Context::meter`](crate::Context::meter)) or of the service as a
/// whole ([`ServiceHandle::meter`](crate::ServiceHandle::meter)): the same one for the same name and labels. `Clone +
/// Send + Sync`, for any thread.
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

    /// A meter whose counters, gauges and samples have this label too, in place of one of the same name.
    #[must_use]
    pub fn label(&self, name: &str, value: impl fmt::Display) -> Self {
        let mut meter = self.clone();
        meter.labels.retain(|(known, _)| known != name);
        meter.labels.push((name.to_owned(), value.to_string()));
        meter.labels.sort();
        meter
    }

    /// A meter whose names are exported with this before them, in place of the service's name: for a task of a library,
    /// which is counted by the same names in any service.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// Says what all of this name are counted in (`seconds`, `bytes`, or nothing), and what they say, for an export.
    pub fn describe(&self, name: &str, unit: &str, help: &str) {
        self.registry.describe(name, |family| {
            family.unit = unit.to_owned();
            family.help = help.to_owned();
        });
        self.key(name);
    }

    /// A counter.
    ///
    /// # Panics
    ///
    /// When a gauge or samples have this name and these labels.
    pub fn counter(&self, name: &str) -> Counter {
        let take = |found: &Instrument| match found {
            Instrument::Counter(counter) => Some(counter.clone()),
            _ => None,
        };
        self.registry.enter(&self.key(name), || Instrument::Counter(Counter::default()), take)
    }

    /// A gauge.
    ///
    /// # Panics
    ///
    /// When a counter or samples have this name and these labels, or a gauge that is asked.
    pub fn gauge(&self, name: &str) -> Gauge {
        let take = |found: &Instrument| match found {
            Instrument::Gauge(gauge) => Some(gauge.clone()),
            _ => None,
        };
        self.registry.enter(&self.key(name), || Instrument::Gauge(Gauge::default()), take)
    }

    /// A gauge that is asked for its number whenever somebody reads it. It takes the place of one before. A task's is
    /// forgotten when the task ends.
    ///
    /// It is asked on a thread of the service's own, `gauges`, one after the other, and should answer at once. If it
    /// takes more than 500 ms, or panics, it is left out of what is read, a [warning](crate::ServiceHandle::warnings)
    /// names it, and it isn't asked again before it has come back. It can read counters; a gauge that reads gauges like
    /// itself finds them left out.
    ///
    /// # Panics
    ///
    /// When a counter or samples have this name and these labels.
    pub fn gauge_from(&self, name: &str, ask: impl Fn() -> f64 + Send + Sync + 'static) {
        self.registry.ask(self.key(name), Asked::new(ask));
    }

    /// A histogram with these windows; one that is there already keeps its own.
    ///
    /// # Panics
    ///
    /// When a counter or a gauge has this name and these labels, or a window is shorter than a microsecond.
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
