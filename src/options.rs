//! Options: what the service, its loops and its tasks can be told, from one command line and one environment.
//!
//! Each owner (the service, a loop, a task) declares its options as plain derived [`clap::Args`] and never learns that
//! it shares a command line. Here they are brought together in four steps:
//!
//! 1. Every option becomes a [`Flag`]: `port` of the task `http` of the service `hello` is `--http-port` on the command
//!    line and `HELLO__HTTP__PORT` in the environment. What is [claimed](claims) twice is an error, in release builds
//!    too.
//! 2. All flags make one common [`clap::Command`], which only collects and checks values one by one, and prints the
//!    help.
//! 3. The [layers] are asked in turn, the strongest first: the command line, the environment (a variable, or the file
//!    that one names), systemd's credentials, the [file] of `--config`; then the values set in code. What is
//!    [set while the service runs](live) is stronger than all of them.
//! 4. The winners are [replayed](replay) into the owner's own `Command`, where its constraints (conflicts, groups, what
//!    requires what) act as they were declared, and from whose matches its `Args` are read.
//!
//! Step 4 is done [section by section](Parsed::matches), for those that are wanted: what a task that was not selected
//! would require is not asked for. A file is checked as a whole. While the service runs, steps 3 and 4 are
//! [repeated](live): all sections are replayed before the first [cell] gets its new values.
//!
//! May use: kit, words, logging.

mod cell;
mod changes;
mod claims;
mod duration;
#[cfg(feature = "config")]
mod file;
mod flag;
mod layers;
mod live;
mod origin;
mod replay;
mod rereads;
mod secret;
mod show;
mod standard;
#[cfg(test)]
mod tests;
mod wording;

use std::{ffi::OsString, fmt};

use clap::{
    ArgMatches, Command, FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
};

pub(crate) use self::{
    cell::{Check, OptionCell},
    layers::Env,
    live::{Host, LOOP_ID, Live},
    standard::{CoreOptions, SHUTDOWN_TIMEOUT},
};
pub use self::{
    changes::OptionChanges,
    duration::duration,
    flag::OptionKind,
    live::{Applied, OptionChange, OptionError, OptionValue, Reloaded},
    origin::Origin,
    rereads::OnReload,
    secret::Secret,
};
#[cfg(all(feature = "command", target_os = "linux"))]
pub(crate) use self::{flag::variable, standard::Init};
use self::{
    flag::{Flag, Required},
    layers::{CommandLine, Given, Sources},
    secret::MASK,
    standard::NOT_IN_FILE,
    wording::{Fault, one_line},
};

/// Who declares options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Interloop itself: the options that every service has.
    Core,
    /// The service: options of its own, without a prefix. The only one that may have short flags and positional
    /// arguments.
    Service,
    Loop,
    Task,
}

/// The options of one owner.
#[derive(Clone)]
pub(crate) struct Section {
    pub(crate) kind: Owner,
    /// Empty for the service and for Interloop.
    pub(crate) name: String,
    /// A bare `Command`, augmented with the owner's derived `Args`.
    pub(crate) command: Command,
    /// Values set in code: the option's long name without a prefix, and the value as one would type it. Options that
    /// may be given several times collect their entries; of the others the last one counts.
    pub(crate) defaults: Vec<(String, String)>,
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is set in code, and what is declared as a default, may be a secret.
        f.debug_struct("Section").field("kind", &self.kind).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Section {
    /// "task http", "the service": for messages.
    fn owner(&self) -> String {
        match self.kind {
            Owner::Core => "Interloop".to_owned(),
            Owner::Service => "the service".to_owned(),
            Owner::Loop => format!("loop {}", self.name),
            Owner::Task => format!("task {}", self.name),
        }
    }

    fn is_prefixed(&self) -> bool {
        matches!(self.kind, Owner::Loop | Owner::Task)
    }

    /// Says why these `Args` can't share a command line.
    fn refusal(&self) -> Option<String> {
        if let Some(subcommand) = self.command.get_subcommands().next() {
            return Some(format!("the options of {} can't have subcommands: {}", self.owner(), subcommand.get_name()));
        }
        let positional = self.command.get_positionals().next().filter(|_| self.is_prefixed())?;
        Some(format!("the options of {} can't have positional arguments: {}", self.owner(), positional.get_id()))
    }
}

/// What the help and the messages say about the service.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceAbout {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) about: Option<String>,
}

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

