//! The sources of values.
//!
//! The layers are asked in turn, and the first that has an option wins outright: values of two layers are never merged.
//! A new source is one more [`Layer`], at its place in the list of [`Sources`].

use std::{
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{ArgMatches, parser::ValueSource};

use super::{
    flag::{Flag, Shape},
    given::{Given, Layer, Occurrence, Value},
    origin::Origin,
    plan::Plan,
};

/// The environment: returns the value of a variable.
pub(crate) type Env = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// All layers except code, whose values are the defaults. They can be asked again, since the files may have changed.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) command_line: CommandLine,
    pub(super) env: Env,
    /// The file of `--config`.
    pub(super) file: Option<PathBuf>,
    /// Whether some sections are missing: the file's entries for those are ignored.
    #[cfg_attr(not(feature = "config"), expect(dead_code, reason = "it is about the file"))]
    pub(super) in_part: bool,
}

impl Sources {
    /// Returns the value given to each flag of each plan. The error lists all that is wrong with the file, one line
    /// each.
    pub(super) fn ask(&self, plans: &[Plan]) -> Result<Vec<Vec<Option<Given>>>, Vec<String>> {
        let (environment, credentials) = (Environment(&self.env), Credentials::of(&self.env));
        #[cfg(feature = "config")]
        let file = match &self.file {
            Some(path) => Some(super::file::ConfigFile::read(path, plans, self.in_part)?),
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

/// The strongest layer: the values that the common command has collected.
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
            // Clap counts every value; an occurrence counts with its first value, and an occurrence without values with
            // the one before it.
            at = indices.by_ref().take(values.len()).reduce(|first, _| first).unwrap_or(at);
            occurrences.push(Occurrence { at, values });
        }
        Some(Given { origin: Origin::CommandLine, secret: false, value: Value::Typed(occurrences) })
    }
}

/// The environment: for each option one variable, and one that names a file with its value; then the variable that the
/// option's declaration names.
struct Environment<'a>(&'a Env);

impl Layer for Environment<'_> {
    fn get(&self, flag: &Flag) -> Option<Given> {
        if flag.shape() == Shape::Action {
            return None;
        }
        let plain = (self.0)(&flag.variable);
        let file = flag.file_variable.as_ref().and_then(|name| Some((name, (self.0)(name)?)));
        match (plain, file) {
            (None, None) => {
                let name = flag.own_variable.as_ref()?;
                let given = Given::text(Origin::Environment(name.clone()), (self.0)(name)?);
                Some(Given { secret: flag.declared.is_hide_env_values_set(), ..given })
            }
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

/// Returns the contents of a file with one value, without the newline at its end.
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
