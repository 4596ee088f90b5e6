//! The origin of a value, for people.

use std::{fmt, path::PathBuf};

/// The origin of an option's value: see [`OptionValue`](crate::options::OptionValue). The strongest come first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// [Set](crate::options::Options::set) while the service runs.
    Set,
    /// The command line.
    CommandLine,
    /// This variable of the environment, or the file that it names, if it is `HELLO__HTTP__PORT_FILE`. An option may have
    /// a variable of its own, by clap's `env`.
    Environment(String),
    /// This file in the directory of systemd's credentials.
    Credential(PathBuf),
    /// The file of `--config`.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Code: [`TaskSettings::set`](crate::service::TaskSettings::set) and similar methods.
    Code,
    /// The option's own default; if it has none, it is not set.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set => f.write_str("set while running"),
            Self::CommandLine => f.write_str("command line"),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Credential(path) => write!(f, "credential {}", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Code => f.write_str("code"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// It is serialized as its text.
#[cfg(feature = "serde")]
impl serde::Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
