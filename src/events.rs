//! The way to the supervisor, from any thread.

use std::sync::mpsc;

use crate::lifecycle::Event;

/// What the supervisor is told.
pub(crate) enum Message {
    Life(Event),
    /// USR1: the status table to the log.
    ShowStatus,
    /// HUP: the log file is opened anew.
    Reload,
}

/// The way to the supervisor, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Events(mpsc::Sender<Message>);

impl Events {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel();
        (Self(sender), receiver)
    }

    pub(crate) fn send(&self, event: Event) {
        self.tell(Message::Life(event));
    }

    pub(crate) fn tell(&self, message: Message) {
        // After the end nobody listens, and nothing is left to be done.
        let _ = self.0.send(message);
    }
}
