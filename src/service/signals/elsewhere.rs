//! Systems without signals of Unix: a stub that hears nothing, in the place of what such a system has instead. No
//! service has run on it.
//!
//! On Windows that would be `SetConsoleCtrlHandler`: CTRL_C_EVENT for INT; CTRL_CLOSE_EVENT and CTRL_SHUTDOWN_EVENT for
//! TERM, within the time that the system gives; and no counterpart of HUP and USR1.

use std::io;

use crate::control::events::Events;

/// No handlers: the system's own ones stay, so ^C ends the process at once.
#[derive(Debug)]
pub(in crate::service) struct SignalThread;

impl SignalThread {
    pub(in crate::service) fn start(_: Events) -> io::Result<Self> {
        Ok(Self)
    }

    pub(in crate::service) fn begin(&self) {}

    pub(in crate::service) fn note(&self) -> Option<String> {
        Some("this system's ways to ask a process to stop are not listened to: ^C ends it at once".to_owned())
    }
}
