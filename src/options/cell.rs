//! The current options of one task, loop or service, for all readers.

use std::{collections::BTreeMap, fmt, sync::Arc, task::Waker};

use clap::ArgMatches;

use super::rereads::Reread;
use crate::kit::sync::{Mutex, lock};

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Applied {
    /// It has taken effect: the task listens to [changes](crate::Context::option_changes), or the option is the
    /// service's.
    Now,
    /// It takes effect when the task, or the loop, starts the next time.
    AtRestart,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now => "now",
            Self::AtRestart => "at its next start",
        })
    }
}

/// Checks whether these matches make the owner's options.
pub(crate) type Check = fn(&ArgMatches) -> Result<(), clap::Error>;

/// The options in force of one owner. They are replaced as a whole, and their version grows each time.
pub(crate) struct OptionCell {
    pub(super) check: Check,
    state: Mutex<State>,
}

struct State {
    version: u64,
    matches: Arc<ArgMatches>,
    next: u64,
    /// The listeners, with the waker of each that waits.
    listeners: BTreeMap<u64, Option<Waker>>,
    /// What a reload reads again.
    rereads: BTreeMap<u64, Arc<dyn Reread>>,
}

impl OptionCell {
    pub(crate) fn new(check: Check, matches: ArgMatches) -> Arc<Self> {
        let matches = Arc::new(matches);
        let state = State { version: 0, matches, next: 0, listeners: BTreeMap::new(), rereads: BTreeMap::new() };
        Arc::new(Self { check, state: Mutex::new(state) })
    }

    /// Returns the matches in force, and their version.
    pub(crate) fn latest(&self) -> (u64, Arc<ArgMatches>) {
        let state = lock(&self.state);
        (state.version, state.matches.clone())
    }

    /// Puts other matches in force. Returns when the change takes effect, and whom to wake when no lock is held.
    pub(super) fn replace(&self, matches: ArgMatches) -> (Applied, Vec<Waker>) {
        let mut state = lock(&self.state);
        state.version += 1;
        let before = std::mem::replace(&mut state.matches, Arc::new(matches));
        let wakers = state.listeners.values_mut().filter_map(Option::take).collect();
        let applied = applied(&state);
        drop(state);
        // Its values are of the owner's types, whose drop is user code.
        drop(before);
        (applied, wakers)
    }

    /// Returns when a change would take effect.
    pub(super) fn applied(&self) -> Applied {
        applied(&lock(&self.state))
    }

    pub(super) fn listen(&self) -> u64 {
        let mut state = lock(&self.state);
        let id = state.next;
        state.next += 1;
        state.listeners.insert(id, None);
        id
    }

    pub(super) fn rereads(&self) -> Vec<Arc<dyn Reread>> {
        lock(&self.state).rereads.values().cloned().collect()
    }

    pub(super) fn add_reread(&self, reread: Arc<dyn Reread>) -> u64 {
        let mut state = lock(&self.state);
        let id = state.next;
        state.next += 1;
        state.rereads.insert(id, reread);
        id
    }

    pub(super) fn remove_reread(&self, id: u64) {
        let reread = lock(&self.state).rereads.remove(&id);
        drop(reread);
    }

    pub(super) fn stop_listening(&self, id: u64) {
        let waker = lock(&self.state).listeners.remove(&id);
        drop(waker);
    }

    /// Returns the matches if they are newer than this version; otherwise keeps the waker.
    pub(super) fn newer(&self, seen: u64, id: u64, waker: &Waker) -> Option<(u64, Arc<ArgMatches>)> {
        // Cloned and dropped outside the lock, since it is user code.
        let waker = waker.clone();
        let mut state = lock(&self.state);
        if state.version > seen {
            return Some((state.version, state.matches.clone()));
        }
        let before = state.listeners.insert(id, Some(waker));
        drop(state);
        drop(before);
        None
    }
}

fn applied(state: &State) -> Applied {
    if state.listeners.is_empty() { Applied::AtRestart } else { Applied::Now }
}
