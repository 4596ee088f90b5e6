//! What is to be run.

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

/// How much output is collected, unless [something else](Command::limit) is said.
const LIMIT: usize = 16 * 1024 * 1024;

/// How many lines a callback hears before others on the loop have their turn.
const LINES_AT_A_TIME: u64 = 64;

/// A program to run, with its arguments and surroundings. Its environment is the service's, unless something else is said here.
///
/// What no system takes, a NUL somewhere or a variable without a name, is an [error](super::CommandError::NotStarted) when it is run. `Debug` shows no
/// arguments and no values of variables.
pub struct Command {
    pub(super) command: process::Command,
    directory: Option<PathBuf>,
    /// What no system takes.
    fault: Option<String>,
    pub(super) input: Source,
    pub(super) hearers: [Option<Hearer>; 2],
    pub(super) limit: usize,
    pub(super) kill_on_drop: bool,
    foreground: bool,
}

/// Where a child's input comes from.
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

/// Is told what a child says.
pub(super) enum Hearer {
    Bytes(OnBytes),
    Lines(OnLine),
}

type OnBytes = Box<dyn FnMut(&[u8]) + Send>;
type OnLine = Box<dyn FnMut(&str) + Send>;

/// Runs on the task's loop, for a child.
pub(super) type Work = Pin<Box<dyn Future<Output = ()>>>;

impl Command {
    /// This program: a path, or a name that is looked for in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let run = Self {
            command: process::Command::new(&program),
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

