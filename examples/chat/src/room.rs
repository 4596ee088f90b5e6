//! The room: its members and their messages. It knows nothing of sockets, windows or threads: each member hears through
//! a closure.

use std::collections::{BTreeMap, VecDeque};

use interloop::counters::{Counter, Gauge};
use serde::Serialize;

/// The maximum number of members.
pub(crate) const MEMBERS: usize = 100;
/// How many messages newcomers hear.
pub(crate) const HISTORY: usize = 50;
/// The maximum length of a name, in characters.
const LONGEST_NAME: usize = 20;
/// The maximum length of a message, in characters.
pub(crate) const LONGEST_TEXT: usize = 500;

/// The events that members hear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Event {
    Joined {
        name: String,
    },
    Said {
        name: String,
        text: String,
    },
    Left {
        name: String,
    },
    /// Sent to one member only.
    Refused {
        why: &'static str,
    },
}

struct Member {
    name: String,
    /// Returns whether the member is still there. It is called on the room's thread, and must not block.
    hear: Box<dyn Fn(&Event) -> bool>,
}

pub(crate) struct Room {
    members: BTreeMap<u64, Member>,
    joined: u64,
    history: VecDeque<Event>,
    said: Counter,
    size: Gauge,
}

impl Room {
    pub(crate) fn new(said: Counter, size: Gauge) -> Self {
        Self { members: BTreeMap::new(), joined: 0, history: VecDeque::new(), said, size }
    }

    /// Adds a member, who hears the latest messages, and all from now on.
    pub(crate) fn join(&mut self, name: &str, hear: impl Fn(&Event) -> bool + 'static) -> Result<u64, &'static str> {
        let name = name.trim().to_owned();
        if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err("a name has 1 to 20 characters");
        }
        if self.members.values().any(|member| member.name.eq_ignore_ascii_case(&name)) {
            return Err("somebody is called so already");
        }
        if self.members.len() >= MEMBERS {
            return Err("the room is full");
        }
        for event in &self.history {
            hear(event);
        }
        self.joined += 1;
        self.members.insert(self.joined, Member { name: name.clone(), hear: Box::new(hear) });
        self.tell(&Event::Joined { name });
        Ok(self.joined)
    }

    pub(crate) fn say(&mut self, member: u64, text: &str) {
        let Some(Member { name, hear }) = self.members.get(&member) else { return };
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        if text.chars().count() > LONGEST_TEXT {
            hear(&Event::Refused { why: "that is too long: 500 characters are taken" });
            return;
        }
        let said = Event::Said { name: name.clone(), text: text.to_owned() };
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(said.clone());
        self.said.add(1);
        self.tell(&said);
    }

    pub(crate) fn leave(&mut self, member: u64) {
        if let Some(Member { name, .. }) = self.members.remove(&member) {
            self.tell(&Event::Left { name });
        }
    }

    fn tell(&mut self, event: &Event) {
        let gone = self.members.iter().filter(|(_, member)| !(member.hear)(event)).map(|(&member, _)| member);
        let gone = gone.collect::<Vec<_>>();
        self.size.set(self.members.len() as f64);
        gone.into_iter().for_each(|member| self.leave(member));
    }
}