/// Reads the command line (without the program's name) and the environment.
///
/// `defaults` are values set in code for the options of Interloop itself, as in [`Section::defaults`].
pub(crate) fn parse(
    about: &ServiceAbout,
    sections: Vec<Section>,
    defaults: &[(String, String)],
    args: Vec<OsString>,
    env: Env,
) -> Result<Parsed, Stop> {
    let service = &about.name;
    let config = |text: String| Stop::Config(format!("{service}: {text}"));

    let core = CoreOptions::section(defaults);
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
            _ => misused(&with_owner(error, &plans), &plans).stop(service),
        }
    })?;

    // Back to the order of the sections, with Interloop's own before them.
    plans.sort_by_key(|plan| plan.place);
    let sources = Sources { command_line: CommandLine(matches), env, file: None };
    let ask = |sources: &Sources, plans: &mut [Plan]| {
        let given = sources.ask(plans).map_err(|lines| {
            let lines: Vec<_> = lines.into_iter().map(|line| format!("{service}: {line}")).collect();
            Stop::Config(lines.join("\n"))
        })?;
        plans.iter_mut().zip(given).for_each(|(plan, given)| plan.given = given);
        read::<CoreOptions>(&plans[0]).map_err(|fault| fault.stop(service))
    };
    let core = ask(&sources, &mut plans)?;
    // The command line and the environment say which file; now it has its say.
    #[cfg(feature = "config")]
    let (sources, core) = match core.config.clone() {
        None => (sources, core),
        file => {
            let sources = Sources { file, ..sources };
            let core = ask(&sources, &mut plans)?;
            (sources, core)
        }
    };
    Ok(Parsed { service: service.clone(), core, plans, sources })
}

/// A section, planned: its flags, and what they were given.
#[derive(Clone, Debug)]
struct Plan {
    /// Which of the sections it is; `None` for Interloop's own options.
    place: Option<usize>,
    section: Section,
    flags: Vec<Flag>,
    /// What the layers have; as long as `flags`.
    given: Vec<Option<Given>>,
    /// What was set while the service runs; as long as `flags`.
    set: Vec<Option<Given>>,
}

impl Plan {
    fn new(service: &str, place: Option<usize>, section: Section) -> Result<Self, String> {
        if let Some(refusal) = section.refusal() {
            return Err(refusal);
        }
        let mut flags = Flag::all(service, place, &section);
        let owner = section.owner();
        for (option, value) in &section.defaults {
            let Some(flag) = flags.iter_mut().find(|flag| flag.name == *option) else {
                let known: Vec<_> = flags.iter().map(|flag| flag.name.as_str()).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(format!("{owner} has no option {option}, which is set in code; its options: {known}"));
            };
            flag.set_in_code(value).map_err(|why| format!("{owner}: option {option}, set in code: {why}"))?;
        }
        let none = vec![None; flags.len()];
        Ok(Self { place, section, flags, given: none.clone(), set: none })
    }

    /// A message about this section, without the values in it that are not to be shown: whoever wrote it may not know of them.
    fn redacted(&self, message: String) -> String {
        let masked = self.effective().filter(|(flag, given)| show::is_masked(flag, *given));
        let values = masked.flat_map(|(flag, given)| {
            let occurrences = given.and_then(|given| given.occurrences(flag).ok()).unwrap_or_default();
            let values = occurrences.into_iter().flat_map(|occurrence| occurrence.values);
            values.chain(flag.code.clone()).collect::<Vec<_>>()
        });
        secret::redacted(message, values.map(|value| value.to_string_lossy().into_owned()))
    }

