//! Calls gauges that are user closures, which may block or panic, on a separate thread, so that no reader waits for one
//! of them.
//!
//! There is one thread, started when the first gauge is read. It calls the gauges one after the other. A reader waits
//! for at most [`ROUND`]. A gauge that has not answered within [`PATIENCE`] is omitted, its thread is left behind with
//! it, and another thread continues. The gauge isn't called again until it comes back: so there are at most
//! [`MOST_LEFT`] more threads, however often callers read. With that many left behind, no closure is called until one
//! comes back.
//!
//! A warning of the gauge's owner names an omitted gauge until it answers again; every reader of the service shows the
//! warning.

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    asked::Asked,
    reading::Reading,
    registry::{Instrument, Key, Registry},
};
use crate::{kit::panics::catch, words::state::Seconds};

/// How long a gauge may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a reader waits for all of them.
const ROUND: Duration = Duration::from_secs(1);
/// How many threads are left behind at most.
const MOST_LEFT: usize = 4;

thread_local!(static IS_ASKED: Cell<bool> = const { Cell::new(false) });

/// A gauge to read, and its owner.
pub(crate) struct MeterOf {
    pub(crate) registry: Arc<Registry>,
    pub(crate) key: Key,
    pub(crate) instrument: Instrument,
}

/// The part of the status that comes from a registry, by displayed names.
#[derive(Default)]
pub(crate) struct RegistryReadings {
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) gauges: BTreeMap<String, f64>,
    #[cfg(feature = "metrics")]
    pub(crate) histograms: BTreeMap<String, super::HistogramReading>,
}

impl RegistryReadings {
    pub(crate) fn take(&mut self, key: &Key, reading: Reading) {
        match reading {
            Reading::Counter(value) => drop(self.counters.insert(key.to_string(), value)),
            Reading::Gauge(value) => drop(self.gauges.insert(key.to_string(), value)),
            #[cfg(feature = "metrics")]
            Reading::Histogram(samples) => drop(self.histograms.insert(key.to_string(), samples)),
        }
    }
}

/// The thread that calls gauges, and the threads that were left behind.
#[derive(Default)]
pub(crate) struct Asker(Arc<Desk>);

#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    /// Tells the threads that there is a gauge to call, or that they must end.
    work: Condvar,
    /// Tells the readers that there is an answer.
    answered: Condvar,
}

#[derive(Default)]
struct State {
    questions: VecDeque<Question>,
    /// The current call, by a thread that is not left behind.
    asking: Option<Asking>,
    threads: usize,
    left: usize,
    next: u64,
    closed: bool,
    handles: Vec<JoinHandle<()>>,
}

struct Question {
    gauge: Arc<Asked>,
    round: Arc<Mutex<Round>>,
    index: usize,
}

struct Asking {
    number: u64,
    since: Instant,
    question: Question,
}

/// The calls for one reader.
struct Round {
    answers: Vec<Option<Answer>>,
    open: usize,
}

#[derive(Clone)]
enum Answer {
    Value(f64),
    Panicked(String),
    Silent,
}

impl Question {
    fn answer(&self, answer: Answer) {
        let mut round = lock(&self.round);
        // If its reader has gone, there is no place for the answer.
        if let Some(place) = round.answers.get_mut(self.index)
            && place.replace(answer).is_none()
        {
            round.open -= 1;
        }
    }
}

impl Asker {
    /// Reads these gauges; returns `None` for those that don't answer.
    pub(crate) fn read(&self, meters: &[MeterOf]) -> Vec<Option<Reading>> {
        let gauges = meters.iter().filter_map(|meter| match &meter.instrument {
            Instrument::Asked(gauge) => Some(gauge.clone()),
            _ => None,
        });
        let mut answers = self.ask(gauges.collect()).into_iter();
        let read = |meter: &MeterOf| match &meter.instrument {
            Instrument::Asked(gauge) => meter.heard(gauge, answers.next().unwrap_or(Answer::Silent)),
            other => other.read(),
        };
        meters.iter().map(read).collect()
    }

