//! What a service manager is told: systemd by the datagrams of sd_notify(3), s6 and dinit by a line on a descriptor.
//!
//! [`Service::run`](crate::Service::run) does this by itself if its environment or `--ready-fd` asks for it. One thread
//! beside the supervisor, `supervised`, follows the phases and transitions of the service as any other thread could
//! ([`watch_phases`](crate::ServiceHandle::watch_phases)), and tells the manager. It never waits for the manager: its
//! socket doesn't block, and what a full one refuses is sent again later. It logs as the supervisor does. While nothing
//! changes it sleeps, unless the manager wants signs of life.
//!
//! The code for Linux defines two types; elsewhere they do nothing:
//!
//! * [`ReadyFd`]: `claim(service)` takes the descriptor of `--ready-fd` out of the reach of child processes. It comes
//!   before anything in the library opens a descriptor: the number could then be one of its own.
//! * [`Supervised`]: `begin(ready_fd, prepared)` starts the thread, if there is anybody to tell. Dropping it, after the
//!   service has ended, ends the thread.

#[cfg(not(all(feature = "supervised", target_os = "linux")))]
mod elsewhere;
#[cfg(all(feature = "supervised", target_os = "linux"))]
mod manager;
#[cfg(all(feature = "supervised", target_os = "linux"))]
mod notify;
#[cfg(all(feature = "supervised", target_os = "linux"))]
mod ready_fd;
#[cfg(all(feature = "supervised", target_os = "linux"))]
mod status_line;
#[cfg(all(feature = "supervised", target_os = "linux"))]
mod surroundings;
#[cfg(all(feature = "supervised", target_os = "linux"))]
mod watchdog;

#[cfg(not(all(feature = "supervised", target_os = "linux")))]
pub(super) use self::elsewhere::{ReadyFd, Supervised};
#[cfg(all(feature = "command", feature = "supervised", target_os = "linux"))]
pub(super) use self::ready_fd::close_in_init;
#[cfg(all(feature = "supervised", target_os = "linux"))]
pub(super) use self::{manager::Supervised, ready_fd::ReadyFd};