    /// What is in force for each flag.
    fn effective(&self) -> impl Iterator<Item = (&Flag, Option<&Given>)> {
        let given = self.set.iter().zip(&self.given).map(|(set, given)| set.as_ref().or(given.as_ref()));
        self.flags.iter().zip(given)
    }
}

/// The one command that all flags are in.
fn common(about: &ServiceAbout, plans: &[Plan], required: Required) -> Command {
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
    // One sentence instead of a variable on every line; with a task's option as the example, where there is one.
    let example = flags.filter(|(_, flag)| flag.long.is_some()).max_by_key(|(_, flag)| {
        let levels = flag.variable.matches("__").count();
        (levels, std::cmp::Reverse(&flag.variable))
    });
    let Some((_, flag @ Flag { variable, path, .. })) = example else { return command };
    let (long, file) = (flag.shown(), if cfg!(feature = "config") { ", and in a file" } else { "" });
    let in_file = if file.is_empty() { String::new() } else { format!(" and {path}") };
    command.after_help(format!("Every option can be set in the environment{file} too: {long} as {variable}{in_file}."))
}

/// Suggests `--http-port` to those who typed `--port`: clap looks for names that are spelled alike only.
fn with_owner(mut error: clap::Error, plans: &[Plan]) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument || error.get(ContextKind::SuggestedArg).is_some() {
        return error;
    }
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidArg) else { return error };
    let flags = plans.iter().flat_map(|plan| &plan.flags);
    let meant = flags.filter(|flag| typed.strip_prefix("--") == Some(&flag.name)).find_map(|flag| flag.long.clone());
    if let Some(long) = meant {
        error.insert(ContextKind::SuggestedArg, ContextValue::String(format!("--{long}")));
    }
    error
}

/// What was given, and on request what that makes of each section.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    service: String,
    /// The options that every service has.
    pub(crate) core: CoreOptions,
    /// Interloop's own, then those of the sections.
    plans: Vec<Plan>,
    sources: Sources,
}

impl Parsed {
    /// What the section at `index` (of those given to [`parse`]) was given, ready for its `Args::from_arg_matches`.
    ///
    /// Only here are its environment variables and its constraints looked at: ask for what will be used.
    pub(crate) fn matches(&self, index: usize) -> Result<ArgMatches, Stop> {
        replay::matches(&self.plans[1 + index]).map_err(|fault| fault.stop(&self.service))
    }

    /// The same, if its owner can read it.
    pub(crate) fn checked(&self, index: usize, check: Check) -> Result<ArgMatches, Stop> {
        let matches = self.matches(index)?;
        check(&matches).map_err(|error| self.refused(index, one_line(&error)))?;
        Ok(matches)
    }

    /// The section's owner says that it can't work with these.
    pub(crate) fn refused(&self, index: usize, why: String) -> Stop {
        let plan = &self.plans[1 + index];
        Stop::Config(format!("{}: {}: {}", self.service, plan.section.owner(), plan.redacted(why)))
    }

    /// The same, read: what a hand-written `FromArgMatches` says becomes one line too.
    #[cfg(test)]
    fn options<A: FromArgMatches>(&self, index: usize) -> Result<A, Stop> {
        read(&self.plans[1 + index]).map_err(|fault| fault.stop(&self.service))
    }

    /// What is in force, as a file for `--config`.
    pub(crate) fn show(&self) -> String {
        show::file(&self.service, &self.plans)
    }
}

fn read<A: FromArgMatches>(plan: &Plan) -> Result<A, Fault> {
    A::from_arg_matches(&replay::matches(plan)?).map_err(|error| Fault::Usage(plan.redacted(one_line(&error))))
}

/// What is wrong with the words; of a value that is not to be shown, not what it is.
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
