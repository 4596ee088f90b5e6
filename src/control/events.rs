//! The way to the supervisor, from any thread.

use std::{sync::mpsc, time::Duration};

use crate::{
    kit::clock::{Busy, Clock},
    lifecycle::{Event, LoopId},
};

/// What the main thread is asked to do: to drive the loop that claims it.
pub(crate) type MainJob = Box<dyn FnOnce() + Send>;

/// What the supervisor is told.
pub(crate) enum Message {
    Life(Event),
    /// This incarnation of a loop has left its loop, in this way; its thread is about to end.
    LoopLeaves(LoopId, u32, Result<(), String>),
    /// The thread of this incarnation of a loop has nothing left to do but to end.
    LoopIsGone(LoopId, u32),
    /// The notify of this loop has panicked with these words.
    NotifyPanicked(LoopId, String),
    /// This loop has not come to rest since something was posted to it: it may be blocked.
    LoopIsBusy(LoopId),
    /// For the main thread to do.
    ForMain(MainJob),
    /// USR1: the status table to the log.
    ShowStatus,
    /// HUP: options are read again, and the log file is opened anew.
    Reload,
    /// How a stop that begins from now on is timed.
    Timing {
        drain_delay: Duration,
        shutdown_timeout: Duration,
    },
    /// A fault of ours.
    #[cfg(test)]
    Panic,
}

/// The way to the supervisor, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    sender: mpsc::Sender<Told>,
    clock: Clock,
}

/// A message, to be done with.
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
        // After the end nobody listens, and nothing is left to be done.
        let _ = self.sender.send((message, self.clock.busy()));
    }
}
