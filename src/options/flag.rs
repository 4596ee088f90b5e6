//! One option, as the whole service knows it.
//!
//! clap has no prefix for flattened `Args`, so the flag of the common command is a new `Arg`, made from the properties
//! of the declared one. It carries what is needed to read and to explain a value, and nothing that relates options to
//! each other: such constraints name the ids of the owner's own `Command`, and apply there, in the replay.

use std::{any::TypeId, ffi::OsString, fmt};

use clap::{
    Arg, ArgAction, Command, ValueHint,
    builder::{StyledStr, ValueRange},
    value_parser,
};

use super::{
    secret::{MASK, Secret},
    section::Section,
    wording,
};
use crate::kit::panics::catch;

/// The kind of an option's values, as far as its declaration tells.
///
/// The [value](crate::options::OptionValue::value) is a text all the same; for a secret it is `***`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum OptionKind {
    /// True or false: a switch, or an option of the type `bool`.
    Truth,
    /// A whole number: the option's type is one of Rust's integers, or it counts.
    Integer,
    /// A number: the option's type is `f32` or `f64`.
    Float,
    /// Everything else, including several values.
    Text,
}

/// One option of one owner.
#[derive(Clone)]
pub(super) struct Flag {
    /// The option as its owner declared it, built so that all getters answer.
    pub(super) declared: Arg,
    /// The option's id in the common command.
    pub(super) key: String,
    /// The option's name within its owner: `port`.
    pub(super) name: String,
    /// The name on the command line, without the dashes: `http-port`. `None` for a positional argument.
    pub(super) long: Option<String>,
    /// The environment variable: `HELLO__HTTP__PORT`.
    pub(super) variable: String,
    /// The variable that names a file with the value: `HELLO__HTTP__PORT_FILE`. `None` if another option has that name.
    pub(super) file_variable: Option<String>,
    /// The variable that its own declaration names (clap's `env`): weaker than the others.
    pub(super) own_variable: Option<String>,
    /// The key in a file: `http.port`.
    pub(super) path: String,
    /// The values set in code, as clap's default values; empty if there are none.
    pub(super) code: Vec<OsString>,
}

/// Whether the common command insists on required options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Required {
    /// For parsing: the environment may have it, or its task may not be selected; the replay insists.
    Never,
    /// For the usage line of the help.
    AsDeclared,
}

/// How often an option is given, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Present or absent (`SetTrue`, `SetFalse`).
    Switch,
    /// Counts how often it is given.
    Count,
    /// Takes values.
    Values,
    /// Prints something and exits (`Help`, `Version`).
    Action,
}

impl Flag {
    /// Returns all options of a section. `place` distinguishes the sections' keys.
    pub(super) fn all(service: &str, place: Option<usize>, section: &Section) -> Vec<Self> {
        let mut built = section.command.clone().disable_help_flag(true).disable_version_flag(true);
        built.build();
        let place = place.map_or_else(|| "core".to_owned(), |place| place.to_string());
        let flag = |declared: &Arg| {
            let name = match declared.get_long() {
                Some(long) => long.to_owned(),
                None => declared.get_id().as_str().replace('_', "-"),
            };
            let path = if section.is_prefixed() { vec![service, &section.name, &name] } else { vec![service, &name] };
            let variable = path.iter().copied().map(variable_part).collect::<Vec<_>>().join("__");
            let takes_values = matches!(declared.get_action(), ArgAction::Set | ArgAction::Append);
            Self {
                key: format!("{place}.{}", declared.get_id()),
                long: (!declared.is_positional()).then(|| prefixed(section, &name)),
                file_variable: takes_values.then(|| format!("{variable}_FILE")),
                own_variable: declared.get_env().map(|name| name.to_string_lossy().into_owned()),
                variable,
                path: path[1..].join("."),
                name,
                declared: declared.clone(),
                code: Vec::new(),
            }
        };
        built.get_arguments().map(flag).collect()
    }

    /// Returns its name on the command line: `--http-port`, or a positional's name.
    pub(super) fn shown(&self) -> String {
        self.long.as_ref().map_or_else(|| self.name.clone(), |long| format!("--{long}"))
    }

