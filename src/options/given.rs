//! The value that a layer has for an option, and how it is read.

use std::{ffi::OsString, fmt, io, path::Path};

use super::{
    flag::{Flag, Shape, count, truth},
    origin::Origin,
    secret::MASK,
};

/// A source of values.
pub(super) trait Layer {
    /// Returns its value for an option; `None` lets the next layer decide.
    fn get(&self, flag: &Flag) -> Option<Given>;
}

/// The value that a layer has for one option.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) origin: Origin,
    /// Whether it was given as a secret, whatever the option's type.
    pub(super) secret: bool,
    pub(super) value: Value,
}

#[derive(Clone)]
pub(super) enum Value {
    /// Parsed and accepted.
    Typed(Vec<Occurrence>),
    /// In a variable or an entry of the layer, still to be [read](Given::occurrences).
    Text(OsString),
    /// Several values.
    #[cfg_attr(not(feature = "config"), expect(dead_code, reason = "only a file has arrays"))]
    List(Vec<OsString>),
    /// Several mentions.
    #[cfg_attr(not(feature = "config"), expect(dead_code, reason = "only a file has arrays"))]
    Lists(Vec<Vec<OsString>>),
    /// Present, but unreadable.
    Bad(String),
}

/// One mention of an option, with its values. A switch has one value, "true".
#[derive(Clone, Debug)]
pub(super) struct Occurrence {
    /// Its order among all mentions of all options.
    pub(super) at: usize,
    pub(super) values: Vec<OsString>,
}

/// Whether the value must not be shown.
pub(super) fn is_masked(flag: &Flag, given: Option<&Given>) -> bool {
    given.map_or_else(|| flag.is_secret(), |given| given.is_masked(flag))
}

impl Given {
    pub(super) fn text(origin: Origin, text: impl Into<OsString>) -> Self {
        Self { origin, secret: false, value: Value::Text(text.into()) }
    }

    #[cfg(feature = "config")]
    pub(super) fn list(origin: Origin, values: Vec<OsString>) -> Self {
        Self { origin, secret: false, value: Value::List(values) }
    }

    #[cfg(feature = "config")]
    pub(super) fn lists(origin: Origin, values: Vec<Vec<OsString>>) -> Self {
        Self { origin, secret: false, value: Value::Lists(values) }
    }

    pub(super) fn in_file(origin: Origin, path: &std::ffi::OsStr, read: io::Result<String>) -> Self {
        let value = match read {
            Ok(text) => Value::Text(text.into()),
            Err(error) => Value::Bad(format!("can't read {}: {error}", Path::new(path).display())),
        };
        Self { origin, secret: true, value }
    }

    /// Whether the value must not be shown.
    pub(super) fn is_masked(&self, flag: &Flag) -> bool {
        self.secret || flag.is_secret()
    }

    /// Returns its location, for a message about it.
    pub(super) fn place(&self, flag: &Flag) -> Option<String> {
        match &self.origin {
            Origin::Environment(variable) => Some(variable.clone()),
            origin @ Origin::File { .. } => Some(format!("{origin}: {}", flag.path)),
            origin @ Origin::Credential(_) => Some(origin.to_string()),
            Origin::Set | Origin::CommandLine | Origin::Code | Origin::Default => None,
        }
    }

    /// Returns the value as if it had been typed. The error says what is wrong with it.
    ///
    /// An empty list is possible, and is not the same as `None`: a switch that is turned off.
    pub(super) fn occurrences(&self, flag: &Flag) -> Result<Vec<Occurrence>, String> {
        let read = match &self.value {
            Value::Typed(occurrences) => return Ok(occurrences.clone()),
            Value::Bad(why) => return Err(why.clone()),
            Value::Text(text) => read_text(text, flag),
            Value::List(values) => read_list(values, flag),
            Value::Lists(lists) => read_lists(lists, flag),
        };
        match read {
            // Clap's message would show it.
            Err(_) if self.is_masked(flag) => Err(format!("invalid value {MASK} for '{}'", flag.shown())),
            read => read,
        }
    }
}

impl Given {
    /// Reads the value once and for all; returns an error if it is wrong.
    pub(super) fn accepted(self, flag: &Flag) -> Result<Self, String> {
        self.occurrences(flag).map(|occurrences| Self { value: Value::Typed(occurrences), ..self })
    }

    /// Reads the value once and for all; if it is wrong, that is reported when it is used.
    pub(super) fn settled(self, flag: &Flag) -> Self {
        let value = self.occurrences(flag).map_or_else(Value::Bad, Value::Typed);
        Self { value, ..self }
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value may be a secret.
        f.debug_struct("Given").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Values in the layers precede what was typed, which can override them.
fn occurrence(values: Vec<OsString>) -> Occurrence {
    Occurrence { at: 0, values }
}

fn read_text(text: &OsString, flag: &Flag) -> Result<Vec<Occurrence>, String> {
    let word =
        || text.to_str().ok_or_else(|| format!("invalid value '{}': not UTF-8", text.to_string_lossy().escape_debug()));
    match flag.shape() {
        Shape::Switch => Ok(if truth(word()?)? { vec![occurrence(vec!["true".into()])] } else { Vec::new() }),
        Shape::Count => Ok((0..count(word()?)?).map(|_| occurrence(vec!["true".into()])).collect()),
        Shape::Action => Ok(Vec::new()),
        Shape::Values => {
            let values = flag.split(text.clone());
            values.iter().try_for_each(|value| flag.accepts(value))?;
            one_mention(values, flag)
        }
    }
}

fn read_list(values: &[OsString], flag: &Flag) -> Result<Vec<Occurrence>, String> {
    let values = checked(values, flag)?;
    let number = flag.num_args();
    let each = flag.collects() && number.min_values() <= 1 && number.max_values() < values.len();
    match values.is_empty() {
        true if number.min_values() == 0 => Ok(vec![occurrence(Vec::new())]),
        true => Ok(Vec::new()),
        false if each && flag.declared.get_value_delimiter().is_none() => {
            Ok(values.into_iter().map(|value| occurrence(vec![value])).collect())
        }
        false => one_mention(values, flag),
    }
}

fn read_lists(lists: &[Vec<OsString>], flag: &Flag) -> Result<Vec<Occurrence>, String> {
    let mut occurrences = Vec::with_capacity(lists.len());
    for values in lists {
        occurrences.extend(one_mention(checked(values, flag)?, flag)?);
    }
    Ok(occurrences)
}

/// Returns the values of an array, split if one holds several, and accepted.
fn checked(values: &[OsString], flag: &Flag) -> Result<Vec<OsString>, String> {
    if flag.shape() != Shape::Values {
        return Err("takes no array".to_owned());
    }
    let split = |value: &OsString| match flag.declared.get_value_delimiter() {
        Some(_) => flag.split(value.clone()),
        None => vec![value.clone()],
    };
    let values: Vec<OsString> = values.iter().flat_map(split).collect();
    values.iter().try_for_each(|value| flag.accepts(value))?;
    Ok(values)
}

fn one_mention(values: Vec<OsString>, flag: &Flag) -> Result<Vec<Occurrence>, String> {
    let (least, most) = (flag.num_args().min_values(), flag.num_args().max_values());
    // If one word is enough, it may hold any number of values, as on the command line.
    let is_one_word = flag.declared.get_value_delimiter().is_some() && least <= 1;
    if !is_one_word && !(least..=most).contains(&values.len()) {
        return Err(format!("{} takes {least} values, and got {}", flag.shown(), values.len()));
    }
    Ok(vec![occurrence(values)])
}
