//! The option `--{task}-cron`.
//!
//! A syntax error is reported where the expression was written: on a command line that is bad usage. An expression that
//! is well-formed and can't work, here or ever, is a configuration that can't work: it is refused one step later, when
//! the task's options are made.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, error::ErrorKind, parser::ValueSource};

use super::{Cron, CronError};

/// The times that the options set, if any.
#[derive(Clone, Debug)]
pub(crate) struct ByCron {
    pub(crate) cron: Option<Cron>,
    /// Whether the expression came from outside of the code.
    pub(crate) given: bool,
}

/// Two expressions are the same if they are written in the same way.
impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl PartialEq for ByCron {
    fn eq(&self, other: &Self) -> bool {
        self.cron == other.cron
    }
}

fn read(text: &str) -> Result<Result<Cron, CronError>, CronError> {
    match text.parse::<Cron>() {
        Err(error) if !error.is_well_formed() => Err(error),
        read => Ok(read),
    }
}

impl FromArgMatches for ByCron {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let cron = matches.get_one::<Result<Cron, CronError>>("cron").cloned().transpose();
        let given = matches.value_source("cron").is_some_and(|source| source != ValueSource::DefaultValue);
        Ok(Self { given, cron: cron.map_err(|error| clap::Error::raw(ErrorKind::ValueValidation, error))? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ByCron {
    fn augment_args(command: Command) -> Command {
        let cron = Arg::new("cron").long("cron").value_name("EXPRESSION").value_parser(read).conflicts_with("interval");
        command.arg(cron.help(
            "When to do it, by minute, hour, day, month, day of the week and time zone: \"0 3 * * * Europe/Berlin\"",
        ))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
