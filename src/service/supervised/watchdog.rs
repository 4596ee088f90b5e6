//! The watchdog of systemd: a sign of life in each third of its time, if every loop has answered a heartbeat in it.
//!
//! The answers to one round are read at the next, so an idle service wakes up once a round on each loop, and once here.
//! While a loop is late, no sign is given until it has answered. What its thread is in is found out at once, and logged
//! shortly before the manager loses its patience.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    ServiceHandle,
    lifecycle::LoopId,
    service::{
        heartbeats::{Heartbeats, LateLoop},
        inspection::Inspection,
    },
    words::state::Seconds,
};

/// The shortest round, whatever the manager wants.
const SHORTEST: Duration = Duration::from_millis(10);

/// In so much time a stack is there even if the program's symbols are read only once a loop is late.
const ROOMY: Duration = Duration::from_secs(15);

pub(super) struct Watchdog {
    /// How long the manager waits for a sign of life.
    time: Duration,
    round: Duration,
    heartbeats: Heartbeats,
    /// When to look next, once the service has been ready.
    due: Option<Instant>,
    /// When the last sign was given.
    signed: Instant,
    late: Vec<LateLoop>,
    inspections: BTreeMap<LoopId, Arc<Inspection>>,
    told: bool,
}

/// What a look has found.
pub(super) struct Look {
    /// Whether the manager is to get its sign of life.
    pub(super) is_alive: bool,
    /// Lines for the log.
    pub(super) lines: Vec<String>,
}

impl Watchdog {
    pub(super) fn new(service: ServiceHandle, time: Duration) -> Self {
        let round = (time / 3).max(SHORTEST);
        Self {
            time,
            round,
            heartbeats: Heartbeats::new(service, round),
            due: None,
            signed: Instant::now(),
            late: Vec::new(),
            inspections: BTreeMap::new(),
            told: false,
        }
    }

    /// Begins: the service is ready, which is a sign of life.
    pub(super) fn begin(&mut self) {
        if self.time < ROOMY {
            Inspection::prepare();
        }
        self.heartbeats.ask();
        self.sign();
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn sign(&mut self) {
        self.signed = Instant::now();
        self.due = Some(self.signed + self.round);
        self.late.clear();
        self.inspections.clear();
        self.told = false;
    }

    /// Looks at the loops. A service that stops is alive: it has deadlines of its own, and its loops aren't asked.
    pub(super) fn look(&mut self, stops: bool) -> Look {
        let mut look = Look { is_alive: true, lines: Vec::new() };
        let was_late = !self.late.is_empty();
        self.late = match stops {
            true => Vec::new(),
            false if was_late => self.heartbeats.late(),
            false => self.heartbeats.round(),
        };
        if self.late.is_empty() {
            if was_late && !stops {
                self.heartbeats.ask();
            }
            self.sign();
            return look;
        }
        look.is_alive = false;
        for late in &self.late {
            self.inspections.entry(late.id).or_insert_with(|| late.inspect());
        }
        let (now, last) = (Instant::now(), self.signed + self.time * 4 / 5);
        if now >= last && !std::mem::replace(&mut self.told, true) {
            for late in &self.late {
                let found = self.inspections.get(&late.id).map(|inspection| inspection.wait(self.time / 10));
                let found = found.map_or_else(String::new, |found| found.to_string());
                look.lines.push(format!("no WATCHDOG=1 for {}: {late}{found}", Seconds(self.signed.elapsed())));
            }
            self.heartbeats.has_been_busy();
        }
        // Sooner than at the next round: a loop that answers late has the rest of the manager's time.
        let next = now + self.round / 4;
        self.due = Some(if self.told { next } else { next.min(last.max(now)) });
        look
    }

    /// Returns what the status says of loops that are late.
    pub(super) fn status(&self) -> Option<String> {
        let late = self
            .late
            .iter()
            .map(|late| format!("loop {} has been in {} for {}", late.name, late.polling, Seconds(late.held)));
        let late = late.collect::<Vec<_>>();
        (!late.is_empty()).then(|| format!("{}: no WATCHDOG=1", late.join(", ")))
    }
}
