//! The signals of [`Service::run`](crate::Service::run): INT and TERM stop the service, HUP reloads or stops it, USR1
//! shows its status.
//!
//! A dedicated thread forwards the signals to the supervisor. It takes no lock and writes no log, so it works even if
//! everything else is stuck. The third repeat of a signal isn't even forwarded: the handler itself ends the process.
//!
//! System-specific code is in one file for each system, which defines one type, [`SignalThread`]:
//!
//! * `start(events)` installs the handlers and starts the thread. Until `begin`, a signal that asks for a stop ends the
//!   process at once, with 0.
//! * `begin()`: from now on, such a signal asks the service to stop.
//! * `note()` returns a line for the log, once there is one.
//! * Dropping it restores the previous state; it must be dropped on the thread that called `start`.
//!
//! The meaning of repeated signals is the same on every system: [`count`].

#[cfg_attr(not(unix), allow(dead_code, reason = "the stub hears nothing that could be repeated"))]
mod count;
#[cfg(not(unix))]
mod elsewhere;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(super) use self::elsewhere::SignalThread;
#[cfg(unix)]
pub(super) use self::unix::SignalThread;
#[cfg(all(feature = "command", target_os = "linux"))]
pub(super) use self::unix::{heed_children, is_ignored};
