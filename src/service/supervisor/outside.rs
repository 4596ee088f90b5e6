//! The work that another thread does for the supervisor, because it runs user code, which may block forever or
//! panic.
//!
//! The supervisor keeps every deadline of the service, so it waits for nothing. On its own thread it only changes our
//! own state under our own locks. Everything that follows from such a change and runs user code is a *deed*, and
//! goes, in order, to a second thread, the hand:
//!
//! | what the supervisor wants | what it does itself | what is a deed, in which lane |
//! |---|---|---|
//! | a line in the log | makes its text | the logger's call: [`Lane::Log`] |
//! | a loop to start | notes the deadline | `Clone` of the plan, the options in force, the thread: [`Lane::Loop`] |
//! | a task to start, a loop to stop or die | pushes the job, raises the flag or closes | the notify: [`Lane::Loop`] |
//! | a task, or the service, to stop | latches the [`Shutdown`](crate::Shutdown) | each waker: [`Lane::Alone`] |
//! | a task's futures to be cancelled | marks them | each waker: [`Lane::Alone`] |
//! | waiters for a loop or an ended task to be told | takes the list | each reply, each handle: [`Lane::Alone`] |
//! | transitions and phases to be seen | writes them to the board and watchers' queues | each waker: [`Lane::Alone`] |
//! | remains of tasks and loops to be dropped | lets go of them | each `Drop`: [`Lane::Alone`] |
//! | the status in the log, a reload | nothing | a thread for it: [`Lane::Alone`] |
//!
//! Some locks are taken by both threads: the board's, a watcher's queue's, the list of a shutdown's waiters, a task's
//! members, a mailbox's lists, the fake clock's, and that of the state in this module. No user code runs under them
//! either: a waker, for example, is cloned before and dropped after.
//!
//! Invariants:
//! 1. Deeds of one lane are done in order, one at a time. Each deed in [`Lane::Alone`] has its own lane.
//! 2. One hand serves all lanes. A deed that holds it for [`PATIENCE`] while others wait, or for [`STUCK`], keeps its
//!    thread: the thread is left behind with its lane, and a new hand serves the others. So a stuck log costs the
//!    others one short wait, not one for each line.
//! 3. A thread that was left behind continues with its lane when it comes back, until the lane is empty; then the lane
//!    belongs to the hand again.
//! 4. A deed that holds a thread for [`STUCK`] is named: in the log, by a warning of the service, and, if it never
//!    comes back, in the report.
//! 5. At most [`MOST_LEFT`] threads are left behind; at that limit, deeds wait until one comes back, and the service
//!    ends by its deadlines.
//!
//! The supervisor watches the hands, and looks at them as long as there is work; no hand wakes up for that.

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use log::Level;

use super::farewell;
use crate::{
    channel::shared::Deed,
    control::status_board::StatusBoard,
    kit::{clock::Busy, panics::catch},
    lifecycle::LoopId,
    service::LeftBehind,
    words::state::Seconds,
};

/// How long other deeds wait for one.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);
/// How long a deed may take before it is named.
pub(super) const STUCK: Duration = Duration::from_millis(500);
/// How long a panic waits for its line to be written.
const LINE: Duration = Duration::from_millis(10);
/// How long the supervisor may take to hear of the end of a task that has panicked.
const FRESH: Duration = Duration::from_secs(1);
/// How many of the panics that the panic hook has logged are kept.
const MOST_PANICS: usize = 32;
/// How many threads are left behind at most.
const MOST_LEFT: usize = 32;
/// How many bytes of lines wait for a stuck log; further lines are counted.
const MOST_LINES: usize = 256 * 1024;

thread_local! {
    /// The lane that this thread serves now, if it is a hand.
    static HAND: Cell<Option<Lane>> = const { Cell::new(None) };
}

/// Deeds of one lane run one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    Log,
    Loop(LoopId),
    /// Each deed has its own lane.
    Alone,
}

/// The name of a deed: `the notify of loop io`.
#[derive(Clone)]
pub(super) struct Label {
    what: &'static str,
    of: Option<Arc<str>>,
}

impl Label {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, of: None }
    }

    /// Returns a label of this kind; `name` follows it.
    pub(super) fn of(what: &'static str, name: &Arc<str>) -> Self {
        Self { what, of: Some(name.clone()) }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        self.of.iter().try_for_each(|name| write!(f, " {name}"))
    }
}

