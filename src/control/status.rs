//! What a service shows of itself: the status, the watch of transitions, the report at the end.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    future::Future,
    pin::Pin,
    process::ExitCode,
    sync::{Arc, OnceLock, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

#[cfg(feature = "metrics")]
use crate::SamplesReading;
use crate::{
    channel::{address::Address, shared::Shared},
    counters::{Asker, Book, BookReadings, MeterOf, Warning},
    kit::{
        block,
        clock::Clock,
        sync::{Mutex, Ordering, figure, lock},
    },
    lifecycle::LoopId,
    words::state::{Cause, Reason, Seconds, State, Transition},
};

/// A service at one moment.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Status {
    /// The service's name.
    pub service: String,
    /// Its version, if it has been told one.
    pub version: Option<String>,
    /// What the service as a whole is at.
    pub phase: Phase,
    /// Whether all tasks run, and no stop has been requested.
    pub ready: bool,
    /// Why it stops, once it does.
    pub reason: Option<String>,
    /// The time since the start, in seconds.
    pub uptime: f64,
    /// The selected tasks.
    pub tasks: Vec<TaskStatus>,
    /// Their loops.
    pub loops: Vec<LoopStatus>,
    /// Lines of its log that were lost so far: what takes the log was too slow, stuck, full or gone.
    pub lost_lines: u64,
    /// What needs somebody's attention.
    pub warnings: Vec<Warning>,
    /// What the service itself [exports](crate::ServiceHandle::export).
    pub exports: BTreeMap<String, String>,
    /// Its own [counters](crate::ServiceHandle::meter).
    pub counters: BTreeMap<String, u64>,
    /// Its own gauges.
    pub gauges: BTreeMap<String, f64>,
    /// Its own samples.
    #[cfg(feature = "metrics")]
    pub samples: BTreeMap<String, SamplesReading>,
}

/// What a service as a whole is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Phase {
    /// Not started yet.
    New,
    /// Some task is not ready yet.
    Starting,
    /// All tasks that will start have started.
    Running,
    /// A stop has been requested.
    Stopping,
    /// All has ended.
    Ended,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "new",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
        })
    }
}

/// A task at one moment.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TaskStatus {
    /// Its name.
    pub name: String,
    /// Its loop's name.
    #[cfg_attr(feature = "serde", serde(rename = "loop"))]
    pub event_loop: String,
    /// Where it is in its life.
    pub state: State,
    /// Why.
    pub cause: String,
    /// The time for which it has been in this state, in seconds.
    pub since: f64,
    /// Which run of it this is: 1 is the first.
    pub incarnation: u32,
    /// What it [exports](crate::Context::export).
    pub exports: BTreeMap<String, String>,
    /// Its [counters](crate::Context::counter).
    pub counters: BTreeMap<String, u64>,
    /// Its [gauges](crate::Context::gauge).
    pub gauges: BTreeMap<String, f64>,
    /// Its [samples](crate::Context::samples).
    #[cfg(feature = "metrics")]
    pub samples: BTreeMap<String, SamplesReading>,
    /// Its [children](crate::Context::spawn) that live.
    pub children: usize,
}

/// A loop at one moment.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LoopStatus {
    /// Its name.
    pub name: String,
    /// Its kind: `tokio`, `glib` ...
    pub kind: &'static str,
    /// Its thread's name: its own (the system cuts that at 15 bytes), or `main`.
    pub thread: String,
    /// Whether it takes turns now.
    pub running: bool,
    /// Which run of it this is: 1 is the first.
    pub incarnation: u32,
    /// Jobs in its mailbox.
    pub depth: usize,
    /// The most there were.
    pub high_water: usize,
    /// The most there may be.
    pub capacity: usize,
    /// Jobs that it has run.
    pub jobs: u64,
    /// Turns of its mailbox.
    pub turns: u64,
    /// Jobs that were accepted and then dropped, because what they were for had ended.
    pub dropped: u64,
    /// Futures that it hosts.
    pub futures: usize,
    /// The time from the first post to the loop at rest to the turn that runs it, in seconds.
    #[cfg(feature = "metrics")]
    pub latency: SamplesReading,
}

