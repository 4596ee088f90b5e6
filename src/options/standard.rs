//! The options that every service has.

#[cfg(any(feature = "config", feature = "logging"))]
use std::path::PathBuf;
use std::time::Duration;

#[cfg(any(
    feature = "config",
    feature = "logging",
    all(any(feature = "command", feature = "supervised"), target_os = "linux")
))]
use clap::value_parser;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, builder::NonEmptyStringValueParser, error::ErrorKind};
#[cfg(all(feature = "command", target_os = "linux"))]
use clap::{ValueEnum, builder::PossibleValue};

use super::{
    duration,
    section::{Owner, Section, ServiceAbout},
};
#[cfg(feature = "logging")]
use crate::logging::{Format, Levels};

/// How long stopping may take by default.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);

/// The shortest stall that can be watched.
const SHORTEST_STALL: Duration = Duration::from_millis(10);

/// The options that are absent if the program has its own logger.
pub(super) const FOR_LOGGING: [&str; 3] = ["log-level", "log-file", "log-format"];
/// The reason why they are absent.
pub(super) const OWN_LOGGER: &str = "it is not there, since the program has a logger of its own";

/// The options that can change while the service runs.
pub(super) const LIVE: [&str; 4] = ["log-level", "drain-delay", "shutdown-timeout", "stall-after"];

/// Options for one-time requests, or needed before a file is read: they don't belong in one.
pub(super) const NOT_IN_FILE: [&str; 6] = ["config", "dry-run", "init", "list-tasks", "graph", "ready-fd"];

/// The options that every service has. They form a section like the others, without a prefix.
#[derive(Clone, Debug)]
pub(crate) struct CoreOptions {
    #[cfg(feature = "config")]
    pub(crate) config: Option<PathBuf>,
    pub(crate) tasks: Option<Vec<String>>,
    pub(crate) list_tasks: bool,
    pub(crate) graph: bool,
    pub(crate) dry_run: bool,
    #[cfg(feature = "logging")]
    pub(crate) log_level: Levels,
    #[cfg(feature = "logging")]
    pub(crate) log_file: Option<PathBuf>,
    #[cfg(feature = "logging")]
    pub(crate) log_format: Format,
    pub(crate) drain_delay: Duration,
    pub(crate) shutdown_timeout: Duration,
    /// Zero if stalls aren't watched.
    pub(crate) stall_after: Duration,
}

impl FromArgMatches for CoreOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            #[cfg(feature = "config")]
            config: matches.get_one("config").cloned(),
            tasks: matches.get_many("tasks").map(|tasks| tasks.cloned().collect()),
            list_tasks: matches.get_flag("list_tasks"),
            graph: matches.get_flag("graph"),
            dry_run: matches.get_flag("dry_run"),
            // They are absent if the program has its own logger.
            #[cfg(feature = "logging")]
            log_level: matches.try_get_one("log_level").ok().flatten().cloned().unwrap_or_default(),
            #[cfg(feature = "logging")]
            log_file: matches.try_get_one("log_file").ok().flatten().cloned(),
            #[cfg(feature = "logging")]
            log_format: matches.try_get_one("log_format").ok().flatten().copied().unwrap_or_default(),
            drain_delay: given(matches, "drain_delay")?,
            shutdown_timeout: given(matches, "shutdown_timeout")?,
            stall_after: given(matches, "stall_after")?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Parses the time after which a loop counts as stalled. Below a few turns' time every loop would.
fn stall_after(text: &str) -> Result<Duration, String> {
    let after = duration(text)?;
    if !after.is_zero() && after < SHORTEST_STALL {
        return Err("expected 10ms or more, or 0s for never".to_owned());
    }
    Ok(after)
}

/// Returns the value of an option that has a default.
fn given<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Result<T, clap::Error> {
    matches.get_one(id).cloned().ok_or_else(|| clap::Error::new(ErrorKind::MissingRequiredArgument))
}

