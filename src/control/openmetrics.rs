//! The text formats for Prometheus and others: Prometheus' own, 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), and OpenMetrics 1.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>). They differ in the description of a family, and at the
//! end.
//!
//! A reader refuses the whole text if one name occurs twice. So names that users chose freely are sanitized, and
//! colliding ones are numbered.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    fmt::Write,
};

use super::counters::{Counters, Entry, Owner};
#[cfg(feature = "metrics")]
use crate::counters::HistogramReading;
use crate::counters::reading::Reading;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Prometheus,
    OpenMetrics,
}

/// Returns the suffixes by which a type of family extends its name; a reader attributes all of them to the family.
fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["", "_total", "_created"],
        "info" => &["", "_info"],
        "summary" => &["", "_count", "_sum", "_created"],
        _ => &[""],
    }
}

/// A family: everything with one name and type, whatever its owner.
struct Family {
    help: String,
    unit: String,
    readings: BTreeMap<Labels, Reading>,
}

type Labels = BTreeMap<String, String>;

impl Counters {
    /// Returns everything, with exported values and warnings, in the text format of OpenMetrics.
    ///
    /// Prometheus and others read it: `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    ///
    /// The core's counts are named `interloop_..`; names of tasks begin with the service's name, unless they [set
    /// another prefix](crate::counters::Meter::namespace). The labels are `service`, `task`, `loop`. A histogram
    /// becomes a summary, with the percentiles of its shortest window, and a gauge for each figure of each window.
    pub fn openmetrics(&self) -> String {
        self.text(Format::OpenMetrics)
    }

    /// Returns the same as [`openmetrics`](Self::openmetrics) in Prometheus' own text format.
    ///
    /// All scrapers of `/metrics` read it: `text/plain; version=0.0.4; charset=utf-8`. The samples are the same, line
    /// by line.
    pub fn prometheus(&self) -> String {
        self.text(Format::Prometheus)
    }

    fn text(&self, format: Format) -> String {
        let service = self.service();
        // By namespace, name and type, so a description by one task counts for all.
        let mut families = BTreeMap::<(String, String, &str), Family>::new();
        for (entry, reading) in self.read(self.entries()) {
            let namespace = entry.family.namespace.clone().unwrap_or_else(|| service.to_owned());
            let labels = labels_of(&entry, service);
            let (name, unit, help) = (entry.key.name.clone(), entry.family.unit.clone(), entry.family.help.clone());
            let kind = match reading {
                Reading::Counter(_) => "counter",
                Reading::Gauge(_) => "gauge",
                #[cfg(feature = "metrics")]
                Reading::Histogram(_) => "summary",
            };
            let family = families.entry((namespace, name, kind)).or_insert_with(|| Family {
                help: String::new(),
                unit: String::new(),
                readings: BTreeMap::new(),
            });
            if family.unit.is_empty() {
                family.unit = name_of(&unit);
            }
            if family.help.is_empty() {
                family.help = help;
            }
            if let btree_map::Entry::Vacant(place) = family.readings.entry(labels) {
                place.insert(reading);
            }
        }
        let mut text = Text { format, out: String::new(), taken: BTreeSet::new() };
        self.write_words(&mut text);
        for ((namespace, name, kind), family) in &families {
            text.family(&format!("{namespace}_{name}"), kind, family);
        }
        if format == Format::OpenMetrics {
            text.out.push_str("# EOF\n");
        }
        text.out
    }

    /// Writes the exported values, as labels of an info, and the warnings.
    fn write_words(&self, text: &mut Text) {
        let service = self.service();
        let words = self.words();
        for (family, of_tasks, help) in
            [("interloop", false, "The service, and what it exports."), ("interloop_task", true, "What tasks export.")]
        {
            let of_these =
                words.iter().filter(|words| matches!(words.owner, Owner::Task { .. }) == of_tasks).collect::<Vec<_>>();
            if of_these.is_empty() {
                continue;
            }
            let name = text.begin(family, "info", "", help);
            for words in of_these {
                let mut labels = owner_labels(&words.owner, service);
                if let (Owner::Service, Some(version)) = (&words.owner, self.version()) {
                    labels.insert("version".to_owned(), version);
                }
                for (name, value) in &words.exports {
                    labels.insert(format!("export_{}", name_of(name)), value.clone());
                }
                text.line(&format!("{name}_info"), &labels, &[], "1");
            }
        }
        let warned = words.iter().any(|words| !words.warnings.is_empty());
        if warned {
            let name = text.begin("interloop_warning", "gauge", "", "What needs somebody's attention.");
            for words in &words {
                for warning in &words.warnings {
                    text.line(&name, &owner_labels(&words.owner, service), &[("name", &warning.name)], "1");
                }
            }
        }
    }
}

pub(super) fn labels_of(entry: &Entry, service: &str) -> Labels {
    let mut labels = owner_labels(&entry.owner, service);
    for (name, value) in &entry.key.labels {
        let name = name_of(name).replace(':', "_");
        // These are reserved by us, and `quantile` by a summary.
        let taken = labels.contains_key(&name) || ["quantile", "window", "stat", "le"].contains(&&*name);
        labels.insert(if taken || name.starts_with("__") { format!("exported_{name}") } else { name }, value.clone());
    }
    labels
}

