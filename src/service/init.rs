//! The init process for PID 1. A container's first process becomes the parent of every orphan, and only it can reap
//! them. A process with children of its own can't do that safely: it can't tell an orphan from a child that another
//! part of the program is about to wait for. So there are two processes: PID 1, the init, only passes on signals and
//! reaps; its child is the service.
//!
//! The init is this program too, up to its call of `run`: it starts its own image again, with the same arguments,
//! before it creates a thread. The child is not PID 1, and continues from there. Files that the init has opened are
//! closed at exec, or were inherited and are available to the child as well.

use std::{
    ffi::OsStr,
    fs,
    io::{self, IsTerminal, Write},
    os::unix::process::CommandExt,
    process::{self, Command, ExitCode},
};

use nix::sys::signal::SigSet;
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, kill_process, wait},
    termios::tcsetpgrp,
};
use signal_hook::{
    consts::{SIGCHLD, SIGFPE, SIGILL, SIGKILL, SIGPIPE, SIGSEGV, SIGSTOP, SIGTERM, SIGTTIN, SIGTTOU},
    iterator::Signals,
};

use super::{builder::Service, early, signals::is_ignored};
use crate::options::Init;

/// The image of this program, whatever its file is called by now.
const IMAGE: &str = "/proc/self/exe";

/// Variables that hold the PID of the process that they are meant for.
const PIDS: [&str; 3] = ["LISTEN_PID", "SYSTEMD_EXEC_PID", "WATCHDOG_PID"];

/// Tells the child to put its own PID into these variables. It is removed before anything else sees it.
const PIDS_ARE_OURS: &str = "INTERLOOP_PIDS_ARE_OF_INIT";

/// Returns the service if this process must run it; otherwise this is the init, and the error is the init's exit code.
pub(super) fn begin(service: Service) -> Result<Service, ExitCode> {
    if std::env::var_os(PIDS_ARE_OURS).is_some() {
        take_over_pids();
    }
    if process::id() != 1 || wish(&service) == Init::No {
        return Ok(service);
    }
    let name = service.about.name.clone();
    #[cfg(feature = "supervised")]
    let ready_fd = early::value_of(&service, "ready-fd");
    if let Some(obstacle) = obstacle() {
        say(&format!("{name}: {obstacle}, so this PID 1 reaps no orphans: --init no if something else does"));
        return Ok(service);
    }
    // The child needs what the service holds, such as a bound port.
    drop(service);
    let started = || {
        #[cfg(feature = "supervised")]
        super::supervised::close_in_init(ready_fd.as_deref());
    };
    Err(init(started).unwrap_or_else(|error| {
        say(&format!("{name}: PID 1 can't start the service as its child: {error}; --init no does without"));
        ExitCode::from(78)
    }))
}

/// Returns the value of `--init`.
fn wish(service: &Service) -> Init {
    early::value_of(service, "init").map_or(Init::Auto, |word| if word == "no" { Init::No } else { Init::Auto })
}

/// Returns the reason why this process can't be an init.
fn obstacle() -> Option<String> {
    if let Err(error) = fs::metadata(IMAGE) {
        return Some(format!("can't find this program at {IMAGE} ({error})"));
    }
    // The init's other threads would continue here, beside those of the child.
    let status = crate::kit::proc::read("/proc/self/status").unwrap_or_default();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).map_or("1", str::trim);
    (threads != "1").then(|| format!("{threads} threads run before Service::run"))
}

fn say(line: &str) {
    // A closed stream must not cause a panic.
    let _ = writeln!(io::stderr(), "{line}");
}

fn again() -> Command {
    let mut words = std::env::args_os();
    let mut command = Command::new(IMAGE);
    command.arg0(words.next().unwrap_or_else(|| IMAGE.into())).args(words);
    command
}

/// Puts the child's own PID into the variables that hold the parent's; a process can change its environment only by a
/// new exec.
fn take_over_pids() {
    let mut command = again();
    command.env_remove(PIDS_ARE_OURS).env_remove("LISTEN_PIDFDID");
    for variable in PIDS {
        if std::env::var_os(variable).as_deref() == Some(OsStr::new("1")) {
            command.env(variable, process::id().to_string());
        }
    }
    let error = command.exec();
    say(&format!("can't take over {}: {error}", PIDS.join(", ")));
}

/// Runs the init; `started` is called once the service's process has what it inherits.
fn init(started: impl FnOnce()) -> io::Result<ExitCode> {
    // Done first: signals that arrive from now on wait for the child. The omitted ones can't be caught, and the library
    // can't forward real-time signals.
    let can_be_caught = (1..32).filter(|signal| ![SIGKILL, SIGSTOP, SIGILL, SIGFPE, SIGSEGV].contains(signal));
    // Signals that the user chose to ignore (nohup) stay ignored in the child; Rust itself ignores PIPE.
    let is_wish = |signal| ![SIGCHLD, SIGPIPE, SIGTERM].contains(&signal) && is_ignored(signal) == Some(true);
    let caught = can_be_caught.filter(|&signal| !is_wish(signal));
    let mut signals = Signals::new(caught)?;
    let mut command = again();
    let terminal = terminal();
    if terminal != Terminal::Shared {
        // The child has its own process group, so that the init need not forward what the terminal sends to that group.
        command.process_group(0);
    }
    if PIDS.iter().any(|variable| std::env::var_os(variable).as_deref() == Some(OsStr::new("1"))) {
        command.env(PIDS_ARE_OURS, "1");
    }
    let child = Pid::from_child(&command.spawn()?);
    started();
    if terminal == Terminal::Ours {
        // The child may have asked for the terminal too early, and been stopped.
        let _ = tcsetpgrp(io::stdin(), child);
        let _ = kill_process(child, Signal::CONT);
    }
    // The child has inherited the mask; the init must receive all signals.
    SigSet::all().thread_unblock()?;
    for signal in signals.forever() {
        match signal {
            SIGCHLD => {
                if let Some(code) = reap(child) {
                    return Ok(code);
                }
            }
            // The terminal sends these to processes that are not in the foreground.
            SIGTTIN | SIGTTOU => {}
            other => {
                if let Some(signal) = Signal::from_named_raw(other) {
                    // The child is not reaped yet, so the PID is still its own.
                    let _ = kill_process(child, signal);
                }
            }
        }
    }
    Err(io::Error::other("there are no more signals"))
}

#[derive(PartialEq, Eq)]
enum Terminal {
    None,
    /// This process is in the terminal's foreground, so the child can be.
    Ours,
    /// This process is not in the foreground, or that can't be known: a shell outside of the namespace controls the
    /// process group, and the child belongs to it.
    Shared,
}

fn terminal() -> Terminal {
    if !io::stdin().is_terminal() {
        return Terminal::None;
    }
    // Compares the numbers in /proc. It shows groups from outside of the namespace too, if it is itself from outside.
    let stat = crate::kit::proc::read("/proc/self/stat").unwrap_or_default();
    let mut fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().skip(2);
    let (group, foreground) = (fields.next(), fields.nth(2));
    if group == foreground && !matches!(group, None | Some("0")) { Terminal::Ours } else { Terminal::Shared }
}

/// Reaps all children that have ended; returns the exit code once the service's process has ended.
fn reap(child: Pid) -> Option<ExitCode> {
    let mut code = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => {
                let ended = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
                code = ended.map(|code| ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)));
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return code,
        }
    }
}
