//! The guard of a child's process group: a process that leads the group, and kills it when the service is gone.
//!
//! Invariants:
//! 1. The guard leads the group, and is reaped last: until then nobody else can get the group's number.
//! 2. A child is in the group before it becomes the program that it will run: it is put there between fork and exec.
//! 3. The leash is a pipe that ends when the service has ended, in whichever way. It is closed at exec, so a child that
//!    the service was about to start holds it too, until the child is in the group. So all processes to be killed exist
//!    when the guard learns that the service is gone.
//! 4. No child is started before its guard has reported that it ignores signals: a TERM to the group doesn't end the
//!    guard.

use std::{
    fs,
    io::{self, PipeWriter, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{self, Child, ChildStdout, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, child_subreaper, getpgid, kill_process,
        kill_process_group, pidfd_open, waitid, waitpgid,
    },
};

/// How long killed processes may take to be gone, if this process must reap them.
const PATIENCE: Duration = Duration::from_secs(1);

const SHELL: &str = "/bin/sh";

/// The guard's script. It reports that it is ready, then reads the child's number until the leash ends. The group that
/// it kills is its own.
const SCRIPT: &str = "\
trap '' HUP INT QUIT ALRM TERM USR1 USR2 PIPE TSTP TTIN TTOU
echo; exec >&-
while read -r line; do child=$line; done
[ -z \"$child\" ] || kill -KILL \"$child\"
kill -KILL 0";

/// The guard process. When this is dropped, it kills the rest of the group, and is reaped.
#[derive(Debug)]
pub(super) struct Guard {
    process: Child,
    leash: PipeWriter,
    ready: Option<ChildStdout>,
}

impl Guard {
    pub(super) fn start() -> io::Result<Self> {
        let (reins, leash) = io::pipe()?;
        let mut shell = process::Command::new(SHELL);
        shell.arg0("interloop-guard").args(["-c", SCRIPT, "interloop-guard"]).env_clear().current_dir("/");
        shell.stdin(reins).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut process =
            shell.spawn().map_err(|error| io::Error::new(error.kind(), format!("no guard by {SHELL}: {error}")))?;
        let ready = process.stdout.take();
        Ok(Self { process, leash, ready })
    }

    /// Returns a descriptor that is readable when the guard is ready.
    pub(super) fn ready_fd(&self) -> Option<BorrowedFd<'_>> {
        self.ready.as_ref().map(AsFd::as_fd)
    }

    /// Reads the guard's report that it is ready.
    pub(super) fn hear_ready(&mut self) -> io::Result<()> {
        let Some(mut ready) = self.ready.take() else { return Ok(()) };
        match ready.read(&mut [0])? {
            0 => Err(io::Error::other("its guard has ended")),
            _ => Ok(()),
        }
    }

    /// Starts a program in the group.
    pub(super) fn start_in_group(&mut self, command: &mut process::Command) -> io::Result<(Child, OwnedFd)> {
        let mut child = command.process_group(self.group().as_raw_pid()).spawn()?;
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => {
                self.tell(&child.id().to_string());
                Ok((child, pidfd))
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error.into())
            }
        }
    }

    /// Tells the guard that the child is about to be reaped: its number may then go to another process.
    pub(super) fn forget_child(&mut self) {
        self.tell("");
    }

    fn tell(&mut self, child: &str) {
        // A guard that somebody has killed hears nothing. The group is then killed at the end as usual, if the service
        // is still there.
        let _ = self.leash.write_all(format!("{child}\n").as_bytes());
    }

    pub(super) fn group(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Signals the group, and the child if it has left the group.
    pub(super) fn signal(&self, child: Option<&Child>, signal: Signal) {
        // The child is not reaped yet, so the number is its own.
        let child = child.map(Pid::from_child);
        let outside = child.filter(|child| getpgid(Some(*child)).is_ok_and(|group| group != self.group()));
        // A stopped process receives TERM only once it continues.
        let signals = if signal == Signal::TERM { &[signal, Signal::CONT][..] } else { &[signal] };
        for signal in signals {
            // The group is empty, or belongs to another user: there is nothing to do.
            let _ = kill_process_group(self.group(), *signal);
            if let Some(child) = outside {
                let _ = kill_process(child, *signal);
            }
        }
    }

    /// Returns the living members of the group, except the guard; each descriptor becomes readable when its process
    /// ends.
    pub(super) fn members(&self) -> Vec<OwnedFd> {
        let (guard, group) = (self.process.id(), self.group().as_raw_pid());
        let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
        // The `/proc` of another PID namespace has other numbers.
        if fs::read_link("/proc/self").is_ok_and(|own| own.as_os_str() != &*process::id().to_string()) {
            return Vec::new();
        }
        let numbers = processes.filter_map(|process| process.ok()?.file_name().to_str()?.parse().ok());
        let others = numbers.filter(|pid| u32::try_from(*pid) != Ok(guard));
        let member = |pid| {
            if !is_in(pid, group) {
                return None;
            }
            let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
            // The number may have gone to another process.
            is_in(pid, group).then_some(pidfd)
        };
        others.filter_map(member).collect()
    }
}

/// Whether a member of a group that loses its parent becomes a child of this process.
fn inherits_orphans() -> bool {
    process::id() == 1 || child_subreaper().is_ok_and(|reaper| reaper.is_some())
}

/// Whether this process lives, in this group.
fn is_in(pid: i32, group: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The name, in brackets, may hold anything. It is followed by the state, the parent and the group.
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    let mut fields = fields.split_whitespace();
    let lives = !matches!(fields.next(), Some("Z" | "X"));
    lives && fields.nth(1).and_then(|field| field.parse().ok()) == Some(group)
}

/// Reaps all members of a killed group that are children of this process: nobody else reaps them. The child has been
/// reaped before, and the guard is one of the members; while there is one, the group's number is its own.
fn reap(group: Pid) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match waitpgid(group, WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            // They die as soon as the system gets round to it, and a dying parent's child becomes ours only then.
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            Ok(None) | Err(_) => return,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.signal(None, Signal::KILL);
        if inherits_orphans() {
            // After this, one look is usually enough.
            let _ = waitid(WaitId::Pid(self.group()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            return reap(self.group());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
