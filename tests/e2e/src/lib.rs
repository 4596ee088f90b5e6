//! Runs the examples as child processes: their output, their answers, their reaction to signals.
//!
//! The binaries are those beside the test's own: `make test` builds them before.

#![forbid(unsafe_code)]

mod dbus;
mod display;
pub mod subjects;
mod user_manager;

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{self, Command, Stdio},
    sync::{Arc, Condvar, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

pub use rustix::process::Signal;

pub use crate::{
    dbus::Daemon,
    display::Display,
    user_manager::{Unit, UserManager},
};

/// The time limit for any event that a test waits for.
pub const SOON: Duration = Duration::from_secs(20);
/// How long a test may take.
const WATCHDOG: Duration = Duration::from_secs(90);

/// The README's programs compile and, unless they say otherwise, run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The programs of the other pages do too.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-a-loop.md")]
struct WritingALoop;

/// The programs of the other pages do too.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/migrating.md")]
struct Migrating;

/// The programs of the other pages do too.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/tasks.md")]
struct Tasks;

/// The programs of the other pages do too.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/from-sparts.md")]
struct FromSparts;

/// The programs of the other pages do too.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/service-managers.md")]
struct ServiceManagers;

/// The programs of the other pages do too.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/testing.md")]
struct Testing;

/// Runs a test; if it takes too long, the process ends, and names the test.
pub fn watched<R>(test: impl FnOnce() -> R) -> R {
    let done = watchdog();
    let result = test();
    drop(done);
    result
}

/// Starts the thread that ends the process, unless the sender is dropped in time. Apart from [`watched`], which is
/// compiled for each test.
fn watchdog() -> mpsc::Sender<()> {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let (done, wait) = mpsc::channel::<()>();
    thread::spawn(move || {
        if wait.recv_timeout(WATCHDOG) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name}: still running after {WATCHDOG:?}");
            process::abort();
        }
    });
    done
}

/// Returns the path of an example's binary.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("target/debug/deps/test");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace --bins", path.display());
    path
}

/// A child process, which ends with this value.
#[derive(Debug)]
pub struct Example {
    child: process::Child,
    stdout: Lines,
    stderr: Lines,
    ended: Option<i32>,
}

impl Example {
    /// Starts an example with these arguments.
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        Self::run(Command::new(binary(name)).args(arguments))
    }

    /// Starts this command, with empty input.
    pub fn run(command: &mut Command) -> Self {
        Self::logging_to(Stdio::piped(), command)
    }

    /// Starts this command. Unless its stderr is a new pipe, the caller must read its log.
    pub fn logging_to(stderr: impl Into<Stdio>, command: &mut Command) -> Self {
        Self::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr))
    }

    /// Starts this command with this stdin.
    pub fn run_with_stdin(command: &mut Command, stdin: Stdio) -> Self {
        Self::spawn(command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("can't start {command:?}: {error}"));
        // The command keeps what it was given: without this, a pipe would never end.
        command.stderr(Stdio::null());
        let stdout = Lines::read(child.stdout.take().expect("it is piped"));
        let stderr = child.stderr.take().map_or_else(Lines::none, Lines::read);
        Self { child, stdout, stderr, ended: None }
    }

    /// Returns the child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the child is there");
    }

    /// Sends a signal, if it has not ended meanwhile.
    pub fn signal_if_there(&self, signal: Signal) {
        // Not reaped yet, so the id is still its own.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal);
    }

    /// Sends a signal as soon as the process has a handler for it.
    pub fn signal_when_handlers_are_installed(&self, signal: Signal) {
        let begun = Instant::now();
        let bit = 1u64 << (signal.as_raw() - 1);
        loop {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the child is there");
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a line of proc(5)");
            if u64::from_str_radix(caught.trim(), 16).expect("a mask") & bit != 0 {
                return self.signal(signal);
            }
            assert!(begun.elapsed() < SOON, "no handler for {signal:?}");
            thread::yield_now();
        }
    }

    /// Waits for a line of the log that contains this; returns it.
    pub fn log(&self, text: &str) -> String {
        self.stderr.wait(text)
    }

    /// Waits for a line on stdout that contains this; returns it.
    pub fn said(&self, text: &str) -> String {
        self.stdout.wait(text)
    }

    /// Returns the log so far.
    pub fn whole_log(&self) -> String {
        self.stderr.all()
    }

    /// Returns all of stdout so far.
    pub fn whole_output(&self) -> String {
        self.stdout.all()
    }

    /// Returns the address that a task reports it listens on.
    pub fn address(&self, task: &str) -> SocketAddr {
        let line =
            self.stderr.wait_for(|line| line.contains(&format!(".{task}:")) && line.contains("server started on"));
        let address = line.rsplit(' ').next().expect("a line has words");
        address.parse().unwrap_or_else(|error| panic!("no address in {line:?}: {error}"))
    }

    /// Waits for its end; returns the exit code, or minus the signal that ended it.
    pub fn wait(&mut self) -> i32 {
        if let Some(code) = self.ended {
            return code;
        }
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                self.stdout.wait_end();
                self.stderr.wait_end();
                let code = status.code().unwrap_or_else(|| -status.signal().unwrap_or(0));
                self.ended = Some(code);
                return code;
            }
            assert!(begun.elapsed() < SOON, "it has not ended; its log:\n{}", self.whole_log());
            // std can't wait for a child's end with a timeout.
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("--- stdout\n{}--- log\n{}", self.whole_output(), self.whole_log());
        }
    }
}

/// Lines that a thread reads.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Debug, Default)]
struct Collected {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn read(from: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let ours = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                let Ok(line) = line else { break };
                ours.change(|read| read.lines.push(line));
            }
            ours.change(|read| read.ended = true);
        });
        lines
    }

    fn none() -> Self {
        let lines = Self::default();
        lines.change(|read| read.ended = true);
        lines
    }

    fn change(&self, f: impl FnOnce(&mut Collected)) {
        f(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn wait(&self, text: &str) -> String {
        self.wait_for(|line| line.contains(text))
    }

    fn wait_for(&self, fits: impl Fn(&str) -> bool) -> String {
        let found = |read: &Collected| read.lines.iter().find(|line| fits(line)).cloned();
        let guard = self.0.0.lock().unwrap();
        let (guard, _) = self.0.1.wait_timeout_while(guard, SOON, |read| found(read).is_none() && !read.ended).unwrap();
        let (line, all) = (found(&guard), guard.lines.join("\n"));
        drop(guard);
        line.unwrap_or_else(|| panic!("no such line; there is:\n{all}"))
    }

    fn wait_end(&self) {
        let guard = self.0.0.lock().unwrap();
        let _ended = self.0.1.wait_timeout_while(guard, SOON, |read| !read.ended).unwrap();
    }

    fn all(&self) -> String {
        self.0.0.lock().unwrap().lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// An HTTP response.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Everything after the head.
    pub body: String,
}

impl Answer {
    /// Returns the body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

/// Sends a GET request, on a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    try_get(address, path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
}

/// Sends a GET request, on a connection of its own; returns the error if it fails.
pub fn try_get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"), &[])
}

/// Sends a POST request, on a connection of its own.
pub fn post(address: SocketAddr, path: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    ask(address, &head, body).unwrap_or_else(|error| panic!("POST {path}: {error}"))
}

fn ask(address: SocketAddr, head: &str, body: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, SOON)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(head.as_bytes())?;
    // A server may respond, and close, before it has read a body that it refuses.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if bytes.is_empty() => return Err(error),
        _ => {}
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Answer { status, body: body.to_owned() })
}