impl fmt::Display for Status {
    /// A table, a line for each task and each loop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {}", self.service, self.phase, if self.ready { "ready" } else { "not ready" })?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        write!(f, ", up {:.1} s", self.uptime)?;
        if self.lost_lines > 0 {
            write!(f, ", lost lines of the log {}", self.lost_lines)?;
        }
        show(f, &self.exports)?;
        show(f, &self.counters)?;
        show(f, &self.gauges)?;
        #[cfg(feature = "metrics")]
        show_samples(f, &self.samples)?;
        for warning in &self.warnings {
            write!(f, "\n  warning {warning}")?;
        }
        for task in &self.tasks {
            write!(
                f,
                "\n  task {:<16} {:<10} on {:<12} run {}, {:.1} s, {}",
                task.name, task.state, task.event_loop, task.incarnation, task.since, task.cause
            )?;
            show(f, &task.exports)?;
            show(f, &task.counters)?;
            show(f, &task.gauges)?;
            #[cfg(feature = "metrics")]
            show_samples(f, &task.samples)?;
        }
        for l in &self.loops {
            let running = if l.running { "running" } else { "not running" };
            write!(
                f,
                "\n  loop {:<16} {:<10} kind {:<10} run {}, queue {} (most {} of {}), {} jobs in {} turns, {} futures",
                l.name, running, l.kind, l.incarnation, l.depth, l.high_water, l.capacity, l.jobs, l.turns, l.futures
            )?;
        }
        Ok(())
    }
}

fn show(f: &mut fmt::Formatter<'_>, values: &BTreeMap<String, impl fmt::Display>) -> fmt::Result {
    values.iter().try_for_each(|(name, value)| write!(f, ", {name} {value}"))
}

#[cfg(feature = "metrics")]
fn show_samples(f: &mut fmt::Formatter<'_>, samples: &BTreeMap<String, SamplesReading>) -> fmt::Result {
    for (name, SamplesReading { count, average, max, .. }) in samples {
        write!(f, ", {name} {count}")?;
        if let (Some(average), Some(max)) = (average, max) {
            write!(f, " (average {average:.3e}, most {max:.3e})")?;
        }
    }
    Ok(())
}

/// What a task shows of itself, through all its incarnations.
#[derive(Debug)]
pub(crate) struct TaskInfo {
    target: String,
    book: Arc<Book>,
    children: figure::AtomicUsize,
    spawned: figure::AtomicU64,
    /// The slots that it has filled.
    slots: Mutex<Vec<Arc<Address>>>,
}

impl TaskInfo {
    pub(crate) fn new(service: &str, task: &str) -> Arc<Self> {
        Arc::new(Self {
            target: format!("{service}.{task}"),
            book: Arc::default(),
            children: figure::AtomicUsize::new(0),
            spawned: figure::AtomicU64::new(0),
            slots: Mutex::default(),
        })
    }

    pub(crate) fn fills(&self, slot: &Arc<Address>) {
        let mut slots = lock(&self.slots);
        if !slots.iter().any(|known| Arc::ptr_eq(known, slot)) {
            slots.push(slot.clone());
        }
    }

    /// The slots that it has filled: to be closed when it has ended. They resolve as Stopped then, unless somebody starts it again and it fills them anew.
    pub(crate) fn slots(&self) -> Vec<Arc<Address>> {
        lock(&self.slots).clone()
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    pub(crate) fn book(&self) -> &Arc<Book> {
        &self.book
    }

    pub(crate) fn child_begins(&self) {
        self.children.fetch_add(1, Ordering::Relaxed);
        self.spawned.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn child_ends(&self) {
        self.children.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many children live, and how many there were so far.
    pub(crate) fn children(&self) -> (usize, u64) {
        (self.children.load(Ordering::Relaxed), self.spawned.load(Ordering::Relaxed))
    }
}

/// How a service ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The exit code: 0, 1, 124 or 128 + signal; see the crate's docs.
    pub code: u8,
    /// The first reason to stop.
    pub reason: Reason,
    /// Each selected task, its last state, and the cause of it.
    pub tasks: Vec<(Arc<str>, State, Option<Cause>)>,
    /// The loops whose threads had to be left behind.
    pub stuck: Vec<StuckLoop>,
    /// What else had not come back by the end, and was left behind: code of others that the service calls beside its loops, such as a logger, a waker, or a
    /// `Drop`.
    pub left_behind: Vec<LeftBehind>,
    /// Lines of the log that were lost until then.
    pub lost_lines: u64,
}

/// A call into code of others that had not come back when the service ended. Its thread is left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftBehind {
    /// What was called: `the log`, `the notify of loop io` ...
    pub what: String,
    /// For how long, at the end of the service.
    pub held: Duration,
}

impl LeftBehind {
    pub(crate) fn new(what: String, held: Duration) -> Self {
        Self { what, held }
    }
}

/// A loop whose thread had to be left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StuckLoop {
    /// The loop's name.
    pub name: Arc<str>,
    /// Its thread's name.
    pub thread: Arc<str>,
    /// What it was polling: `task http`, `a job`, or `its own events`.
    pub polling: String,
    /// For how long, when it was given up.
    pub held: Duration,
}

