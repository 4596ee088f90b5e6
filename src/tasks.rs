//! Built-in tasks for any loop, and the types they are made of.
//!
//! They use the public API alone: anything they need from the rooms below is public for all tasks, or the task has its
//! own version. `scripts/tasks-as-guests` has the compiler check that.
//!
//! May use: kit, words, counters, options, channel, control, event_loop, task.

mod choices;
#[cfg(all(feature = "command", target_os = "linux"))]
pub mod command;
mod common;
#[cfg(feature = "cron")]
mod cron;
#[cfg(feature = "watch")]
mod directory_watcher;
mod durations;
mod periodic;
mod poller;
pub mod queue;
mod runner;
mod ticks;
mod work;
mod workers;

#[cfg(feature = "cron")]
pub use self::cron::{Cron, CronError};
#[cfg(feature = "watch")]
pub use self::directory_watcher::{Change, Changes, DirectoryWatcher, Entry, OnChange, WatcherHandle, WatcherOptions};
pub use self::{
    choices::{FirstRun, MissedTicks},
    periodic::{Periodic, PeriodicHandle},
    poller::{Poller, PollerHandle, ValueWatch},
    work::{RunError, TryLater, Work},
    workers::Workers,
};
