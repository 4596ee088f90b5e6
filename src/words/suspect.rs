//! Errors that a stop of the service would explain: a program that the same TERM has ended, and failures because of
//! that.
//!
//! A service manager, a terminal or a script signals the whole group, so the programs that a task runs may die of the
//! signal before the service has received its own. Whether such an error is a failure is known only once the stop has
//! arrived, or has failed to; the [lifecycle](crate::lifecycle) waits for that. This module decides which errors
//! qualify: by the error itself, or because the task was just told that a program of its own had ended in that way.

use std::{
    error::Error as StdError,
    fmt,
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use super::call_error::CallError;
use crate::kit::sync::{AtomicU8, Mutex, Ordering, lock};

/// How long after a task was told of the end of a program its error may be a consequence.
const FRESH: Duration = Duration::from_millis(200);

/// Whether a signal that stops the service may have ended a program with this status: one of these signals or, as in
/// shells and many runtimes, exit code 128 + its number.
fn is_of_a_stop(status: ExitStatus) -> bool {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal = None;
    let signal = signal.or_else(|| status.code().map(|code| code - 128));
    const STOPS: [i32; 4] = [1, 2, 9, 15]; // HUP, INT, KILL, TERM
    signal.is_some_and(|signal| STOPS.contains(&signal))
}

/// The error of a program that did not end well.
#[derive(Debug)]
pub(crate) struct Exited {
    pub(crate) program: String,
    pub(crate) status: ExitStatus,
}

impl fmt::Display for Exited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, status } = self;
        #[cfg(unix)]
        if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(status) {
            return write!(f, "{program} was ended by signal {signal}");
        }
        match status.code() {
            Some(code) => write!(f, "{program} exited with {code}"),
            None => write!(f, "{program}: {status}"),
        }
    }
}

impl StdError for Exited {}

/// Whether a stop would explain this error, or one of its sources.
pub(crate) fn is_suspect(error: &(dyn StdError + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| {
        if let Some(exited) = error.downcast_ref::<Exited>() {
            return is_of_a_stop(exited.status);
        }
        error.is::<TooLate>() || matches!(error.downcast_ref(), Some(CallError::Stopped | CallError::Cancelled))
    })
}

/// The source of an error that only reports a stop; a task that fails because of it during a stop has not failed.
///
/// Return it as the [source](StdError::source) of your own error, such as that of a [handle](crate::task::TaskHandle)
/// whose task has stopped. [`CallError::Stopped`] needs none of it.
///
/// Its text, "has stopped", is the end of such errors' messages, so it isn't shown in addition.
///
/// ```
/// # use std::{error, fmt};
/// # use interloop::{Error, task::TooLate};
/// #[derive(Debug)]
/// struct Closed;
///
/// impl fmt::Display for Closed {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         f.write_str("the office has stopped")
///     }
/// }
///
/// impl error::Error for Closed {
///     fn source(&self) -> Option<&(dyn error::Error + 'static)> {
///         Some(&TooLate)
///     }
/// }
///
/// assert_eq!(Error::from(Closed).to_string(), "the office has stopped");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TooLate;

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("has stopped")
    }
}

impl StdError for TooLate {}

/// How a program has ended, as far as is known.
#[derive(Debug, Default)]
pub(crate) struct Fate(AtomicU8);

impl Fate {
    const SUSPECT: u8 = 1;
    const INNOCENT: u8 = 2;

    pub(crate) fn set(&self, status: ExitStatus) {
        self.0.store(if is_of_a_stop(status) { Self::SUSPECT } else { Self::INNOCENT }, Ordering::Release);
    }

    /// Whether the end may be that of a stop. While nothing is known, a visible end (of its output, for instance) may
    /// be one.
    fn may_be_of_a_stop(&self) -> bool {
        self.0.load(Ordering::Acquire) != Self::INNOCENT
    }
}

/// The recent ends of its programs that a run of a task was told of.
#[derive(Debug, Default)]
pub(crate) struct Tidings(Mutex<Vec<(Instant, Arc<Fate>)>>);

impl Tidings {
    pub(crate) fn tell(&self, now: Instant, fate: &Arc<Fate>) {
        let told = &mut lock(&self.0);
        forget(told, now);
        if fate.may_be_of_a_stop() && !told.iter().any(|(_, known)| Arc::ptr_eq(known, fate)) {
            told.push((now, fate.clone()));
        }
    }

    /// Whether an error at this time may be a consequence of those ends.
    pub(crate) fn explain(&self, now: Instant) -> bool {
        let told = &mut lock(&self.0);
        forget(told, now);
        !told.is_empty()
    }
}

fn forget(told: &mut Vec<(Instant, Arc<Fate>)>, now: Instant) {
    told.retain(|(at, fate)| now.saturating_duration_since(*at) <= FRESH && fate.may_be_of_a_stop());
}

#[cfg(all(test, unix, not(loom)))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn the_signals_of_a_stop_and_their_exit_codes_are_suspect_and_nothing_else_is() {
        for signal in 1..=64 {
            let is_of_stop = [1, 2, 9, 15].contains(&signal);
            assert_eq!(is_of_a_stop(ExitStatus::from_raw(signal)), is_of_stop, "signal {signal}");
            assert_eq!(
                is_of_a_stop(ExitStatus::from_raw((128 + signal) << 8)),
                is_of_stop,
                "exit code {}",
                128 + signal
            );
        }
        for code in 0..=128 {
            assert!(!is_of_a_stop(ExitStatus::from_raw(code << 8)), "exit code {code}");
        }
    }
}