    /// One argument more.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        let number = self.command.get_args().len() + 1;
        self.command.arg(&argument);
        self.sound(&argument, || format!("argument {number}"))
    }

    /// These arguments more.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let shown = || format!("variable {}", name.as_ref().display());
        if name.as_ref().is_empty() || name.as_ref().as_encoded_bytes().contains(&b'=') {
            self.fault.get_or_insert_with(|| format!("{} can't have this name", shown().escape_debug()));
        }
        self.command.env(&name, &value);
        self.sound(&name, shown).sound(&value, shown)
    }

    /// Takes a variable out of its environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Takes all variables out of its environment that are there so far.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.command.env_clear();
        self
    }

    /// Where it runs; the service's own directory if nothing is said.
    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(&directory);
        self.directory = Some(directory.as_ref().to_owned());
        self.sound(directory.as_ref().as_os_str(), || "its directory".to_owned())
    }

    /// Notes what is wrong with a string that the system is to be given.
    fn sound(mut self, text: impl AsRef<OsStr>, what: impl Fn() -> String) -> Self {
        if text.as_ref().as_encoded_bytes().contains(&0) {
            self.fault.get_or_insert_with(|| format!("there is a NUL in {}", what().escape_debug()));
        }
        self
    }

    /// What it reads; nothing, if nothing is said. A child that doesn't read it all is as good as one that does.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Source::Bytes(bytes.into());
        self
    }

    /// What it reads is read from here, on the task's loop, at the child's pace.
    #[must_use]
    pub fn stdin_from(mut self, from: impl AsyncRead + Send + 'static) -> Self {
        self.input = Source::Stream(Box::new(move |input| Box::pin(copy(from, input))));
        self
    }

    /// What it reads is [written](super::Child::take_stdin) while it runs.
    #[must_use]
    pub fn stdin_piped(mut self) -> Self {
        self.input = Source::Piped;
        self
    }

    /// Calls this with each line on its standard output, without the line's end, on the task's loop, which it must not block. What is not UTF-8 is
    /// replaced; a line longer than 64 KiB comes in parts.
    #[must_use]
    pub fn on_stdout_line(self, f: impl FnMut(&str) + Send + 'static) -> Self {
        self.heard(0, Hearer::Lines(Box::new(f)))
    }

    /// As [`on_stdout_line`](Self::on_stdout_line), of its standard error.
    #[must_use]
    pub fn on_stderr_line(self, f: impl FnMut(&str) + Send + 'static) -> Self {
        self.heard(1, Hearer::Lines(Box::new(f)))
    }

    /// Calls this with what comes on its standard output, as it comes, on the task's loop, which it must not block.
    #[must_use]
    pub fn on_stdout(self, f: impl FnMut(&[u8]) + Send + 'static) -> Self {
        self.heard(0, Hearer::Bytes(Box::new(f)))
    }

    /// As [`on_stdout`](Self::on_stdout), of its standard error.
    #[must_use]
    pub fn on_stderr(self, f: impl FnMut(&[u8]) + Send + 'static) -> Self {
        self.heard(1, Hearer::Bytes(Box::new(f)))
    }

    fn heard(mut self, output: usize, hearer: Hearer) -> Self {
        self.hearers[output] = Some(hearer);
        self
    }

    /// How many bytes of each output [`Child::output`](super::Child::output) collects at most; 16 MiB, if nothing is said. A child that says more is
    /// killed.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Nobody waits any more, so it is killed: when the [`Child`](super::Child), or the future that it has become, is dropped. Otherwise it goes on.
    #[must_use]
    pub fn kill_on_drop(mut self) -> Self {
        self.kill_on_drop = true;
        self
    }

    /// Gives it the service's terminal while it runs: for a program that asks for a password there, or has a screen of its own. Without this, a program that
    /// reads from `/dev/tty` is stopped until it is killed, as all are that are not in the terminal's foreground; a warning in the log says so.
    ///
    /// What is typed is the program's then, `^C` too. The terminal is the service's again when the program has ended or is stopped (`^Z`); its modes are put
    /// back if a signal has ended the program. Where there is no terminal, nothing is given. A terminal that is not the service's to give, because the
    /// service is in the background or another program has it, is an [error](super::CommandError::NotStarted).
    #[must_use]
    pub fn foreground(mut self) -> Self {
        self.foreground = true;
        self
    }

    /// Logs what nobody else hears.
    pub(super) fn log_to(mut self, target: &str) -> Self {
        for hearer in &mut self.hearers {
            let target = target.to_owned();
            hearer.get_or_insert_with(|| Hearer::Lines(Box::new(move |line| log::info!(target: &target, "{line}"))));
        }
        self
    }

    /// As it is called in messages.
    pub(super) fn program(&self) -> String {
        self.command.get_program().to_string_lossy().into_owned()
    }

    /// What the child is started from.
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
    /// An error, if no system could start it.
    pub(super) fn possible(&self) -> io::Result<()> {
        match &self.fault {
            Some(fault) => Err(io::Error::new(io::ErrorKind::InvalidInput, fault.clone())),
            None => Ok(()),
        }
    }

    /// What it means for whoever asked for it that the system says this.
    pub(super) fn refused(&self, error: &io::Error) -> CommandError {
        let missing = self.directory.as_ref().filter(|directory| !directory.is_dir());
        let program = self.command.get_program().to_string_lossy().into_owned();
        let why = match (error.kind(), missing) {
            (io::ErrorKind::InvalidInput, _) if self.fault.is_some() => error.to_string(),
            (_, Some(directory)) => format!("there is no directory {}", directory.display()),
            // The system says the same of a script whose `#!` names nothing.
            (io::ErrorKind::NotFound, None) if Path::new(&program).is_absolute() && Path::new(&program).is_file() => {
                "the program that is to interpret it is missing".to_owned()
            }
            (io::ErrorKind::NotFound, None) => "there is no such program".to_owned(),
            _ => error.to_string(),
        };
        CommandError::NotStarted { program, kind: error.kind(), why }
    }
}

/// Writes what there is to read, until either end has had enough.
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
    /// Tells all that comes. A child that says something without end has others on the loop have their turn.
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
        let variables = self.command.get_envs().map(|(name, _)| name).collect::<Vec<_>>();
        f.debug_struct("Command")
            .field("program", &self.command.get_program())
            .field("arguments", &self.command.get_args().len())
            .field("variables", &variables)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}