    /// Whether clap refers to it by this: `--http-token <TOKEN>`, or `[WORD]...` if it is positional.
    pub(super) fn is_called(&self, argument: &str) -> bool {
        match &self.long {
            Some(_) => argument.split([' ', '=', '[']).next() == Some(&self.shown()),
            None => {
                let bare = self.bare();
                let mut names = bare.get_value_names().unwrap_or_default().iter();
                names.any(|name| **name == *argument.trim_matches(['[', ']', '<', '>', '.']))
            }
        }
    }

    /// Returns its full name, as on the command line, without the dashes.
    pub(super) fn full_name(&self) -> &str {
        self.long.as_ref().unwrap_or(&self.name)
    }

    /// Whether its type says that it must not be shown.
    pub(super) fn is_secret(&self) -> bool {
        self.declared.get_value_parser().type_id() == TypeId::of::<Secret>()
    }

    pub(super) fn shape(&self) -> Shape {
        match self.declared.get_action() {
            ArgAction::SetTrue | ArgAction::SetFalse => Shape::Switch,
            ArgAction::Count => Shape::Count,
            ArgAction::Set | ArgAction::Append => Shape::Values,
            _ => Shape::Action,
        }
    }

    /// Returns the kind of its values, as far as its type tells.
    pub(super) fn kind(&self) -> OptionKind {
        let is = |types: &[TypeId]| types.iter().any(|other| self.declared.get_value_parser().type_id() == *other);
        match self.shape() {
            Shape::Switch => OptionKind::Truth,
            Shape::Count => OptionKind::Integer,
            Shape::Values if self.collects() || self.num_args().max_values() > 1 => OptionKind::Text,
            Shape::Values if is(&[TypeId::of::<bool>()]) => OptionKind::Truth,
            Shape::Values if is(&integers()) => OptionKind::Integer,
            Shape::Values if is(&[TypeId::of::<f32>(), TypeId::of::<f64>()]) => OptionKind::Float,
            Shape::Values | Shape::Action => OptionKind::Text,
        }
    }

    /// Returns how many values one occurrence takes.
    pub(super) fn num_args(&self) -> ValueRange {
        self.declared.get_num_args().unwrap_or_default()
    }

    /// Whether the presence of a switch means true.
    pub(super) fn is_positive(&self) -> bool {
        matches!(self.declared.get_action(), ArgAction::SetTrue)
    }

    /// Whether repeating it adds to it.
    pub(super) fn collects(&self) -> bool {
        matches!(self.declared.get_action(), ArgAction::Append)
    }

    /// Returns its aliases in the common command, and whether the help shows each.
    pub(super) fn aliases<'a>(&'a self, section: &'a Section) -> impl Iterator<Item = (String, bool)> + 'a {
        let visible = self.declared.get_visible_aliases().unwrap_or_default().into_iter().map(|alias| (alias, true));
        let hidden = self.declared.get_aliases().unwrap_or_default().into_iter().map(|alias| (alias, false));
        visible.chain(hidden).map(|(alias, visible)| (prefixed(section, alias), visible))
    }

