//! Reads all registries of a service, and the core's own counts.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{
    status::Phase,
    status_board::{LoopRow, StatusBoard, TaskRow},
};
use crate::counters::{
    MeterOf, Warning,
    reading::Reading,
    registry::{Family, Instrument, Key, Registry},
};

/// All counters, gauges and histograms of a service, by name;
/// [`ServiceHandle::counters`](crate::ServiceHandle::counters) returns it.
///
/// A task's are named `{task}.{name}`, with labels `{task}.{name}{label="value"}`; the service's own `{name}`; a loop's
/// `loop.{loop}.{name}`. `docs/counters.md` lists the core's own counts for each task and each loop.
#[derive(Clone)]
pub struct Counters(Arc<StatusBoard>);

/// The owner of an entry.
#[derive(Clone)]
pub(super) enum Owner {
    Service,
    Task { name: Arc<str>, event_loop: Arc<str> },
    Loop { name: Arc<str>, kind: &'static str },
}

/// A readable entry.
pub(super) struct Entry {
    pub(super) owner: Owner,
    pub(super) key: Key,
    pub(super) family: Family,
    pub(super) source: Source,
}

pub(super) enum Source {
    /// Created by the owner in this registry, or by the core in the service's.
    Made(Arc<Registry>, Instrument),
    /// Counted by the core.
    Own(Reading),
}

impl Entry {
    fn name(&self) -> String {
        match &self.owner {
            Owner::Service => self.key.to_string(),
            Owner::Task { name, .. } => format!("{name}.{}", self.key),
            Owner::Loop { name, .. } => format!("loop.{name}.{}", self.key),
        }
    }
}

/// The exports and warnings of a task or the service, beside its entries.
pub(super) struct Words {
    pub(super) owner: Owner,
    pub(super) exports: BTreeMap<String, String>,
    pub(super) warnings: Vec<Warning>,
}

impl Counters {
    pub(crate) fn new(board: Arc<StatusBoard>) -> Self {
        Self(board)
    }

    /// Returns all of them.
    pub fn all(&self) -> BTreeMap<String, Reading> {
        self.those(|_| true)
    }

    /// Returns the one with this name, and reads no other.
    pub fn get(&self, name: &str) -> Option<Reading> {
        self.those(|known| known == name).remove(name)
    }

    /// Returns those whose names match this regular expression anywhere.
    ///
    /// ```
    /// # use interloop::Service;
    /// # let service = Service::new("shop");
    /// let of_http = service.handle().counters().matching(r"^http\.")?;
    /// # drop(of_http);
    /// # Ok::<(), interloop::counters::PatternError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if it is no regular expression in the syntax of [`regex_lite`](https://docs.rs/regex-lite).
    #[cfg(feature = "metrics")]
    pub fn matching(&self, pattern: &str) -> Result<BTreeMap<String, Reading>, PatternError> {
        let pattern = regex_lite::Regex::new(pattern).map_err(|why| PatternError(why.to_string()))?;
        Ok(self.those(|name| pattern.is_match(name)))
    }

    /// Returns each number separately.
    ///
    /// Histograms are split as [`Reading::numbers`] names their numbers: `http.request_duration.p99.60`.
    pub fn numbers(&self) -> BTreeMap<String, f64> {
        let spread = |(name, reading): (String, Reading)| {
            let numbers = reading.numbers().into_iter();
            numbers.map(move |(of, value)| (if of.is_empty() { name.clone() } else { format!("{name}.{of}") }, value))
        };
        self.all().into_iter().flat_map(spread).collect()
    }

    /// Resets the counter or histogram with this name; no concurrent addition is lost.
    ///
    /// Returns false if there is none: gauges and the core's own counts can't be reset.
    pub fn reset(&self, name: &str) -> bool {
        // Not `any`: each must be reset.
        self.made().into_iter().filter(|(known, _)| known == name).fold(false, |any, (_, one)| one.reset() || any)
    }

