//! The end of a service.

use std::{fmt, process::ExitCode, sync::Arc, time::Duration};

use crate::words::state::{Cause, Reason, Seconds, State};

/// Describes how a service ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Report {
    /// The exit code: 0, 1, 124 or 128 + signal; see the crate's docs.
    pub code: u8,
    /// The first reason to stop.
    pub reason: Reason,
    /// Each selected task, with its last state and the cause of that.
    pub tasks: Vec<EndedTask>,
    /// The loops whose threads had to be left behind.
    pub stuck: Vec<StuckLoop>,
    /// Other code that had not come back by the end, and was left behind.
    ///
    /// This is user code that the service calls beside its loops, such as a logger, a waker, or a `Drop`; and
    /// [threads of tasks](crate::Context::thread).
    pub left_behind: Vec<LeftBehind>,
    /// The number of log lines that were lost until then.
    pub lost_lines: u64,
}

/// A selected task, as it was when the service had ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EndedTask {
    /// The task's name.
    pub name: Arc<str>,
    /// The task's last state.
    pub state: State,
    /// The cause of that state.
    pub cause: Option<Cause>,
}

impl EndedTask {
    pub(crate) fn new(name: Arc<str>, state: State, cause: Option<Cause>) -> Self {
        Self { name, state, cause }
    }
}

/// A call into user code, or a thread of a task, that had not come back when the service ended.
///
/// The thread is left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LeftBehind {
    /// What was called: `the log`, `the notify of loop io`, `thread sums-adds` ...
    pub what: String,
    /// How long it had lasted at the end of the service.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::words::state::seconds"))]
    pub held: Duration,
}

impl LeftBehind {
    pub(crate) fn new(what: String, held: Duration) -> Self {
        Self { what, held }
    }
}

/// A loop whose thread had to be left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StuckLoop {
    /// The loop's name.
    pub name: Arc<str>,
    /// The name of the loop's thread.
    pub thread: Arc<str>,
    /// What the thread was polling: `task http`, `a job`, or `its own events`.
    ///
    /// If a thread that tried to wake the loop had not come back from that, this is the notify: `the notify of loop
    /// io`.
    pub polling: String,
    /// How long it had lasted when the loop was given up.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::words::state::seconds"))]
    pub held: Duration,
    /// The functions that the thread was in, the innermost first: `clock_nanosleep <- std::thread::sleep <- shop::serve`.
    ///
    /// `None` without the feature `stall-stacks`, and if the stack could not be taken.
    pub stack: Option<String>,
}

impl Report {
    /// Whether the service ended as it was asked to: code 0.
    pub fn is_success(&self) -> bool {
        self.code == 0
    }
}

impl From<&Report> for ExitCode {
    fn from(report: &Report) -> Self {
        Self::from(report.code)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show_reason(f)?;
        for EndedTask { name, state, cause } in &self.tasks {
            if let (State::Failed | State::Cancelled | State::Abandoned, Some(cause)) = (state, cause) {
                write!(f, "; task {name} {state}: {cause}")?;
            }
        }
        self.show_rest(f)
    }
}

/// A report without the ends of the tasks.
struct InShort<'a>(&'a Report);

impl fmt::Display for InShort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show_reason(f)?;
        self.0.show_rest(f)
    }
}

impl Report {
    /// Displays the report without the ends of the tasks, for a log that has a line on each.
    pub(crate) fn in_short(&self) -> impl fmt::Display + '_ {
        InShort(self)
    }

    fn show_reason(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            0 => f.write_str("stopped gracefully"),
            124 => f.write_str("stopped past its deadline"),
            1 => f.write_str("stopped after a failure"),
            forced => write!(f, "stopped by force of {}", Reason::Signal(i32::from(forced.saturating_sub(128)))),
        }?;
        write!(f, " ({})", self.reason)
    }

    fn show_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stuck in &self.stuck {
            let StuckLoop { name, thread, polling, held, stack } = stuck;
            write!(f, "; loop {name} stuck: thread {thread} was in {polling} for {}", Seconds(*held))?;
            stack.iter().try_for_each(|stack| write!(f, ", its stack: {stack}"))?;
        }
        for LeftBehind { what, held } in &self.left_behind {
            write!(f, "; left behind: {what}, for {}", Seconds(*held))?;
        }
        if self.lost_lines > 0 {
            write!(f, "; lost lines of the log: {}", self.lost_lines)?;
        }
        Ok(())
    }
}