    /// Returns the names of all variables that can set it.
    pub(super) fn variables(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.variable).chain(&self.file_variable).chain(&self.own_variable)
    }

    /// Stores a value set in code, as one would type it.
    pub(super) fn set_in_code(&mut self, value: &str) -> Result<(), String> {
        let values: Vec<OsString> = match self.shape() {
            Shape::Switch => {
                // Clap's default is the option's value; the value set in code says whether the option is there.
                let given = truth(value)? == self.is_positive();
                vec![given.to_string().into()]
            }
            Shape::Count => vec![count(value)?.to_string().into()],
            Shape::Action => return Err("takes no value".to_owned()),
            Shape::Values => {
                let value = OsString::from(value);
                let values = self.split(value);
                for value in &values {
                    let shown = |why| if self.is_secret() { format!("invalid value {MASK}") } else { why };
                    self.accepts(value).map_err(shown)?;
                }
                values
            }
        };
        if !self.collects() {
            self.code.clear();
        }
        self.code.extend(values);
        Ok(())
    }

    /// Splits one string into values: at the delimiter or, if there is none but one value would be too few, at commas.
    pub(super) fn split(&self, value: OsString) -> Vec<OsString> {
        let comma = (self.num_args().min_values() > 1).then_some(',');
        match self.declared.get_value_delimiter().or(comma) {
            // A delimiter can't be found in text that is not UTF-8 without looking at its bytes.
            Some(delimiter) => match value.to_str() {
                Some(text) => text.split(delimiter).map(OsString::from).collect(),
                None => vec![value],
            },
            None => vec![value],
        }
    }

    /// Checks one value with the option's value parser. The error names the flag.
    pub(super) fn accepts(&self, value: &OsString) -> Result<(), String> {
        let mut arg = self.bare().num_args(1).value_parser(self.declared.get_value_parser().clone());
        let mut word = OsString::new();
        if let Some(long) = &self.long {
            arg = arg.long(long.clone());
            word = format!("--{long}=").into();
        }
        word.push(value);
        let words = if self.long.is_some() { vec![word] } else { vec!["--".into(), word] };
        let probe = Command::new("probe").no_binary_name(true).disable_help_flag(true).arg(arg);
        match catch(|| probe.try_get_matches_from(words).map(drop)) {
            Ok(accepted) => accepted.map_err(|error| wording::one_line(&error)),
            Err(panic) => Err(format!("the parser of '{}' panicked: {}", self.shown(), panic.escape_debug())),
        }
    }

    /// Returns an argument with only the parts for reading and printing single values.
    fn bare(&self) -> Arg {
        let declared = &self.declared;
        let arg = Arg::new(self.key.clone()).ignore_case(declared.is_ignore_case_set());
        match declared.get_value_names() {
            Some(names) => arg.value_names(names.iter().cloned()),
            None => arg.value_name(declared.get_id().as_str().to_owned()),
        }
    }

    /// Returns the option in the common command.
    pub(super) fn common(&self, section: &Section, required: Required) -> Arg {
        let declared = &self.declared;
        let mut arg = self
            .bare()
            .hide(declared.is_hide_set())
            .hide_short_help(declared.is_hide_short_help_set())
            .hide_long_help(declared.is_hide_long_help_set())
            .next_line_help(declared.is_next_line_help_set());
        match &self.long {
            Some(long) => arg = arg.long(long.clone()),
            None => arg = arg.index(declared.get_index()),
        }
        for (alias, visible) in self.aliases(section) {
            arg = if visible { arg.visible_alias(alias) } else { arg.alias(alias) };
        }
        if !section.is_prefixed() {
            let all = declared.get_all_short_aliases().unwrap_or_default();
            let visible = declared.get_visible_short_aliases().unwrap_or_default();
            arg = arg
                .short(declared.get_short())
                .visible_short_aliases(visible.iter().copied())
                .short_aliases(all.into_iter().filter(|short| !visible.contains(short)));
        }
        if let Some(heading) = heading(section, declared.get_help_heading()) {
            arg = arg.help_heading(heading);
        }
        if let Some(help) = declared.get_help() {
            arg = arg.help(self.with_variable(self.explained(help)));
        } else if self.shows_variable() {
            arg = arg.help(self.with_variable(StyledStr::new()));
        }
        if let Some(help) = declared.get_long_help() {
            arg = arg.long_help(self.with_variable(self.explained(help)));
        }
        match self.shape() {
            Shape::Action => arg.action(declared.get_action().clone()),
            // Appended, however it was declared: the replay knows how often an option may be given, and which overrides
            // which.
            Shape::Switch | Shape::Count if self.num_args().max_values() == 0 => arg
                .action(ArgAction::Append)
                .num_args(0)
                .default_missing_value("true")
                .value_parser(value_parser!(bool)),
            _ => self.taking_values(arg.action(ArgAction::Append), required),
        }
    }

    /// Returns the help with a default added where clap shows none: clap shows only those of options that take values.
    ///
    /// A help may end with a default that its option leaves to the code that reads it: `(default: 5s)`. It is shown
    /// like clap's, and gives way to a value set in code.
    fn explained(&self, help: &StyledStr) -> StyledStr {
        let text = help.to_string();
        let told = text.strip_suffix(')').and_then(|text| text.rsplit_once(" (default: "));
        if let Some((text, default)) = told.filter(|_| self.shape() == Shape::Values) {
            return match self.has_default() {
                true => self.explained(&text.to_owned().into()),
                false => format!("{text} [default: {default}]").into(),
            };
        }
        let default = match (self.shape(), self.code.first().and_then(|code| code.to_str())) {
            (Shape::Values, _) if self.is_secret() && self.has_default() => MASK,
            (Shape::Switch, Some(code)) if (code == "true") == self.is_positive() => "true",
            (Shape::Count, Some(code)) => code,
            _ => return help.clone(),
        };
        format!("{help} [default: {default}]").into()
    }

    fn shows_variable(&self) -> bool {
        self.own_variable.is_some() && !self.declared.is_hide_env_set()
    }

    /// Returns the help with the option's own variable, which clap would read itself if it were told of it.
    fn with_variable(&self, help: StyledStr) -> StyledStr {
        match &self.own_variable {
            Some(name) if self.shows_variable() => format!("{help} [env: {name}]").trim_start().to_owned().into(),
            _ => help,
        }
    }

    fn has_default(&self) -> bool {
        !self.code.is_empty() || !self.declared.get_default_values().is_empty()
    }

    fn taking_values(&self, arg: Arg, required: Required) -> Arg {
        let declared = &self.declared;
        let is_required = declared.is_required_set() && self.code.is_empty();
        let mut arg = arg
            .num_args(self.num_args())
            .value_parser(declared.get_value_parser().clone())
            .value_delimiter(declared.get_value_delimiter())
            .allow_hyphen_values(declared.is_allow_hyphen_values_set())
            .allow_negative_numbers(declared.is_allow_negative_numbers_set())
            .require_equals(declared.is_require_equals_set())
            .trailing_var_arg(declared.is_trailing_var_arg_set())
            .last(declared.is_last_set())
            .hide_possible_values(declared.is_hide_possible_values_set())
            .hide_default_value(declared.is_hide_default_value_set() || self.is_secret())
            .required(required == Required::AsDeclared && is_required);
        if declared.get_value_hint() != ValueHint::Unknown {
            arg = arg.value_hint(declared.get_value_hint());
        }
        if let Some(terminator) = declared.get_value_terminator() {
            arg = arg.value_terminator(terminator.clone());
        }
        if self.code.is_empty() {
            arg.default_values_os(declared.get_default_values().iter().cloned())
        } else {
            arg.default_values_os(self.code.iter().cloned())
        }
    }
}

