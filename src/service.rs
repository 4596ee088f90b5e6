//! The service: what is put together in `main`, prepared, run by its supervisor, and, if it runs as the process, what it does with that.
//!
//! Here belongs what decides, and what touches the process: signals, the panic hook, threads. No task is written against it but to be added.
//!
//! May use: kit, words, logging, lifecycle, options, channel, control, event_loop, task.

pub(crate) mod builder;
mod choice;
#[cfg(all(feature = "command", target_os = "linux"))]
mod init;
pub(crate) mod loop_set;
mod panic_hook;
mod prepare;
pub(crate) mod running;
pub(crate) mod settings;
#[cfg(all(feature = "command", target_os = "linux"))]
mod sigchld;
mod signals;
pub(crate) mod supervisor;
