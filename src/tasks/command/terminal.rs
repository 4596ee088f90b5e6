//! The terminal, while a child has it.
//!
//! Children are in process groups of their own, and the terminal serves one group: a process of another group that asks
//! for it is stopped.

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

/// The terminal, lent to a child. When this is dropped, the terminal returns to the service.
#[derive(Debug)]
pub(super) struct Terminal {
    file: File,
    ours: Pid,
    group: Pid,
    /// The modes before the child had it.
    modes: Option<Termios>,
}

impl Terminal {
    /// Gives the terminal to this group; None if the service has none.
    pub(super) fn give(group: Pid) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new().read(true).write(true).open("/dev/tty") {
            Ok(file) => file,
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // The group's own number is 0 if it is from outside of the PID namespace; reading the foreground's is an error
        // then.
        let ours = tcgetpgrp(&file).ok().filter(|group| group.as_raw_pid() == nix::unistd::getpgrp().as_raw());
        let Some(ours) = ours else {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the terminal is not the service's to give"));
        };
        let modes = tcgetattr(&file).ok();
        tcsetpgrp(&file, group)?;
        Ok(Some(Self { file, ours, group, modes }))
    }

    /// Keeps the modes that the child has set: it has ended well.
    pub(super) fn keep_modes(&mut self) {
        self.modes = None;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Another process may have it by now.
        if tcgetpgrp(&self.file).is_ok_and(|group| group != self.group) {
            return;
        }
        // A process that takes the terminal from the background is stopped, unless it blocks that signal.
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
