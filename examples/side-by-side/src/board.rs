//! The board, on the glib loop, and the herald, on tokio.

use std::collections::VecDeque;

use interloop::Remote;
use serde::Serialize;

use crate::web::{self, Message};

/// How many messages the board shows.
const SHOWN: usize = 20;
/// After this many messages the herald is notified.
const ROUND: u64 = 10;

/// A count of ticks, and the last messages. It is `!Send` through its owner, an `Rc<RefCell<Board>>`.
#[derive(Debug)]
pub(crate) struct Board {
    ticks: u64,
    said: u64,
    messages: VecDeque<Message>,
    herald: Remote<Herald>,
}

/// The board at one moment: data that may leave its thread.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Snapshot {
    ticks: u64,
    messages: Vec<Message>,
}

impl Board {
    pub(crate) fn new(herald: Remote<Herald>) -> Self {
        Self { ticks: 0, said: 0, messages: VecDeque::with_capacity(SHOWN + 1), herald }
    }

    pub(crate) fn tick(&mut self) {
        self.ticks += 1;
    }
}

impl web::Board for Board {
    const COUNTED: (&'static str, &'static str) = ("ticks", "The glib loop has ticked");
    type Snapshot = Snapshot;

    fn say(&mut self, text: String) -> u64 {
        self.said += 1;
        let number = self.said;
        self.messages.push_back(Message { number, text });
        if self.messages.len() > SHOWN {
            self.messages.pop_front();
        }
        if number.is_multiple_of(ROUND)
            && let Err(refused) = self.herald.post(move |herald| herald.announce(number))
        {
            log::warn!("the herald was not told of message {number}: {refused}");
        }
        number
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot { ticks: self.ticks, messages: self.messages.iter().cloned().collect() }
    }
}

/// Announces round numbers, on tokio.
#[derive(Debug)]
pub(crate) struct Herald {
    target: String,
}

impl Herald {
    pub(crate) fn new(target: &str) -> Self {
        Self { target: target.to_owned() }
    }

    fn announce(&self, number: u64) {
        log::info!(target: &self.target, "{number} messages were said");
    }
}
