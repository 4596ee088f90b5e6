//! Where values come from.
//!
//! The layers are asked in turn, and the first that has an option decides it alone: values of two layers are never
//! mixed. A new source (a file) is one more [`Layer`], put in its place in the list.

use std::ffi::OsString;

use clap::{ArgMatches, parser::ValueSource};

use super::flag::{Flag, Shape, count, truth};

/// A source of values.
pub(super) trait Layer {
    /// What it has for an option; `None` lets the next one decide.
    fn get(&self, flag: &Flag) -> Option<Given>;
}

/// What a layer has for one option.
#[derive(Clone, Debug)]
pub(super) enum Given {
    /// On the command line, already checked.
    Typed(Vec<Occurrence>),
    /// In a variable or an entry of the layer, still to be [read](Given::occurrences).
    Text(OsString),
}

/// One mention of an option, with its values. A switch has one, "true".
#[derive(Clone, Debug)]
pub(super) struct Occurrence {
    /// Orders it among all mentions of all options.
    pub(super) at: usize,
    pub(super) values: Vec<OsString>,
}

/// The strongest layer: what the common command has collected.
#[derive(Debug)]
pub(super) struct CommandLine(pub(super) ArgMatches);

impl Layer for CommandLine {
    fn get(&self, flag: &Flag) -> Option<Given> {
        let Self(matches) = self;
        if matches.value_source(&flag.key)? != ValueSource::CommandLine {
            return None;
        }
        let mut indices = matches.indices_of(&flag.key).into_iter().flatten();
        let mut at = 0;
        let mut occurrences = Vec::new();
        for values in matches.get_raw_occurrences(&flag.key)? {
            let values: Vec<OsString> = values.map(OsString::from).collect();
            // Clap counts every value; an occurrence counts with its first, and one without values with the one before
            // it.
            at = indices.by_ref().take(values.len()).reduce(|first, _| first).unwrap_or(at);
            occurrences.push(Occurrence { at, values });
        }
        Some(Given::Typed(occurrences))
    }
}

/// The environment: one variable for each option.
pub(super) struct Environment<'a>(pub(super) &'a dyn Fn(&str) -> Option<OsString>);

impl Layer for Environment<'_> {
    fn get(&self, flag: &Flag) -> Option<Given> {
        if flag.shape() == Shape::Action {
            return None;
        }
        (self.0)(&flag.variable).map(Given::Text)
    }
}

impl Given {
    /// What was given, as if it had been typed. An error says what is wrong with the value.
    ///
    /// No occurrence at all is possible, and is not the same as `None`: a switch that is turned off.
    pub(super) fn occurrences(&self, flag: &Flag) -> Result<Vec<Occurrence>, String> {
        let text = match self {
            Self::Typed(occurrences) => return Ok(occurrences.clone()),
            Self::Text(text) => text,
        };
        // What was typed stands behind it, and so can override it.
        let occurrence = |values| Occurrence { at: 0, values };
        let word = || {
            text.to_str().ok_or_else(|| format!("invalid value '{}': not UTF-8", text.to_string_lossy().escape_debug()))
        };
        match flag.shape() {
            Shape::Switch => Ok(if truth(word()?)? { vec![occurrence(vec!["true".into()])] } else { Vec::new() }),
            Shape::Count => Ok((0..count(word()?)?).map(|_| occurrence(vec!["true".into()])).collect()),
            Shape::Action => Ok(Vec::new()),
            Shape::Values => {
                let values = flag.split(text.clone());
                for value in &values {
                    flag.accepts(value)?;
                }
                let (least, most) = (flag.num_args().min_values(), flag.num_args().max_values());
                // Where one word is enough it may hold any number of values, as on the command line.
                let is_one_word = flag.declared.get_value_delimiter().is_some() && least <= 1;
                if !is_one_word && !(least..=most).contains(&values.len()) {
                    return Err(format!("{} takes {least} values, and got {}", flag.shown(), values.len()));
                }
                Ok(vec![occurrence(values)])
            }
        }
    }
}
