//! Commands: what to run, and how.

use std::{
    ffi::OsStr,
    fmt,
    future::{Future, poll_fn},
    io,
    path::{Path, PathBuf},
    pin::{Pin, pin},
    process::{self, Stdio},
};

use futures_io::AsyncRead;

use super::{
    child::{ChildInput, ChildOutput},
    error::CommandError,
};
use crate::tasks::runner::yield_once;

/// How much output is collected unless a [limit](Command::limit) is set.
const LIMIT: usize = 16 * 1024 * 1024;

/// How many lines a callback hears before others on the loop have their turn.
const LINES_AT_A_TIME: u64 = 64;

/// Variables by which a service manager speaks to one process. A child that inherited them would speak for the service,
/// or take its sockets.
const OF_THE_MANAGER: [&str; 11] = [
    "FDSTORE",
    "INTERLOOP_LISTEN",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "NOTIFY_FD",
    "NOTIFY_SOCKET",
    "SYSTEMD_EXEC_PID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// A program to run, with its arguments and surroundings. Its environment is the service's, except for the changes made
/// here, and for what a service manager tells the service alone: `NOTIFY_SOCKET`, `NOTIFY_FD`, `LISTEN_*`, `WATCHDOG_*`
/// and their like. [`env`](Self::env) passes even those on.
///
/// A string that no system accepts, such as one with a NUL or a variable without a name, is an
/// [error](super::CommandError::NotStarted) when the command is run. `Debug` shows no arguments and no values of
/// variables.
pub struct Command {
    pub(super) command: process::Command,
    directory: Option<PathBuf>,
    /// The error for a string that no system accepts.
    fault: Option<String>,
    pub(super) input: Source,
    pub(super) hearers: [Option<Hearer>; 2],
    pub(super) limit: usize,
    pub(super) kill_on_drop: bool,
    foreground: bool,
}

/// The source of a child's input.
pub(super) enum Source {
    Nothing,
    Bytes(Vec<u8>),
    Piped,
    /// Becomes the future that writes it.
    Stream(Box<dyn FnOnce(ChildInput) -> Work + Send>),
}

impl Source {
    pub(super) fn is_something(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

/// The callback for an output.
pub(super) enum Hearer {
    Bytes(OnBytes),
    Lines(OnLine),
}

type OnBytes = Box<dyn FnMut(&[u8]) + Send>;
type OnLine = Box<dyn FnMut(&str) + Send>;

/// A future for a child, which runs on the task's loop.
pub(super) type Work = Pin<Box<dyn Future<Output = ()>>>;

impl Command {
    /// Makes a command for this program: a path, or a name that is looked up in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = process::Command::new(&program);
        for name in OF_THE_MANAGER {
            command.env_remove(name);
        }
        let run = Self {
            command,
            directory: None,
            fault: None,
            input: Source::Nothing,
            hearers: [None, None],
            limit: LIMIT,
            kill_on_drop: false,
            foreground: false,
        };
        run.sound(&program, || "its name".to_owned())
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        let number = self.command.get_args().len() + 1;
        self.command.arg(&argument);
        self.sound(&argument, || format!("argument {number}"))
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let shown = || format!("variable {}", name.as_ref().display());
        if name.as_ref().is_empty() || name.as_ref().as_encoded_bytes().contains(&b'=') {
            self.fault.get_or_insert_with(|| format!("{} can't have this name", shown().escape_debug()));
        }
        self.command.env(&name, &value);
        self.sound(&name, shown).sound(&value, shown)
    }

    /// Removes a variable from the environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Removes all variables from the environment, inherited or set so far.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.command.env_clear();
        self
    }

    /// Sets the working directory; the service's own by default.
    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(&directory);
        self.directory = Some(directory.as_ref().to_owned());
        self.sound(directory.as_ref().as_os_str(), || "its directory".to_owned())
    }

    /// Notes what is wrong with a string that the system will be given.
    fn sound(mut self, text: impl AsRef<OsStr>, what: impl Fn() -> String) -> Self {
        if text.as_ref().as_encoded_bytes().contains(&0) {
            self.fault.get_or_insert_with(|| format!("there is a NUL in {}", what().escape_debug()));
        }
        self
    }

    /// Sets the bytes of the standard input; it is empty by default. A child that doesn't read it all is not treated as
    /// an error.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Source::Bytes(bytes.into());
        self
    }

    /// Reads the standard input from here, on the task's loop, at the child's pace.
    #[must_use]
    pub fn stdin_from(mut self, from: impl AsyncRead + Send + 'static) -> Self {
        self.input = Source::Stream(Box::new(move |input| Box::pin(copy(from, input))));
        self
    }

    /// Pipes the standard input: it is [written](super::Child::take_stdin) while the child runs.
    #[must_use]
    pub fn stdin_piped(mut self) -> Self {
        self.input = Source::Piped;
        self
    }

    /// Calls this with each line of the standard output, without the line's end.
    ///
    /// The callback runs on the task's loop, which it must not block. Invalid UTF-8 is replaced; a line longer than 64
    /// KiB comes in parts.
    #[must_use]
    pub fn on_stdout_line(self, f: impl FnMut(&str) + Send + 'static) -> Self {
        self.heard(0, Hearer::Lines(Box::new(f)))
    }

    /// Does the same as [`on_stdout_line`](Self::on_stdout_line) for the standard error.
    #[must_use]
    pub fn on_stderr_line(self, f: impl FnMut(&str) + Send + 'static) -> Self {
        self.heard(1, Hearer::Lines(Box::new(f)))
    }

    /// Calls this with the bytes of the standard output, as they come. It runs on the task's loop, which it must not
    /// block.
    #[must_use]
    pub fn on_stdout(self, f: impl FnMut(&[u8]) + Send + 'static) -> Self {
        self.heard(0, Hearer::Bytes(Box::new(f)))
    }

    /// Does the same as [`on_stdout`](Self::on_stdout) for the standard error.
    #[must_use]
    pub fn on_stderr(self, f: impl FnMut(&[u8]) + Send + 'static) -> Self {
        self.heard(1, Hearer::Bytes(Box::new(f)))
    }

    fn heard(mut self, output: usize, hearer: Hearer) -> Self {
        self.hearers[output] = Some(hearer);
        self
    }

    /// Sets how many bytes of each output [`Child::output`](super::Child::output) collects at most; 16 MiB by default.
    /// A child that writes more is killed.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Kills the child when the [`Child`](super::Child), or the future made of it, is dropped. By default the child
    /// continues.
    #[must_use]
    pub fn kill_on_drop(mut self) -> Self {
        self.kill_on_drop = true;
        self
    }

    /// Gives the child the service's terminal while it runs: for a program that asks for a password there, or has a
    /// screen of its own.
    ///
    /// Without this, a program that reads from `/dev/tty` is stopped until it is killed, as all processes are that are
    /// not in the terminal's foreground; a warning in the log says so.
    ///
    /// With it, the program gets all that is typed, including `^C`. The terminal returns to the service when the
    /// program has ended or is stopped (`^Z`); its modes are restored if a signal has ended the program. If there is no
    /// terminal, nothing is given. If the terminal is not the service's to give, because the service is in the
    /// background or another program has the terminal, that is an [error](super::CommandError::NotStarted).
    #[must_use]
    pub fn foreground(mut self) -> Self {
        self.foreground = true;
        self
    }

    /// Logs the outputs that nothing else receives.
    pub(super) fn log_to(mut self, target: &str) -> Self {
        for hearer in &mut self.hearers {
            let target = target.to_owned();
            hearer.get_or_insert_with(|| Hearer::Lines(Box::new(move |line| log::info!(target: &target, "{line}"))));
        }
        self
    }

    /// Returns the program's name for messages.
    pub(super) fn program(&self) -> String {
        self.command.get_program().to_string_lossy().into_owned()
    }

    /// Prepares the command for its start.
    pub(super) fn into_prepared(mut self, has_input: bool) -> Prepared {
        let input = if has_input { Stdio::piped() } else { Stdio::null() };
        self.command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Self { command, directory, fault, foreground, .. } = self;
        Prepared { command, directory, fault, foreground }
    }
}

