//! From the declared and given options to those in force, at the start.

use std::ffi::OsString;

use clap::{
    ArgMatches, Command, FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{
    cell::Check,
    claims,
    flag::{Flag, Required, Shape, variable, variable_part, variable_prefix},
    layers::{CommandLine, Env, Sources},
    plan::Plan,
    replay,
    secret::MASK,
    section::{Owner, Section, ServiceAbout},
    show,
    standard::{CoreOptions, FOR_LOGGING, OWN_LOGGER},
    stop::Stop,
    wording::{Fault, one_line},
};
use crate::words::names;

/// Parses the command line (without the program's name) and the environment.
///
/// `defaults` are values set in code for the options of Interloop itself, as in [`Section::defaults`].
pub(crate) fn parse(
    about: &ServiceAbout,
    sections: Vec<Section>,
    defaults: &[(String, String)],
    args: Vec<OsString>,
    env: Env,
) -> Result<Parsed, Stop> {
    parse_by(about, sections, defaults, args, env, false)
}

/// Parses only a part of the sections: a file's entries for others are ignored.
pub(super) fn parse_known(
    about: &ServiceAbout,
    sections: Vec<Section>,
    defaults: &[(String, String)],
    args: Vec<OsString>,
    env: Env,
) -> Result<Parsed, Stop> {
    parse_by(about, sections, defaults, args, env, true)
}

fn parse_by(
    about: &ServiceAbout,
    sections: Vec<Section>,
    defaults: &[(String, String)],
    args: Vec<OsString>,
    env: Env,
    in_part: bool,
) -> Result<Parsed, Stop> {
    let service = &about.name;
    let config = |text: String| Stop::Config(format!("{service}: {text}"));

    let core = CoreOptions::section(about, defaults);
    // The service's own options come first in the help, then Interloop's, then the others' in their order.
    let numbered = sections.into_iter().enumerate().map(|(place, section)| (Some(place), section));
    let (own, others): (Vec<_>, Vec<_>) = numbered.partition(|(_, section)| section.kind == Owner::Service);
    let mut plans = Vec::with_capacity(own.len() + 1 + others.len());
    for (place, section) in own.into_iter().chain([(None, core)]).chain(others) {
        plans.push(Plan::new(service, place, section).map_err(config)?);
    }
    claims::check(about, &mut plans).map_err(config)?;

    let matches = common(about, &plans, Required::Never).try_get_matches_from(&args).map_err(|error| {
        match error.kind() {
            // Once more, for a usage line that shows what is required.
            ErrorKind::DisplayHelp => {
                let shown =
                    common(about, &plans, Required::AsDeclared).try_get_matches_from(&args).err().unwrap_or(error);
                Stop::Asked(shown.render().to_string().trim_end().to_owned())
            }
            ErrorKind::DisplayVersion => Stop::Asked(error.render().to_string().trim_end().to_owned()),
            _ if about.has_own_logger && is_for_logging(&error) => {
                let typed = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
                Stop::Usage(format!("{service}: {typed}: {OWN_LOGGER}"))
            }
            _ => misused(&with_owner(error, &plans), &plans).stop(service),
        }
    })?;

    // Back to the order of the sections, with Interloop's own before them.
    plans.sort_by_key(|plan| plan.place);
    let sources = Sources { command_line: CommandLine(matches), env, file: None, in_part };
    let ask = |sources: &Sources, plans: &mut [Plan]| {
        let given = sources.ask(plans).map_err(|lines| {
            let lines: Vec<_> = lines.into_iter().map(|line| format!("{service}: {line}")).collect();
            Stop::Config(lines.join("\n"))
        })?;
        plans.iter_mut().zip(given).for_each(|(plan, given)| plan.given = given);
        read::<CoreOptions>(&plans[0]).map_err(|fault| fault.stop(service))
    };
    let core = ask(&sources, &mut plans)?;
    // The command line and the environment name the file; now its values count.
    #[cfg(feature = "config")]
    let (sources, core) = match core.config.clone() {
        None => (sources, core),
        file => {
            let sources = Sources { file, ..sources };
            let core = ask(&sources, &mut plans)?;
            (sources, core)
        }
    };
    Ok(Parsed { service: service.clone(), has_own_logger: about.has_own_logger, core, plans, sources })
}

/// Returns the one command that has all flags.
pub(super) fn common(about: &ServiceAbout, plans: &[Plan], required: Required) -> Command {
    let flags = plans.iter().flat_map(|plan| plan.flags.iter().map(move |flag| (plan, flag)));
    let mut command = Command::new(about.name.clone())
        .no_binary_name(true)
        .args(flags.clone().map(|(plan, flag)| flag.common(&plan.section, required)));
    if let Some(version) = &about.version {
        command = command.version(version.clone());
    }
    if let Some(text) = &about.about {
        command = command.about(text.clone());
    }
    // One sentence instead of a variable on every line; the example is a task's option if there is one.
    let example = flags.filter(|(_, flag)| flag.long.is_some()).max_by_key(|(_, flag)| {
        let levels = flag.variable.matches("__").count();
        (levels, std::cmp::Reverse(&flag.variable))
    });
    let Some((_, flag @ Flag { variable, path, .. })) = example else { return command };
    let (long, file) = (flag.shown(), if cfg!(feature = "config") { ", and in a file" } else { "" });
    let in_file = if file.is_empty() { String::new() } else { format!(" and {path}") };
    command.after_help(format!("Every option can be set in the environment{file} too: {long} as {variable}{in_file}."))
}

/// Suggests `--http-port` to a user who typed `--port`: clap only finds names with similar spelling, and among those
/// that end alike takes any.
fn with_owner(mut error: clap::Error, plans: &[Plan]) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidArg) else { return error };
    let flags = plans.iter().flat_map(|plan| &plan.flags).filter(|flag| typed.strip_prefix("--") == Some(&flag.name));
    let meant: Vec<String> = flags.filter_map(|flag| Some(format!("--{}", flag.long.as_ref()?))).collect();
    match <[String; 1]>::try_from(meant) {
        Ok([one]) => error.insert(ContextKind::SuggestedArg, ContextValue::String(one)),
        Err(none) if none.is_empty() => None,
        Err(several) => error.insert(ContextKind::SuggestedArg, ContextValue::Strings(several)),
    };
    error
}

