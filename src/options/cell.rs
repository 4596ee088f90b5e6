//! What one task, loop or service has for options at this moment, for all who read them.

use std::{collections::BTreeMap, fmt, sync::Arc, task::Waker};

use clap::ArgMatches;

use super::rereads::Reread;
use crate::kit::sync::{Mutex, lock};

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied {
    /// It has: the task listens to [changes](crate::Context::option_changes), or it is an option of the service.
    Now,
    /// When the task, or the loop, starts the next time.
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

/// Whether these matches make the owner's options.
pub(crate) type Check = fn(&ArgMatches) -> Result<(), clap::Error>;

/// The options in force of one owner. They are replaced as a whole, and each time their version grows.
pub(crate) struct OptionCell {
    pub(super) check: Check,
    state: Mutex<State>,
}

struct State {
    version: u64,
    matches: Arc<ArgMatches>,
    next: u64,
    /// Those who listen, and who of them waits.
    listeners: BTreeMap<u64, Option<Waker>>,
    /// What is read again by a reload.
    rereads: BTreeMap<u64, Arc<dyn Reread>>,
}

impl OptionCell {
    pub(crate) fn new(check: Check, matches: ArgMatches) -> Arc<Self> {
        let matches = Arc::new(matches);
        let state = State { version: 0, matches, next: 0, listeners: BTreeMap::new(), rereads: BTreeMap::new() };
        Arc::new(Self { check, state: Mutex::new(state) })
    }

    /// The matches in force, and their version.
    pub(crate) fn latest(&self) -> (u64, Arc<ArgMatches>) {
        let state = lock(&self.state);
        (state.version, state.matches.clone())
    }

    /// Puts others in force. Says who is to hear of it, now or later, and whom to wake when no lock is held.
    pub(super) fn replace(&self, matches: ArgMatches) -> (Applied, Vec<Waker>) {
        let mut state = lock(&self.state);
        state.version += 1;
        let before = std::mem::replace(&mut state.matches, Arc::new(matches));
        let wakers = state.listeners.values_mut().filter_map(Option::take).collect();
        let applied = applied(&state);
        drop(state);
        // Its values are of the owner's types.
        drop(before);
        (applied, wakers)
    }

    /// Who would hear of a change.
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

    /// What is newer than this version; where nothing is, the waker is kept.
    pub(super) fn newer(&self, seen: u64, id: u64, waker: &Waker) -> Option<(u64, Arc<ArgMatches>)> {
        // Cloned, and dropped, outside the lock: it is anybody's code.
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