struct Item {
    lane: Lane,
    label: Label,
    deed: Deed,
    /// How many bytes of log lines it counts for.
    bytes: usize,
    busy: Busy,
}

/// A handle to the hands; clones share them.
#[derive(Clone)]
pub(crate) struct Outside(Arc<Shared>);

struct Shared {
    board: Arc<StatusBoard>,
    state: Mutex<State>,
    /// The panics that the panic hook has logged lately: whose, and with what message.
    logged: Mutex<VecDeque<LoggedPanic>>,
    /// Tells the hand that there is work, or that it must end.
    work: Condvar,
    /// Tells waiters that all work is done.
    rests: Condvar,
}

/// A panic that the panic hook has logged.
struct LoggedPanic {
    of: String,
    said: String,
    at: Instant,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Item>,
    /// Deeds that wait behind threads that were left behind.
    behind: HashMap<Lane, VecDeque<Item>>,
    /// The hand's current deed.
    at: Option<At>,
    left: Vec<At>,
    /// The bytes of lines that wait behind a stuck log, and the number of lines that found no room.
    bytes: usize,
    lost: usize,
    /// The hand's number; 0 if there is none.
    hand: u64,
    last: u64,
    /// Whether the hand waits for work.
    idle: bool,
    /// Whether a caller waits for all work to be done.
    awaited: bool,
    closed: bool,
    threads: HashMap<u64, JoinHandle<()>>,
    gone: Vec<u64>,
}

/// A deed in progress.
struct At {
    thread: u64,
    lane: Lane,
    label: Label,
    since: Instant,
    named: bool,
}

impl Outside {
    pub(crate) fn new(board: Arc<StatusBoard>) -> Self {
        let (state, work, rests) = (Mutex::default(), Condvar::new(), Condvar::new());
        Self(Arc::new(Shared { board, state, logged: Mutex::default(), work, rests }))
    }

    /// Starts the hand; deeds pushed before wait for it.
    pub(crate) fn start(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        self.0.make_hand(&mut state)
    }

    /// Has this deed done.
    pub(super) fn push(&self, lane: Lane, label: Label, deed: impl FnOnce() + Send + 'static) {
        self.put(lane, label, Box::new(deed), 0);
    }