impl Report {
    /// Whether it ended as it was asked to: code 0.
    pub fn is_success(&self) -> bool {
        self.code == 0
    }
}

impl From<&Report> for ExitCode {
    fn from(report: &Report) -> Self {
        Self::from(report.code)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            0 => f.write_str("stopped gracefully"),
            124 => f.write_str("stopped past its deadline"),
            1 => f.write_str("stopped after a failure"),
            forced => write!(f, "stopped by force of {}", Reason::Signal(i32::from(forced.saturating_sub(128)))),
        }?;
        write!(f, " ({})", self.reason)?;
        for (name, state, cause) in &self.tasks {
            if let (State::Failed | State::Cancelled | State::Abandoned, Some(cause)) = (state, cause) {
                write!(f, "; task {name} {state}: {cause}")?;
            }
        }
        for stuck in &self.stuck {
            let StuckLoop { name, thread, polling, held } = stuck;
            write!(f, "; loop {name} stuck: thread {thread} was in {polling} for {}", Seconds(*held))?;
        }
        for LeftBehind { what, held } in &self.left_behind {
            write!(f, "; left behind: {what}, for {}", Seconds(*held))?;
        }
        if self.lost_lines > 0 {
            write!(f, "; lost lines of the log: {}", self.lost_lines)?;
        }
        Ok(())
    }
}

/// The service's state, written by the supervisor, read by everyone.
#[derive(Debug)]
pub(crate) struct Board {
    name: Arc<str>,
    clock: Clock,
    /// The service's own.
    book: Arc<Book>,
    /// Asks the gauges that are closures.
    asker: Asker,
    /// What its log counts, if it has one.
    lost_lines: OnceLock<Arc<figure::AtomicU64>>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    version: Option<String>,
    phase: Phase,
    ready: bool,
    reason: Option<Reason>,
    started: Instant,
    tasks: Vec<TaskRow>,
    loops: Vec<LoopRow>,
    watchers: Vec<Weak<WatchQueue>>,
    report: Option<Report>,
    /// Whether all tasks had started, once.
    started_all: bool,
    /// Those who wait for a phase.
    waiting: BTreeMap<u64, Waker>,
    next_waiting: u64,
}

#[derive(Debug)]
pub(crate) struct TaskRow {
    pub(crate) name: Arc<str>,
    pub(crate) event_loop: LoopId,
    pub(crate) info: Arc<TaskInfo>,
    pub(crate) state: State,
    pub(crate) cause: Option<Cause>,
    pub(crate) incarnation: u32,
    pub(crate) since: Duration,
}

#[derive(Debug)]
pub(crate) struct LoopRow {
    pub(crate) kind: &'static str,
    pub(crate) main_thread: bool,
    pub(crate) shared: Arc<Shared>,
    pub(crate) running: bool,
    pub(crate) incarnation: u32,
}

