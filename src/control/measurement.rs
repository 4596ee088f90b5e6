//! Readings with all that is known of them, for exporters.

use std::collections::{BTreeMap, btree_map};

use super::{
    counters::Counters,
    openmetrics::{labels_of, name_of},
};
use crate::counters::reading::Reading;

/// A reading with all that an exporter says of it: see [`Counters::measurements`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Measurement {
    /// Its family's, as OpenMetrics has it, without its suffixes: `interloop_loop_turns`, `shop_orders`.
    pub name: String,
    /// `service`, `task`, `loop`, and its own.
    pub labels: BTreeMap<String, String>,
    /// Such as `seconds`; empty if nobody said.
    pub unit: String,
    /// What it is; empty if nobody said.
    pub help: String,
    /// What was read.
    pub reading: Reading,
}

impl Counters {
    /// All of them with their names, labels, units and words, as [`openmetrics`](Self::openmetrics) has them: for
    /// exporters to other formats.
    pub fn measurements(&self) -> Vec<Measurement> {
        let service = self.service();
        let mut measurements = BTreeMap::new();
        for (entry, reading) in self.read(self.entries()) {
            let namespace = entry.family.namespace.as_deref().unwrap_or(service);
            let name = name_of(&format!("{namespace}_{}", entry.key.name));
            let labels = labels_of(&entry, service);
            // The first of two goes before.
            if let btree_map::Entry::Vacant(place) = measurements.entry((name.clone(), labels.clone())) {
                let (unit, help) = (entry.family.unit.clone(), entry.family.help.clone());
                place.insert(Measurement { name, labels, unit, help, reading });
            }
        }
        measurements.into_values().collect()
    }
}