/// The given values, and on request the matches of each section.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(super) service: String,
    has_own_logger: bool,
    /// The options that every service has.
    pub(crate) core: CoreOptions,
    /// Interloop's own, then those of the sections.
    pub(super) plans: Vec<Plan>,
    pub(super) sources: Sources,
}

impl Parsed {
    /// Returns the matches of the section at `index` (of those given to [`parse`]), ready for its
    /// `Args::from_arg_matches`.
    ///
    /// Its environment variables and its constraints are checked only here, so ask only for sections that are used.
    pub(crate) fn matches(&self, index: usize) -> Result<ArgMatches, Stop> {
        replay::matches(&self.plans[1 + index]).map_err(|fault| fault.stop(&self.service))
    }

    /// Returns a line on each of these environment variables that looks like one of the service's options, but is none.
    ///
    /// The line names the variable that may be meant; a variable that has no effect is probably a mistake. Two
    /// underscores distinguish them from variables that others set for a service with this name: `HELLO_HOME`. One with
    /// a single underscore counts only if the rest is an option's name.
    pub(crate) fn unknown_variables(&self, names: impl IntoIterator<Item = OsString>) -> Vec<String> {
        let prefix = variable_prefix(&self.service);
        let known = || self.flags().flat_map(Flag::variables);
        let names = names.into_iter().map(|name| name.to_string_lossy().into_owned());
        let mut unknown = names.filter(|name| !known().any(|known| known == name)).collect::<Vec<_>>();
        unknown.sort();
        let line = |name: &String| {
            let shown = name.escape_debug();
            if !name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(&prefix)) {
                let meant = self.meant_by_older(name)?;
                return Some(format!("environment variable {shown} has no effect; did you mean {meant}?"));
            }
            // The common prefix must not make names similar.
            let rest = |variable: &str| variable.get(prefix.len()..).unwrap_or_default().to_ascii_uppercase();
            let candidates = known().filter(|known| known.starts_with(&prefix)).map(|known| rest(known));
            let candidates = candidates.collect::<Vec<_>>();
            let nearest = names::nearest(&rest(name), candidates.iter().map(String::as_str));
            let meant = nearest.map(|nearest| format!("; did you mean {prefix}{nearest}?")).unwrap_or_default();
            if self.has_own_logger && FOR_LOGGING.iter().any(|option| variable(&self.service, option) == *name) {
                return Some(format!("environment variable {shown} is of no option: {OWN_LOGGER}"));
            }
            Some(format!("environment variable {shown} is not known to any option{meant}"))
        };
        unknown.iter().filter_map(line).collect()
    }

    fn flags(&self) -> impl Iterator<Item = &Flag> {
        self.plans.iter().flat_map(|plan| &plan.flags)
    }

    /// Returns the variables that `HELLO_PORT` or `HELLO_HTTP_PORT` may stand for, as a program before Interloop may
    /// have named them.
    fn meant_by_older(&self, name: &str) -> Option<String> {
        let prefix = variable_prefix(&self.service);
        let rest = name.strip_prefix(prefix.strip_suffix('_')?).filter(|rest| !rest.is_empty())?;
        // Kubernetes and Docker set HELLO_PORT=tcp://10.0.0.1:80 for a service of this name.
        let value = (self.sources.env)(name).unwrap_or_default();
        if ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.as_encoded_bytes().starts_with(scheme.as_bytes()))
        {
            return None;
        }
        let is_meant = |flag: &&Flag| [flag.full_name(), &flag.name].iter().any(|name| variable_part(name) == rest);
        let flags = self.flags().filter(|flag| flag.shape() != Shape::Action);
        let meant = flags.filter(is_meant).map(|flag| flag.variable.as_str()).collect::<Vec<_>>();
        (!meant.is_empty()).then(|| meant.join(" or "))
    }

    /// Returns a line on `RUST_LOG` if it is among these environment variables, and nothing else sets the log level.
    pub(crate) fn unused_log_variable(&self, names: &[OsString]) -> Option<String> {
        let (flag, given) = self.plans[0].effective().find(|(flag, _)| flag.name == "log-level")?;
        let is_set = names.iter().any(|name| name == "RUST_LOG");
        let said = || format!("environment variable RUST_LOG has no effect: this log's variable is {}", flag.variable);
        (is_set && given.is_none()).then(said)
    }

    /// Returns the same, if its owner can read it.
    pub(crate) fn checked(&self, index: usize, check: Check) -> Result<ArgMatches, Stop> {
        let matches = self.matches(index)?;
        check(&matches).map_err(|error| self.refused(index, one_line(&error)))?;
        Ok(matches)
    }

    /// Returns the error that the section's owner can't work with these values.
    pub(crate) fn refused(&self, index: usize, why: String) -> Stop {
        let plan = &self.plans[1 + index];
        Stop::Config(format!("{}: {}: {}", self.service, plan.section.owner(), plan.redacted(why)))
    }

    /// Returns the same, parsed: an error of a hand-written `FromArgMatches` becomes one line too.
    #[cfg(test)]
    pub(super) fn options<A: FromArgMatches>(&self, index: usize) -> Result<A, Stop> {
        read(&self.plans[1 + index]).map_err(|fault| fault.stop(&self.service))
    }

    /// Returns the options in force as a file for `--config`.
    pub(crate) fn show(&self) -> String {
        show::file(&self.service, &self.plans)
    }
}

pub(super) fn read<A: FromArgMatches>(plan: &Plan) -> Result<A, Fault> {
    A::from_arg_matches(&replay::matches(plan)?).map_err(|error| Fault::Usage(plan.redacted(one_line(&error))))
}

fn is_for_logging(error: &clap::Error) -> bool {
    let is = |typed: &str| FOR_LOGGING.iter().any(|option| typed.strip_prefix("--") == Some(option));
    matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(typed)) if is(typed))
}

/// Describes what is wrong with the command line; a hidden value is not shown.
fn misused(error: &clap::Error, plans: &[Plan]) -> Fault {
    let mut secrets = plans.iter().flat_map(|plan| &plan.flags).filter(|flag| flag.is_secret());
    match (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue)) {
        (Some(ContextValue::String(argument)), Some(_)) => match secrets.find(|secret| secret.is_called(argument)) {
            Some(secret) => Fault::Usage(format!("invalid value {MASK} for '{}'", secret.shown())),
            None => Fault::usage(error),
        },
        _ => Fault::usage(error),
    }
}
