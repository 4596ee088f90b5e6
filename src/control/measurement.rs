//! Readings with their full descriptions, for exporters.

use std::collections::{BTreeMap, btree_map};

use super::{
    counters::Counters,
    openmetrics::{labels_of, name_of},
};
use crate::counters::reading::Reading;

/// A reading with its description for an exporter: see [`Counters::measurements`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Measurement {
    /// The family's name in OpenMetrics, without suffixes: `interloop_loop_turns`, `shop_orders`.
    pub name: String,
    /// The labels `service`, `task`, `loop`, and its own.
    pub labels: BTreeMap<String, String>,
    /// The unit, such as `seconds`; empty if none was set.
    pub unit: String,
    /// The help text; empty if none was set.
    pub help: String,
    /// The reading.
    pub reading: Reading,
}

impl Counters {
    /// Returns all readings with names, labels, units and help texts as in [`openmetrics`](Self::openmetrics).
    ///
    /// Use it for exporters to other formats.
    pub fn measurements(&self) -> Vec<Measurement> {
        let service = self.service();
        let mut measurements = BTreeMap::new();
        for (entry, reading) in self.read(self.entries()) {
            let namespace = entry.family.namespace.as_deref().unwrap_or(service);
            let name = name_of(&format!("{namespace}_{}", entry.key.name));
            let labels = labels_of(&entry, service);
            // The first of two wins.
            if let btree_map::Entry::Vacant(place) = measurements.entry((name.clone(), labels.clone())) {
                let (unit, help) = (entry.family.unit.clone(), entry.family.help.clone());
                place.insert(Measurement { name, labels, unit, help, reading });
            }
        }
        measurements.into_values().collect()
    }
}