impl CoreOptions {
    /// Adds the options, those for logging only on request.
    fn augment(command: Command, for_logging: bool) -> Command {
        let option = |id, long| Arg::new(id).long(long);
        let flag = |id, long| option(id, long).action(ArgAction::SetTrue);
        let duration = |id, long| option(id, long).value_name("DURATION").value_parser(duration);

        #[cfg(feature = "config")]
        let command = {
            let config = option("config", "config").value_name("PATH").value_parser(value_parser!(PathBuf));
            command.arg(config.help("Read options from this TOML file"))
        };
        let tasks = option("tasks", "tasks").action(ArgAction::Append).value_delimiter(',');
        let tasks = tasks.value_parser(NonEmptyStringValueParser::new()).value_name("TASKS");
        let command = command
            .arg(tasks.help("Run only these tasks, and what they require"))
            .arg(flag("list_tasks", "list-tasks").help("List the tasks and exit"))
            .arg(flag("graph", "graph").help("Print what requires what, as a graph for dot, and exit"))
            .arg(
                flag("dry_run", "dry-run")
                    .help("Check everything, print the options in force, as a file for --config, and exit"),
            );
        #[cfg(all(feature = "command", target_os = "linux"))]
        let command = {
            let init =
                option("init", "init").value_name("WHEN").value_parser(value_parser!(Init)).default_value("auto");
            command.arg(init.help("Whether PID 1 is an init that runs the service as its child"))
        };
        #[cfg(all(feature = "supervised", target_os = "linux"))]
        let command = {
            let ready = option("ready_fd", "ready-fd").value_name("FD").value_parser(value_parser!(i32).range(0..));
            command.arg(ready.help("Write a line to this descriptor once all tasks have started, and close it"))
        };
        #[cfg(not(feature = "logging"))]
        let _ = for_logging;
        #[cfg(feature = "logging")]
        let command = if !for_logging {
            command
        } else {
            let level = option("log_level", "log-level").value_name("LEVELS").value_parser(value_parser!(Levels));
            let file = option("log_file", "log-file").value_name("PATH").value_parser(value_parser!(PathBuf));
            let format = option("log_format", "log-format").value_name("FORMAT").value_parser(value_parser!(Format));
            command
                .arg(
                    level
                        .default_value("info")
                        .help("What to log: a level, and levels for tasks or targets, as in \"info,http=debug\""),
                )
                .arg(file.help("Log to this file, at its end, instead of stderr"))
                .arg(format.default_value("human").help("How a line of the log looks"))
        };
        let drain = duration("drain_delay", "drain-delay").default_value("0s");
        let stop = duration("shutdown_timeout", "shutdown-timeout").default_value("25s");
        let stall = option("stall_after", "stall-after").value_name("DURATION").value_parser(stall_after);
        let stall = stall.default_value("0s");
        command
            .arg(drain.help("Go on serving for this long after a TERM, no longer ready, before tasks are stopped"))
            .arg(stop.help("How long stopping may take for all tasks together"))
            .arg(stall.help("Warn of a loop that takes no turn for this long, with what its thread is in; 0s: never"))
    }
}

/// Whether `Service::run` acts as an init; it looks for this by itself, before options are parsed.
#[cfg(all(feature = "command", target_os = "linux"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Init {
    Auto,
    No,
}

#[cfg(all(feature = "command", target_os = "linux"))]
impl ValueEnum for Init {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::No]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Auto => PossibleValue::new("auto").help("As PID 1"),
            Self::No => PossibleValue::new("no").help("Never"),
        })
    }
}

impl CoreOptions {
    pub(super) fn section(about: &ServiceAbout, defaults: &[(String, String)]) -> Section {
        Section {
            kind: Owner::Core,
            name: String::new(),
            command: Self::augment(Command::new("interloop"), !about.has_own_logger),
            built: Vec::new(),
            defaults: defaults.to_vec(),
        }
    }
}
