//! Loops whose notify has panicked: they may not have been woken, and other posters rely on that wake.
//!
//! The supervisor has the notify called again, after growing pauses, until the loop takes a turn. Posted jobs stay
//! queued meanwhile.

use std::time::{Duration, Instant};

use log::Level;

use super::{
    Supervisor,
    outside::{Label, Lane},
};
use crate::{
    channel::{queue::Bell, shared::Shared},
    lifecycle::LoopId,
};

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(10);
/// The number of calls, over about two seconds, after which the loop is named as stuck.
const NAMED: u32 = 8;
/// The pause from then on.
const LAST: Duration = Duration::from_secs(2);

/// What the supervisor does about a loop whose notify has panicked.
#[derive(Default)]
pub(super) struct Hearing {
    /// Whether it was logged.
    is_told: bool,
    deaf: Option<Deaf>,
}

struct Deaf {
    /// How many turns the loop had taken by then.
    turns: u64,
    calls: u32,
    next: Instant,
}

impl Deaf {
    fn new(turns: u64) -> Self {
        Self { turns, calls: 0, next: Instant::now() + FIRST }
    }

    fn has_passed(&self, shared: &Shared) -> bool {
        !shared.queue.bell.is_rung() || shared.turns() != self.turns
    }
}

impl Hearing {
    pub(super) fn next(&self) -> Option<Instant> {
        self.deaf.as_ref().map(|deaf| deaf.next)
    }

    pub(super) fn is_deaf(&self) -> bool {
        self.deaf.is_some()
    }
}

impl Supervisor {
    /// Handles a panic of this loop's notify, on whatever thread it was called.
    pub(super) fn notify_panicked(&mut self, id: LoopId, panic: &str) {
        let l = &mut self.loops[id];
        if l.shared.is_dead() {
            return;
        }
        // A turn since the last panic proves nothing about this one.
        let turns = l.shared.turns();
        match &mut l.hearing.deaf {
            Some(deaf) if deaf.turns == turns => {}
            Some(deaf) if deaf.calls < NAMED => *deaf = Deaf::new(turns),
            Some(deaf) => deaf.turns = turns,
            none => *none = Some(Deaf::new(turns)),
        }
        if !std::mem::replace(&mut l.hearing.is_told, true) {
            let name = l.shared.name().clone();
            self.log(Level::Error, || {
                format!("loop {name}: its notify panicked, and is called again until the loop wakes up: {panic}")
            });
        }
    }

    /// Calls each notify that is due.
    pub(super) fn wake_the_deaf(&mut self) {
        let now = Instant::now();
        for id in 0..self.loops.len() {
            let l = &mut self.loops[id];
            let Some(deaf) = l.hearing.deaf.as_mut().filter(|deaf| deaf.next <= now) else { continue };
            let (name, was_named) = (l.shared.name().clone(), deaf.calls >= NAMED);
            let is_dead = l.shared.is_dead();
            if is_dead || deaf.has_passed(&l.shared) {
                l.hearing.deaf = None;
                if was_named {
                    self.handle.board().registry().clear_warning(&of(&name));
                }
                if was_named && !is_dead {
                    self.log(Level::Info, || format!("loop {name}: it takes turns again"));
                }
                continue;
            }
            deaf.calls += 1;
            deaf.next = now + if deaf.calls < NAMED { FIRST * (1 << deaf.calls) } else { LAST };
            let is_named = deaf.calls == NAMED;
            self.ring(id);
            if is_named {
                let why = format!("it is stuck: its notify has panicked, and {NAMED} more calls did not wake it up");
                self.handle.board().registry().warn(&of(&name), why.clone());
                self.log(Level::Error, || format!("loop {name}: {why}"));
            }
        }
    }

    /// Has the loop check its mailbox.
    pub(super) fn ring(&self, id: LoopId) {
        let l = &self.loops[id];
        let ring = if l.hearing.is_deaf() { Bell::ring_again } else { Bell::ring };
        let (shared, label) = (l.shared.clone(), Label::of("the notify of loop", l.shared.name()));
        self.outside.push(Lane::Loop(id), label, move || ring(&shared.queue.bell));
    }
}

fn of(name: &str) -> String {
    format!("loop {name}")
}
