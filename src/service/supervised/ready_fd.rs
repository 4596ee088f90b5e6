//! The descriptor on which a manager wants a line once the service is ready: s6's notification-fd, dinit's pipefd.

#[cfg(feature = "command")]
use std::ffi::OsStr;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl},
    io::Errno,
    process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open},
};

use super::surroundings::{Surroundings, number};
use crate::service::{builder::Service, early};

/// The option's name.
const OPTION: &str = "ready-fd";

/// The claimed descriptor, if one was named.
#[derive(Debug, Default)]
pub(in crate::service) struct ReadyFd {
    claimed: Option<Claimed>,
    /// Why the option is wrong.
    refused: Option<String>,
    /// Why the variable has no effect. It may be left over from another program, so the service does without.
    complaint: Option<String>,
}

/// A copy of the descriptor that no child inherits; the original is closed.
#[derive(Debug)]
pub(super) struct Claimed {
    name: String,
    file: File,
}

impl ReadyFd {
    /// Takes over the descriptor that `--ready-fd` or, weaker, `NOTIFY_FD` names.
    pub(in crate::service) fn claim(service: &Service) -> Self {
        let mut this = Self::default();
        if let Some(option) = early::value_of(service, OPTION) {
            // What is no number is an error of the options, which is told when they are parsed.
            match number::<i32>(&option)
                .filter(|number| *number >= 0)
                .map(|number| claim(&format!("--{OPTION} {number}"), number))
            {
                Some(Ok(claimed)) => this.claimed = Some(claimed),
                Some(Err(why)) => this.refused = Some(why),
                None => {}
            }
        } else if let Some(number) = Surroundings::look().notify_fd {
            match claim(&format!("NOTIFY_FD={number}"), number) {
                Ok(claimed) => this.claimed = Some(claimed),
                Err(why) => this.complaint = Some(why),
            }
        }
        this
    }

    /// Returns the descriptor, now that the options are known to be right, and a line for the log.
    pub(super) fn get(self) -> Result<(Option<Claimed>, Option<String>), String> {
        let Self { claimed, refused, complaint } = self;
        refused.map_or(Ok((claimed, complaint)), Err)
    }
}

fn claim(name: &str, number: i32) -> Result<Claimed, String> {
    let refuse = |why: &dyn std::fmt::Display| format!("{name}: {why}");
    match number {
        0 => return Err(refuse(&"standard input can't take a line")),
        2 => return Err(refuse(&"standard error is for the log")),
        _ => {}
    }
    let fd = duplicate(number).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::BADF) => refuse(&"it is not open"),
        _ => refuse(&error),
    })?;
    let access = fcntl_getfl(&fd).map_err(|error| refuse(&io::Error::from(error)))? & OFlags::ACCMODE;
    if access == OFlags::RDONLY {
        return Err(refuse(&"it is open for reading only"));
    }
    close(number).map_err(|error| refuse(&error))?;
    Ok(Claimed { name: name.to_owned(), file: fd.into() })
}

/// Returns a copy of this descriptor of our own, which no child inherits.
fn duplicate(number: i32) -> io::Result<OwnedFd> {
    let copy =
        pidfd_open(getpid(), PidfdFlags::empty()).and_then(|this| pidfd_getfd(this, number, PidfdGetfdFlags::empty()));
    match copy {
        Err(error) if error != Errno::BADF => {
            // An old kernel, or a container that doesn't permit the call.
            let path = format!("/proc/self/fd/{number}");
            // Without a reader, a pipe would keep it waiting.
            let nonblocking = OFlags::NONBLOCK.bits() as i32;
            let file = OpenOptions::new().append(true).custom_flags(nonblocking).open(path);
            file.map(OwnedFd::from).map_err(|open| match open.kind() {
                io::ErrorKind::NotFound => Errno::BADF.into(),
                _ => open,
            })
        }
        copy => Ok(copy?),
    }
}

/// Closes the original. Programs print to standard output, so its number must not become that of another file.
fn close(number: i32) -> io::Result<()> {
    if number == 1 {
        let null = OpenOptions::new().write(true).open("/dev/null")?;
        return Ok(rustix::stdio::dup2_stdout(null)?);
    }
    Ok(nix::unistd::close(number)?)
}

impl Claimed {
    /// Writes the line. `Ok(false)` if the other end takes nothing now: it never waits.
    pub(super) fn tell(&mut self) -> Result<bool, String> {
        let refuse = |why: &dyn std::fmt::Display| format!("{}: {why}", self.name);
        let mut ends = [PollFd::new(&self.file, PollFlags::OUT)];
        match poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) | Err(Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(refuse(&io::Error::from(error))),
        }
        // It might cause a SIGPIPE, where the program has given that its effect back.
        if ends[0].revents().contains(PollFlags::ERR) {
            return Err(refuse(&"its reader is gone"));
        }
        match self.file.write(b"\n") {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(refuse(&error)),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// How long to wait before another attempt at a full descriptor.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// Closes the descriptor in the init, after the service has inherited it: else its reader would not see its end.
#[cfg(feature = "command")]
pub(in crate::service) fn close_in_init(option: Option<&OsStr>) {
    let number = option.map_or_else(|| Surroundings::look().notify_fd, number::<i32>);
    if let Some(number) = number.filter(|number| *number > 2) {
        let _ = nix::unistd::close(number);
    }
}
