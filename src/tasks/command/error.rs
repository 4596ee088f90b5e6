//! The errors of commands.

use std::{fmt, io};

use crate::task::TooLate;

/// Says why there is no [`Output`](super::Output), or no exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// The program could not be started.
    NotStarted {
        /// The program, as it was asked for.
        program: String,
        /// The kind of the system's error.
        kind: io::ErrorKind,
        /// The error's message.
        why: String,
    },
    /// The task is stopping, has ended, or will never start: there was no child.
    Stopped,
    /// An output was longer than [may be collected](super::Command::limit); the child was killed.
    TooMuchOutput {
        /// The program, as it was asked for.
        program: String,
        /// The limit for each of the two outputs, in bytes.
        limit: usize,
    },
    /// [`output_timeout`](super::Child::output_timeout) ran out of time. The child was killed.
    TimedOut,
    /// [`output_timeout`](super::Child::output_timeout) was called on the thread of a loop, and would block it. The
    /// child was killed.
    WouldBlock,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { program, why, .. } => write!(f, "can't run {program}: {why}"),
            Self::Stopped => f.write_str("the task that runs commands has stopped"),
            Self::TooMuchOutput { program, limit } => write!(f, "{program} wrote more than {limit} bytes"),
            Self::TimedOut => f.write_str("the command has not ended in time"),
            Self::WouldBlock => f.write_str("a blocking wait on a loop's thread"),
        }
    }
}

impl std::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // A stop of the service explains it.
        matches!(self, Self::Stopped).then_some(&TooLate as _)
    }
}
