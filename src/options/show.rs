//! Values in a form that people, and `--config`, can read.

use std::{ffi::OsString, fmt::Write as _};

use clap::{ArgMatches, parser::ValueSource};

use super::{
    flag::{Flag, Shape},
    given::{Given, Occurrence, is_masked},
    origin::Origin,
    plan::Plan,
    replay,
    secret::MASK,
    standard::NOT_IN_FILE,
};

/// The value of an option, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Switch(bool),
    Count(usize),
    /// The values of each mention.
    Values(Vec<Vec<OsString>>),
    Unset,
}

/// Returns the value in force: the given one, or the default. The error says what is wrong with the given one.
pub(super) fn value(flag: &Flag, given: Option<&Given>) -> Result<Shown, String> {
    match given {
        Some(given) => Ok(of_occurrences(flag, given.occurrences(flag)?)),
        None => Ok(default(flag)),
    }
}

fn of_occurrences(flag: &Flag, occurrences: Vec<Occurrence>) -> Shown {
    match flag.shape() {
        Shape::Switch => Shown::Switch(occurrences.last().is_some_and(|last| {
            last.values.first().and_then(|value| value.to_str()).is_none_or(|value| value != "false")
        })),
        Shape::Count => Shown::Count(occurrences.len()),
        Shape::Values | Shape::Action => {
            // If the option doesn't collect mentions, the last one counts.
            let others = if flag.collects() { 0 } else { occurrences.len().saturating_sub(1) };
            Shown::Values(occurrences.into_iter().skip(others).map(|occurrence| occurrence.values).collect())
        }
    }
}

fn default(flag: &Flag) -> Shown {
    let code = flag.code.first().and_then(|code| code.to_str());
    match flag.shape() {
        Shape::Switch => Shown::Switch(code.is_some_and(|code| (code == "true") == flag.is_positive())),
        Shape::Count => Shown::Count(code.and_then(|code| code.parse().ok()).unwrap_or(0)),
        Shape::Values | Shape::Action => {
            let declared = || flag.declared.get_default_values().iter().cloned().map(OsString::from).collect();
            let values: Vec<OsString> = if flag.code.is_empty() { declared() } else { flag.code.clone() };
            if values.is_empty() { Shown::Unset } else { Shown::Values(vec![values]) }
        }
    }
}

/// Returns the origin of the value.
pub(super) fn origin(flag: &Flag, given: Option<&Given>) -> Origin {
    match given {
        Some(given) => given.origin.clone(),
        None if !flag.code.is_empty() => Origin::Code,
        None => Origin::Default,
    }
}

impl Shown {
    /// Returns the value in one line, as one would [set](crate::options::Options::set) it; `None` if it is not set.
    pub(super) fn text(&self, flag: &Flag, masked: bool) -> Option<String> {
        match self {
            Self::Unset => None,
            _ if masked => Some(MASK.to_owned()),
            Self::Switch(on) => Some(on.to_string()),
            Self::Count(count) => Some(count.to_string()),
            Self::Values(mentions) => {
                let delimiter = flag.declared.get_value_delimiter().unwrap_or(',').to_string();
                let values = mentions.iter().flatten().map(|value| value.to_string_lossy());
                Some(values.collect::<Vec<_>>().join(&delimiter))
            }
        }
    }

    /// Returns the value in TOML; `None` if it can't be written.
    fn toml(&self, flag: &Flag) -> Option<String> {
        let array = |values: &[OsString]| {
            let values = values.iter().map(scalar).collect::<Option<Vec<_>>>()?;
            Some(format!("[{}]", values.join(", ")))
        };
        match self {
            Self::Unset => None,
            Self::Switch(on) => Some(on.to_string()),
            Self::Count(count) => Some(count.to_string()),
            Self::Values(mentions) => match mentions.as_slice() {
                [] => Some("[]".to_owned()),
                [values] => match values.as_slice() {
                    [value] => scalar(value),
                    values => array(values),
                },
                mentions if flag.num_args().max_values() == 1 && mentions.iter().all(|values| values.len() == 1) => {
                    array(&mentions.concat())
                }
                mentions => {
                    let mentions = mentions.iter().map(|values| array(values)).collect::<Option<Vec<_>>>()?;
                    Some(format!("[{}]", mentions.join(", ")))
                }
            },
        }
    }
}

