//! The status of a service.

use std::{collections::BTreeMap, fmt, str::FromStr};

#[cfg(feature = "metrics")]
use crate::counters::HistogramReading;
use crate::{counters::Warning, words::state::State};

/// The status of a service at one moment.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Status {
    /// The service's name.
    pub service: String,
    /// The service's version, if one was set.
    pub version: Option<String>,
    /// The phase of the whole service.
    pub phase: Phase,
    /// Whether all tasks are running, and no stop has been requested.
    pub ready: bool,
    /// The reason for the stop, once one is requested.
    pub reason: Option<String>,
    /// The time since the start, in seconds.
    pub uptime: f64,
    /// The selected tasks.
    pub tasks: Vec<TaskStatus>,
    /// The loops of those tasks.
    pub loops: Vec<LoopStatus>,
    /// The number of log lines lost so far, because the log's target was too slow, stuck, full or gone.
    pub lost_lines: u64,
    /// The warnings that need somebody's attention.
    pub warnings: Vec<Warning>,
    /// The [exported](crate::ServiceHandle::export) values of the service itself.
    pub exports: BTreeMap<String, String>,
    /// The service's own [counters](crate::ServiceHandle::meter).
    pub counters: BTreeMap<String, u64>,
    /// The service's own gauges.
    pub gauges: BTreeMap<String, f64>,
    /// The service's own histograms.
    #[cfg(feature = "metrics")]
    pub histograms: BTreeMap<String, HistogramReading>,
}

/// The phase of a whole service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Phase {
    /// Not started yet.
    New,
    /// Some tasks are not ready yet.
    Starting,
    /// All tasks that will start have started.
    Running,
    /// A stop has been requested.
    Stopping,
    /// Everything has ended.
    Ended,
}

impl Phase {
    /// Returns the phase's name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// It parses from its [name](Phase::as_str), and from nothing else.
impl FromStr for Phase {
    type Err = ParsePhaseError;

    fn from_str(text: &str) -> Result<Self, ParsePhaseError> {
        let all = [Self::New, Self::Starting, Self::Running, Self::Stopping, Self::Ended];
        all.into_iter().find(|phase| phase.as_str() == text).ok_or_else(|| ParsePhaseError(text.to_owned()))
    }
}

/// The error of a text that names no [`Phase`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsePhaseError(String);

impl fmt::Display for ParsePhaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no phase of a service: {:?}", self.0)
    }
}

impl std::error::Error for ParsePhaseError {}

/// The status of a task at one moment.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TaskStatus {
    /// The task's name.
    pub name: String,
    /// The name of the task's loop.
    #[cfg_attr(feature = "serde", serde(rename = "loop"))]
    pub event_loop: String,
    /// The state in the task's lifecycle.
    pub state: State,
    /// The cause of that state.
    pub cause: String,
    /// How long it has been in this state, in seconds.
    pub since: f64,
    /// Which run of the task this is; the first is 1.
    pub incarnation: u32,
    /// The task's [exported](crate::Context::export) values.
    pub exports: BTreeMap<String, String>,
    /// The task's [counters](crate::Context::counter).
    pub counters: BTreeMap<String, u64>,
    /// The task's [gauges](crate::Context::gauge).
    pub gauges: BTreeMap<String, f64>,
    /// The task's [histograms](crate::Context::histogram).
    #[cfg(feature = "metrics")]
    pub histograms: BTreeMap<String, HistogramReading>,
    /// The number of living [children](crate::Context::spawn).
    pub children: usize,
}

/// The status of a loop at one moment.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LoopStatus {
    /// The loop's name.
    pub name: String,
    /// The kind of the loop: `tokio`, `glib` ...
    pub kind: &'static str,
    /// The name of its thread: the loop's name (the system truncates it to 15 bytes), or `main`.
    pub thread: String,
    /// Whether the loop takes turns now.
    pub running: bool,
    /// The code that blocks the loop, if it has for a second or longer.
    pub blocked: Option<BlockedLoop>,
    /// Which run of the loop this is; the first is 1.
    pub incarnation: u32,
    /// The number of jobs in its mailbox.
    pub depth: usize,
    /// The highest number of jobs so far.
    pub high_water: usize,
    /// The maximum number of jobs.
    pub capacity: usize,
    /// The number of jobs that it has run.
    pub jobs: u64,
    /// The number of turns of its mailbox.
    pub turns: u64,
    /// The number of jobs that were accepted and then dropped, because their target had ended.
    pub dropped: u64,
    /// The number of stalls that the stall watch (`--stall-after`) has seen.
    pub stalls: u64,
    /// The number of futures that it hosts.
    pub futures: usize,
    /// The latency, in seconds: from the first post to the resting loop to the turn that runs it.
    #[cfg(feature = "metrics")]
    pub latency: HistogramReading,
}

/// A blocked loop: for a second or longer its thread has been in one piece of code, a poll of a task or a job.
///
/// The loop does nothing else meanwhile. If its tasks each have a thread, and may block it ([`Thread`](crate::Thread)),
/// it counts as blocked only if something waits for it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BlockedLoop {
    /// The loop's name.
    pub name: String,
    /// The code that the thread is in: `task http`, or `a job`.
    pub polling: String,
    /// How long it has been there, in seconds.
    pub held: f64,
}

impl fmt::Display for BlockedLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, polling, held } = self;
        write!(f, "loop {name} is blocked: its thread has been in {polling} for {held:.1} s")
    }
}

impl fmt::Display for Status {
    /// Writes a table with a line for each task and each loop.
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
            if l.stalls > 0 {
                write!(f, ", {} stalls", l.stalls)?;
            }
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
