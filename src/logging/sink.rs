//! The target of log lines.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt,
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    queue::Queue,
    thread::{LINE, STRETCH},
};

/// The reader of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surroundings {
    /// A person at a terminal with colours.
    Terminal,
    /// journald, which records the time and needs the priority.
    Journal,
    Plain,
}

/// An output for bytes.
pub(super) trait Output: Send {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Waits for this long, or forever, until it takes more; returns whether it does.
    fn wait(&self, _: Option<Duration>) -> bool {
        true
    }
}

/// stderr, bypassing std's lock: a task whose `eprintln!` hangs holds that.
struct Stderr;

#[cfg(unix)]
impl Output for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stderr(), bytes)?)
    }

    fn wait(&self, timeout: Option<Duration>) -> bool {
        wait(io::stderr(), timeout)
    }
}

#[cfg(not(unix))]
impl Output for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().write(bytes)
    }
}

impl Output for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(self, bytes)
    }

    #[cfg(unix)]
    fn wait(&self, timeout: Option<Duration>) -> bool {
        wait(self, timeout)
    }
}

/// Waits for the output; if there is an error, the next write finds it.
#[cfg(unix)]
fn wait(output: impl std::os::fd::AsFd, timeout: Option<Duration>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
    loop {
        match poll(&mut [PollFd::new(&output, PollFlags::OUT)], timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready != Ok(0),
        }
    }
}

/// How many bytes go into one write. If other processes write lines to the same pipe or terminal, the system keeps only
/// this many bytes together: POSIX' PIPE_BUF, as on Linux.
const TOGETHER: usize = 4096;
/// The same for a file.
const TOGETHER_IN_FILE: usize = 64 * 1024;

/// Writes whole lines, and tracks which ones were written.
pub(super) struct Sink {
    output: Box<dyn Output>,
    together: usize,
    /// The path of the file that it appends to, if it is a file.
    path: Option<PathBuf>,
    /// Whether the last write ended within a line.
    is_torn: bool,
    surroundings: Surroundings,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("path", &self.path)
            .field("surroundings", &self.surroundings)
            .finish_non_exhaustive()
    }
}

impl Sink {
    pub(super) fn new(output: impl Output + 'static, surroundings: Surroundings) -> Self {
        Self { output: Box::new(output), together: TOGETHER, path: None, is_torn: false, surroundings }
    }

    pub(super) fn stderr() -> Self {
        let surroundings = surroundings(io::stderr().is_terminal(), stderr_inode(), &|name| env::var_os(name));
        Self::new(Stderr, surroundings)
    }

