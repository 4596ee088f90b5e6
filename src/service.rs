//! Settings of tasks and loops, and the parts of a service's status and report, beside [`Service`](crate::Service) and
//! [`ServiceHandle`](crate::ServiceHandle).
//!
//! [`TaskSettings`] and [`LoopSettings`] come from the methods of `Service` that add a task or a loop. [`Phase`],
//! [`TaskStatus`] and [`LoopStatus`] are parts of a [`Status`](crate::Status); a [`Transitions`] yields each
//! [`Transition`], and a [`PhaseChanges`] each [`PhaseChange`]; [`StuckLoop`] and [`LeftBehind`] are parts of a [`Report`](crate::Report).

// This room decides, and touches the process: signals, the panic hook, threads. The rooms above it only add tasks.
//
// May use: kit, words, logging, reactor, inherited, lifecycle, options, channel, control, event_loop, task.

pub(crate) mod builder;
mod choice;
#[cfg(all(any(feature = "command", feature = "supervised"), target_os = "linux"))]
mod early;
pub(crate) mod heartbeats;
#[cfg(all(feature = "command", target_os = "linux"))]
mod init;
pub(crate) mod inspection;
pub(crate) mod loop_set;
mod new_task;
mod panic_hook;
mod prepare;
pub(crate) mod running;
pub(crate) mod settings;
mod signals;
#[cfg(all(feature = "stall-stacks", target_os = "linux", target_env = "gnu"))]
mod stacks;
mod supervised;
pub(crate) mod supervisor;

pub use self::{
    loop_set::LoopSet,
    new_task::{AnyLoopTask, AnyLoopTaskFactory, ByType, NewTask, OnAny, OnLoop, TaskFactory},
    running::StartError,
    settings::{LoopSettings, TaskSettings},
};
pub use crate::{
    control::{
        handle::{Heartbeat, UnknownName},
        report::{EndedTask, LeftBehind, StuckLoop},
        status::{BlockedLoop, LoopStatus, ParsePhaseError, Phase, TaskStatus},
        watch::{PhaseChange, PhaseChanges, Transitions},
    },
    words::state::{ParseStateError, Transition},
};
