//! The file of `--config`: options of the service and of Interloop at its top, those of a task or loop in a section
//! with its name.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    flag::Flag,
    given::{Given, Layer},
    origin::Origin,
    plan::Plan,
    standard::NOT_IN_FILE,
};
use crate::words::names;

/// A file that was read and checked: every key is known, and every value is accepted.
#[derive(Debug)]
pub(super) struct ConfigFile {
    /// The values, by the flags' keys.
    given: HashMap<String, Given>,
}

impl Layer for ConfigFile {
    fn get(&self, flag: &Flag) -> Option<Given> {
        self.given.get(&flag.key).cloned()
    }
}

impl ConfigFile {
    /// Reads the file. The error lists all that is wrong with it, one line each, in order.
    ///
    /// If the plans are only a part of all plans, unknown keys and sections belong to others.
    pub(super) fn read(path: &Path, plans: &[Plan], in_part: bool) -> Result<Self, Vec<String>> {
        let bytes = fs::read(path).map_err(|error| vec![format!("{}: can't be read: {error}", path.display())])?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = line(error.as_bytes(), error.utf8_error().valid_up_to());
            vec![format!("{}:{line}: not UTF-8", path.display())]
        })?;
        let mut reader =
            Reader { path: path.to_owned(), text: &text, in_part, given: HashMap::new(), wrong: BTreeMap::new() };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            let line = error.span().map_or(1, |span| reader.line(span.start));
            // One mistake is often several errors for the parser.
            if !reader.wrong.contains_key(&line) {
                reader.complain(line, error.message());
            }
        }
        if errors.is_empty() {
            reader.top(table.get_ref(), plans);
        }
        if reader.wrong.is_empty() {
            Ok(Self { given: reader.given })
        } else {
            Err(reader.wrong.into_values().flatten().collect())
        }
    }
}

struct Reader<'a> {
    path: PathBuf,
    text: &'a str,
    in_part: bool,
    given: HashMap<String, Given>,
    /// The problems, by line.
    wrong: BTreeMap<usize, Vec<String>>,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        line(self.text.as_bytes(), at)
    }

    fn complain(&mut self, line: usize, why: &str) {
        let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.wrong.entry(line).or_default().push(format!("{}:{line}: {why}", self.path.display()));
    }

    fn top(&mut self, table: &DeTable<'_>, plans: &[Plan]) {
        let common: Vec<&Plan> = plans.iter().filter(|plan| !plan.section.is_prefixed()).collect();
        for (key, value) in table {
            let line = self.line(key.span().start);
            match value.get_ref() {
                DeValue::Table(section) => self.section(key.get_ref(), line, section, plans),
                _ if plans.iter().any(|plan| plan.section.is_prefixed() && plan.section.name == **key.get_ref()) => {
                    let name = key.get_ref();
                    self.complain(line, &format!("{name} is a section, [{name}], and can have no value"));
                }
                value => self.key("", key.get_ref(), line, value, &common, plans),
            }
        }
    }

    fn section(&mut self, name: &str, line: usize, table: &DeTable<'_>, plans: &[Plan]) {
        let prefixed = || plans.iter().filter(|plan| plan.section.is_prefixed());
        let Some(name) = named(name, prefixed().map(|plan| plan.section.name.as_str())) else {
            if self.in_part {
                return;
            }
            // The brackets must not make names similar.
            let nearest = names::nearest(name, prefixed().map(|plan| plan.section.name.as_str()));
            let known = prefixed().map(|plan| format!("[{}]", plan.section.name)).collect::<Vec<_>>();
            let meant = match nearest {
                Some(nearest) => format!("did you mean [{nearest}]?"),
                None => names::meant_or_all("", known.iter().map(String::as_str)),
            };
            let why = format!("unknown section [{name}]: no task or loop has this name; {meant}");
            return self.complain(line, &why);
        };
        // A loop may have the name of its task.
        let owners: Vec<&Plan> = prefixed().filter(|plan| plan.section.name == name).collect();
        for (key, value) in table {
            let line = self.line(key.span().start);
            self.key(name, key.get_ref(), line, value.get_ref(), &owners, plans);
        }
    }

    fn key(&mut self, section: &str, key: &str, line: usize, value: &DeValue<'_>, owners: &[&Plan], plans: &[Plan]) {
        let flags = || {
            let flags = owners.iter().flat_map(|plan| &plan.flags);
            flags.filter(|flag| !section.is_empty() || !NOT_IN_FILE.contains(&flag.name.as_str()))
        };
        let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
        let found = named(key, flags().map(|flag| flag.name.as_str()));
        let Some(flag) = found.and_then(|name| flags().find(|flag| flag.name == name)) else {
            if self.in_part {
                return;
            }
            let is_known = named(key, NOT_IN_FILE.into_iter()).is_some();
            let why = match section.is_empty() && is_known {
                true => format!("{path} can't be set in a file"),
                false => {
                    let known = || flags().map(|flag| flag.name.as_str());
                    let elsewhere = || elsewhere(section, key, plans);
                    // The key itself at another level is nearer than a similar one at this.
                    let meant = elsewhere().unwrap_or_else(|| names::meant_or_all(key, known()));
                    format!("unknown key {path}; {meant}")
                }
            };
            return self.complain(line, &why);
        };
        if self.given.contains_key(&flag.key) {
            return self.complain(line, &format!("{path} is set twice: it is {}", flag.path));
        }
        let origin = Origin::File { path: self.path.clone(), line };
        let given = given(origin, value).and_then(|given| given.accepted(flag));
        match given {
            Ok(given) => {
                self.given.insert(flag.key.clone(), given);
            }
            Err(why) => self.complain(line, &format!("{path}: {why}")),
        }
    }
}

