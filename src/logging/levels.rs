//! The log levels: one for everything, and others for tasks, targets and modules.

use std::{
    fmt,
    str::FromStr,
    sync::{PoisonError, RwLock},
};

use log::{LevelFilter, Metadata};

/// A level for everything, and others for names: `info,http=debug`.
///
/// A name is a task (`http` is the target `hello.http` of the service `hello`), a target with all below it (`hello` is
/// `hello.http` too), or a crate or module (`hyper`, `hyper::proto`). If several match a target, the most specific one
/// wins, in whatever order; of equals the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    default: LevelFilter,
    named: Vec<(String, LevelFilter)>,
}

impl Default for Levels {
    fn default() -> Self {
        Self { default: LevelFilter::Info, named: Vec::new() }
    }
}

impl FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut levels = Self::default();
        for entry in text.split(',').map(str::trim) {
            match entry.split_once('=').map(|(name, level)| (name.trim(), level.trim())) {
                None => levels.default = level(entry)?,
                Some((name, _)) if !is_name(name) => {
                    return Err(format!("'{}' is no task, target or module", name.escape_debug()));
                }
                Some((name, word)) => levels.named.push((name.to_owned(), level(word)?)),
            }
        }
        Ok(levels)
    }
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "_-.:/".contains(c))
}

fn level(word: &str) -> Result<LevelFilter, String> {
    let unknown = |_| format!("'{}' is no level; expected off, error, warn, info, debug or trace", word.escape_debug());
    word.parse().map_err(unknown)
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.default.as_str().to_ascii_lowercase())?;
        self.named.iter().try_for_each(|(name, level)| write!(f, ",{name}={}", level.as_str().to_ascii_lowercase()))
    }
}

impl Levels {
    /// Returns the highest level of any target.
    fn most(&self) -> LevelFilter {
        self.named.iter().map(|(_, level)| *level).fold(self.default, Ord::max)
    }

    /// Returns the level of a target.
    fn of(&self, service: &str, target: &str) -> LevelFilter {
        let fitting = self.named.iter().filter_map(|(name, level)| Some((reach(service, name, target)?, *level)));
        fitting.max_by_key(|(reach, _)| *reach).map_or_else(|| self.default.min(unasked(target)), |(_, level)| level)
    }
}

/// Returns the highest level of a target without a level of its own. notify warns of each deleted folder, which needs
/// no warning.
fn unasked(target: &str) -> LevelFilter {
    let is_notify = cfg!(feature = "watch") && (target == "notify" || target.starts_with("notify::"));
    if is_notify { LevelFilter::Error } else { LevelFilter::Trace }
}

/// Returns how much of a target a name covers, if it matches.
fn reach(service: &str, name: &str, target: &str) -> Option<usize> {
    let fits = |target: &str| {
        let rest = target.strip_prefix(name)?;
        (rest.is_empty() || rest.starts_with("::") || rest.starts_with('.')).then_some(name.len())
    };
    let of_task = || {
        let below = target.strip_prefix(service)?.strip_prefix('.')?;
        fits(below).map(|reach| target.len() - below.len() + reach)
    };
    of_task().or_else(|| fits(target))
}

/// The levels in force, shared by the logger and the code that changes them.
#[derive(Debug)]
pub(super) struct Filter {
    service: String,
    /// Held only for a read or a move: nothing is ever logged under it.
    levels: RwLock<Levels>,
}

impl Filter {
    pub(super) fn new(service: String, levels: Levels) -> Self {
        Self { service, levels: RwLock::new(levels) }
    }

    pub(super) fn service(&self) -> &str {
        &self.service
    }

    pub(super) fn allows(&self, metadata: &Metadata<'_>) -> bool {
        let levels = self.levels.read().unwrap_or_else(PoisonError::into_inner);
        metadata.level() <= levels.of(&self.service, metadata.target())
    }

    pub(super) fn set(&self, levels: Levels) {
        *self.levels.write().unwrap_or_else(PoisonError::into_inner) = levels;
    }

    pub(super) fn levels(&self) -> Levels {
        self.levels.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn most(&self) -> LevelFilter {
        self.levels.read().unwrap_or_else(PoisonError::into_inner).most()
    }
}