impl Board {
    pub(crate) fn new(name: &str, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            clock,
            book: Arc::default(),
            asker: Asker::default(),
            lost_lines: OnceLock::new(),
            inner: Mutex::new(Inner {
                version: None,
                phase: Phase::New,
                ready: false,
                reason: None,
                started: Instant::now(),
                tasks: Vec::new(),
                loops: Vec::new(),
                watchers: Vec::new(),
                report: None,
                started_all: false,
                waiting: BTreeMap::new(),
                next_waiting: 0,
            }),
        })
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn begin(&self, version: Option<String>, started: Instant, tasks: Vec<TaskRow>, loops: Vec<LoopRow>) {
        let mut inner = lock(&self.inner);
        inner.version = version;
        inner.phase = Phase::Starting;
        inner.started = started;
        inner.tasks = tasks;
        inner.loops = loops;
    }

    /// Takes in a step of a task. It is left to the caller to wake these.
    pub(crate) fn step(&self, task: usize, transition: &Transition) -> Vec<Arc<WatchQueue>> {
        let mut told = Vec::new();
        let mut inner = lock(&self.inner);
        if let Some(row) = inner.tasks.get_mut(task) {
            row.state = transition.to;
            row.cause = Some(transition.cause.clone());
            row.incarnation = transition.incarnation;
            row.since = transition.at;
        }
        inner.watchers.retain(|watcher| match watcher.upgrade() {
            Some(queue) => {
                queue.push(transition.clone());
                told.push(queue);
                true
            }
            None => false,
        });
        drop(inner);
        told
    }

    pub(crate) fn set_loop(&self, id: LoopId, running: bool, incarnation: u32) {
        if let Some(row) = lock(&self.inner).loops.get_mut(id) {
            row.running = running;
            row.incarnation = incarnation;
        }
    }

    /// Goes to another phase. It is left to the caller to wake those that waited for one.
    pub(crate) fn set_phase(&self, phase: Phase) -> Vec<Waker> {
        self.turn_to(phase, |_| {})
    }

    fn turn_to(&self, phase: Phase, f: impl FnOnce(&mut Inner)) -> Vec<Waker> {
        let waiting = {
            let mut inner = lock(&self.inner);
            inner.phase = phase;
            inner.started_all |= phase == Phase::Running;
            f(&mut inner);
            std::mem::take(&mut inner.waiting)
        };
        waiting.into_values().collect()
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        lock(&self.inner).ready = ready;
    }

    /// Those who follow the steps. They may look at more than these: at whether the service is ready, which changes after them.
    pub(crate) fn watchers(&self) -> Vec<Arc<WatchQueue>> {
        lock(&self.inner).watchers.iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn stopping(&self, reason: &Reason) -> Vec<Waker> {
        self.turn_to(Phase::Stopping, |inner| {
            inner.ready = false;
            inner.reason = Some(reason.clone());
        })
    }

    /// All is over: whom to wake.
    pub(crate) fn end(&self, report: Report) -> (Vec<Waker>, Vec<Arc<WatchQueue>>) {
        self.turn_to_the_end(Some(report))
    }

    /// The service was refused, or dropped before its start: there is no report.
    pub(crate) fn never_starts(&self) {
        let (waiting, watchers) = self.turn_to_the_end(None);
        waiting.into_iter().for_each(Waker::wake);
        watchers.iter().for_each(|queue| queue.wake());
    }

    fn turn_to_the_end(&self, report: Option<Report>) -> (Vec<Waker>, Vec<Arc<WatchQueue>>) {
        let mut watchers = Vec::new();
        let waiting = self.turn_to(Phase::Ended, |inner| {
            inner.ready = false;
            inner.report = report;
            watchers = std::mem::take(&mut inner.watchers);
        });
        let watchers = watchers.iter().filter_map(Weak::upgrade).collect::<Vec<_>>();
        watchers.iter().for_each(|queue| queue.end());
        (waiting, watchers)
    }

    pub(crate) fn asker(&self) -> &Asker {
        &self.asker
    }

    pub(crate) fn book(&self) -> &Arc<Book> {
        &self.book
    }

    /// The phase, whether it is ready, the time since the start.
    pub(crate) fn vitals(&self) -> (Phase, bool, Duration) {
        let inner = lock(&self.inner);
        (inner.phase, inner.ready, self.clock.now().saturating_duration_since(inner.started))
    }

    #[cfg(feature = "logging")]
    pub(crate) fn set_lost_lines(&self, lost: Arc<figure::AtomicU64>) {
        let _ = self.lost_lines.set(lost);
    }

    /// How many lines its log has lost.
    pub(crate) fn lost_lines(&self) -> u64 {
        self.lost_lines.get().map_or(0, |lost| lost.load(Ordering::Relaxed))
    }

    pub(crate) fn version(&self) -> Option<String> {
        lock(&self.inner).version.clone()
    }

    pub(crate) fn rows<R>(&self, f: impl FnOnce(&[TaskRow], &[LoopRow]) -> R) -> R {
        let inner = lock(&self.inner);
        f(&inner.tasks, &inner.loops)
    }

    pub(crate) fn incarnation_of(&self, id: LoopId) -> u32 {
        self.rows(|_, loops| loops.get(id).map_or(0, |row| row.incarnation))
    }

    pub(crate) fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.book.warnings(None);
        self.task_rows(|rows| warnings.extend(rows.iter().flat_map(|row| row.info.book.warnings(Some(&row.name)))));
        warnings
    }

    pub(crate) fn clear_warning(&self, name: &str) -> bool {
        let of_task = |row: &TaskRow| {
            let name = name.strip_prefix(&*row.name).and_then(|rest| rest.strip_prefix('.'));
            name.is_some_and(|name| row.info.book.clear_warning(name))
        };
        self.book.clear_warning(name) || self.task_rows(|rows| rows.iter().any(of_task))
    }

    pub(crate) fn clear_warnings(&self) {
        self.book.clear_warnings();
        self.task_rows(|rows| rows.iter().for_each(|row| row.info.book.clear_warnings()));
    }

    pub(crate) fn task_rows<R>(&self, f: impl FnOnce(&[TaskRow]) -> R) -> R {
        f(&lock(&self.inner).tasks)
    }

    pub(crate) fn running_loops(&self) -> Vec<Arc<Shared>> {
        lock(&self.inner).loops.iter().filter(|row| row.running).map(|row| row.shared.clone()).collect()
    }

    pub(crate) fn phase(&self) -> Phase {
        lock(&self.inner).phase
    }

    pub(crate) fn is_ready(&self) -> bool {
        lock(&self.inner).ready
    }

    pub(crate) fn task_state(&self, task: &str) -> Option<State> {
        lock(&self.inner).tasks.iter().find(|row| &*row.name == task).map(|row| row.state)
    }

    /// Whether all tasks have started, whatever came of it since; known once they have, or never will.
    pub(crate) fn started(self: &Arc<Self>) -> impl Future<Output = bool> + Send + 'static {
        PhaseReached {
            board: self.clone(),
            phase: Phase::Running,
            waiting: None,
            then: |inner: &Inner| Some(inner.started_all),
        }
    }

    /// How the service ended, once it has.
    pub(crate) fn ended(self: &Arc<Self>) -> impl Future<Output = Report> + Send + 'static {
        PhaseReached {
            board: self.clone(),
            phase: Phase::Ended,
            waiting: None,
            then: |inner: &Inner| inner.report.clone(),
        }
    }

    pub(crate) fn watch(&self) -> Watch {
        let queue = Arc::new(WatchQueue::default());
        let mut inner = lock(&self.inner);
        for row in &inner.tasks {
            // A late watcher first gets the present state.
            queue.push(Transition {
                task: row.name.clone(),
                incarnation: row.incarnation,
                from: row.state,
                to: row.state,
                cause: row.cause.clone().unwrap_or(Cause::Start),
                at: row.since,
            });
        }
        if inner.phase == Phase::Ended {
            queue.end();
        } else {
            inner.watchers.push(Arc::downgrade(&queue));
        }
        Watch(queue)
    }

    pub(crate) fn status(&self) -> Status {
        let mut readings = self.read_books();
        // After that: what doesn't answer is warned of.
        let warnings = self.warnings();
        let inner = lock(&self.inner);
        let now = self.clock.now().saturating_duration_since(inner.started);
        let loop_name = |id: LoopId| inner.loops.get(id).map_or_else(String::new, |row| row.shared.name().to_string());
        let mut of_service = readings.pop_front().unwrap_or_default();
        let mut status = Status {
            service: self.name.to_string(),
            version: inner.version.clone(),
            phase: inner.phase,
            ready: inner.ready,
            reason: inner.reason.as_ref().map(Reason::to_string),
            uptime: now.as_secs_f64(),
            tasks: inner.tasks.iter().map(|row| row.status(now, loop_name(row.event_loop))).collect(),
            loops: inner.loops.iter().map(LoopRow::status).collect(),
            lost_lines: self.lost_lines(),
            warnings,
            exports: self.book.exports(),
            counters: std::mem::take(&mut of_service.counters),
            gauges: std::mem::take(&mut of_service.gauges),
            #[cfg(feature = "metrics")]
            samples: of_service.samples,
        };
        drop(inner);
        for (task, readings) in status.tasks.iter_mut().zip(readings) {
            (task.counters, task.gauges) = (readings.counters, readings.gauges);
            #[cfg(feature = "metrics")]
            {
                task.samples = readings.samples;
            }
        }
        status
    }

    /// What the service's book shows, then what each task's does. Outside the lock, since gauges may ask the user's code.
    fn read_books(&self) -> VecDeque<BookReadings> {
        let mut books = vec![self.book.clone()];
        self.task_rows(|rows| books.extend(rows.iter().map(|row| row.info.book.clone())));
        let meters = books.iter().flat_map(|book| {
            let meters = book.meters().into_iter();
            meters.map(|(key, instrument)| MeterOf { book: book.clone(), key, instrument })
        });
        let meters = meters.collect::<Vec<_>>();
        let mut readings = meters.iter().zip(self.asker.read(&meters)).peekable();
        let of_book = |book: &Arc<Book>| {
            let mut shown = BookReadings::default();
            while let Some((meter, reading)) = readings.next_if(|(meter, _)| Arc::ptr_eq(&meter.book, book)) {
                reading.into_iter().for_each(|reading| shown.take(&meter.key, reading));
            }
            shown
        };
        books.iter().map(of_book).collect()
    }
}