/// Returns the line number, from 1.
fn line(text: &[u8], at: usize) -> usize {
    1 + text.iter().take(at).filter(|byte| **byte == b'\n').count()
}

/// Finds the intended name: this one, or the only one that differs by underscores for dashes.
fn named<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    if let Some(same) = known.clone().find(|known| *known == name) {
        return Some(same);
    }
    let dashed = name.replace('_', "-");
    let mut alike = known.filter(|known| known.replace('_', "-") == dashed);
    let first = alike.next()?;
    alike.all(|other| other == first).then_some(first)
}

/// Returns where a key belongs that is of no option at its place.
fn elsewhere(section: &str, key: &str, plans: &[Plan]) -> Option<String> {
    let has_it = |plan: &&Plan| named(key, plan.flags.iter().map(|flag| flag.name.as_str())).is_some();
    let (inner, top): (Vec<&Plan>, Vec<&Plan>) =
        plans.iter().filter(has_it).partition(|plan| plan.section.is_prefixed());
    if section.is_empty() {
        let places = inner.iter().map(|plan| format!("[{}] {key}", plan.section.name)).collect::<Vec<_>>();
        return (!places.is_empty()).then(|| format!("did you mean {}?", places.join(" or ")));
    }
    (!top.is_empty()).then(|| format!("did you mean {key} at the top of the file?"))
}

fn given(origin: Origin, value: &DeValue<'_>) -> Result<Given, String> {
    let DeValue::Array(values) = value else { return Ok(Given::text(origin, text(value)?)) };
    let texts = |values: &DeValue<'_>| match values {
        DeValue::Array(values) => values.iter().map(|value| text(value.get_ref())).collect(),
        value => text(value).map(|text| vec![text]),
    };
    if values.iter().any(|value| value.get_ref().is_array()) {
        let lists = values.iter().map(|value| texts(value.get_ref())).collect::<Result<_, _>>()?;
        return Ok(Given::lists(origin, lists));
    }
    Ok(Given::list(origin, values.iter().map(|value| text(value.get_ref())).collect::<Result<_, _>>()?))
}

/// Returns the value as one would type it.
fn text(value: &DeValue<'_>) -> Result<OsString, String> {
    Ok(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.to_string().into(),
            Err(_) => number.to_string().into(),
        },
        DeValue::Float(number) => number.as_str().into(),
        DeValue::Boolean(truth) => truth.to_string().into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(_) => return Err("an array of arrays of arrays is too much".to_owned()),
        DeValue::Table(_) => return Err("no option takes a table".to_owned()),
    })
}