/// A program about to be started.
pub(super) struct Prepared {
    pub(super) command: process::Command,
    directory: Option<PathBuf>,
    fault: Option<String>,
    pub(super) foreground: bool,
}

impl Prepared {
    /// Returns an error if no system could start it.
    pub(super) fn possible(&self) -> io::Result<()> {
        match &self.fault {
            Some(fault) => Err(io::Error::new(io::ErrorKind::InvalidInput, fault.clone())),
            None => Ok(()),
        }
    }

    /// Converts the system's error into one for the caller.
    pub(super) fn refused(&self, error: &io::Error) -> CommandError {
        let missing = self.directory.as_ref().filter(|directory| !directory.is_dir());
        let program = self.command.get_program().to_string_lossy().into_owned();
        let why = match (error.kind(), missing) {
            (io::ErrorKind::InvalidInput, _) if self.fault.is_some() => error.to_string(),
            (_, Some(directory)) => format!("there is no directory {}", directory.display()),
            // The system reports the same error for a script whose `#!` line names no program.
            (io::ErrorKind::NotFound, None) if Path::new(&program).is_absolute() && Path::new(&program).is_file() => {
                "the program that is to interpret it is missing".to_owned()
            }
            (io::ErrorKind::NotFound, None) => "there is no such program".to_owned(),
            _ => error.to_string(),
        };
        CommandError::NotStarted { program, kind: error.kind(), why }
    }
}

/// Copies until either end has had enough.
async fn copy(from: impl AsyncRead, mut to: ChildInput) {
    let (mut from, mut buffer) = (pin!(from), vec![0; 16 * 1024]);
    loop {
        let read = poll_fn(|cx| from.as_mut().poll_read(cx, &mut buffer)).await;
        match read {
            Ok(0) => return,
            Ok(length) => {
                if to.write(&buffer[..length]).await.is_err() {
                    return;
                }
                yield_once().await;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return log::warn!("what a command was to read can't be read: {error}"),
        }
    }
}

impl Hearer {
    /// Hands all output to the callback. If a child writes without end, others on the loop still have their turn.
    pub(super) async fn hear(self, mut output: ChildOutput) {
        match self {
            Self::Bytes(mut f) => {
                while let Some(bytes) = output.chunk().await {
                    f(&bytes);
                    yield_once().await;
                }
            }
            Self::Lines(mut f) => {
                for number in 1_u64.. {
                    let Some(line) = output.line().await else { break };
                    f(&line);
                    if number.is_multiple_of(LINES_AT_A_TIME) {
                        yield_once().await;
                    }
                }
            }
        }
    }
}

impl<S: AsRef<OsStr>> From<S> for Command {
    fn from(program: S) -> Self {
        Self::new(program)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments, and the values of variables, may be secrets.
        let is_ours =
            |name: &OsStr, value: Option<&OsStr>| value.is_none() && OF_THE_MANAGER.iter().any(|of| *of == name);
        let variables = self.command.get_envs().filter(|(name, value)| !is_ours(name, *value));
        let variables = variables.map(|(name, _)| name).collect::<Vec<_>>();
        f.debug_struct("Command")
            .field("program", &self.command.get_program())
            .field("arguments", &self.command.get_args().len())
            .field("variables", &variables)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}
