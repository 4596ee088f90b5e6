//! Why a service ends before it has started.

use std::fmt;

/// Why the service doesn't go on: a text without a newline at its end, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// What was asked for (`--help`, `--version`): to stdout, exit code 0.
    Asked(String),
    /// The command line's words are wrong: one line to stderr, exit code 2.
    Usage(String),
    /// The code, the environment, the file or their sum can't work: to stderr, a line each, exit code 78.
    Config(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Asked(text) | Self::Usage(text) | Self::Config(text)) = self;
        f.write_str(text)
    }
}
