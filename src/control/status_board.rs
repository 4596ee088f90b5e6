//! The state of the service, which the supervisor writes and all threads read.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::{
    report::Report,
    status::{BlockedLoop, LoopStatus, Phase, Status, TaskStatus},
    task_info::TaskInfo,
    watch::{PhaseChange, PhaseChanges, Transitions, WatchQueue},
};
use crate::{
    channel::shared::Shared,
    counters::{Asker, MeterOf, Registry, RegistryReadings, Warning},
    kit::{
        clock::Clock,
        sync::{Mutex, Ordering, figure, lock},
    },
    lifecycle::LoopId,
    words::state::{Cause, Reason, State, Transition},
};

/// The state of the service, written by the supervisor and read by all threads.
#[derive(Debug)]
pub(crate) struct StatusBoard {
    name: Arc<str>,
    clock: Clock,
    /// The service's own registry.
    registry: Arc<Registry>,
    /// Calls the gauges that are closures.
    asker: Asker,
    /// The counter of lost log lines, if the service has a log.
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
    watchers: Vec<Weak<WatchQueue<Transition>>>,
    phase_watchers: Vec<Weak<WatchQueue<PhaseChange>>>,
    /// When the present phase is over at the latest, by the service's clock, if that is known.
    deadline: Option<Instant>,
    report: Option<Report>,
    /// Whether all tasks had started at some moment.
    started_all: bool,
    /// The callers that wait for a phase.
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
    /// Whether its tasks may block it, because each has its own thread.
    pub(crate) may_block: bool,
    /// Whether it is asked for heartbeats: not if its only task may block it.
    pub(crate) asked: bool,
    pub(crate) shared: Arc<Shared>,
    pub(crate) running: bool,
    pub(crate) incarnation: u32,
}

impl StatusBoard {
    pub(crate) fn new(name: &str, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            clock,
            registry: Registry::new(name),
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
                phase_watchers: Vec::new(),
                deadline: None,
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
        // The supervisor wakes them with the next change, which follows at once: wakers may block this thread.
        for queue in inner.phase_watchers.iter().filter_map(Weak::upgrade) {
            queue.push(PhaseChange::Entered(Phase::Starting));
        }
    }

