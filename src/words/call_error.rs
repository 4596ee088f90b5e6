//! The reasons why a call has no answer.

use std::fmt;

/// The reason why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The loop, or the task that shared the value, has ended for good, was abandoned, or never started.
    Stopped,
    /// The mailbox is full; the closure was not run.
    Full,
    /// The closure, the future, or a Drop of theirs panicked with this message.
    Panicked(String),
    /// The requested work failed with this message: an item of a [`Queue`](crate::tasks::queue::Queue).
    Failed(String),
    /// The work was cancelled, or begun on a loop that then died.
    Cancelled,
    /// [`Reply::wait`](crate::Reply::wait) ran out of time. The work continues.
    TimedOut,
    /// [`Reply::wait`](crate::Reply::wait) was called on a thread that drives a loop, which it would block, or wait for
    /// itself. Await the reply instead.
    WouldBlock,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("the other side has stopped"),
            Self::Full => f.write_str("the mailbox is full"),
            Self::Panicked(message) => write!(f, "the call panicked: {message}"),
            Self::Failed(message) => write!(f, "the work failed: {message}"),
            Self::Cancelled => f.write_str("the call was cancelled"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::WouldBlock => f.write_str("a blocking wait on a loop's thread"),
        }
    }
}

impl std::error::Error for CallError {}
