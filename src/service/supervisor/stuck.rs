//! Loops that were already stuck when their time to act on a cancel or a stop began: they get less of it.

use std::time::{Duration, Instant};

use crate::channel::shared::Shared;

/// How long such a loop has to act; others have a second.
const LEFT: Duration = Duration::from_millis(200);

/// What the thread of such a loop is doing.
pub(super) struct Stuck {
    at: At,
    /// Until when it may come back.
    pub(super) until: Instant,
    pub(super) incarnation: u32,
}

/// Which code it runs, since when, in which turn.
type At = (usize, Duration, u64);

impl Stuck {
    /// Returns the loop's state if it is stuck now.
    pub(super) fn find(shared: &Shared, incarnation: u32) -> Option<Self> {
        let at = at(shared);
        shared.blocked().map(|_| Self { at, until: Instant::now() + LEFT, incarnation })
    }

    /// Whether it has not come back since.
    pub(super) fn still_holds(&self, shared: &Shared) -> bool {
        self.at == at(shared)
    }
}

fn at(shared: &Shared) -> At {
    let seen = shared.doing();
    (seen.number, seen.since, shared.turns())
}
