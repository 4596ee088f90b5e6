//! Ready-made tasks, for any loop; and what they are made of.
//!
//! May use: kit, words, counters, options, channel, control, event_loop, task, service.

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

#[cfg(all(feature = "command", target_os = "linux"))]
pub use self::command::{Command, CommandHandle, Commands, Run};
#[cfg(feature = "cron")]
pub use self::cron::{Cron, CronError};
#[cfg(feature = "watch")]
pub use self::directory_watcher::{Change, Changes, DirectoryWatcher, Entry, OnChange, WatcherHandle, WatcherOptions};
pub use self::{
    periodic::{Periodic, PeriodicHandle},
    poller::{Poller, PollerHandle, ValueWatch},
    queue::{Queue, QueueHandle, WorkError},
    ticks::{FirstRun, MissedTicks},
    work::{RunError, TryLater, Work},
    workers::Workers,
};