    /// Returns a sink that appends to a file.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        // Only one of the process's own streams may be journald's.
        let inode = own(path).and_then(|_| inode(&file));
        let surroundings = surroundings(file.is_terminal(), inode, &|name| env::var_os(name));
        let together = together(&file);
        Ok(Self { path: Some(path.to_owned()), together, ..Self::new(file, surroundings) })
    }

    /// Reopens the file, which may have been rotated. If that fails, the old file stays in use.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let file = open(path)?;
        self.together = together(&file);
        self.output = Box::new(file);
        self.is_torn = false;
        Ok(())
    }

    /// Whether there is something to reopen.
    pub(super) fn has_path(&self) -> bool {
        self.path.is_some()
    }

    fn is_plain_file(&self) -> bool {
        self.together == TOGETHER_IN_FILE
    }

    pub(super) fn surroundings(&self) -> Surroundings {
        self.surroundings
    }

    /// Returns how many bytes are written at a time.
    pub(super) fn together(&self) -> usize {
        self.together
    }

    /// Returns how long a line may wait for room. A file takes its lines sooner or later.
    pub(super) fn patience(&self) -> Duration {
        if self.is_plain_file() { STRETCH } else { LINE }
    }

    /// Writes these lines, waiting as long as it takes; returns how many bytes it took, and the error that kept it from
    /// taking all. It reports progress to the queue. A line that is begun and not ended stays so: the next one begins
    /// after a newline.
    pub(super) fn write(&mut self, lines: &[u8], queue: &Queue) -> (usize, io::Result<()>) {
        if self.is_torn {
            if let Err(error) = self.write_some(b"\n", queue) {
                return (0, Err(error));
            }
            self.is_torn = false;
        }
        let mut taken = 0;
        while taken < lines.len() {
            // One huge line is written in parts: a pipe that is ready takes that much without blocking. A file keeps
            // together what is written together.
            let end = if self.is_plain_file() { lines.len() } else { lines.len().min(taken + self.together) };
            match self.write_some(&lines[taken..end], queue) {
                Ok(some) => taken += some,
                Err(error) => return (taken, Err(error)),
            }
            self.is_torn = lines[..taken].last() != Some(&b'\n');
        }
        (taken, Ok(()))
    }

    fn write_some(&mut self, bytes: &[u8], queue: &Queue) -> io::Result<usize> {
        loop {
            if !self.output.wait(Some(Duration::ZERO)) {
                queue.is_full();
                self.output.wait(None);
            }
            match self.output.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(some) => {
                    queue.goes_on(some);
                    return Ok(some);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// One of the process's own streams.
#[derive(Clone, Copy)]
enum Own {
    Stdout,
    Stderr,
}

/// Returns the stream of the process that this path is another name of.
fn own(path: &Path) -> Option<Own> {
    match path.to_str()? {
        _ if cfg!(not(unix)) => None,
        "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => Some(Own::Stdout),
        "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => Some(Own::Stderr),
        _ => None,
    }
}

/// Duplicates an open file. Opening it by its name fails if it is a socket, or a pipe of another user.
#[cfg(unix)]
fn duplicate(own: Own) -> io::Result<File> {
    use std::os::fd::AsFd;

    let (stdout, stderr) = (io::stdout(), io::stderr());
    let stream = match own {
        Own::Stdout => stdout.as_fd(),
        Own::Stderr => stderr.as_fd(),
    };
    Ok(File::from(stream.try_clone_to_owned()?))
}

#[cfg(not(unix))]
fn duplicate(_: Own) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Opens the file without blocking: opening a FIFO without a reader is an error.
fn open(path: &Path) -> io::Result<File> {
    if let Some(own) = own(path) {
        return duplicate(own);
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    options.open(path).map_err(|error| match why_not(path) {
        Some(why) if error.kind() != io::ErrorKind::PermissionDenied => io::Error::new(error.kind(), why),
        _ => error,
    })
}

/// Returns why a file of this kind can't be opened, if the system's own message says little.
#[cfg(unix)]
fn why_not(path: &Path) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;

    let kind = path.metadata().ok()?.file_type();
    match () {
        () if kind.is_fifo() => Some("nobody reads this FIFO"),
        () if kind.is_socket() => Some("it is a socket"),
        () => None,
    }
}

#[cfg(not(unix))]
fn why_not(_: &Path) -> Option<&'static str> {
    None
}

fn together(file: &File) -> usize {
    if file.metadata().is_ok_and(|metadata| metadata.is_file()) { TOGETHER_IN_FILE } else { TOGETHER }
}
/// Returns the surroundings. `inode` identifies the sink, as `device:inode`, if it may be journald's.
pub(super) fn surroundings(
    is_terminal: bool,
    inode: Option<String>,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Surroundings {
    // A child's stderr may be redirected while it inherits the variable, so the variable must name this very stream.
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
    inode(&duplicate(Own::Stderr).ok()?)
}

#[cfg(unix)]
fn inode(file: &File) -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    let metadata = file.metadata().ok()?;
    Some(format!("{}:{}", metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn inode(_: &File) -> Option<String> {
    None
}

#[cfg(not(target_os = "linux"))]
pub(super) fn stderr_inode() -> Option<String> {
    None
}
