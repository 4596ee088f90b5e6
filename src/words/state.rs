//! The visible facts of a lifecycle: states, causes, reasons, transitions.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use super::hints;

/// The state in a task's lifecycle: `Waiting -> Starting -> Running -> Stopping -> Stopped | Failed | Cancelled |
/// Abandoned`, and `Skipped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum State {
    /// Not started yet: it waits for its loop, for its dependencies, or for the end of a restart's backoff.
    Waiting,
    /// Its `run` has been called; it has not called [`ready`](crate::Context::ready) yet.
    Starting,
    /// It is ready.
    Running,
    /// It has been asked to stop.
    Stopping,
    /// It ended with `Ok`, or as it was asked to.
    Stopped,
    /// It returned an error, panicked, or never became ready.
    Failed,
    /// It exceeded its deadline, and its future was dropped on its loop.
    Cancelled,
    /// Its loop did not act on the cancel: its thread was left behind.
    Abandoned,
    /// It returned [`Error::skip`](crate::Error::skip) before it was ready, or a task that it requires did.
    Skipped,
}

impl State {
    /// Whether no state follows this one within one incarnation.
    pub fn is_final(self) -> bool {
        use State::*;
        matches!(self, Stopped | Failed | Cancelled | Abandoned | Skipped)
    }

    /// Returns the state's name in lower case.
    pub fn as_str(self) -> &'static str {
        use State::*;
        match self {
            Waiting => "waiting",
            Starting => "starting",
            Running => "running",
            Stopping => "stopping",
            Stopped => "stopped",
            Failed => "failed",
            Cancelled => "cancelled",
            Abandoned => "abandoned",
            Skipped => "skipped",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// It parses from its [name](State::as_str), and from nothing else.
impl FromStr for State {
    type Err = ParseStateError;

    fn from_str(text: &str) -> Result<Self, ParseStateError> {
        use State::*;
        let all = [Waiting, Starting, Running, Stopping, Stopped, Failed, Cancelled, Abandoned, Skipped];
        all.into_iter().find(|state| state.as_str() == text).ok_or_else(|| ParseStateError(text.to_owned()))
    }
}

/// The error of a text that names no [`State`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseStateError(String);

impl fmt::Display for ParseStateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no state of a task: {:?}", self.0)
    }
}

impl std::error::Error for ParseStateError {}

/// The reason why a service, or a task of it, is asked to stop. The first reason wins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A signal, by number.
    Signal(i32),
    /// A request with this text.
    Requested(Arc<str>),
    /// This task failed (or its start did), and its policy does not restart it.
    TaskFailed(Arc<str>),
    /// This loop died, and its policy does not restart it.
    LoopFailed(Arc<str>),
    /// The last task has ended with `Ok`.
    AllDone,
    /// It is being restarted.
    Restart,
    /// The task that it requires is being stopped or restarted.
    Dependency(Arc<str>),
}

impl Reason {
    /// Whether the stop was requested, or all work is done, as opposed to a failure.
    pub(crate) fn is_a_wish(&self) -> bool {
        !matches!(self, Self::TaskFailed(_) | Self::LoopFailed(_))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(number) => f.write_str(signal_name(*number)),
            Self::Requested(words) => f.write_str(words),
            Self::TaskFailed(task) => write!(f, "task {task} failed"),
            Self::LoopFailed(name) => write!(f, "loop {name} failed"),
            Self::AllDone => f.write_str("all tasks have ended"),
            Self::Restart => f.write_str("restart"),
            Self::Dependency(task) => write!(f, "it requires task {task}, which is being stopped"),
        }
    }
}

impl From<&str> for Reason {
    fn from(words: &str) -> Self {
        Self::Requested(words.into())
    }
}

impl From<String> for Reason {
    fn from(words: String) -> Self {
        Self::Requested(words.into())
    }
}