    /// Resets all counters and histograms.
    pub fn reset_all(&self) {
        for (_, instrument) in self.made() {
            instrument.reset();
        }
    }

    /// Returns the [exported](crate::Context::export) values of tasks and service, named in the same way.
    pub fn exports(&self) -> BTreeMap<String, String> {
        let spread = |words: Words| {
            let prefix = match words.owner {
                Owner::Task { name, .. } => format!("{name}."),
                _ => String::new(),
            };
            words.exports.into_iter().map(move |(name, value)| (format!("{prefix}{name}"), value))
        };
        self.words().into_iter().flat_map(spread).collect()
    }

    fn those(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Reading> {
        let entries = self.entries().into_iter().map(|entry| (entry.name(), entry));
        // By name before they are read: the later of two wins.
        let entries = entries.filter(|(name, _)| wanted(name)).collect::<BTreeMap<_, _>>();
        self.read(entries.into_values().collect()).into_iter().map(|(entry, reading)| (entry.name(), reading)).collect()
    }

    /// Reads these, in order, except for gauges that don't answer.
    pub(super) fn read(&self, entries: Vec<Entry>) -> Vec<(Entry, Reading)> {
        let meters = entries.iter().filter_map(|entry| match &entry.source {
            Source::Made(registry, instrument) => {
                Some(MeterOf { registry: registry.clone(), key: entry.key.clone(), instrument: instrument.clone() })
            }
            Source::Own(_) => None,
        });
        let mut readings = self.0.asker().read(&meters.collect::<Vec<_>>()).into_iter();
        let read = |entry: Entry| {
            let reading = match &entry.source {
                Source::Own(reading) => Some(reading.clone()),
                Source::Made(..) => readings.next().flatten(),
            };
            reading.map(|reading| (entry, reading))
        };
        entries.into_iter().filter_map(read).collect()
    }

    fn made(&self) -> Vec<(String, Instrument)> {
        let entries = self.entries().into_iter().filter_map(|entry| {
            let name = entry.name();
            match entry.source {
                Source::Made(_, instrument) => Some((name, instrument)),
                Source::Own(_) => None,
            }
        });
        entries.collect()
    }

    pub(super) fn service(&self) -> &str {
        self.0.name()
    }

    pub(super) fn version(&self) -> Option<String> {
        self.0.version()
    }

    /// Returns all entries, to be read outside of any lock, since a read may call user code. The core's counts come
    /// first.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let (phase, ready, uptime) = self.0.vitals();
        let service = [
            ("ready", "", "Whether all tasks run and no stop was requested.", flag(ready)),
            ("uptime", "seconds", "The time since the start.", Reading::Gauge(uptime.as_secs_f64())),
            ("stopping", "", "Whether a stop was requested.", flag(phase >= Phase::Stopping)),
            ("lost_lines", "", "Lines of the log that were lost.", Reading::Counter(self.0.lost_lines())),
        ];
        let mut entries = Vec::new();
        own(&mut entries, &Owner::Service, "interloop", service);
        self.0.rows(|tasks, loops| {
            for row in loops {
                loop_entries(&mut entries, row, self.0.registry());
            }
            for row in tasks {
                task_entries(&mut entries, row, loops);
            }
            for row in tasks {
                made(&mut entries, &task_owner(row, loops), row.info.registry());
            }
        });
        made(&mut entries, &Owner::Service, self.0.registry());
        entries
    }

