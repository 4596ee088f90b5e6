//! The options that every service has.

#[cfg(any(feature = "config", feature = "logging"))]
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Command, builder::NonEmptyStringValueParser};

use super::{
    duration,
    section::{Owner, Section},
};
#[cfg(feature = "logging")]
use crate::logging::{Format, Levels};

/// How long stopping may take, if nothing else is said.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);

/// Those that can change while the service runs.
pub(super) const LIVE: [&str; 3] = ["log-level", "drain-delay", "shutdown-timeout"];

/// Those that say what is to be done once, or before a file is read: they don't belong in one.
pub(super) const NOT_IN_FILE: [&str; 5] = ["config", "dry-run", "init", "list-tasks", "graph"];

/// The options that every service has. They are a section like the others, without a prefix.
#[derive(Args, Clone, Debug)]
pub(crate) struct CoreOptions {
    /// Read options from this TOML file
    #[cfg(feature = "config")]
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,

    /// Run only these tasks, and what they require
    #[arg(long, value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub(crate) tasks: Option<Vec<String>>,

    /// List the tasks and exit
    #[arg(long)]
    pub(crate) list_tasks: bool,

    /// Print what requires what, as a graph for dot, and exit
    #[arg(long)]
    pub(crate) graph: bool,

    /// Check everything, print the options in force, as a file for --config, and exit
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Whether PID 1 is an init that runs the service as its child
    #[cfg(all(feature = "command", target_os = "linux"))]
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) init: Init,

    /// What to log: a level, and levels for tasks or targets, as in "info,http=debug"
    #[cfg(feature = "logging")]
    #[arg(long, value_name = "LEVELS", default_value = "info")]
    pub(crate) log_level: Levels,

    /// Log to this file, at its end, instead of stderr
    #[cfg(feature = "logging")]
    #[arg(long, value_name = "PATH")]
    pub(crate) log_file: Option<PathBuf>,

    /// How a line of the log looks
    #[cfg(feature = "logging")]
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: Format,

    /// Go on serving for this long after a TERM, no longer ready, before tasks are stopped
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub(crate) drain_delay: Duration,

    /// How long stopping may take for all tasks together
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = duration)]
    pub(crate) shutdown_timeout: Duration,
}

/// Whether `Service::run` is an init.
#[cfg(all(feature = "command", target_os = "linux"))]
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Init {
    /// As PID 1
    #[default]
    Auto,
    /// Never
    No,
}

impl CoreOptions {
    pub(super) fn section(defaults: &[(String, String)]) -> Section {
        Section {
            kind: Owner::Core,
            name: String::new(),
            command: Self::augment_args(Command::new("interloop")),
            defaults: defaults.to_vec(),
        }
    }
}