/// Waits for a phase, or a later one, and then for what it brings.
struct PhaseReached<F> {
    board: Arc<Board>,
    phase: Phase,
    waiting: Option<u64>,
    then: F,
}

impl<R, F: Fn(&Inner) -> Option<R> + Unpin> Future for PhaseReached<F> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let this = self.get_mut();
        // Cloned, and dropped, outside the lock, which the supervisor takes: it is anybody's code.
        let waker = cx.waker().clone();
        let mut inner = lock(&this.board.inner);
        if inner.phase >= this.phase
            && let Some(result) = (this.then)(&inner)
        {
            return Poll::Ready(result);
        }
        let id = *this.waiting.get_or_insert_with(|| {
            inner.next_waiting += 1;
            inner.next_waiting
        });
        let old = inner.waiting.insert(id, waker);
        drop(inner);
        drop(old);
        Poll::Pending
    }
}

impl<F> Drop for PhaseReached<F> {
    fn drop(&mut self) {
        if let Some(id) = self.waiting {
            let waker = lock(&self.board.inner).waiting.remove(&id);
            drop(waker);
        }
    }
}

impl TaskRow {
    fn status(&self, now: Duration, event_loop: String) -> TaskStatus {
        TaskStatus {
            name: self.name.to_string(),
            event_loop,
            state: self.state,
            cause: self.cause.as_ref().map_or_else(|| "not started yet".to_owned(), Cause::to_string),
            since: now.saturating_sub(self.since).as_secs_f64(),
            incarnation: self.incarnation,
            exports: self.info.book.exports(),
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
            #[cfg(feature = "metrics")]
            samples: BTreeMap::new(),
            children: self.info.children().0,
        }
    }
}