    /// Records a transition of a task. The caller must wake the returned queues.
    pub(crate) fn step(&self, task: usize, transition: &Transition) -> Vec<Arc<WatchQueue<Transition>>> {
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

    /// Enters another phase. The caller must wake the returned wakers.
    pub(crate) fn set_phase(&self, phase: Phase) -> Vec<Waker> {
        self.turn_to(phase, |_| {})
    }

    fn turn_to(&self, phase: Phase, f: impl FnOnce(&mut Inner)) -> Vec<Waker> {
        let (waiting, mut wakers) = {
            let mut inner = lock(&self.inner);
            inner.phase = phase;
            inner.started_all |= phase == Phase::Running;
            inner.deadline = None;
            f(&mut inner);
            let wakers = inner.tell_phase_watchers(&PhaseChange::Entered(phase));
            (std::mem::take(&mut inner.waiting), wakers)
        };
        wakers.extend(waiting.into_values());
        wakers
    }

    /// Records when the present phase is over at the latest. The caller must wake the returned wakers.
    pub(crate) fn set_deadline(&self, deadline: Instant) -> Vec<Waker> {
        let mut inner = lock(&self.inner);
        inner.deadline = Some(deadline);
        inner.tell_phase_watchers(&PhaseChange::Deadline(deadline))
    }

    /// Tells that a reload has begun, or ended: the caller isn't the supervisor.
    pub(super) fn tell_reload(&self, change: &PhaseChange) {
        let wakers = lock(&self.inner).tell_phase_watchers(change);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        lock(&self.inner).ready = ready;
    }

    /// Returns the queues of those who follow the transitions. They may check more, such as whether the service is
    /// ready, which changes after the transitions.
    pub(crate) fn watchers(&self) -> Vec<Arc<WatchQueue<Transition>>> {
        lock(&self.inner).watchers.iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn stopping(&self, reason: &Reason) -> Vec<Waker> {
        self.turn_to(Phase::Stopping, |inner| {
            inner.ready = false;
            inner.reason = Some(reason.clone());
        })
    }

    /// Records the end; returns whom to wake.
    pub(crate) fn end(&self, report: Report) -> (Vec<Waker>, Vec<Arc<WatchQueue<Transition>>>) {
        self.turn_to_the_end(Some(report))
    }

    /// Records that the service was refused, or dropped before its start: there is no report.
    pub(crate) fn never_starts(&self) {
        let (waiting, watchers) = self.turn_to_the_end(None);
        waiting.into_iter().for_each(Waker::wake);
        watchers.iter().for_each(|queue| queue.wake());
    }

    fn turn_to_the_end(&self, report: Option<Report>) -> (Vec<Waker>, Vec<Arc<WatchQueue<Transition>>>) {
        let (mut watchers, mut of_phases) = (Vec::new(), Vec::new());
        let mut waiting = self.turn_to(Phase::Ended, |inner| {
            inner.ready = false;
            inner.report = report;
            watchers = std::mem::take(&mut inner.watchers);
            of_phases = inner.phase_watchers.clone();
        });
        lock(&self.inner).phase_watchers.clear();
        for queue in of_phases.iter().filter_map(Weak::upgrade) {
            queue.end();
            waiting.extend(queue.take_waker());
        }
        let watchers = watchers.iter().filter_map(Weak::upgrade).collect::<Vec<_>>();
        watchers.iter().for_each(|queue| queue.end());
        (waiting, watchers)
    }

    pub(crate) fn asker(&self) -> &Asker {
        &self.asker
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Returns the phase, whether the service is ready, and the time since the start.
    pub(crate) fn vitals(&self) -> (Phase, bool, Duration) {
        let inner = lock(&self.inner);
        (inner.phase, inner.ready, self.clock.now().saturating_duration_since(inner.started))
    }

    #[cfg(feature = "logging")]
    pub(crate) fn set_lost_lines(&self, lost: Arc<figure::AtomicU64>) {
        let _ = self.lost_lines.set(lost);
    }

    /// Returns how many lines its log has lost.
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

    /// Returns why the service stops: known from the moment that its phase says so.
    #[cfg(all(feature = "supervised", target_os = "linux"))]
    pub(crate) fn reason(&self) -> Option<Reason> {
        lock(&self.inner).reason.clone()
    }

    /// Whether a thread drives this loop.
    pub(crate) fn is_running(&self, id: LoopId) -> bool {
        self.rows(|_, loops| loops.get(id).is_some_and(|row| row.running))
    }

    pub(crate) fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.registry.warnings(None);
        self.task_rows(|rows| {
            warnings.extend(rows.iter().flat_map(|row| row.info.registry().warnings(Some(&row.name))))
        });
        warnings
    }

    pub(crate) fn clear_warning(&self, name: &str) -> bool {
        let of_task = |row: &TaskRow| {
            let name = name.strip_prefix(&*row.name).and_then(|rest| rest.strip_prefix('.'));
            name.is_some_and(|name| row.info.registry().clear_warning(name))
        };
        self.registry.clear_warning(name) || self.task_rows(|rows| rows.iter().any(of_task))
    }

    pub(crate) fn clear_warnings(&self) {
        self.registry.clear_warnings();
        self.task_rows(|rows| rows.iter().for_each(|row| row.info.registry().clear_warnings()));
    }

    pub(crate) fn task_rows<R>(&self, f: impl FnOnce(&[TaskRow]) -> R) -> R {
        f(&lock(&self.inner).tasks)
    }

    /// Returns the running loops that are asked for heartbeats.
    pub(crate) fn asked_loops(&self) -> Vec<AskedLoop> {
        let asked = |(id, row): (LoopId, &LoopRow)| {
            let LoopRow { running, asked, incarnation, .. } = *row;
            (running && asked).then(|| AskedLoop { id, incarnation, thread: row.thread(), shared: row.shared.clone() })
        };
        lock(&self.inner).loops.iter().enumerate().filter_map(asked).collect()
    }

    /// Returns what this [number](crate::channel::this_thread::Label::number) stands for: `task http`, `a job`, `its own
    /// events`.
    pub(crate) fn polling(&self, number: usize) -> String {
        self.task_rows(|tasks| polling(tasks, number))
    }

    /// Returns the loops that are blocked at this moment, with their numbers.
    pub(crate) fn blocked_loops(&self) -> Vec<(LoopId, BlockedLoop)> {
        self.rows(|tasks, loops| {
            loops.iter().enumerate().filter_map(|(id, row)| Some((id, row.blocked(tasks)?))).collect()
        })
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

    /// Resolves to whether all tasks have started, even if some have failed since; it resolves once they have, or never
    /// will.
    pub(crate) fn started(self: &Arc<Self>) -> impl Future<Output = bool> + Send + 'static {
        PhaseReached {
            board: self.clone(),
            phase: Phase::Running,
            waiting: None,
            then: |inner: &Inner| Some(inner.started_all),
        }
    }

    /// Resolves to the report, once the service has ended.
    pub(crate) fn ended(self: &Arc<Self>) -> impl Future<Output = Report> + Send + 'static {
        PhaseReached {
            board: self.clone(),
            phase: Phase::Ended,
            waiting: None,
            then: |inner: &Inner| inner.report.clone(),
        }
    }

    pub(crate) fn watch(&self) -> Transitions {
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
        Transitions(queue)
    }

    pub(crate) fn watch_phases(&self) -> PhaseChanges {
        let queue = Arc::new(WatchQueue::default());
        let mut inner = lock(&self.inner);
        queue.push(PhaseChange::Entered(inner.phase));
        inner.deadline.into_iter().for_each(|deadline| queue.push(PhaseChange::Deadline(deadline)));
        if inner.phase == Phase::Ended {
            queue.end();
        } else {
            inner.phase_watchers.push(Arc::downgrade(&queue));
        }
        PhaseChanges(queue)
    }

    pub(crate) fn status(&self) -> Status {
        let mut readings = self.read_registries();
        // After the readings, since a gauge that doesn't answer raises a warning.
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
            loops: inner.loops.iter().map(|row| row.status(&inner.tasks)).collect(),
            lost_lines: self.lost_lines(),
            warnings,
            exports: self.registry.exports(),
            counters: std::mem::take(&mut of_service.counters),
            gauges: std::mem::take(&mut of_service.gauges),
            #[cfg(feature = "metrics")]
            histograms: of_service.histograms,
        };
        drop(inner);
        for (task, readings) in status.tasks.iter_mut().zip(readings) {
            (task.counters, task.gauges) = (readings.counters, readings.gauges);
            #[cfg(feature = "metrics")]
            {
                task.histograms = readings.histograms;
            }
        }
        status
    }

