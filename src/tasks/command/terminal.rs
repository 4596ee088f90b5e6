//! The terminal, while a child has it.
//!
//! Children are in process groups of their own, and the terminal serves one group: the others are stopped when they ask for it.

use std::{
    fs::{File, OpenOptions},
    io,
};

use nix::sys::signal::{SigSet, Signal};
use rustix::{
    io::Errno,
    process::Pid,
    termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp},
};

/// Dropped, it is the service's again.
#[derive(Debug)]
pub(super) struct Terminal {
    file: File,
    ours: Pid,
    group: Pid,
    /// As it was.
    modes: Option<Termios>,
}

impl Terminal {
    /// Gives it to this group; None when the service has none.
    pub(super) fn give(group: Pid) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new().read(true).write(true).open("/dev/tty") {
            Ok(file) => file,
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Its own number is 0 if its group is from outside of the PID namespace; that of the foreground is an error then.
        let ours = tcgetpgrp(&file).ok().filter(|group| group.as_raw_pid() == nix::unistd::getpgrp().as_raw());
        let Some(ours) = ours else {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the terminal is not the service's to give"));
        };
        let modes = tcgetattr(&file).ok();
        tcsetpgrp(&file, group)?;
        Ok(Some(Self { file, ours, group, modes }))
    }

    /// What the child has made of it stays: it has ended well.
    pub(super) fn keep_modes(&mut self) {
        self.modes = None;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Somebody else may have it by now.
        if tcgetpgrp(&self.file).is_ok_and(|group| group != self.group) {
            return;
        }
        // Who takes it from the background is stopped, unless it blocks that.
        let mut stop = SigSet::empty();
        stop.add(Signal::SIGTTOU);
        let before = stop.thread_block();
        let _ = tcsetpgrp(&self.file, self.ours);
        if let Some(modes) = &self.modes {
            let _ = tcsetattr(&self.file, OptionalActions::Drain, modes);
        }
        if before.is_ok() {
            let _ = stop.thread_unblock();
        }
    }
}