    pub(super) fn words(&self) -> Vec<Words> {
        let mut words = vec![words(Owner::Service, self.0.registry(), None)];
        self.0.rows(|tasks, loops| {
            words.extend(
                tasks.iter().map(|row| self::words(task_owner(row, loops), row.info.registry(), Some(&row.name))),
            );
        });
        words
    }
}

fn words(owner: Owner, registry: &Registry, task: Option<&str>) -> Words {
    Words { owner, exports: registry.exports(), warnings: registry.warnings(task) }
}

fn task_owner(row: &TaskRow, loops: &[LoopRow]) -> Owner {
    let event_loop = loops.get(row.event_loop).map_or_else(|| Arc::from(""), |row| row.shared.name().clone());
    Owner::Task { name: row.name.clone(), event_loop }
}

fn flag(holds: bool) -> Reading {
    Reading::Gauge(f64::from(u8::from(holds)))
}

fn count(count: usize) -> Reading {
    Reading::Gauge(count as f64)
}

fn own<const N: usize>(
    entries: &mut Vec<Entry>,
    owner: &Owner,
    namespace: &str,
    readings: [(&str, &str, &str, Reading); N],
) {
    entries.extend(readings.map(|(name, unit, help, reading)| Entry {
        owner: owner.clone(),
        key: Key { name: name.to_owned(), labels: Vec::new() },
        family: Family { namespace: Some(namespace.to_owned()), unit: unit.to_owned(), help: help.to_owned() },
        source: Source::Own(reading),
    }));
}

fn made(entries: &mut Vec<Entry>, owner: &Owner, registry: &Arc<Registry>) {
    entries.extend(registry.meters().into_iter().map(|(key, instrument)| {
        let family = registry.family(&key.name);
        Entry { owner: owner.clone(), key, family, source: Source::Made(registry.clone(), instrument) }
    }));
}

fn task_entries(entries: &mut Vec<Entry>, row: &TaskRow, loops: &[LoopRow]) {
    let (children, spawned) = row.info.children();
    let readings = [
        ("running", "", "Whether it runs.", flag(row.state == crate::State::Running)),
        ("restarts", "", "How often it began anew.", Reading::Counter(u64::from(row.incarnation.saturating_sub(1)))),
        ("children", "", "Its children that live.", count(children)),
        ("spawned", "", "Its children so far.", Reading::Counter(spawned)),
    ];
    own(entries, &task_owner(row, loops), "interloop_task", readings);
}

#[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "whose registry: the samples' alone"))]
fn loop_entries(entries: &mut Vec<Entry>, row: &LoopRow, registry: &Arc<Registry>) {
    let shared = &row.shared;
    let queue = &shared.queue;
    let owner = Owner::Loop { name: shared.name().clone(), kind: row.kind };
    let readings = [
        ("running", "", "Whether it takes turns.", flag(row.running)),
        ("restarts", "", "How often it began anew.", Reading::Counter(u64::from(row.incarnation.saturating_sub(1)))),
        ("turns", "", "Turns of its mailbox.", Reading::Counter(shared.turns())),
        ("jobs", "", "Jobs that it has run.", Reading::Counter(shared.jobs())),
        ("dropped", "", "Jobs that were dropped unrun.", Reading::Counter(shared.dropped())),
        ("stalls", "", "Stalls that the stall watch has seen.", Reading::Counter(shared.stalls())),
        ("depth", "", "Jobs in its mailbox.", count(queue.len())),
        ("depth_most", "", "The most jobs that were in its mailbox.", count(queue.high_water())),
        ("depth_limit", "", "The most jobs that may be in its mailbox.", count(queue.capacity())),
        ("futures", "", "Futures that it hosts.", count(shared.live())),
    ];
    own(entries, &owner, "interloop_loop", readings);
    #[cfg(feature = "metrics")]
    entries.push(Entry {
        owner,
        key: Key { name: "latency".to_owned(), labels: Vec::new() },
        family: Family {
            namespace: Some("interloop_loop".to_owned()),
            unit: "seconds".to_owned(),
            help: "From the first post to a loop at rest to the turn that runs it.".to_owned(),
        },
        source: Source::Made(registry.clone(), Instrument::Histogram(shared.latency().clone())),
    });
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counters").field(&self.0.name()).finish()
    }
}

/// The error of an invalid regular expression.
#[cfg(feature = "metrics")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(String);

#[cfg(feature = "metrics")]
impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a regular expression: {}", self.0)
    }
}

#[cfg(feature = "metrics")]
impl std::error::Error for PatternError {}
