//! An executor-neutral lifecycle core with pluggable event loops.

#![forbid(unsafe_code)]

mod block;
mod body;
mod context;
mod counters;
mod current;
mod error;
mod event_loop;
mod graph;
mod handle;
mod hosted;
mod incarnation;
mod lifecycle;
#[cfg(feature = "logging")]
mod logging;
mod mailbox;
mod options;
mod panics;
mod remote;
mod reply;
mod restart;
mod service;
mod shutdown;
mod signals;
mod state;
mod status;
mod supervisor;
mod sync;
mod task;
pub mod tasks;
mod thread;
mod timers;

pub use clap;

pub use crate::{
    context::{Context, Elapsed, Interval},
    counters::Counter,
    error::{Error, Result},
    event_loop::{EventLoop, NoOptions, Timers},
    handle::{ServiceHandle, UnknownName},
    mailbox::{LocalFuture, Mailbox, SendFuture, Turn},
    options::duration,
    remote::{PostError, Remote, Slot},
    reply::{CallError, CancelOnDrop, Reply},
    restart::RestartPolicy,
    service::{LoopSet, LoopSettings, Running, Service, StartError, TaskSettings},
    shutdown::{Requested, Shutdown},
    state::{Cause, Reason, State, Transition},
    status::{LoopStatus, Phase, Report, Status, StuckLoop, TaskStatus, Watch},
    task::{Task, task_fn},
    thread::{Thread, ThreadNative},
};
