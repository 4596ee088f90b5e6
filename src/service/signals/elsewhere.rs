//! A stub for systems without Unix signals, which receives nothing. No service has run on such a system.
//!
//! On Windows the counterpart would be `SetConsoleCtrlHandler`: CTRL_C_EVENT for INT; CTRL_CLOSE_EVENT and
//! CTRL_SHUTDOWN_EVENT for TERM, within the time that the system gives; and nothing for HUP and USR1.

use std::io;

use crate::control::events::Events;

/// Installs no handlers: the system's own ones stay, so ^C ends the process at once.
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