fn integers() -> [TypeId; 12] {
    [
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<u128>(),
        TypeId::of::<usize>(),
        TypeId::of::<i8>(),
        TypeId::of::<i16>(),
        TypeId::of::<i32>(),
        TypeId::of::<i64>(),
        TypeId::of::<i128>(),
        TypeId::of::<isize>(),
    ]
}

/// Parses the text of a switch, in the environment or in code.
pub(super) fn truth(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("invalid value '{}': expected true or false", value.escape_debug())),
    }
}

/// Parses the text of an option that counts.
pub(super) fn count(value: &str) -> Result<u8, String> {
    value.parse().map_err(|_| format!("invalid value '{}': expected a number from 0 to 255", value.escape_debug()))
}

impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its defaults may be secrets.
        f.debug_struct("Flag").field("key", &self.key).finish_non_exhaustive()
    }
}

fn prefixed(section: &Section, name: &str) -> String {
    if section.is_prefixed() { format!("{}-{name}", section.name) } else { name.to_owned() }
}

/// Returns the environment variable of an option that every service has.
pub(crate) fn variable(service: &str, option: &str) -> String {
    format!("{}__{}", variable_part(service), variable_part(option))
}

/// Returns the prefix of all variables of the service's options.
pub(super) fn variable_prefix(service: &str) -> String {
    format!("{}__", variable_part(service))
}

pub(super) fn variable_part(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.chars().map(letter).collect()
}

/// Returns an option's heading in the help. `own` is the one that its declaration names.
fn heading(section: &Section, own: Option<&str>) -> Option<String> {
    match (section.is_prefixed(), own) {
        (false, own) => own.map(str::to_owned),
        (true, None) => Some(format!("Options of {}", section.owner())),
        (true, Some(own)) => Some(format!("Options of {}: {own}", section.owner())),
    }
}
