//! A service at one moment.

use std::{collections::BTreeMap, fmt};

#[cfg(feature = "metrics")]
use crate::counters::HistogramReading;
use crate::{counters::Warning, words::state::State};

/// A service at one moment.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Status {
    /// The service's name.
    pub service: String,
    /// Its version, if it has been told one.
    pub version: Option<String>,
    /// What the service as a whole is at.
    pub phase: Phase,
    /// Whether all tasks run, and no stop has been requested.
    pub ready: bool,
    /// Why it stops, once it does.
    pub reason: Option<String>,
    /// The time since the start, in seconds.
    pub uptime: f64,
    /// The selected tasks.
    pub tasks: Vec<TaskStatus>,
    /// Their loops.
    pub loops: Vec<LoopStatus>,
    /// Lines of its log that were lost so far: what takes the log was too slow, stuck, full or gone.
    pub lost_lines: u64,
    /// What needs somebody's attention.
    pub warnings: Vec<Warning>,
    /// What the service itself [exports](crate::ServiceHandle::export).
    pub exports: BTreeMap<String, String>,
    /// Its own [counters](crate::ServiceHandle::meter).
    pub counters: BTreeMap<String, u64>,
    /// Its own gauges.
    pub gauges: BTreeMap<String, f64>,
    /// Its own samples.
    #[cfg(feature = "metrics")]
    pub histograms: BTreeMap<String, HistogramReading>,
}

/// What a service as a whole is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Phase {
    /// Not started yet.
    New,
    /// Some task is not ready yet.
    Starting,
    /// All tasks that will start have started.
    Running,
    /// A stop has been requested.
    Stopping,
    /// All has ended.
    Ended,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
        })
    }
}

/// A task at one moment.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TaskStatus {
    /// Its name.
    pub name: String,
    /// Its loop's name.
    #[cfg_attr(feature = "serde", serde(rename = "loop"))]
    pub event_loop: String,
    /// Where it is in its life.
    pub state: State,
    /// Why.
    pub cause: String,
    /// The time for which it has been in this state, in seconds.
    pub since: f64,
    /// Which run of it this is: 1 is the first.
    pub incarnation: u32,
    /// What it [exports](crate::Context::export).
    pub exports: BTreeMap<String, String>,
    /// Its [counters](crate::Context::counter).
    pub counters: BTreeMap<String, u64>,
    /// Its [gauges](crate::Context::gauge).
    pub gauges: BTreeMap<String, f64>,
    /// Its [histogram](crate::Context::histogram).
    #[cfg(feature = "metrics")]
    pub histograms: BTreeMap<String, HistogramReading>,
    /// Its [children](crate::Context::spawn) that live.
    pub children: usize,
}

/// A loop at one moment.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LoopStatus {
    /// Its name.
    pub name: String,
    /// Its kind: `tokio`, `glib` ...
    pub kind: &'static str,
    /// Its thread's name: its own (the system cuts that at 15 bytes), or `main`.
    pub thread: String,
    /// Whether it takes turns now.
    pub running: bool,
    /// What blocks it, if something has for a second or longer.
    pub blocked: Option<BlockedLoop>,
    /// Which run of it this is: 1 is the first.
    pub incarnation: u32,
    /// Jobs in its mailbox.
    pub depth: usize,
    /// The most there were.
    pub high_water: usize,
    /// The most there may be.
    pub capacity: usize,
    /// Jobs that it has run.
    pub jobs: u64,
    /// Turns of its mailbox.
    pub turns: u64,
    /// Jobs that were accepted and then dropped, because what they were for had ended.
    pub dropped: u64,
    /// Futures that it hosts.
    pub futures: usize,
    /// The time from the first post to the loop at rest to the turn that runs it, in seconds.
    #[cfg(feature = "metrics")]
    pub latency: HistogramReading,
}

/// A loop that is blocked: for a second or longer its thread has been in one piece of code, a poll of a task or a job,
/// and the loop does nothing else meanwhile.
///
/// A loop whose tasks have a thread each, and may block it ([`Thread`](crate::Thread)), is blocked only if something
/// waits for it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BlockedLoop {
    /// The loop's name.
    pub name: String,
    /// What it is in: `task http`, or `a job`.
    pub polling: String,
    /// For how long, in seconds.
    pub held: f64,
}

impl fmt::Display for BlockedLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, polling, held } = self;
        write!(f, "loop {name} is blocked: its thread has been in {polling} for {held:.1} s")
    }
}

impl fmt::Display for Status {
    /// A table, a line for each task and each loop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {}", self.service, self.phase, if self.ready { "ready" } else { "not ready" })?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        write!(f, ", up {:.1} s", self.uptime)?;
        if self.lost_lines > 0 {
            write!(f, ", lost lines of the log {}", self.lost_lines)?;
        }
        show(f, &self.exports)?;
        show(f, &self.counters)?;
        show(f, &self.gauges)?;
        #[cfg(feature = "metrics")]
        show_samples(f, &self.histograms)?;
        for warning in &self.warnings {
            write!(f, "\n  warning {warning}")?;
        }
        for task in &self.tasks {
            write!(
                f,
                "\n  task {:<16} {:<10} on {:<12} run {}, {:.1} s, {}",
                task.name, task.state, task.event_loop, task.incarnation, task.since, task.cause
            )?;
            show(f, &task.exports)?;
            show(f, &task.counters)?;
            show(f, &task.gauges)?;
            #[cfg(feature = "metrics")]
            show_samples(f, &task.histograms)?;
        }
        for l in &self.loops {
            let running = if l.running { "running" } else { "not running" };
            write!(
                f,
                "\n  loop {:<16} {:<10} kind {:<10} run {}, queue {} (most {} of {}), {} jobs in {} turns, {} futures",
                l.name, running, l.kind, l.incarnation, l.depth, l.high_water, l.capacity, l.jobs, l.turns, l.futures
            )?;
            if let Some(BlockedLoop { polling, held, .. }) = &l.blocked {
                write!(f, ", blocked in {polling} for {held:.1} s")?;
            }
        }
        Ok(())
    }
}

fn show(f: &mut fmt::Formatter<'_>, values: &BTreeMap<String, impl fmt::Display>) -> fmt::Result {
    values.iter().try_for_each(|(name, value)| write!(f, ", {name} {value}"))
}

#[cfg(feature = "metrics")]
fn show_samples(f: &mut fmt::Formatter<'_>, samples: &BTreeMap<String, HistogramReading>) -> fmt::Result {
    for (name, HistogramReading { count, average, max, .. }) in samples {
        write!(f, ", {name} {count}")?;
        if let (Some(average), Some(max)) = (average, max) {
            write!(f, " (average {average:.3e}, most {max:.3e})")?;
        }
    }
    Ok(())
}
