//! The values of one task, or of the service.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Instant,
};

#[cfg(feature = "metrics")]
use super::Histogram;
use super::{Asked, Counter, Gauge, reading::Reading};
use crate::kit::{
    panics::catch,
    sync::{Mutex, lock},
};
#[cfg(feature = "net")]
use crate::words::address::Address;

/// The values of one task, or of the service, through all incarnations.
pub(crate) struct Registry {
    /// The target of log records about its values.
    target: String,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    meters: BTreeMap<Key, Instrument>,
    /// The descriptions of names.
    families: BTreeMap<String, Family>,
    exports: BTreeMap<String, String>,
    /// The addresses that the incarnation listens on.
    #[cfg(feature = "net")]
    bound: Vec<Address>,
    warnings: BTreeMap<String, (String, Instant)>,
}

/// A name and its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
}

impl fmt::Display for Key {
    /// Writes `requests`, or `responses{status="200"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (index, (label, value)) in self.labels.iter().enumerate() {
            write!(f, "{}{label}={value:?}", if index == 0 { '{' } else { ',' })?;
        }
        f.write_str(if self.labels.is_empty() { "" } else { "}" })
    }
}

/// The description of all that have a name, for an export.
#[derive(Clone, Debug, Default)]
pub(crate) struct Family {
    pub(crate) namespace: Option<String>,
    pub(crate) unit: String,
    pub(crate) help: String,
}

#[derive(Clone)]
pub(crate) enum Instrument {
    Counter(Counter),
    Gauge(Gauge),
    Asked(Arc<Asked>),
    #[cfg(feature = "metrics")]
    Histogram(Histogram),
}

impl Instrument {
    /// Returns the reading; `None` for a gauge with a [callback](super::Asker), which is user code.
    pub(crate) fn read(&self) -> Option<Reading> {
        Some(match self {
            Self::Counter(counter) => Reading::Counter(counter.get()),
            Self::Gauge(gauge) => Reading::Gauge(gauge.get()),
            Self::Asked(_) => return None,
            #[cfg(feature = "metrics")]
            Self::Histogram(samples) => Reading::Histogram(samples.read()),
        })
    }

    /// Restarts at zero and returns true; a gauge has nothing to restart.
    pub(crate) fn reset(&self) -> bool {
        match self {
            Self::Counter(counter) => {
                counter.reset();
            }
            #[cfg(feature = "metrics")]
            Self::Histogram(samples) => samples.reset(),
            Self::Gauge(_) | Self::Asked(_) => return false,
        }
        true
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) | Self::Asked(_) => "gauge",
            #[cfg(feature = "metrics")]
            Self::Histogram(_) => "set of samples",
        }
    }
}

impl Registry {
    pub(crate) fn new(target: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { target: target.into(), inner: Mutex::default() })
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Returns the instrument with this key, which is created if there is none.
    ///
    /// # Panics
    ///
    /// Panics if there is one of another kind.
    pub(crate) fn enter<R>(
        &self,
        key: &Key,
        make: impl FnOnce() -> Instrument,
        take: impl FnOnce(&Instrument) -> Option<R>,
    ) -> R {
        let mut inner = lock(&self.inner);
        let found = match inner.meters.get(key) {
            Some(found) => found.clone(),
            None => {
                let made = make();
                inner.meters.insert(key.clone(), made.clone());
                made
            }
        };
        drop(inner);
        take(&found).unwrap_or_else(|| panic!("{key} is a {} already", found.kind()))
    }

    /// Stores a gauge with a callback in place of an existing one.
    ///
    /// # Panics
    ///
    /// Panics if there is an instrument that is no gauge.
    pub(crate) fn ask(&self, key: Key, ask: Arc<Asked>) {
        let mut inner = lock(&self.inner);
        let before = inner.meters.get(&key).cloned();
        if let Some(other) = before.as_ref().filter(|before| before.kind() != "gauge") {
            let kind = other.kind();
            drop(inner);
            panic!("{key} is a {kind} already");
        }
        let old = inner.meters.insert(key, Instrument::Asked(ask));
        drop(inner);
        drop((before, old));
    }