/// Returns `INT`, `TERM` ... for the signals that a service handles, and `signal` for others.
pub(crate) fn signal_name(number: i32) -> &'static str {
    // By path: a constant that a system lacks must not become a binding.
    #[cfg(unix)]
    use signal_hook::consts::{SIGHUP, SIGUSR1};
    use signal_hook::consts::{SIGINT, SIGTERM};
    match number {
        SIGINT => "INT",
        SIGTERM => "TERM",
        #[cfg(unix)]
        SIGHUP => "HUP",
        #[cfg(unix)]
        SIGUSR1 => "USR1",
        _ => "signal",
    }
}

/// The cause of a transition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Its dependencies allowed its start.
    Start,
    /// It called `ready()`.
    Ready,
    /// Its `run` returned `Ok`.
    Finished,
    /// It was asked to stop.
    Asked(Reason),
    /// It ended after it was asked to.
    Ended,
    /// The service stopped before this task could start.
    NeverStarted,
    /// Its `run` returned this error.
    Error(Arc<str>),
    /// Its `run` returned this error, which the stop of the service explains: the same signal ended a program of the
    /// task. This is no failure.
    PartOfStop(Arc<str>),
    /// It, or a child of it, panicked with this message.
    Panicked(Arc<str>),
    /// Its future was dropped before it had ended.
    Dropped,
    /// It did not call `ready()` within this time.
    StartTimeout(Duration),
    /// It had not ended within this time after it was asked to stop.
    StopTimeout(Duration),
    /// A hard stop (a second signal) cancelled it.
    HardStop,
    /// Its loop died, with this message.
    LoopDied(Arc<str>),
    /// Its loop did not act on a cancel within a second.
    LoopStuck,
    /// It, or a task that it requires, was skipped for this reason.
    Skipped(Arc<str>),
    /// It will be restarted after this backoff.
    Restart(Duration),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Ready => f.write_str("ready"),
            Self::Finished => f.write_str("finished"),
            Self::Asked(reason) => write!(f, "asked to stop: {reason}"),
            Self::Ended => f.write_str("ended"),
            Self::NeverStarted => f.write_str("never started"),
            Self::Error(message) => f.write_str(message),
            Self::PartOfStop(message) => write!(f, "{message}, as part of the stop"),
            Self::Panicked(message) => {
                write!(f, "panicked: {message}")?;
                hints::of_panic(message).iter().try_for_each(|hint| write!(f, "; {hint}"))
            }
            Self::Dropped => f.write_str("dropped before its end"),
            Self::StartTimeout(time) => write!(f, "no cx.ready() within {}", Seconds(*time)),
            Self::StopTimeout(time) => write!(f, "still running {} after it was asked to stop", Seconds(*time)),
            Self::HardStop => f.write_str("hard stop"),
            Self::LoopDied(message) => write!(f, "its loop died: {message}"),
            Self::LoopStuck => f.write_str("its loop is stuck"),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
            Self::Restart(backoff) => write!(f, "restart in {}", Seconds(*backoff)),
        }
    }
}

/// A duration in readable form: `30 s`, `250 ms`.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms >= 1000 && ms.is_multiple_of(1000) {
            write!(f, "{} s", ms / 1000)
        } else if ms >= 1000 {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        } else {
            write!(f, "{ms} ms")
        }
    }
}

/// One transition of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Transition {
    /// The task's name.
    pub task: Arc<str>,
    /// Which run of the task this is about; the first is 1.
    pub incarnation: u32,
    /// The previous state.
    pub from: State,
    /// The new state.
    pub to: State,
    /// The cause.
    pub cause: Cause,
    /// When it happened, as time since the service's start; serialized as seconds.
    #[cfg_attr(feature = "serde", serde(serialize_with = "seconds"))]
    pub at: Duration,
}

/// Serialized as its text.
#[cfg(feature = "serde")]
impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Serialized as its text.
#[cfg(feature = "serde")]
impl serde::Serialize for Cause {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Serializes a duration as a number of seconds.
#[cfg(feature = "serde")]
pub(crate) fn seconds<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