    /// Has each of these deeds done, independently.
    pub(super) fn push_all<D: FnOnce() + Send + 'static>(&self, label: &Label, deeds: impl IntoIterator<Item = D>) {
        deeds.into_iter().for_each(|deed| self.push(Lane::Alone, label.clone(), deed));
    }

    /// Wakes each of these wakers.
    pub(super) fn wake(&self, label: &Label, wakers: impl IntoIterator<Item = std::task::Waker>) {
        self.push_all(label, wakers.into_iter().map(|waker| move || waker.wake()));
    }

    /// Writes a line to the log. Its text is made immediately, if the level is enabled.
    pub(crate) fn log(&self, level: Level, target: &str, text: impl FnOnce() -> String) {
        if level > log::STATIC_MAX_LEVEL || level > log::max_level() {
            return;
        }
        let (target, text) = (target.to_owned(), text());
        let bytes = target.len() + text.len();
        let deed = move || log::log!(target: &target, level, "{text}");
        self.put(Lane::Log, Label::new("the log"), Box::new(deed), bytes);
    }

    /// Writes a panic's message from within the panic hook; returns whether it will be in the log. The caller waits for
    /// it, so that it is written if the process aborts, and before its thread's next line. The wait is short: the
    /// logger may need a lock that this thread holds.
    pub(crate) fn log_panic(&self, target: &str, text: impl FnOnce() -> String) -> bool {
        let at_the_log = HAND.try_with(|hand| hand.get() == Some(Lane::Log)).unwrap_or(true);
        // A logger that panics at each line would otherwise be told of it forever.
        if at_the_log || Level::Error > log::STATIC_MAX_LEVEL || Level::Error > log::max_level() {
            return false;
        }
        let (told, tells) = mpsc::channel::<()>();
        let (target, text) = (target.to_owned(), text());
        let bytes = target.len() + text.len();
        let deed = move || {
            let _told = told;
            log::error!(target: &target, "{text}");
        };
        let item = self.item(Lane::Log, Label::new("the log"), Box::new(deed), bytes);
        let mut state = self.0.lock();
        if state.closed {
            return false;
        }
        let put = state.put(item);
        drop(state);
        put.told(&self.0.work);
        if HAND.try_with(Cell::get).is_ok_and(|hand| hand.is_none()) {
            let _ = tells.recv_timeout(if cfg!(panic = "abort") { STUCK } else { LINE });
        }
        true
    }

    /// Records that the panic hook has logged a panic of this, `task http` or `loop io`, with its location.
    pub(crate) fn note_panic(&self, of: String, said: &str) {
        let mut logged = self.logged();
        // Panics that the task itself has caught are never asked for.
        if logged.len() == MOST_PANICS {
            logged.pop_front();
        }
        logged.push_back(LoggedPanic { of, said: said.to_owned(), at: Instant::now() });
    }

    /// Returns, once, whether this panic with this message is already in the log.
    pub(super) fn take_panic_of(&self, of: &str, said: &str) -> bool {
        self.take_panic(|panic| panic.of == of && panic.said == said)
    }

    /// Returns, once, whether this is the error of a call or a thread whose panic is already in the log.
    pub(super) fn take_panic_in(&self, error: &str) -> bool {
        self.take_panic(|panic| error.strip_suffix(&*panic.said).is_some_and(|text| text.ends_with("panicked: ")))
    }

    fn take_panic(&self, is_meant: impl Fn(&LoggedPanic) -> bool) -> bool {
        let mut logged = self.logged();
        let found = logged.iter().position(is_meant);
        found.is_some_and(|found| logged.remove(found).is_some())
    }

    /// Whether the log shows a recent panic of a task that the supervisor has not heard of yet.
    pub(super) fn has_fresh_panic_of_task(&self) -> bool {
        self.logged().iter().any(|panic| panic.of.starts_with("task ") && panic.at.elapsed() < FRESH)
    }

    fn logged(&self) -> MutexGuard<'_, VecDeque<LoggedPanic>> {
        self.0.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the logger write its buffered lines.
    pub(super) fn flush(&self) {
        self.push(Lane::Log, Label::new("the log"), || log::logger().flush());
    }

    fn item(&self, lane: Lane, label: Label, deed: Deed, bytes: usize) -> Item {
        Item { lane, label, deed, bytes, busy: self.0.board.clock().busy() }
    }

    fn put(&self, lane: Lane, label: Label, deed: Deed, bytes: usize) {
        let item = self.item(lane, label, deed, bytes);
        // Without the lock: the hand that this wakes needs it.
        let put = self.0.lock().put(item);
        put.told(&self.0.work);
    }

    /// Checks on the hands; returns when to check again, if there is work left.
    pub(super) fn look(&self) -> Option<Instant> {
        self.0.look(&mut self.0.lock(), Instant::now())
    }

    /// Returns what this loop's lane is stuck in, if it is.
    pub(super) fn stuck_in(&self, id: LoopId) -> Option<(String, Duration)> {
        let state = self.0.lock();
        let mut at = state.left.iter().chain(&state.at).filter(|at| at.lane == Lane::Loop(id));
        at.find(|at| at.since.elapsed() >= PATIENCE).map(|at| (at.label.to_string(), at.since.elapsed()))
    }

    /// Waits until all work is done, except for stuck deeds, or until the deadline.
    pub(super) fn settle(&self, deadline: Instant) {
        let mut state = self.0.lock();
        loop {
            let now = Instant::now();
            let next = self.0.look(&mut state, now);
            if now >= deadline || (state.is_at_rest() && state.left.iter().all(|at| at.named)) {
                return;
            }
            state = self.0.wait(state, next, deadline);
        }
    }

    /// Returns the deeds that have not come back.
    pub(super) fn left_behind(&self) -> Vec<LeftBehind> {
        let state = self.0.lock();
        state.left.iter().chain(&state.at).map(|at| state.left_behind(at)).collect()
    }

    /// Closes the hands: no deed follows those that are queued. Waits until the deadline for the hand to end, and for
    /// threads that were left behind but aren't stuck.
    pub(super) fn close(&self, deadline: Instant) {
        let mut state = self.0.lock();
        state.closed = true;
        self.0.work.notify_all();
        while state.has_threads() {
            let now = Instant::now();
            if now >= deadline {
                return;
            }
            let next = self.0.look(&mut state, now);
            state = self.0.wait(state, next, deadline);
        }
        let gone = std::mem::take(&mut state.gone);
        let threads = gone.iter().filter_map(|id| state.threads.remove(id)).collect::<Vec<_>>();
        drop(state);
        // Their destructors have run: they only have to end.
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// The result of storing an item.
#[must_use = "the hand is to be told"]
struct Put {
    /// A refused item, which can only be a line: its text is ours.
    refused: Option<Item>,
    wakes: bool,
}

impl Put {
    /// Wakes the hand if it waits for work; drops a refused item.
    fn told(self, work: &Condvar) {
        if self.wakes {
            work.notify_one();
        }
        drop(self.refused);
    }
}

impl State {
    /// Stores an item; returns it if it is a line for which there is no room.
    fn put(&mut self, item: Item) -> Put {
        let Some(behind) = self.behind.get_mut(&item.lane) else {
            self.queue.push_back(item);
            return Put { refused: None, wakes: std::mem::take(&mut self.idle) };
        };
        if item.bytes > 0 && self.bytes + item.bytes > MOST_LINES {
            self.lost += 1;
            return Put { refused: Some(item), wakes: false };
        }
        self.bytes += item.bytes;
        behind.push_back(item);
        Put { refused: None, wakes: false }
    }

    /// Whether there are threads that will end soon.
    fn has_threads(&self) -> bool {
        let is_stuck = |id: &u64| self.left.iter().any(|at| at.named && at.thread == *id);
        self.threads.keys().any(|id| !self.gone.contains(id) && !is_stuck(id))
    }

    fn is_at_rest(&self) -> bool {
        self.queue.is_empty() && self.at.is_none()
    }

    /// Describes a stuck deed and the deeds that it holds up.
    fn left_behind(&self, at: &At) -> LeftBehind {
        let lines = self.behind.get(&Lane::Log).map_or(0, VecDeque::len) + self.lost;
        let what = match at.lane {
            Lane::Log if lines > 0 => format!("{} (and {lines} lines)", at.label),
            _ => at.label.to_string(),
        };
        LeftBehind::new(what, at.since.elapsed())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for all work to be done, for the next check, or for the deadline.
    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        next: Option<Instant>,
        deadline: Instant,
    ) -> MutexGuard<'a, State> {
        state.awaited = true;
        let until = next.map_or(deadline, |next| next.min(deadline));
        let rest = until.saturating_duration_since(Instant::now());
        self.rests.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0
    }

    fn tell_rest(&self, state: &mut State) {
        if std::mem::take(&mut state.awaited) {
            self.rests.notify_all();
        }
    }

    fn make_hand(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let (id, shared) = (state.last + 1, self.clone());
        let serve = move || {
            // This thread logs on behalf of the supervisor.
            #[cfg(feature = "logging")]
            crate::logging::never_wait();
            let ends = shared.clone();
            farewell::at_the_end_of_this_thread(move || {
                let mut state = ends.lock();
                state.gone.push(id);
                ends.tell_rest(&mut state);
            });
            shared.serve(id);
        };
        let thread = thread::Builder::new().name("outside".into()).spawn(serve)?;
        (state.hand, state.last) = (id, id);
        state.threads.insert(id, thread);
        Ok(())
    }

    /// Checks on the hands, on any thread: see [`Outside::look`].
    fn look(self: &Arc<Self>, state: &mut State, now: Instant) -> Option<Instant> {
        let held = |at: &At| now.saturating_duration_since(at.since);
        let waits = !state.queue.is_empty();
        let has_room = state.left.len() < MOST_LEFT;
        let late = |at: &mut At| held(at) >= STUCK || (waits && held(at) >= PATIENCE);
        if has_room && let Some(at) = state.at.take_if(late) {
            if at.lane != Lane::Alone {
                let queue = std::mem::take(&mut state.queue);
                let (behind, others): (VecDeque<_>, _) = queue.into_iter().partition(|item| item.lane == at.lane);
                state.bytes += behind.iter().map(|item| item.bytes).sum::<usize>();
                state.behind.insert(at.lane, behind);
                state.queue = others;
            }
            state.left.push(at);
            state.hand = 0;
        }
        if state.hand == 0 && !(state.closed && state.queue.is_empty()) {
            // If no thread can be started, the next check tries again.
            let _ = self.make_hand(state);
        }
        let unnamed = state.left.iter_mut().filter(|at| !at.named && held(at) >= STUCK);
        let stuck = unnamed.map(|at| {
            at.named = true;
            (at.lane, at.label.clone())
        });
        for (lane, label) in stuck.collect::<Vec<_>>() {
            let why =
                format!("it has not come back within {}: its thread is left behind, others go on", Seconds(STUCK));
            self.board.registry().warn(&label.to_string(), why.clone());
            // Problems of the log can't be logged.
            if lane != Lane::Log {
                self.say(state, Level::Warn, format!("{label}: {why}"));
            }
        }
        let naming = state.left.iter().filter(|at| !at.named).map(|at| at.since + STUCK).min();
        let helping = match &state.at {
            Some(at) if state.left.len() < MOST_LEFT => {
                Some(at.since + if held(at) < PATIENCE { PATIENCE } else { STUCK })
            }
            Some(_) => None,
            None if state.queue.is_empty() => None,
            // The hand is about to take it.
            None => Some(now + PATIENCE),
        };
        naming.into_iter().chain(helping).min()
    }

    /// Writes a line about these threads to the log.
    fn say(&self, state: &mut State, level: Level, text: String) {
        let (target, bytes) = (self.board.name().clone(), text.len());
        let deed = move || log::log!(target: &target, level, "{text}");
        let busy = self.board.clock().busy();
        let item = Item { lane: Lane::Log, label: Label::new("the log"), deed: Box::new(deed), bytes, busy };
        // If there is no room, it is counted.
        state.put(item).told(&self.work);
    }

    /// Runs a hand: does the deeds in order; once it was left behind, only those of its lane.
    fn serve(self: &Arc<Self>, id: u64) {
        let mut own = None;
        let mut state = self.lock();
        loop {
            let item = match &own {
                None => state.queue.pop_front(),
                Some(lane) => state.behind.get_mut(lane).and_then(VecDeque::pop_front),
            };
            let Some(Item { lane, label, deed, bytes, busy }) = item else {
                if let Some(lane) = own {
                    return self.rejoin(&mut state, id, lane);
                }
                self.tell_rest(&mut state);
                if state.closed {
                    return;
                }
                state.idle = true;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let at = At { thread: id, lane, label: label.clone(), since: Instant::now(), named: false };
            match state.left.iter_mut().find(|at| at.thread == id) {
                Some(left) => {
                    *left = at;
                    state.bytes -= bytes;
                }
                None => state.at = Some(at),
            }
            drop(state);
            let _ = HAND.try_with(|hand| hand.set(Some(lane)));
            let done = catch(deed);
            state = self.lock();
            let in_charge = state.at.take_if(|at| at.thread == id).is_some();
            if !in_charge {
                self.come_back(&mut state, id);
            }
            if let Err(panic) = done {
                self.name_panic(&mut state, lane, &label, &panic);
            }
            busy.end();
            if in_charge {
                continue;
            }
            own = Some(lane);
            if lane == Lane::Alone {
                return self.rejoin(&mut state, id, lane);
            }
        }
    }

    /// Handles a deed that is done and whose thread had been left behind.
    fn come_back(&self, state: &mut State, id: u64) {
        let Some(at) = state.left.iter_mut().find(|at| at.thread == id) else { return };
        if std::mem::take(&mut at.named) {
            let (label, held) = (at.label.to_string(), at.since.elapsed());
            if !state.left.iter().any(|at| at.named && at.label.to_string() == label) {
                self.board.registry().clear_warning(&label);
            }
            self.say(state, Level::Info, format!("{label}: it has come back after {}", Seconds(held)));
        }
    }

    /// Returns the empty lane of a thread that was left behind to the hand.
    fn rejoin(self: &Arc<Self>, state: &mut State, id: u64, lane: Lane) {
        state.left.retain(|at| at.thread != id);
        state.behind.remove(&lane);
        let lost = if lane == Lane::Log { std::mem::take(&mut state.lost) } else { 0 };
        if lost > 0 {
            self.say(state, Level::Warn, format!("{lost} lines of the service were lost while the log was stuck"));
        }
        // Deeds that lacked a thread may have one now.
        self.look(state, Instant::now());
        self.tell_rest(state);
    }

    fn name_panic(&self, state: &mut State, lane: Lane, label: &Label, panic: &str) {
        if lane == Lane::Log {
            self.board.registry().warn(&label.to_string(), format!("it panicked: {panic}"));
        } else {
            self.say(state, Level::Error, format!("{label} panicked: {panic}"));
        }
    }
}
