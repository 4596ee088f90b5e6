//! The queue of lines from the threads that log to the thread that writes.
//!
//! It is bounded in bytes. Its lock is held only for moves in memory: never for I/O, never while user code runs. A
//! thread that finds no room waits a little, if the sink takes lines at all, and otherwise loses the line; a thread
//! that [never waits](super::thread::never_wait) has a separate part. Lines leave in the order in which they came; if
//! some were lost, their number takes their place.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::thread::{self, LINE};

/// How many bytes of lines may wait, including those that are being written.
pub(super) const CAPACITY: usize = 1024 * 1024;
/// How many of these are for threads that never wait.
const RESERVED: usize = 128 * 1024;
/// The memory of a line beside its text.
const OVERHEAD: usize = 64;
/// How long a flush waits at most; and how long a sink must be stuck so that the end of a thread doesn't wait for it.
pub(super) const FLUSH: Duration = Duration::from_millis(500);
/// How long a flush still waits if the sink has already been stuck for that long.
const HOPELESS: Duration = Duration::from_millis(100);
/// How long lines of a steady trickle are collected, so that not each of them has to wake the writer.
pub(super) const LINGER: Duration = Duration::from_millis(1);
/// Unless there are this many bytes of them.
const CROWD: usize = 64 * 1024;
/// How long a sink that was not seen to be full may take nothing until it counts as stuck: a disk may be slow, and the
/// writer may be without a CPU.
const SLOW: Duration = Duration::from_secs(1);
/// The same for a sink that was seen to be full.
const FULL: Duration = Duration::from_millis(100);

/// The part of the queue that a line uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Ordinary,
    Reserved,
}

impl Part {
    fn capacity(self) -> usize {
        match self {
            Self::Ordinary => CAPACITY - RESERVED,
            Self::Reserved => RESERVED,
        }
    }
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) text: String,
    part: Part,
}

impl Line {
    fn size(&self) -> usize {
        self.text.capacity() + OVERHEAD
    }
}

#[derive(Debug)]
pub(super) enum Item {
    Line(Line),
    /// This many lines found no room here.
    Lost(u64),
    /// Reopens the file. The text precedes the log lines about it.
    Reopen(String),
}

#[derive(Debug)]
pub(super) struct Queue {
    /// How long a line may wait for room.
    patience: Duration,
    /// How long the writer lingers.
    linger: Duration,
    state: Mutex<State>,
    /// Tells the writer that there is work.
    more: Condvar,
    /// Tells all others that some work is done.
    less: Condvar,
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    /// The bytes that lines use, by part.
    held: [usize; 2],
    /// The number of the last item.
    added: u64,
    /// The number of the last item that is done.
    done: u64,
    /// The item up to which a caller has waited in vain.
    given_up: u64,
    /// When the sink counts as stuck, unless it takes something before.
    stuck_from: Option<Instant>,
    /// How many bytes the sink has taken so far.
    taken: usize,
    /// How many lines were lost after the last item.
    lost: u64,
    reopens: bool,
    writer: Writer,
    /// Whether lines have come one by one, with little time between them.
    steady: bool,
    waiting: usize,
}

/// The writer's activity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    /// It will check once more before it does anything else.
    #[default]
    Works,
    /// It will check in a moment: lines can wait for that; everything else wakes it.
    Lingers,
    /// It must be woken.
    Rests,
}

impl State {
    /// Whether a part has room. It takes lines until it is full: the last one may be larger than the room that was
    /// left.
    fn has_room(&self, part: Part) -> bool {
        self.held[part as usize] < part.capacity()
    }

    /// Whether the sink has been stuck for this long.
    fn is_stuck_for(&self, time: Duration, now: Instant) -> bool {
        self.stuck_from.and_then(|from| from.checked_add(time)).is_some_and(|then| then <= now)
    }

    fn add(&mut self, item: Item) {
        self.add_lost();
        self.items.push_back(item);
        self.added += 1;
    }

    /// Inserts the number of lost lines here.
    fn add_lost(&mut self) {
        if self.lost > 0 {
            self.items.push_back(Item::Lost(mem::take(&mut self.lost)));
            self.added += 1;
        }
    }
}

impl Queue {
    pub(super) fn new(patience: Duration) -> Self {
        Self::with_linger(patience, LINGER)
    }

