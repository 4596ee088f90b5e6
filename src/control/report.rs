//! How a service ended.

use std::{fmt, process::ExitCode, sync::Arc, time::Duration};

use crate::words::state::{Cause, Reason, Seconds, State};

/// How a service ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Report {
    /// The exit code: 0, 1, 124 or 128 + signal; see the crate's docs.
    pub code: u8,
    /// The first reason to stop.
    pub reason: Reason,
    /// Each selected task, its last state, and the cause of it.
    pub tasks: Vec<EndedTask>,
    /// The loops whose threads had to be left behind.
    pub stuck: Vec<StuckLoop>,
    /// What else had not come back by the end, and was left behind: code of others that the service calls beside its
    /// loops, such as a logger, a waker, or a `Drop`; and [threads of tasks](crate::Context::thread).
    pub left_behind: Vec<LeftBehind>,
    /// Lines of the log that were lost until then.
    pub lost_lines: u64,
}

/// A selected task, as it was when the service had ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EndedTask {
    /// Its name.
    pub name: Arc<str>,
    /// Its last state.
    pub state: State,
    /// What brought it there.
    pub cause: Option<Cause>,
}

impl EndedTask {
    pub(crate) fn new(name: Arc<str>, state: State, cause: Option<Cause>) -> Self {
        Self { name, state, cause }
    }
}

/// A call into code of others that had not come back when the service ended, or a thread of a task. The thread is left
/// behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LeftBehind {
    /// What was called: `the log`, `the notify of loop io`, `thread sums-adds` ...
    pub what: String,
    /// For how long, at the end of the service.
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
    /// Its thread's name.
    pub thread: Arc<str>,
    /// What it was polling: `task http`, `a job`, or `its own events`. Or what it waited for: `the notify of loop io`,
    /// if a thread that wanted to wake the loop had not come back from that.
    pub polling: String,
    /// For how long, when it was given up.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::words::state::seconds"))]
    pub held: Duration,
}

impl Report {
    /// Whether it ended as it was asked to: code 0.
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

/// A report without what became of each task.
struct InShort<'a>(&'a Report);

impl fmt::Display for InShort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show_reason(f)?;
        self.0.show_rest(f)
    }
}

impl Report {
    /// Shows it without what became of each task, for a log that has a line on each.
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
            let StuckLoop { name, thread, polling, held } = stuck;
            write!(f, "; loop {name} stuck: thread {thread} was in {polling} for {}", Seconds(*held))?;
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