/// Returns a number or a boolean as it is if it would be read back as the same text; otherwise as a string.
fn scalar(value: &OsString) -> Option<String> {
    let text = value.to_str()?;
    let is_integer = text.parse::<i64>().is_ok_and(|number| number.to_string() == text);
    let is_float = || {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        text.split_once('.').is_some_and(|(whole, part)| {
            whole.parse::<u32>().is_ok_and(|number| number.to_string() == whole) && digits(part)
        })
    };
    if is_integer || is_float() || text == "true" || text == "false" {
        return Some(text.to_owned());
    }
    Some(quoted(text))
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn key(name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { name.to_owned() } else { quoted(name) }
}

/// Returns the options in force as a file for `--config`: given values as entries, others as comments, so that a
/// default stays one.
pub(super) fn file(service: &str, plans: &[Plan]) -> String {
    let mut text =
        format!("# What is in force of {service}. What is commented out is a default, or not to be shown.\n");
    // Both kinds of common options are at the top of a file; the service's own come first, as in the help.
    let (core, sections) = plans.split_at(1);
    let own = sections.iter().filter(|plan| !plan.section.is_prefixed());
    own.chain(core).for_each(|plan| entries(&mut text, plan));
    let prefixed: Vec<&Plan> = sections.iter().filter(|plan| plan.section.is_prefixed()).collect();
    for (place, first) in prefixed.iter().enumerate() {
        let name = &first.section.name;
        // A loop may have the name of its task.
        let is_known = prefixed[..place].iter().any(|plan| plan.section.name == *name);
        let owners = || prefixed.iter().filter(|plan| plan.section.name == *name && !plan.flags.is_empty());
        if is_known || owners().next().is_none() {
            continue;
        }
        let _ = write!(text, "\n[{}]\n", key(name));
        owners().for_each(|plan| entries(&mut text, plan));
    }
    text.pop();
    text
}

fn entries(text: &mut String, plan: &Plan) {
    let is_core = plan.place.is_none();
    // If a task is not selected, its options may be incomplete.
    let matches = replay::matches(plan).ok();
    let is_overridden = |flag: &Flag, given: &Given| {
        let typed = given.occurrences(flag).is_ok_and(|occurrences| !occurrences.is_empty());
        let source = |matches: &ArgMatches| matches.value_source(flag.declared.get_id().as_str());
        typed && matches.as_ref().is_some_and(|matches| source(matches) != Some(ValueSource::CommandLine))
    };
    for (flag, given) in plan.effective() {
        let given = given.filter(|given| !is_overridden(flag, given));
        if flag.shape() == Shape::Action || is_core && NOT_IN_FILE.contains(&flag.name.as_str()) {
            continue;
        }
        let line = entry(flag, given);
        let line = line.chars().map(|c| if c.is_control() { ' ' } else { c });
        text.extend(line.chain(['\n']));
    }
}

fn entry(flag: &Flag, given: Option<&Given>) -> String {
    let (key, origin) = (key(&flag.name), origin(flag, given));
    let shown = match value(flag, given) {
        Ok(shown) => shown,
        Err(why) => return format!("# {key} is wrong: {why} # {origin}"),
    };
    match shown.toml(flag) {
        _ if shown == Shown::Unset => format!("# {key} is not set"),
        _ if is_masked(flag, given) => format!("# {key} = \"{MASK}\" # {origin}"),
        None => format!("# {key} is not UTF-8 # {origin}"),
        Some(value) if given.is_none() => format!("# {key} = {value} # {origin}"),
        Some(value) => format!("{key} = {value} # {origin}"),
    }
}
