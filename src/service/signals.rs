//! The signals of [`Service::run`](crate::Service::run): INT and TERM stop the service, HUP reloads or stops it, USR1
//! shows its status.
//!
//! A thread of its own forwards them to the supervisor. It takes no lock and writes no log, so it works when everything
//! else is stuck. The same signal a third time isn't even forwarded: the handler itself ends the process.
//!
//! All that is about one system is in a file of that system, which has one type, [`SignalThread`]:
//!
//! * `start(events)` installs the handlers and starts the thread. Until `begin` a signal that asks for a stop ends the
//!   process at once, with 0.
//! * `begin()`: from now on it asks the service to stop.
//! * `note()` is a line for the log, once there is one.
//! * Dropped, all is as it was before; on the thread that called `start`.
//!
//! What a signal means when it is repeated is the same on every system: [`count`].

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