    /// Ends the incarnation: removes its gauges with callbacks, and its addresses.
    pub(crate) fn end_incarnation(&self) {
        let mut asked = Vec::new();
        let mut inner = lock(&self.inner);
        #[cfg(feature = "net")]
        inner.bound.clear();
        inner.meters.retain(|_, instrument| {
            let keep = !matches!(instrument, Instrument::Asked(_));
            if !keep {
                asked.push(instrument.clone());
            }
            keep
        });
        drop(inner);
        if let Err(panic) = catch(|| drop(asked)) {
            crate::kit::panics::say(format_args!("the drop of a gauge panicked"), &panic);
        }
    }

    pub(crate) fn describe(&self, name: &str, change: impl FnOnce(&mut Family)) {
        change(lock(&self.inner).families.entry(name.to_owned()).or_default());
    }

    pub(crate) fn family(&self, name: &str) -> Family {
        lock(&self.inner).families.get(name).cloned().unwrap_or_default()
    }

    /// Returns all instruments, to be read outside the lock.
    pub(crate) fn meters(&self) -> Vec<(Key, Instrument)> {
        lock(&self.inner).meters.iter().map(|(key, instrument)| (key.clone(), instrument.clone())).collect()
    }

    // --- Exported values ---

    pub(crate) fn export(&self, name: &str, value: String) {
        lock(&self.inner).exports.insert(name.to_owned(), value);
    }

    pub(crate) fn unexport(&self, name: &str) -> bool {
        lock(&self.inner).exports.remove(name).is_some()
    }

    /// Returns the exported values; the listening addresses are exported as `address`.
    pub(crate) fn exports(&self) -> BTreeMap<String, String> {
        let inner = lock(&self.inner);
        #[allow(unused_mut, reason = "the feature net")]
        let mut exports = inner.exports.clone();
        #[cfg(feature = "net")]
        if !inner.bound.is_empty() {
            let bound = inner.bound.iter().map(Address::to_string).collect::<Vec<_>>();
            exports.insert("address".to_owned(), bound.join(", "));
        }
        exports
    }

    // --- Addresses ---

    #[cfg(feature = "net")]
    pub(crate) fn add_bound(&self, address: Address) {
        lock(&self.inner).bound.push(address);
    }

    #[cfg(feature = "net")]
    pub(crate) fn bound(&self) -> Vec<Address> {
        lock(&self.inner).bound.clone()
    }

    // --- Warnings ---

    /// Stores a warning; returns whether it is new.
    pub(crate) fn warn(&self, name: &str, text: String) -> bool {
        let mut inner = lock(&self.inner);
        match inner.warnings.get_mut(name) {
            Some((known, _)) => {
                let new = *known != text;
                *known = text;
                new
            }
            None => {
                inner.warnings.insert(name.to_owned(), (text, Instant::now()));
                true
            }
        }
    }

    pub(crate) fn clear_warning(&self, name: &str) -> bool {
        lock(&self.inner).warnings.remove(name).is_some()
    }

    pub(crate) fn clear_warnings(&self) {
        lock(&self.inner).warnings.clear();
    }

    pub(crate) fn warnings(&self, task: Option<&str>) -> Vec<Warning> {
        let inner = lock(&self.inner);
        let warning = |(name, (text, at)): (&String, &(String, Instant))| Warning {
            task: task.map(str::to_owned),
            name: name.clone(),
            text: text.clone(),
            since: at.elapsed().as_secs_f64(),
        };
        inner.warnings.iter().map(warning).collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = lock(&self.inner).meters.keys().map(Key::to_string).collect::<BTreeSet<_>>();
        f.debug_tuple("Registry").field(&names).finish()
    }
}

/// A warning that needs somebody's attention, raised by [`Context::warn`](crate::Context::warn) until it is cleared.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Warning {
    /// The task that raised it; `None` for the service.
    pub task: Option<String>,
    /// The name by which it is cleared.
    pub name: String,
    /// The text.
    pub text: String,
    /// The time since it was first raised, in seconds.
    pub since: f64,
}

impl fmt::Display for Warning {
    /// Writes `http.disk: 91 % full`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(task) = &self.task {
            write!(f, "{task}.")?;
        }
        write!(f, "{}: {}", self.name, self.text)
    }
}
