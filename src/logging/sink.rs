//! Where lines go.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt,
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use log::{Log, Metadata, Record};

/// Who reads the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surroundings {
    /// A person at a terminal that may be coloured.
    Terminal,
    /// journald, which has the time and wants the priority.
    Journal,
    Plain,
}

/// A writer for whole lines. What can't be written is dropped: fern's own outputs tell stderr about an error, and panic
/// when that is what is broken.
pub(super) struct Sink {
    out: Mutex<Box<dyn Write + Send>>,
    /// The file that it appends to, if it is one.
    path: Option<PathBuf>,
    surroundings: Surroundings,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("surroundings", &self.surroundings).finish_non_exhaustive()
    }
}

impl Sink {
    pub(super) fn new(out: impl Write + Send + 'static, surroundings: Surroundings) -> Self {
        Self { out: Mutex::new(Box::new(out)), path: None, surroundings }
    }

    pub(super) fn stderr() -> Self {
        let stderr = io::stderr();
        let surroundings = surroundings(stderr.is_terminal(), stderr_inode(), &|name| env::var_os(name));
        Self::new(stderr, surroundings)
    }

    /// Appends to a file.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let surroundings = surroundings(file.is_terminal(), None, &|name| env::var_os(name));
        Ok(Self { path: Some(path.to_owned()), ..Self::new(file, surroundings) })
    }

    /// Opens the file anew: it may have been moved away to make room. When that fails the old one goes on.
    /// False if it is no file.
    pub(super) fn reopen(&self) -> io::Result<bool> {
        let Some(path) = &self.path else { return Ok(false) };
        let file = open(path)?;
        *self.out.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(file);
        Ok(true)
    }

    pub(super) fn surroundings(&self) -> Surroundings {
        self.surroundings
    }
}

impl Log for Sink {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // In one write: lines of other processes on the same terminal or file don't get in between.
        let line = format!("{}\n", record.args());
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.write_all(line.as_bytes());
    }

    fn flush(&self) {
        let _ = self.out.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// `inode` is what the sink is, as `device:inode`, where it may be journald's.
pub(super) fn surroundings(
    is_terminal: bool,
    inode: Option<String>,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Surroundings {
    // A child's stderr may be redirected while it inherits the variable, so it has to name this very stream.
    if inode.is_some() && inode.map(OsString::from) == env("JOURNAL_STREAM") {
        return Surroundings::Journal;
    }
    // no-color.org: set, and not empty.
    let is_refused = env("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = env("TERM").is_some_and(|term| term == OsStr::new("dumb"));
    if is_terminal && !is_refused && !is_dumb { Surroundings::Terminal } else { Surroundings::Plain }
}

#[cfg(target_os = "linux")]
pub(super) fn stderr_inode() -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let stderr = std::fs::metadata("/proc/self/fd/2").ok()?;
    Some(format!("{}:{}", stderr.dev(), stderr.ino()))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn stderr_inode() -> Option<String> {
    None
}