impl LoopRow {
    fn status(&self) -> LoopStatus {
        LoopStatus {
            name: self.shared.name().to_string(),
            kind: self.kind,
            thread: if self.main_thread { "main".to_owned() } else { self.shared.name().to_string() },
            running: self.running,
            incarnation: self.incarnation,
            depth: self.shared.queue.len(),
            high_water: self.shared.queue.high_water(),
            capacity: self.shared.queue.capacity(),
            jobs: self.shared.jobs(),
            turns: self.shared.turns(),
            dropped: self.shared.dropped(),
            futures: self.shared.live(),
            #[cfg(feature = "metrics")]
            latency: self.shared.latency().read(),
        }
    }
}

/// Follows the transitions of all tasks: first the present state of each (`from` and `to` are the same), then each step, none left out, to the end.
#[derive(Debug)]
pub struct Watch(Arc<WatchQueue>);

/// The steps that a [`Watch`] has yet to take.
#[derive(Debug, Default)]
pub(crate) struct WatchQueue(Mutex<WatchState>);

#[derive(Debug, Default)]
struct WatchState {
    steps: VecDeque<Transition>,
    ended: bool,
    waker: Option<Waker>,
}

impl WatchQueue {
    fn push(&self, step: Transition) {
        lock(&self.0).steps.push_back(step);
    }

    fn end(&self) {
        lock(&self.0).ended = true;
    }

    /// Wakes who waits for what was pushed.
    pub(crate) fn wake(&self) {
        let waker = lock(&self.0).waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Watch {
    /// The next step; None once the service has ended.
    ///
    /// # Cancel safety
    ///
    /// No step is lost when it is dropped.
    pub fn next_step(&mut self) -> impl Future<Output = Option<Transition>> + Send + '_ {
        NextStep(&self.0)
    }

    /// Blocks this thread until the next step, or for `timeout`: None then, and once the service has ended.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Transition> {
        block::on(self.next_step(), Some(timeout)).flatten()
    }
}

struct NextStep<'a>(&'a WatchQueue);

impl Future for NextStep<'_> {
    type Output = Option<Transition>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // As with the board: nothing of a waker's runs under the lock.
        let waker = cx.waker().clone();
        let mut state = lock(&self.0.0);
        match state.steps.pop_front() {
            Some(step) => Poll::Ready(Some(step)),
            None if state.ended => Poll::Ready(None),
            None => {
                let before = state.waker.replace(waker);
                drop(state);
                drop(before);
                Poll::Pending
            }
        }
    }
}
