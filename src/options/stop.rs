//! The reasons why a service ends before it has started.

use std::fmt;

/// The reason why the service doesn't continue: a text without a newline at its end, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Requested output (`--help`, `--version`): to stdout, exit code 0.
    Asked(String),
    /// A wrong command line: one line to stderr, exit code 2.
    Usage(String),
    /// The code, the environment, the file or their combination is unusable: to stderr, one line each, exit code 78.
    Config(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Asked(text) | Self::Usage(text) | Self::Config(text)) = self;
        f.write_str(text)
    }
}
