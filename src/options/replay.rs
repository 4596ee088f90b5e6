//! The replay: the values that the layers gave to one section, typed again into the `Command` of its owner.
//!
//! Ids, and so the constraints, are as the owner declared them; only the long names are those of the common command, so
//! that clap's errors name the flags that users can see.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgMatches, error::ContextValue};

use super::{
    flag::{Flag, Shape},
    given::{Given, Occurrence},
    origin::Origin,
    plan::Plan,
    wording::{self, Fault},
};

pub(super) fn matches(plan: &Plan) -> Result<ArgMatches, Fault> {
    let mut command = plan
        .section
        .command
        .clone()
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg_required_else_help(false);
    let mut mentions = Vec::new();
    let mut elsewhere = Vec::new();
    let mut known = Vec::with_capacity(plan.flags.len());
    for (flag, given) in plan.effective() {
        let occurrences = match given {
            Some(given) => given.occurrences(flag).map_err(|why| match given.place(flag) {
                Some(place) => Fault::Config(format!("{place}: {why}")),
                None => Fault::Usage(why),
            })?,
            None => Vec::new(),
        };
        if let Some(given) = given.filter(|given| !matches!(given.origin, Origin::CommandLine | Origin::Set)) {
            elsewhere.push((flag, given));
        }
        let style = Style::of(flag, &occurrences);
        known.push((flag, given.is_none(), style));
        mentions.extend(occurrences.into_iter().map(|occurrence| (flag, style, occurrence)));
    }
    // All in one pass: taking one out by its name and putting it back would move all others.
    command = command.mut_args(|arg| match known.iter().find(|(flag, ..)| flag.declared.get_id() == arg.get_id()) {
        Some((flag, from_code, style)) => prepare(arg, flag, *from_code, *style),
        None => arg,
    });
    // The sort is stable: mentions without an order of their own stay in the order of declaration.
    mentions.sort_by_key(|(_, _, occurrence)| occurrence.at);

    let has_last = plan.flags.iter().any(|flag| flag.declared.is_last_set());
    command.try_get_matches_from(words(mentions, has_last)).map_err(|error| {
        let redacted = |fault| match fault {
            Fault::Usage(text) => Fault::Usage(plan.redacted(text)),
            Fault::Config(text) => Fault::Config(plan.redacted(text)),
        };
        redacted(blame(&error, &elsewhere))
    })
}

/// Gives an option its name in the common command and, if no layer has it, its value set in code.
fn prepare(mut arg: Arg, flag: &Flag, from_code: bool, style: Style) -> Arg {
    // The layers have read its variable, from the environment that the service was given.
    arg = arg.env(None::<&'static str>);
    if let Some(long) = &flag.long {
        arg = arg.long(long.clone()).alias(None::<&'static str>);
    }
    if from_code && !flag.code.is_empty() {
        arg = arg.required(false).default_values_os(flag.code.iter().cloned());
    }
    match style {
        Style::Plain => arg,
        Style::Joined { delimiter, widen } => {
            let arg = arg.value_delimiter(delimiter);
            if widen { arg.num_args(flag.num_args().min_values().min(1)..) } else { arg }
        }
    }
}

/// How the values of an option's occurrences are written.
#[derive(Clone, Copy, Debug)]
enum Style {
    /// As they are: at most one value for each occurrence.
    Plain,
    /// Several values as one word, so that none can be taken for a flag. Clap counts it as one value, so the number of
    /// values, which is known to be right, is widened if one is too few.
    Joined { delimiter: char, widen: bool },
}

impl Style {
    fn of(flag: &Flag, occurrences: &[Occurrence]) -> Self {
        if flag.long.is_none() || occurrences.iter().all(|occurrence| occurrence.values.len() < 2) {
            return Self::Plain;
        }
        let values = || occurrences.iter().flat_map(|occurrence| &occurrence.values);
        // A private-use character that occurs in none of the values; there are more of these than anyone could type.
        let unused = || ('\u{e000}'..'\u{f8ff}').find(|c| !values().any(|value| value.to_string_lossy().contains(*c)));
        let delimiter = flag.declared.get_value_delimiter().or_else(unused).unwrap_or('\u{f8ff}');
        Self::Joined { delimiter, widen: flag.num_args().min_values() > 1 }
    }
}

/// Returns the words that stand for the given values: options first, then positional arguments in order.
///
/// Positional arguments are escaped by `--`. If one is declared as the last, only that one can be escaped, and always
/// is.
fn words(mentions: Vec<(&Flag, Style, Occurrence)>, has_last: bool) -> Vec<OsString> {
    let (options, mut positionals): (Vec<_>, Vec<_>) = mentions.into_iter().partition(|(flag, ..)| flag.long.is_some());
    let mut words: Vec<OsString> =
        options.into_iter().map(|(flag, style, occurrence)| word(flag, style, &occurrence)).collect();

    positionals.sort_by_key(|(flag, _, occurrence)| (flag.declared.get_index(), occurrence.at));
    let mut escaped = false;
    for (flag, _, occurrence) in positionals {
        if !escaped && flag.declared.is_last_set() == has_last {
            words.push("--".into());
            escaped = true;
        }
        match flag.declared.get_value_delimiter() {
            Some(delimiter) => words.push(join(&occurrence.values, delimiter)),
            None => words.extend(occurrence.values),
        }
    }
    words
}

/// Returns one word: `--http-port=80`, `--http-verbose`.
fn word(flag: &Flag, style: Style, occurrence: &Occurrence) -> OsString {
    let mut word = OsString::from(flag.shown());
    let is_bare = matches!(flag.shape(), Shape::Switch | Shape::Count) && flag.num_args().max_values() == 0;
    if is_bare || occurrence.values.is_empty() {
        return word;
    }
    word.push("=");
    match style {
        Style::Joined { delimiter, .. } => word.push(join(&occurrence.values, delimiter)),
        Style::Plain => occurrence.values.iter().for_each(|value| word.push(value)),
    }
    word
}

fn join(values: &[OsString], delimiter: char) -> OsString {
    values.join(OsStr::new(delimiter.encode_utf8(&mut [0; 4])))
}

/// Attributes an error of the constraints to the command line, unless it is about an option that was given elsewhere:
/// then the error says where.
fn blame(error: &clap::Error, elsewhere: &[(&Flag, &Given)]) -> Fault {
    let mentioned: Vec<&str> = error
        .context()
        .flat_map(|(_, value)| match value {
            ContextValue::String(text) => vec![text.as_str()],
            ContextValue::Strings(texts) => texts.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        })
        .map(|text| text.split([' ', '=', '[', '.']).next().unwrap_or(text))
        .collect();
    let (mut variables, mut others) = (Vec::new(), Vec::new());
    for (flag, given) in elsewhere.iter().filter(|(flag, _)| mentioned.contains(&flag.shown().as_str())) {
        match &given.origin {
            Origin::Environment(variable) => variables.push(variable.as_str()),
            origin => others.push(format!("{} is set in {origin}", flag.path)),
        }
    }
    if !variables.is_empty() {
        let verb = if variables.len() == 1 { "is" } else { "are" };
        others.insert(0, format!("{} {verb} set in the environment", variables.join(" and ")));
    }
    if others.is_empty() {
        return Fault::usage(error);
    }
    Fault::Config(format!("{} ({})", wording::one_line(error), others.join(", ")))
}
