//! The error that a task, or a loop, ends with.

use std::{error::Error as StdError, fmt, process::ExitStatus};

use super::suspect::Exited;

/// The result of a task's `run`, or a loop's `drive`.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Any error: `?` converts any [`std::error::Error`], a boxed one, `anyhow::Error`, and plain text.
///
/// It displays itself with all its causes, in one line. A task can also return it to be [skipped](Self::skip).
///
/// ```
/// use interloop::Error;
///
/// fn port(text: Option<&str>) -> interloop::Result<u16> {
///     Ok(text.ok_or("no port is given")?.parse()?)
/// }
/// assert_eq!(port(None).unwrap_err().to_string(), "no port is given");
/// assert_eq!(port(Some("x")).unwrap_err().to_string(), "invalid digit found in string");
///
/// fn level(text: &str) -> anyhow::Result<u8> {
///     use anyhow::Context;
///     text.parse().context("the level is no number")
/// }
/// fn run() -> interloop::Result {
///     level("high")?;
///     Ok(())
/// }
/// assert_eq!(run().unwrap_err().to_string(), "the level is no number: invalid digit found in string");
/// assert_eq!(Error::new("no such queue").to_string(), "no such queue");
/// ```
pub struct Error(Kind);

enum Kind {
    Source(Box<dyn StdError + Send + Sync>),
    Skip(Box<str>),
}

impl Error {
    /// Returns an error with this message. By convention: lower case, no full stop, what was attempted.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Kind::Source(message.into().into()))
    }

    /// Returns an error that skips the task: it has nothing to do here (no such device, switched off ...).
    ///
    /// Before `ready()` it makes the task, and the tasks that require it, [`Skipped`](crate::State::Skipped); after
    /// `ready()` it is an error like any other.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self(Kind::Skip(reason.into().into_boxed_str()))
    }

    /// Returns the error of a program that did not end well: `git was ended by signal 15`, `git exited with 3`.
    ///
    /// It is for tasks that run programs by other means than [`tasks::command`](crate::tasks::command), which does this
    /// itself.
    ///
    /// If the program was ended by HUP, INT, TERM or KILL, or exited with 128 + one of these, and the service is asked
    /// to stop at that time or within 200 ms, a task that returns this error has not failed: the signal that stopped
    /// the service has ended its program too.
    ///
    /// ```
    /// use interloop::Error;
    /// # fn main() -> std::io::Result<()> {
    /// let status = std::process::Command::new("sh").args(["-c", "exit 3"]).status()?;
    /// assert_eq!(Error::exited("sh", status).to_string(), "sh exited with 3");
    /// # Ok(())
    /// # }
    /// ```
    pub fn exited(program: impl Into<String>, status: ExitStatus) -> Self {
        Exited { program: program.into(), status }.into()
    }

    /// Returns the reason, if this came from [`skip`](Self::skip).
    pub fn skip_reason(&self) -> Option<&str> {
        match &self.0 {
            Kind::Skip(reason) => Some(reason),
            Kind::Source(_) => None,
        }
    }

    /// Returns the error inside, to look for its type.
    pub fn source(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        match &self.0 {
            Kind::Source(source) => Some(&**source),
            Kind::Skip(_) => None,
        }
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for Error {
    fn from(source: E) -> Self {
        Self(Kind::Source(source.into()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Skip(reason) => write!(f, "skipped: {reason}"),
            Kind::Source(source) => {
                let mut said = source.to_string();
                f.write_str(&said)?;
                let mut cause = source.source();
                while let Some(error) = cause {
                    let text = error.to_string();
                    // Some errors repeat their cause in their own message.
                    if !said.contains(&text) {
                        write!(f, ": {text}")?;
                    }
                    said = text;
                    cause = error.source();
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
