//! Loops that are blocked while the service runs: logged once.
//!
//! A loop at rest is not watched. A watch starts when a query for the status, or for a sign of life, finds the loop
//! blocked, or when something is posted ([`Bell::on_busy`](crate::channel::queue::Bell::on_busy)): a loop that sleeps
//! can't be told from one that its own events block, so one call must be enough. While a look is planned, no poster
//! starts another. The first look comes soon: after a burst, the loop and the supervisor are at rest again by then.
//! Successive looks come further apart, up to a second. So a busy loop wakes the supervisor at most twice a second, and
//! an idle one never.

use std::time::{Duration, Instant};

use log::Level;

use super::Supervisor;
use crate::{
    channel::shared::{BLOCKED, Shared},
    kit::clock::clock,
    lifecycle::LoopId,
    service::Phase,
    words::state::Seconds,
};

/// The pause before the first look.
const FIRST: Duration = Duration::from_millis(10);
/// The longest pause between two looks at a loop that was logged as blocked.
const LONGEST: Duration = Duration::from_secs(60);

/// The state of the watch on a loop that was found busy.
#[derive(Default)]
pub(super) struct Attention {
    watched: Option<Watched>,
    /// The pause before the last first look, and when it ended.
    last: Option<(Duration, Instant)>,
}

struct Watched {
    at: At,
    since: Instant,
    /// When to look at it.
    until: Instant,
    /// The pause before the next look, once it was logged as blocked.
    told: Option<Duration>,
}

/// The turn that the loop was in, and when that turn, or its other activity, began.
type At = (u64, Duration);

fn at(shared: &Shared) -> At {
    (shared.turns(), shared.doing().since)
}

impl Attention {
    pub(super) fn next(&self) -> Option<Instant> {
        self.watched.as_ref().map(|watched| watched.until)
    }

    fn pause(&self, now: Instant) -> Duration {
        match self.last {
            Some((pause, at)) if now.saturating_duration_since(at) < BLOCKED => (pause * 2).min(BLOCKED),
            _ => FIRST,
        }
    }
}

impl Watched {
    fn new(shared: &Shared, now: Instant, pause: Duration) -> Self {
        Self { at: at(shared), since: now, until: now + pause, told: None }
    }

    /// Whether the loop has made no progress since.
    fn still_holds(&self, shared: &Shared) -> bool {
        let is_busy = shared.doing().number != 0 || shared.queue.bell.is_rung();
        is_busy && self.at == at(shared)
    }

    /// Returns what the loop is in and for how long, if that is long enough to be blocked; otherwise when it will be.
    fn verdict(&self, shared: &Shared, now: Instant) -> Result<(usize, Duration), Duration> {
        let doing = shared.doing();
        // The start of the loop's own events is unknown.
        let held = match doing.number {
            0 => now.saturating_duration_since(self.since),
            _ => clock().saturating_sub(doing.since),
        };
        if held >= BLOCKED { Ok((doing.number, held)) } else { Err(BLOCKED - held) }
    }
}

impl Supervisor {
    /// Starts to watch a loop that was found busy.
    pub(super) fn watch_busy_loop(&mut self, id: LoopId) {
        let now = Instant::now();
        let l = &mut self.loops[id];
        let pause = l.attention.pause(now);
        let watched = l.attention.watched.get_or_insert_with(|| {
            l.attention.last = Some((pause, now + pause));
            Watched::new(&l.shared, now, pause)
        });
        if watched.told.is_none() && l.shared.blocked().is_some() {
            watched.until = now;
        }
    }

    /// Looks at the loops that are due.
    pub(super) fn look_at_busy_loops(&mut self) {
        let now = Instant::now();
        for id in 0..self.loops.len() {
            if let Some(watched) = self.loops[id].attention.watched.take_if(|watched| watched.until <= now) {
                let watched = self.look_at_busy_loop(id, watched, now);
                let l = &mut self.loops[id];
                l.attention.watched = watched;
                if let Some(watched) = &l.attention.watched {
                    // This look is a first one, too: the next pause is as long.
                    l.attention.last = Some((BLOCKED, watched.until));
                } else {
                    // From here on the next poster reports it. One that came just before has rung, and is still seen.
                    l.shared.queue.bell.heed();
                    if l.shared.queue.bell.is_rung() && self.is_to_be_watched(id) {
                        self.watch_busy_loop(id);
                    }
                }
            }
        }
    }

    /// Whether the stall watch tells of this loop, so that there is one warning of a stall.
    fn is_watched(&self, id: LoopId) -> bool {
        self.stalls.is_on() && self.handle.board().asked_loops().iter().any(|asked| asked.id == id)
    }

    /// Whether the service runs, and a thread drives the loop: between two incarnations jobs wait for the next.
    fn is_to_be_watched(&self, id: LoopId) -> bool {
        let shared = &self.loops[id].shared;
        self.handle.phase() == Phase::Running && !shared.is_dead() && self.handle.board().is_running(id)
    }

    fn look_at_busy_loop(&self, id: LoopId, mut watched: Watched, now: Instant) -> Option<Watched> {
        let shared = &self.loops[id].shared;
        if !self.is_to_be_watched(id) {
            return None;
        }
        if !watched.still_holds(shared) {
            if watched.told.is_some() && !self.is_watched(id) {
                self.log(Level::Info, || format!("loop {}: it is not blocked any more", shared.name()));
            }
            // It has made progress; but if a caller waits already for its current job, no poster may report that.
            return (shared.waits() > 0).then(|| Watched::new(shared, now, BLOCKED));
        }
        if let Some(pause) = watched.told {
            let pause = (pause * 2).min(LONGEST);
            (watched.told, watched.until) = (Some(pause), now + pause);
            return Some(watched);
        }
        match watched.verdict(shared, now) {
            Err(rest) => watched.until = now + rest,
            Ok((number, held)) => {
                if !self.is_watched(id) {
                    self.tell_blocked(id, number, held);
                }
                (watched.told, watched.until) = (Some(BLOCKED), now + BLOCKED);
            }
        }
        Some(watched)
    }

    fn tell_blocked(&self, id: LoopId, number: usize, held: Duration) {
        let shared = &self.loops[id].shared;
        let (thread, polling, waits) = (self.thread_name(id), self.at(number), shared.waits());
        self.log(Level::Warn, || {
            let (name, held) = (shared.name(), Seconds(held));
            let waiting = if waits == 0 { String::new() } else { format!("; calls that wait for it: {waits}") };
            format!("loop {name} is blocked: thread {thread} has been in {polling} for {held}{waiting}")
        });
    }
}