    /// Returns the values of the service's registry, then those of each task's. Runs outside the lock, since gauges may
    /// call user code.
    fn read_registries(&self) -> VecDeque<RegistryReadings> {
        let mut registries = vec![self.registry.clone()];
        self.task_rows(|rows| registries.extend(rows.iter().map(|row| row.info.registry().clone())));
        let meters = registries.iter().flat_map(|registry| {
            let meters = registry.meters().into_iter();
            meters.map(|(key, instrument)| MeterOf { registry: registry.clone(), key, instrument })
        });
        let meters = meters.collect::<Vec<_>>();
        let mut readings = meters.iter().zip(self.asker.read(&meters)).peekable();
        let of_registry = |registry: &Arc<Registry>| {
            let mut shown = RegistryReadings::default();
            while let Some((meter, reading)) = readings.next_if(|(meter, _)| Arc::ptr_eq(&meter.registry, registry)) {
                reading.into_iter().for_each(|reading| shown.take(&meter.key, reading));
            }
            shown
        };
        registries.iter().map(of_registry).collect()
    }
}

impl Inner {
    /// Puts this into the queues of those who follow the phases; returns whom to wake.
    fn tell_phase_watchers(&mut self, change: &PhaseChange) -> Vec<Waker> {
        let mut wakers = Vec::new();
        self.phase_watchers.retain(|watcher| {
            let Some(queue) = watcher.upgrade() else { return false };
            queue.push(change.clone());
            wakers.extend(queue.take_waker());
            true
        });
        wakers
    }
}

/// Waits for this phase, or a later one, and then yields its result.
struct PhaseReached<F> {
    board: Arc<StatusBoard>,
    phase: Phase,
    waiting: Option<u64>,
    then: F,
}

impl<R, F: Fn(&Inner) -> Option<R> + Unpin> Future for PhaseReached<F> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let this = self.get_mut();
        // Cloned and dropped outside the lock, which the supervisor takes, since it is user code.
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

/// A running loop that is asked for heartbeats.
#[derive(Clone, Debug)]
pub(crate) struct AskedLoop {
    pub(crate) id: LoopId,
    pub(crate) incarnation: u32,
    /// The name of its thread.
    pub(crate) thread: Arc<str>,
    pub(crate) shared: Arc<Shared>,
}

fn polling(tasks: &[TaskRow], number: usize) -> String {
    match number.checked_sub(1) {
        None => "its own events".to_owned(),
        Some(task) => tasks.get(task).map_or_else(|| "a job".to_owned(), |task| format!("task {}", task.name)),
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
            exports: self.info.registry().exports(),
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
            #[cfg(feature = "metrics")]
            histograms: BTreeMap::new(),
            children: self.info.children().0,
        }
    }
}

impl LoopRow {
    /// Returns the user code that blocks the loop now, if any. If the thread may block, it counts only if something
    /// waits.
    fn blocked(&self, tasks: &[TaskRow]) -> Option<BlockedLoop> {
        let (number, held) = self.shared.blocked().filter(|_| self.running)?;
        if self.may_block && self.shared.waits() == 0 {
            return None;
        }
        let polling = polling(tasks, number);
        Some(BlockedLoop { name: self.shared.name().to_string(), polling, held: held.as_secs_f64() })
    }

    /// Returns the name of its thread.
    fn thread(&self) -> Arc<str> {
        if self.main_thread { "main".into() } else { self.shared.name().clone() }
    }

    fn status(&self, tasks: &[TaskRow]) -> LoopStatus {
        LoopStatus {
            name: self.shared.name().to_string(),
            kind: self.kind,
            thread: self.thread().to_string(),
            running: self.running,
            blocked: self.blocked(tasks),
            incarnation: self.incarnation,
            depth: self.shared.queue.len(),
            high_water: self.shared.queue.high_water(),
            capacity: self.shared.queue.capacity(),
            jobs: self.shared.jobs(),
            turns: self.shared.turns(),
            dropped: self.shared.dropped(),
            stalls: self.shared.stalls(),
            futures: self.shared.live(),
            #[cfg(feature = "metrics")]
            latency: self.shared.latency().read(),
        }
    }
}