fn owner_labels(owner: &Owner, service: &str) -> Labels {
    let mut labels = Labels::from([("service".to_owned(), service.to_owned())]);
    match owner {
        Owner::Service => {}
        Owner::Task { name, event_loop } => {
            labels.insert("task".to_owned(), name.to_string());
            labels.insert("loop".to_owned(), event_loop.to_string());
        }
        Owner::Loop { name, kind } => {
            labels.insert("loop".to_owned(), name.to_string());
            labels.insert("kind".to_owned(), (*kind).to_owned());
        }
    }
    labels
}

/// Returns a name that the format allows: letters, digits, `_` and `:`, no digit first.
pub(super) fn name_of(name: &str) -> String {
    let mut name =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == ':' { c } else { '_' }).collect::<String>();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

struct Text {
    format: Format,
    out: String,
    taken: BTreeSet<String>,
}

impl Text {
    /// Writes the header of a family; returns its name, which is unique.
    fn begin(&mut self, name: &str, kind: &str, unit: &str, help: &str) -> String {
        let mut name = name_of(name);
        if kind == "counter"
            && let Some(short) = name.strip_suffix("_total")
        {
            name = short.to_owned();
        }
        let suffix = if unit.is_empty() { String::new() } else { format!("_{unit}") };
        let stem = name.strip_suffix(&suffix).unwrap_or(&name).to_owned();
        let mut number = 1;
        let name = loop {
            let name = if number == 1 { format!("{stem}{suffix}") } else { format!("{stem}_{number}{suffix}") };
            let all = suffixes(kind).iter().map(|suffix| format!("{name}{suffix}")).collect::<Vec<_>>();
            if all.iter().all(|name| !self.taken.contains(name)) {
                self.taken.extend(all);
                break name;
            }
            number += 1;
        };
        match self.format {
            Format::OpenMetrics => {
                let _ = writeln!(self.out, "# TYPE {name} {kind}");
                if !unit.is_empty() {
                    let _ = writeln!(self.out, "# UNIT {name} {unit}");
                }
                if !help.is_empty() {
                    let _ = writeln!(self.out, "# HELP {name} {}", escaped(help));
                }
            }
            // A family has the name of its samples, no unit, and one of fewer types.
            Format::Prometheus => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    kind => ("", kind),
                };
                // promtool requires a description for each.
                let help = if help.is_empty() { "No description." } else { help };
                let _ = writeln!(self.out, "# HELP {name}{suffix} {}", without_newlines(help));
                let _ = writeln!(self.out, "# TYPE {name}{suffix} {kind}");
            }
        }
        name
    }

    fn line(&mut self, name: &str, labels: &Labels, more: &[(&str, &str)], value: &str) {
        self.out.push_str(name);
        let labels = labels.iter().map(|(name, value)| (&**name, &**value));
        for (index, (label, value)) in labels.chain(more.iter().copied()).enumerate() {
            let _ = write!(self.out, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escaped(value));
        }
        let _ = writeln!(self.out, "}} {value}");
    }

    fn family(&mut self, name: &str, kind: &str, family: &Family) {
        let unique = self.begin(name, kind, &family.unit, &family.help);
        for (labels, reading) in &family.readings {
            match reading {
                Reading::Counter(value) => self.line(&format!("{unique}_total"), labels, &[], &value.to_string()),
                Reading::Gauge(value) => self.line(&unique, labels, &[], &number(*value)),
                #[cfg(feature = "metrics")]
                Reading::Histogram(samples) => self.summary(&unique, labels, samples),
            }
        }
        #[cfg(feature = "metrics")]
        if kind == "summary" {
            self.windows(name, family);
        }
    }

    #[cfg(feature = "metrics")]
    fn summary(&mut self, name: &str, labels: &Labels, samples: &HistogramReading) {
        // The format has no sums that go down, and no quantiles below 0.
        let is_positive = samples.min.is_none_or(|min| min >= 0.0);
        if let Some(window) = samples.windows.first().filter(|_| is_positive) {
            for (quantile, value) in [("0.5", window.p50), ("0.99", window.p99)] {
                if let Some(value) = value {
                    self.line(name, labels, &[("quantile", quantile)], &number(value));
                }
            }
        }
        self.line(&format!("{name}_count"), labels, &[], &samples.count.to_string());
        if is_positive {
            self.line(&format!("{name}_sum"), labels, &[], &number(samples.sum));
        }
    }

    /// Writes each figure of each window, if there are any.
    #[cfg(feature = "metrics")]
    fn windows(&mut self, name: &str, family: &Family) {
        let mut lines = Vec::new();
        for (labels, reading) in &family.readings {
            let Reading::Histogram(samples) = reading else { continue };
            for window in &samples.windows {
                let length = number(window.window);
                lines.extend(window.figures().into_iter().map(|(stat, value)| (labels, length.clone(), stat, value)));
            }
        }
        if lines.is_empty() {
            return;
        }
        let name = name.strip_suffix(&*format!("_{}", family.unit)).unwrap_or(name);
        let name = self.begin(&format!("{name}_window"), "gauge", &family.unit, &family.help);
        for (labels, window, stat, value) in lines {
            self.line(&name, labels, &[("window", &window), ("stat", stat)], &number(value));
        }
    }
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

fn escaped(text: &str) -> String {
    without_newlines(text).replace('"', "\\\"")
}

fn without_newlines(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}
