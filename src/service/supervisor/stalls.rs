//! The stall watch, `--stall-after`: a thread beside the supervisor that asks the loops for heartbeats, and names each
//! loop that stalls, with its stack, once a stall.
//!
//! While it is off there is no such thread, and nothing wakes up. While it is on, it and each loop wake up twice a second
//! at most, and a little more often while a loop is late.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use log::Level;

use super::outside::Outside;
use crate::{
    ServiceHandle,
    lifecycle::LoopId,
    service::{
        heartbeats::{Heartbeats, LateLoop},
        inspection::{Inspection, Keeper},
    },
    words::state::Seconds,
};

/// The shortest pause between two rounds.
const ROUND: Duration = Duration::from_millis(500);
/// How long the findings about a stalled loop may take, at the very most.
const FINDINGS: Duration = Duration::from_secs(15);

/// The stall watch of a service; clones share it.
#[derive(Clone)]
pub(crate) struct StallWatch(Arc<Inner>);

struct Inner {
    service: ServiceHandle,
    outside: Outside,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Zero if the watch is off.
    after: Duration,
    has_thread: bool,
    closed: bool,
}

impl StallWatch {
    pub(crate) fn new(service: ServiceHandle, outside: Outside) -> Self {
        Self(Arc::new(Inner { service, outside, state: Mutex::default(), changed: Condvar::new() }))
    }

    /// Sets after how long a loop counts as stalled, zero for never. The caller must [`start`](Self::start) it then.
    pub(crate) fn set(&self, after: Duration) {
        self.0.lock().after = after;
        self.0.changed.notify_all();
    }

    pub(crate) fn is_on(&self) -> bool {
        !self.0.lock().after.is_zero()
    }

    /// Starts its thread, if it is on and has none.
    pub(crate) fn start(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.has_thread || state.closed || state.after.is_zero() {
            return Ok(());
        }
        let inner = self.0.clone();
        thread::Builder::new().name("stalls".into()).spawn(move || inner.run())?;
        state.has_thread = true;
        Ok(())
    }

    /// Ends its thread, and waits for that until the deadline.
    pub(crate) fn close(&self, deadline: Instant) {
        let mut state = self.0.lock();
        state.closed = true;
        self.0.changed.notify_all();
        while state.has_thread {
            let now = Instant::now();
            if now >= deadline {
                return;
            }
            (state, _) = self.0.changed.wait_timeout(state, deadline - now).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let _inspector = Keeper::new();
        let mut watch: Option<(Duration, Watch<'_>)> = None;
        let mut state = self.lock();
        while !state.closed && !state.after.is_zero() {
            let after = state.after;
            drop(state);
            let (_, watch) = match &mut watch {
                Some(watch) if watch.0 == after => watch,
                other => other.insert((after, Watch::new(self, after))),
            };
            let next = watch.look();
            state = self.lock();
            if state.closed || state.after != after {
                continue;
            }
            let pause = next.saturating_duration_since(Instant::now());
            (state, _) = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner);
        }
        state.has_thread = false;
        drop(state);
        self.changed.notify_all();
    }
}

struct Watch<'a> {
    of: &'a Inner,
    after: Duration,
    every: Duration,
    heartbeats: Heartbeats,
    /// When the next round is due.
    round: Instant,
    /// The stalls that have been told and last.
    told: BTreeMap<LoopId, Told>,
}

struct Told {
    stalled: LateLoop,
    since: Instant,
}

impl<'a> Watch<'a> {
    fn new(of: &'a Inner, after: Duration) -> Self {
        let every = (after / 2).max(ROUND);
        let heartbeats = Heartbeats::new(of.service.clone(), every);
        Self { of, after, every, heartbeats, round: Instant::now(), told: BTreeMap::new() }
    }

    /// Looks at the loops, and asks them if a round is due; returns when to look again.
    fn look(&mut self) -> Instant {
        let late = if Instant::now() >= self.round {
            self.round = Instant::now() + self.every;
            self.heartbeats.round()
        } else {
            self.heartbeats.late()
        };
        let ended = self.tell_ended(&late);
        let mut next = None;
        for stalled in late {
            if self.told.contains_key(&stalled.id) || ended.contains(&stalled.id) {
                continue;
            }
            if stalled.held >= self.after {
                self.tell(stalled);
            } else {
                if stalled.held >= self.after / 2 {
                    Inspection::prepare();
                }
                let rest = self.after - stalled.held;
                next = next.into_iter().chain([Instant::now() + rest]).min();
            }
        }
        next.map_or(self.round, |next| next.min(self.round))
    }

    fn tell(&mut self, stalled: LateLoop) {
        stalled.count();
        let since = Instant::now().checked_sub(stalled.held).unwrap_or_else(Instant::now);
        let found = stalled.found(FINDINGS);
        self.of.outside.log(Level::Warn, self.of.service.name(), || format!("{stalled}{found}"));
        self.heartbeats.has_been_busy();
        self.told.insert(stalled.id, Told { stalled, since });
    }

    /// Tells of the stalls that are over. What their loops have not answered counts from now on: a stall is told once.
    fn tell_ended(&mut self, late: &[LateLoop]) -> Vec<LoopId> {
        let still = |told: &Told| late.iter().any(|late| (late.id, late.turn) == (told.stalled.id, told.stalled.turn));
        let (lasting, ended) =
            std::mem::take(&mut self.told).into_iter().partition::<BTreeMap<_, _>, _>(|(_, told)| still(told));
        self.told = lasting;
        let ids = ended.keys().copied().collect::<Vec<_>>();
        ids.iter().for_each(|&id| self.heartbeats.begins_anew(id));
        for Told { stalled, since } in BTreeMap::into_values(ended).filter(|told| told.stalled.has_gone_on()) {
            let line = || format!("loop {}: it goes on, stalled for about {}", stalled.name, Seconds(since.elapsed()));
            self.of.outside.log(Level::Info, self.of.service.name(), line);
        }
        ids
    }
}