    fn ask(&self, gauges: Vec<Arc<Asked>>) -> Vec<Answer> {
        let count = gauges.len();
        // A gauge that reads gauges would wait for itself.
        if count == 0 || IS_ASKED.get() {
            return vec![Answer::Silent; count];
        }
        let round = Arc::new(Mutex::new(Round { answers: vec![None; count], open: count }));
        let deadline = Instant::now() + ROUND;
        let mut state = self.0.lock();
        state.closed = false;
        for (index, gauge) in gauges.into_iter().enumerate() {
            state.questions.push_back(Question { gauge, round: round.clone(), index });
        }
        loop {
            if lock(&round).open == 0 {
                break;
            }
            let now = Instant::now();
            if let Some(asking) = state.asking.take_if(|asking| now.duration_since(asking.since) >= PATIENCE) {
                asking.question.gauge.stuck.store(true, Ordering::Release);
                asking.question.answer(Answer::Silent);
                state.left += 1;
                self.0.answered.notify_all();
                continue;
            }
            if now >= deadline || !self.0.has_thread(&mut state) {
                break;
            }
            self.0.work.notify_one();
            let due = state.asking.as_ref().map_or(deadline, |asking| deadline.min(asking.since + PATIENCE));
            // Each gets at least one look: the deadline of another call may begin meanwhile.
            let rest = due.saturating_duration_since(now).min(PATIENCE);
            state = self.0.answered.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.questions.retain(|question| !Arc::ptr_eq(&question.round, &round));
        drop(state);
        let answers = std::mem::take(&mut lock(&round).answers);
        answers.into_iter().map(|answer| answer.unwrap_or(Answer::Silent)).collect()
    }

    /// Ends the thread, and waits until it and the others have ended, except for those that are left behind.
    pub(crate) fn close(&self, deadline: Instant) {
        let mut state = self.0.lock();
        state.closed = true;
        self.0.work.notify_all();
        while state.threads > state.left {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return;
            }
            state = self.0.answered.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.left == 0 {
            let handles = std::mem::take(&mut state.handles);
            drop(state);
            // They only have to end.
            handles.into_iter().for_each(|handle| drop(handle.join()));
        }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
    }
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asker")
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Whether there is a thread that calls gauges; starts one if there is none, and one more is allowed.
    fn has_thread(self: &Arc<Self>, state: &mut State) -> bool {
        if state.threads > state.left {
            return true;
        }
        if state.left >= MOST_LEFT {
            return false;
        }
        let (desk, number) = (self.clone(), state.next);
        let spawned = thread::Builder::new().name("gauges".into()).spawn(move || desk.serve(number));
        let Ok(handle) = spawned else { return false };
        state.next += 1;
        state.threads += 1;
        state.handles.retain(|handle| !handle.is_finished());
        state.handles.push(handle);
        true
    }

    fn serve(&self, number: u64) {
        IS_ASKED.set(true);
        let mut state = self.lock();
        loop {
            let question = if state.asking.is_none() { state.questions.pop_front() } else { None };
            let Some(question) = question else {
                if state.closed {
                    break;
                }
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let gauge = question.gauge.clone();
            if gauge.stuck.load(Ordering::Acquire) {
                question.answer(Answer::Silent);
                self.answered.notify_all();
                continue;
            }
            state.asking = Some(Asking { number, since: Instant::now(), question });
            drop(state);
            let answer = catch(|| (gauge.ask)()).map_or_else(Answer::Panicked, Answer::Value);
            state = self.lock();
            match state.asking.take_if(|asking| asking.number == number) {
                Some(asking) => asking.question.answer(answer),
                // It was left behind, and has come back.
                None => {
                    gauge.stuck.store(false, Ordering::Release);
                    state.left -= 1;
                }
            }
            drop(state);
            // This may be the last clone of the user's closure.
            drop(catch(|| drop(gauge)));
            state = self.lock();
            self.answered.notify_all();
            self.work.notify_one();
        }
        state.threads -= 1;
        self.answered.notify_all();
    }
}

impl MeterOf {
    /// Returns the reading of an answer; names a gauge that did not answer.
    fn heard(&self, gauge: &Asked, answer: Answer) -> Option<Reading> {
        let why = match answer {
            Answer::Value(value) => {
                if gauge.named.swap(false, Ordering::AcqRel) {
                    self.registry.clear_warning(&self.warning());
                }
                return Some(Reading::Gauge(value));
            }
            // No warning for a gauge that was called by another gauge, or for which there was no time.
            Answer::Silent if !gauge.stuck.load(Ordering::Acquire) => return None,
            Answer::Silent => {
                format!("it has not answered within {}, and is left out until it does", Seconds(PATIENCE))
            }
            Answer::Panicked(panic) => format!("it panicked, and is left out: {panic}"),
        };
        gauge.named.store(true, Ordering::Release);
        if self.registry.warn(&self.warning(), why.clone()) {
            log::warn!(target: self.registry.target(), "gauge {}: {why}", self.key);
        }
        None
    }

    fn warning(&self) -> String {
        format!("gauge {}", self.key)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
