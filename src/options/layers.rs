//! Where values come from.
//!
//! The layers are asked in turn, and the first that has an option decides it alone: values of two layers are never
//! mixed. A new source is one more [`Layer`], put in its place in the list of [`Sources`].

use std::{
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{ArgMatches, parser::ValueSource};

use super::{
    Plan,
    flag::{Flag, Shape, count, truth},
    origin::Origin,
    secret::MASK,
};

/// The environment: the value of a variable.
pub(crate) type Env = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// A source of values.
pub(super) trait Layer {
    /// What it has for an option; `None` lets the next one decide.
    fn get(&self, flag: &Flag) -> Option<Given>;
}

/// All layers but the code, whose values are the defaults. They can be asked again: the files may have changed.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) command_line: CommandLine,
    pub(super) env: Env,
    /// The file of `--config`.
    pub(super) file: Option<PathBuf>,
}

impl Sources {
    /// What is given to each flag of each plan. An error is all that is wrong with the file, a line each.
    pub(super) fn ask(&self, plans: &[Plan]) -> Result<Vec<Vec<Option<Given>>>, Vec<String>> {
        let (environment, credentials) = (Environment(&self.env), Credentials::of(&self.env));
        #[cfg(feature = "config")]
        let file = match &self.file {
            Some(path) => Some(super::file::ConfigFile::read(path, plans)?),
            None => None,
        };
        // The strongest first.
        let mut layers: Vec<&dyn Layer> = vec![&self.command_line, &environment];
        layers.extend(credentials.as_ref().map(|layer| layer as &dyn Layer));
        #[cfg(feature = "config")]
        layers.extend(file.as_ref().map(|layer| layer as &dyn Layer));
        let given = |flag: &Flag| layers.iter().find_map(|layer| layer.get(flag)).map(|given| given.settled(flag));
        Ok(plans.iter().map(|plan| plan.flags.iter().map(given).collect()).collect())
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was typed may be a secret.
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

/// What a layer has for one option.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) origin: Origin,
    /// It was handed over as a secret, whatever the option's type.
    secret: bool,
    value: Value,
}

#[derive(Clone)]
enum Value {
    /// Read, and accepted.
    Typed(Vec<Occurrence>),
    /// In a variable or an entry of the layer, still to be [read](Given::occurrences).
    Text(OsString),
    /// Several values.
    #[cfg_attr(not(feature = "config"), expect(dead_code, reason = "only a file has arrays"))]
    List(Vec<OsString>),
    /// Several mentions.
    #[cfg_attr(not(feature = "config"), expect(dead_code, reason = "only a file has arrays"))]
    Lists(Vec<Vec<OsString>>),
    /// It is there, and can't be had.
    Bad(String),
}

/// One mention of an option, with its values. A switch has one, "true".
#[derive(Clone, Debug)]
pub(super) struct Occurrence {
    /// Orders it among all mentions of all options.
    pub(super) at: usize,
    pub(super) values: Vec<OsString>,
}

/// The strongest layer: what the common command has collected.
#[derive(Clone)]
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
        Some(Given { origin: Origin::CommandLine, secret: false, value: Value::Typed(occurrences) })
    }
}

/// The environment: one variable for each option, and one that names a file with its value.
struct Environment<'a>(&'a Env);

impl Layer for Environment<'_> {
    fn get(&self, flag: &Flag) -> Option<Given> {
        if flag.shape() == Shape::Action {
            return None;
        }
        let plain = (self.0)(&flag.variable);
        let file = flag.file_variable.as_ref().and_then(|name| Some((name, (self.0)(name)?)));
        match (plain, file) {
            (None, None) => None,
            (Some(text), None) => Some(Given::text(Origin::Environment(flag.variable.clone()), text)),
            (Some(_), Some((name, _))) => {
                let why = format!("{name} is set too; only one of them can be");
                Some(Given { value: Value::Bad(why), ..Given::text(Origin::Environment(flag.variable.clone()), "") })
            }
            (None, Some((name, path))) => {
                Some(Given::in_file(Origin::Environment(name.clone()), &path, contents(Path::new(&path))))
            }
        }
    }
}

/// systemd's credentials: a folder with a file for each option, `http.token`.
struct Credentials(PathBuf);

impl Credentials {
    fn of(env: &Env) -> Option<Self> {
        env("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty()).map(|folder| Self(folder.into()))
    }
}

impl Layer for Credentials {
    fn get(&self, flag: &Flag) -> Option<Given> {
        flag.file_variable.as_ref()?;
        let path = self.0.join(&flag.path);
        match contents(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            read => Some(Given::in_file(Origin::Credential(path.clone()), path.as_os_str(), read)),
        }
    }
}

/// What is in a file of one value, without the newline at its end.
fn contents(path: &Path) -> io::Result<String> {
    let mut text = fs::read_to_string(path)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
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

    fn in_file(origin: Origin, path: &std::ffi::OsStr, read: io::Result<String>) -> Self {
        let value = match read {
            Ok(text) => Value::Text(text.into()),
            Err(error) => Value::Bad(format!("can't read {}: {error}", Path::new(path).display())),
        };
        Self { origin, secret: true, value }
    }

    /// Whether it is not to be shown.
    pub(super) fn is_masked(&self, flag: &Flag) -> bool {
        self.secret || flag.is_secret()
    }

    /// Where it stands, for a message about it.
    pub(super) fn place(&self, flag: &Flag) -> Option<String> {
        match &self.origin {
            Origin::Environment(variable) => Some(variable.clone()),
            origin @ Origin::File { .. } => Some(format!("{origin}: {}", flag.path)),
            origin @ Origin::Credential(_) => Some(origin.to_string()),
            Origin::Set | Origin::CommandLine | Origin::Code | Origin::Default => None,
        }
    }

    /// What was given, as if it had been typed. An error says what is wrong with the value.
    ///
    /// No occurrence at all is possible, and is not the same as `None`: a switch that is turned off.
    pub(super) fn occurrences(&self, flag: &Flag) -> Result<Vec<Occurrence>, String> {
        let read = match &self.value {
            Value::Typed(occurrences) => return Ok(occurrences.clone()),
            Value::Bad(why) => return Err(why.clone()),
            Value::Text(text) => read_text(text, flag),
            Value::List(values) => read_list(values, flag),
            Value::Lists(lists) => read_lists(lists, flag),
        };
        match read {
            // Clap's words would show it.
            Err(_) if self.is_masked(flag) => Err(format!("invalid value {MASK} for '{}'", flag.shown())),
            read => read,
        }
    }
}

impl Given {
    /// Read once and for all, if it is right.
    pub(super) fn accepted(self, flag: &Flag) -> Result<Self, String> {
        self.occurrences(flag).map(|occurrences| Self { value: Value::Typed(occurrences), ..self })
    }

    /// Read once and for all: what is wrong with it is said when it is used.
    fn settled(self, flag: &Flag) -> Self {
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

/// What stands in the layers has been there before what was typed, which can override it.
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

/// The values of an array, split where one holds several, and accepted.
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
    // Where one word is enough it may hold any number of values, as on the command line.
    let is_one_word = flag.declared.get_value_delimiter().is_some() && least <= 1;
    if !is_one_word && !(least..=most).contains(&values.len()) {
        return Err(format!("{} takes {least} values, and got {}", flag.shown(), values.len()));
    }
    Ok(vec![occurrence(values)])
}
