//! Servers as child processes: start, CPU time, end.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{self, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use crate::suite::Failure;

/// How long a server may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Makes the command of a server that listens on the given address, on loopback.
pub type Program = fn(SocketAddr) -> Result<Command, Failure>;

/// Returns the path of a program of this workspace, built in the same profile.
pub fn sibling(name: &str) -> Result<PathBuf, Failure> {
    let here = std::env::current_exe()?;
    let folders = here.ancestors().skip(1).take(2); // tests run in a folder below that of the programs
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("{name} isn't built beside {}", here.display()).into())
}

/// A running program, which is killed and waited for when this is dropped.
#[derive(Debug)]
pub struct Child(process::Child);

impl Child {
    /// Starts the program, and waits for the line of its standard error that contains `text`.
    pub fn start(command: &mut Command, text: &str) -> Result<Self, Failure> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = Self::spawn(command)?;
        let mut log = BufReader::new(child.0.stderr.take().expect("it is piped"));
        let mut line = String::new();
        while log.read_line(&mut line)? != 0 {
            if line.contains(text) {
                // What comes later is read too, so that the pipe neither breaks nor fills up.
                std::thread::spawn(move || io::copy(&mut log, &mut io::sink()));
                return Ok(child);
            }
            line.clear();
        }
        let status = child.0.wait()?;
        Err(format!("{}: {status} before it said {text}", command.get_program().display()).into())
    }

    /// Starts the program.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self, Failure> {
        Ok(Self(command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?))
    }

    /// Sends TERM; returns how the program ended and how long that took.
    pub fn terminate(mut self) -> Result<(ExitStatus, Duration), Failure> {
        let begin = Instant::now();
        kill(self.pid(), Signal::SIGTERM)?;
        let status = self.0.wait()?;
        Ok((status, begin.elapsed()))
    }

    /// Returns how often its threads have gone to rest so far, except the threads that a runtime keeps for blocking
    /// work, for a while.
    pub fn switches(&self) -> io::Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let status = fs::read_to_string(task?.path().join("status"))?;
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
            if !field("Name:").starts_with("blocking-") {
                sum += field("voluntary_ctxt_switches:").parse::<u64>().map_err(io::Error::other)?;
            }
        }
        Ok(sum)
    }

    /// Takes the standard output, if it is piped and not yet taken.
    pub(crate) fn stdout(&mut self) -> io::Result<process::ChildStdout> {
        self.0.stdout.take().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Returns the user and system time of all its threads so far, including those that have ended. This is what
    /// `/proc/PID/stat` counts, to the nanosecond instead of the tick of 10 ms.
    ///
    /// It waits until the program has come to rest: the time of a running thread is counted at the system's next tick.
    pub(crate) fn cpu_time(&self) -> Result<Duration, Failure> {
        let (clock, begin) = (clock_getcpuclockid(self.pid())?, Instant::now());
        loop {
            let before = clock.now()?;
            // This is the interval between two looks, not a wait for an event. A thread is said to sleep a moment
            // before it does.
            sleep(Duration::from_millis(1));
            let is_at_rest = self.is_at_rest()?;
            let now = clock.now()?;
            if is_at_rest && now == before {
                return Ok(now.into());
            }
            if begin.elapsed() > PATIENCE {
                return Err("it doesn't come to rest".into());
            }
        }
    }

    fn is_at_rest(&self) -> io::Result<bool> {
        for task in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            // It may have ended in the meantime.
            let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else { continue };
            // The name, in parentheses, may contain parentheses.
            let (_, rest) = stat.rsplit_once(") ").unwrap_or_default();
            if !rest.starts_with('S') {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().try_into().expect("a pid fits pid_t"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both do nothing once `terminate` has waited for it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running server, which is killed and waited for when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    first_answer: Duration,
}

impl Server {
    /// Starts the server on a free port of loopback, and waits for its first answer to `GET /`.
    pub fn start(program: Program) -> Result<Self, Failure> {
        Self::start_until(program, first_answer)
    }

    /// Does the same as [`start`](Self::start) for servers that don't speak HTTP: waits until `answers` returns true.
    pub fn start_until(program: Program, answers: fn(SocketAddr) -> io::Result<bool>) -> Result<Self, Failure> {
        // The port is freed at once; nothing else on this machine binds port after port while we measure.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = program(address)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let begin = Instant::now();
        let mut child = Child::spawn(&mut command)?;
        loop {
            if answers(address)? {
                return Ok(Self { child, address, first_answer: begin.elapsed() });
            }
            if let Some(status) = child.0.try_wait()? {
                return Err(format!("{}: {status} before its first answer", command.get_program().display()).into());
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!("{}: no answer", command.get_program().display()).into());
            }
            // This is the interval between two looks, not a wait for an event: a tenth of the fastest start seen is 200
            // us.
            sleep(Duration::from_micros(50));
        }
    }

    /// Returns the server's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the time from the server's spawn to its first answer.
    pub fn first_answer(&self) -> Duration {
        self.first_answer
    }

    /// Returns the user and system time of all its threads so far, including those that have ended, once it has come to
    /// rest.
    pub fn cpu_time(&self) -> Result<Duration, Failure> {
        self.child.cpu_time()
    }
}

/// Whether the server listens yet.
pub(crate) fn listens(address: SocketAddr) -> io::Result<bool> {
    match TcpStream::connect(address) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether there is an answer yet.
fn first_answer(address: SocketAddr) -> io::Result<bool> {
    let mut stream = match TcpStream::connect(address) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(false),
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    if status.ends_with(b" 200") { Ok(true) } else { Err(io::Error::other("the first answer isn't 200")) }
}
