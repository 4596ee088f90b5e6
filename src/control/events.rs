//! The way to the supervisor, from any thread.

use std::{sync::mpsc, time::Duration};

use crate::{
    kit::clock::{Busy, Clock},
    lifecycle::{Event, LoopId},
};

/// A request to the main thread: to drive the loop that claims it.
pub(crate) type MainJob = Box<dyn FnOnce() + Send>;

/// A message to the supervisor.
pub(crate) enum Message {
    Life(Event),
    /// This incarnation of a loop has returned from its loop, in this way; its thread is about to end.
    LoopLeaves(LoopId, u32, Result<(), String>),
    /// The thread of this incarnation of a loop only has to end.
    LoopIsGone(LoopId, u32),
    /// The notify of this loop has panicked with this message.
    NotifyPanicked(LoopId, String),
    /// Something was posted to this loop: it may be blocked.
    LoopIsBusy(LoopId),
    /// For the main thread to do.
    ForMain(MainJob),
    /// USR1: writes the status table to the log.
    ShowStatus,
    /// HUP: rereads the options, and reopens the log file.
    Reload,
    /// Sets how a stop that begins from now on is timed, and after how long a loop counts as stalled.
    Timing {
        drain_delay: Duration,
        shutdown_timeout: Duration,
        stall_after: Duration,
    },
    /// Simulates a fault of the supervisor.
    #[cfg(test)]
    Panic,
}

/// The way to the supervisor, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    sender: mpsc::Sender<Told>,
    clock: Clock,
}

/// A message, and a mark of the work in flight that it stands for.
pub(crate) type Told = (Message, Busy);

impl Events {
    pub(crate) fn new(clock: Clock) -> (Self, mpsc::Receiver<Told>) {
        let (sender, receiver) = mpsc::channel();
        (Self { sender, clock }, receiver)
    }

    pub(crate) fn send(&self, event: Event) {
        self.tell(Message::Life(event));
    }

    pub(crate) fn tell(&self, message: Message) {
        // After the end nothing receives it, and nothing is left to do.
        let _ = self.sender.send((message, self.clock.busy()));
    }
}
