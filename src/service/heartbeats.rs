//! Heartbeats that are asked of the loops in rounds, for whoever must know which loops are late: the stall watch, or a
//! watchdog.
//!
//! Each round reads the answers to the round before, and asks again. So the asker wakes up once a round, and so does
//! each loop, and nothing waits for an answer. It belongs to a thread beside the supervisor.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use super::inspection::{Found, Inspection};
use crate::{
    ServiceHandle,
    channel::{pulse::Pulse, shared::Shared},
    control::status_board::AskedLoop,
    kit::clock::clock,
    lifecycle::LoopId,
    words::state::Seconds,
};

/// The shortest pause between two looks after which the asker itself has not run.
const GAP: Duration = Duration::from_millis(250);

/// Asks the loops, and knows which haven't answered.
pub(crate) struct Heartbeats {
    service: ServiceHandle,
    every: Duration,
    asked: BTreeMap<LoopId, Asked>,
    looked: Option<Duration>,
    /// When this process was seen to run again after it had been stopped, or had got no CPU.
    resumed: Duration,
}

/// A loop that has been asked and hasn't answered.
struct Asked {
    pulse: Pulse,
    at: Duration,
    of: AskedLoop,
}

impl Heartbeats {
    /// `every` is the longest pause between two calls. A much longer one means that the whole process was stopped, by a
    /// signal, a debugger or a suspend, which is no loop's fault: loops get their full time again.
    pub(crate) fn new(service: ServiceHandle, every: Duration) -> Self {
        Self { service, every, asked: BTreeMap::new(), looked: None, resumed: Duration::ZERO }
    }

    /// Returns the loops that have not answered the previous round, and asks all others.
    pub(crate) fn round(&mut self) -> Vec<LateLoop> {
        let late = self.late();
        self.ask();
        late
    }

    /// Asks all running loops, except for those that haven't answered, and those whose only task may block them.
    pub(crate) fn ask(&mut self) {
        let at = clock();
        for of in self.service.board().asked_loops() {
            let asks = || Asked { pulse: of.shared.pulse(), at, of: of.clone() };
            self.asked.entry(of.id).or_insert_with(asks);
        }
    }

    /// Returns the loops that have been asked and have not answered yet.
    pub(crate) fn late(&mut self) -> Vec<LateLoop> {
        let now = clock();
        let gap = self.looked.map_or(Duration::ZERO, |looked| now.saturating_sub(looked));
        if gap >= self.every * 2 && gap >= self.every + GAP {
            self.resumed = now;
            self.asked.values_mut().for_each(|asked| asked.at = now);
        }
        self.looked = Some(now);
        let running = self.service.board().asked_loops();
        let runs = |of: &AskedLoop| running.iter().any(|row| (row.id, row.incarnation) == (of.id, of.incarnation));
        self.asked.retain(|_, asked| !asked.pulse.is_answered() && runs(&asked.of));
        self.asked.values().map(|asked| self.look_at(asked, now)).collect()
    }

    /// Declares that the asker has just spent time of its own, on an inspection say: it was not stopped.
    pub(crate) fn has_been_busy(&mut self) {
        self.looked = Some(clock());
    }

    /// Declares that this loop has gone on: what it has not answered yet counts from now on.
    pub(crate) fn begins_anew(&mut self, id: LoopId) {
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.at = clock();
        }
    }

    fn look_at(&self, asked: &Asked, now: Duration) -> LateLoop {
        let AskedLoop { id, thread, shared, .. } = asked.of.clone();
        let doing = shared.doing();
        // When the loop's own events began is unknown.
        let since = if doing.number == 0 { asked.at } else { doing.since.min(asked.at).max(self.resumed) };
        LateLoop {
            id,
            name: shared.name().clone(),
            thread,
            polling: self.service.board().polling(doing.number),
            held: now.saturating_sub(since),
            turn: shared.turns(),
            shared,
        }
    }
}

/// A loop that has not answered a heartbeat.
#[derive(Clone, Debug)]
pub(crate) struct LateLoop {
    pub(crate) id: LoopId,
    pub(crate) name: Arc<str>,
    /// The name of its thread.
    pub(crate) thread: Arc<str>,
    /// What its thread is in: `task http`, `a job`, `its own events`.
    pub(crate) polling: String,
    /// For how long, at least.
    pub(crate) held: Duration,
    /// In which turn of its mailbox.
    pub(crate) turn: u64,
    shared: Arc<Shared>,
}

impl LateLoop {
    /// Finds out more about what its thread is in: its stack, with the feature `stall-stacks`. Returns at once; the
    /// result is there a little later. Of one stall there is one inspection, whoever asks.
    pub(crate) fn inspect(&self) -> Arc<Inspection> {
        Inspection::begin(&self.shared, self.turn)
    }

    /// Inspects it as [`inspect`](Self::inspect) does, and waits for the result, for at most this time.
    pub(crate) fn found(&self, at_most: Duration) -> Found {
        self.inspect().wait(at_most)
    }

    /// Whether the loop has taken another turn since.
    pub(crate) fn has_gone_on(&self) -> bool {
        self.shared.turns() != self.turn
    }

    /// Counts a stall of this loop.
    pub(crate) fn count(&self) {
        self.shared.count_stall();
    }
}

impl fmt::Display for LateLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, thread, polling, held, .. } = self;
        write!(f, "loop {name} is stalled: thread {thread} has been in {polling} for {}", Seconds(*held))
    }
}