    pub(super) fn with_linger(patience: Duration, linger: Duration) -> Self {
        let state = Mutex::default();
        Self { patience, linger, state, more: Condvar::new(), less: Condvar::new(), lost: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the writer lingers, and whether it rests.
    #[cfg(test)]
    pub(super) fn writer(&self) -> (bool, bool) {
        let writer = self.lock().writer;
        (writer == Writer::Lingers, writer == Writer::Rests)
    }

    /// Returns the counter of lost lines.
    pub(super) fn lost(&self) -> &Arc<AtomicU64> {
        &self.lost
    }

    /// Takes a line, or counts it as lost.
    pub(super) fn push(&self, text: String) {
        let part = thread::part();
        let mut state = self.lock();
        if part == Part::Ordinary && !state.has_room(part) {
            state = self.await_room(state);
        }
        if !state.has_room(part) {
            state.lost += 1;
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let line = Line { text, part };
        state.held[part as usize] += line.size();
        state.add(Item::Line(line));
        thread::has_logged(state.added);
        let is_crowd = state.held.iter().sum::<usize>() >= CROWD;
        if state.writer == Writer::Rests || is_crowd {
            self.wake_writer(state);
        }
    }

    fn await_room<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let begun = Instant::now();
        let deadline = begun + self.patience.min(thread::patience(begun, state.taken));
        let mut now = begun;
        while now < deadline && !state.has_room(Part::Ordinary) && !state.is_stuck_for(Duration::ZERO, now) {
            // Not for longer: the sink may count as stuck by then.
            state = self.wait(state, LINE.min(deadline - now));
            now = Instant::now();
        }
        thread::has_waited(now - begun, now);
        state
    }

    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        state.waiting += 1;
        let (mut state, _) = self.less.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }

    fn wake_writer(&self, mut state: MutexGuard<'_, State>) {
        if mem::take(&mut state.writer) != Writer::Works {
            drop(state);
            self.more.notify_one();
        }
    }

    /// Waits for more items; called by the writer when it has found none. A caller that expects more in a moment checks
    /// by itself.
    fn await_more<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if state.steady {
            state.writer = Writer::Lingers;
            state = self.more.wait_timeout(state, self.linger).unwrap_or_else(PoisonError::into_inner).0;
            state.writer = Writer::Works;
            // So the last line of a trickle costs one check in vain.
            state.steady = !state.items.is_empty();
            return state;
        }
        let begun = Instant::now();
        state.writer = Writer::Rests;
        state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.writer = Writer::Works;
        state.steady = begun.elapsed() < self.linger;
        state
    }

    /// Has the file reopened once all earlier lines are written.
    pub(super) fn reopen(&self, why: &str) {
        let mut state = self.lock();
        // A pending reopen is late enough for this caller, too.
        if !mem::replace(&mut state.reopens, true) {
            state.add(Item::Reopen(why.to_owned()));
            self.wake_writer(state);
        }
    }

    /// Waits until all earlier lines are written or lost, for `time` at most.
    pub(super) fn flush(&self, time: Duration) {
        let mut state = self.lock();
        // The writer notices that by itself.
        state.add_lost();
        let last = state.added;
        self.await_done(state, last, time);
    }

    /// Flushes as [`flush`](Self::flush) does, up to this item, unless that has become hopeless.
    pub(super) fn flush_at_end(&self, last: u64) {
        let state = self.lock();
        if state.given_up < last && !state.is_stuck_for(FLUSH, Instant::now()) {
            self.await_done(state, last, FLUSH);
        }
    }

    fn await_done<'a>(&'a self, mut state: MutexGuard<'a, State>, last: u64, time: Duration) {
        let begun = Instant::now();
        if state.done < last && mem::take(&mut state.writer) != Writer::Works {
            self.more.notify_one();
        }
        while state.done < last {
            let now = Instant::now();
            let waited = now - begun;
            if waited >= time || waited >= HOPELESS && state.is_stuck_for(FLUSH, now) {
                if time == FLUSH {
                    state.given_up = state.given_up.max(last);
                }
                return;
            }
            state = self.wait(state, HOPELESS.min(time - waited));
        }
    }

    /// Waits for work and takes items into `batch`, in order, until their text has `size` bytes or more would exceed
    /// it; called by the writer. A [`Reopen`](Item::Reopen) comes alone.
    pub(super) fn take(&self, batch: &mut Vec<Item>, size: usize) {
        let mut state = self.lock();
        loop {
            if state.items.is_empty() {
                // There may never be another line.
                state.add_lost();
            }
            if !state.items.is_empty() {
                break;
            }
            state = self.await_more(state);
        }
        let mut taken = 0;
        while let Some(item) = state.items.front() {
            let (length, is_alone) = match item {
                Item::Line(line) => (line.text.len(), false),
                Item::Lost(_) => (0, false),
                Item::Reopen(_) => (0, true),
            };
            if !batch.is_empty() && (is_alone || taken + length > size) {
                break;
            }
            taken += length;
            batch.extend(state.items.pop_front());
            if is_alone {
                state.reopens = false;
                break;
            }
        }
        state.stuck_from = Some(Instant::now() + SLOW);
    }

    /// Records that the sink has taken this many bytes; called by the writer.
    pub(super) fn goes_on(&self, bytes: usize) {
        let mut state = self.lock();
        state.taken = state.taken.wrapping_add(bytes);
        state.stuck_from = Some(Instant::now() + SLOW);
    }

    /// Records that the sink was seen to be full; called by the writer.
    pub(super) fn is_full(&self) {
        self.lock().stuck_from = Some(Instant::now() + FULL);
    }

    /// Records that these items are done, with this many lost lines; called by the writer.
    pub(super) fn done(&self, batch: &mut Vec<Item>, lost: u64) {
        self.lost.fetch_add(lost, Ordering::Relaxed);
        let mut state = self.lock();
        state.stuck_from = None;
        state.done += batch.len() as u64;
        for item in &*batch {
            if let Item::Line(line) = item {
                state.held[line.part as usize] -= line.size();
            }
        }
        let is_awaited = state.waiting > 0;
        drop(state);
        batch.clear();
        if is_awaited {
            self.less.notify_all();
        }
    }
}

/// The queue of the process's own logger, if that is ours.
static INSTALLED: OnceLock<Arc<Queue>> = OnceLock::new();

pub(super) fn install(queue: &Arc<Queue>) {
    let _ = INSTALLED.set(queue.clone());
}

pub(super) fn installed() -> Option<&'static Arc<Queue>> {
    INSTALLED.get()
}
