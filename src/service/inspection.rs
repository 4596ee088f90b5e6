//! What the thread of a stalled loop is in: its stack, what the kernel says, what the loop's adapter says.
//!
//! All of it is found out by one thread, the inspector: it may block, since the stalled thread may hold any lock of the
//! process, such as that of the allocator or of the dynamic loader. Callers wait for it with a limit. If it doesn't come
//! back, later callers are told so, and no second one is started. It is there while a watch [keeps](Keeper) it, since
//! glibc lets no thread begin while another one loads a library; and otherwise while there is something to inspect.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

#[cfg(all(feature = "stall-stacks", target_os = "linux", target_env = "gnu"))]
use super::stacks;
use crate::{channel::shared::Shared, kit::panics::catch};

/// Whether this program can take stacks.
pub(crate) const HAS_STACKS: bool = cfg!(all(feature = "stall-stacks", target_os = "linux", target_env = "gnu"));

/// How long a caller waits for one step of an inspection.
const STEP: Duration = Duration::from_secs(1);
/// How long a caller waits for the program's symbols to be read: seconds, the first time.
const SYMBOLS: Duration = Duration::from_secs(5);
/// The inspector's own stack: the profiler's report nests deeply.
const ROOM: usize = 16 << 20;

/// The findings about a stalled loop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The functions that the thread is in, the innermost first, or why there are none. `None` without the feature.
    pub(crate) stack: Option<Result<String, String>>,
    /// What the kernel says of the thread.
    pub(crate) kernel: Option<String>,
    /// What the loop's adapter says.
    pub(crate) activity: Option<String>,
}

impl Found {
    /// Returns the stack, if there is one.
    pub(crate) fn into_stack(self) -> Option<String> {
        self.stack?.ok()
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(activity) = &self.activity {
            write!(f, "; it is in {activity}")?;
        }
        match &self.stack {
            Some(Ok(stack)) => return write!(f, "; its stack: {stack}"),
            Some(Err(why)) => write!(f, "; no stack: {why}")?,
            None => {}
        }
        self.kernel.iter().try_for_each(|kernel| write!(f, "; the kernel says: {kernel}"))
    }
}

/// One inspection.
#[derive(Debug)]
pub(crate) struct Inspection {
    shared: Weak<Shared>,
    /// The turn in which the loop was late: once it has taken another one, this is over.
    turn: u64,
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug)]
struct State {
    step: Step,
    since: Instant,
    found: Found,
}

/// What the inspector does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Queued,
    #[cfg(all(feature = "stall-stacks", target_os = "linux", target_env = "gnu"))]
    Stack(stacks::Stage),
    Asking,
    Done,
}

impl Step {
    /// Returns how long a caller waits for it, and what is said if it takes longer.
    fn limit(self) -> (Duration, &'static str) {
        match self {
            Self::Queued => (STEP, "the thread for it does not begin, or has not come back from an earlier one"),
            #[cfg(all(feature = "stall-stacks", target_os = "linux", target_env = "gnu"))]
            Self::Stack(stage) => match stage {
                stacks::Stage::Preparing => {
                    (SYMBOLS, "the profiler does not start, which may need a lock of the thread's")
                }
                stacks::Stage::Sampling => (STEP + STEP / 4, "the thread does not come out of the signal"),
                stacks::Stage::Naming => (SYMBOLS, "the names are not found, which may need a lock of the thread's"),
            },
            Self::Asking => (STEP, "the loop's adapter does not answer"),
            Self::Done => (Duration::ZERO, ""),
        }
    }
}

/// The inspector's work. There is one in a process, as there is one profiler.
static INSPECTOR: Mutex<Inspector> =
    Mutex::new(Inspector { queue: VecDeque::new(), known: Vec::new(), is_there: false, kept: 0, prepares: false });
/// Whether it reads the symbols.
static PREPARING: AtomicBool = AtomicBool::new(false);
/// Tells the inspector that there is work, or that nobody keeps it.
static WORK: Condvar = Condvar::new();

struct Inspector {
    queue: VecDeque<Arc<Inspection>>,
    /// Those whose stall may still last.
    known: Vec<Arc<Inspection>>,
    /// Whether its thread is there.
    is_there: bool,
    /// How many watches keep it.
    kept: usize,
    /// Whether it must read the symbols first.
    prepares: bool,
}

/// Keeps the inspector's thread, until it is dropped.
pub(crate) struct Keeper(());

impl Keeper {
    pub(crate) fn new() -> Self {
        inspector().kept += 1;
        Inspection::serve();
        Self(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        inspector().kept -= 1;
        WORK.notify_all();
    }
}

fn inspector() -> MutexGuard<'static, Inspector> {
    INSPECTOR.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inspection {
    /// Returns the inspection of this loop in this turn, which the inspector begins now unless it has.
    pub(crate) fn begin(shared: &Arc<Shared>, turn: u64) -> Arc<Self> {
        let inspection = Self::of(shared, turn);
        Self::serve();
        inspection
    }

    /// Returns the inspection of this loop in this turn. The caller must [`serve`](Self::serve) elsewhere.
    pub(crate) fn of(shared: &Arc<Shared>, turn: u64) -> Arc<Self> {
        let mut inspector = inspector();
        inspector.known.retain(|known| known.is_current());
        let is_it = |known: &&Arc<Self>| known.turn == turn && std::ptr::eq(known.shared.as_ptr(), Arc::as_ptr(shared));
        if let Some(known) = inspector.known.iter().find(is_it) {
            return known.clone();
        }
        let state = State { step: Step::Queued, since: Instant::now(), found: Found::default() };
        let (state, moved) = (Mutex::new(state), Condvar::new());
        let inspection = Arc::new(Self { shared: Arc::downgrade(shared), turn, state, moved });
        inspector.known.push(inspection.clone());
        inspector.queue.push_back(inspection.clone());
        inspection
    }

    /// Starts the inspector, unless it is there or has nothing to do.
    pub(crate) fn serve() {
        let mut inspector = inspector();
        if inspector.is_there {
            drop(inspector);
            return WORK.notify_all();
        }
        if inspector.queue.is_empty() && inspector.kept == 0 && !inspector.prepares {
            return;
        }
        let spawned = thread::Builder::new().name("inspector".into()).stack_size(ROOM).spawn(run);
        inspector.is_there = spawned.is_ok();
        if let Err(error) = spawned {
            for inspection in std::mem::take(&mut inspector.queue) {
                let why = format!("there is no thread for it: {error}");
                inspection.note(|found| found.stack = HAS_STACKS.then_some(Err(why)));
                inspection.enter(Step::Done);
            }
        }
    }

    /// Has the inspector read the program's symbols, which takes long the first time, before a stack is wanted.
    pub(crate) fn prepare() {
        #[cfg(all(feature = "stall-stacks", target_os = "linux", target_env = "gnu"))]
        if stacks::is_cold() {
            inspector().prepares = true;
            Self::serve();
        }
    }

    fn is_current(&self) -> bool {
        self.shared.upgrade().is_some_and(|shared| shared.turns() == self.turn)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, step: Step) {
        let mut state = self.lock();
        (state.step, state.since) = (step, Instant::now());
        drop(state);
        self.moved.notify_all();
    }

    fn note(&self, note: impl FnOnce(&mut Found)) {
        note(&mut self.lock().found);
    }

    /// Waits for the findings: each step has a second, the reading of symbols five; all together at most this
    /// time. If they take longer, the result says so.
    pub(crate) fn wait(&self, at_most: Duration) -> Found {
        let deadline = Instant::now() + at_most;
        let mut state = self.lock();
        loop {
            if state.step == Step::Done {
                return state.found.clone();
            }
            let now = Instant::now();
            let (limit, what) = state.step.limit();
            let limit = if state.step == Step::Queued && PREPARING.load(Ordering::Relaxed) { SYMBOLS } else { limit };
            let until = deadline.min(state.since + limit);
            if now >= until {
                let mut found = state.found.clone();
                if HAS_STACKS && found.stack.is_none() {
                    let time = now.saturating_duration_since(state.since).as_secs_f64();
                    found.stack = Some(Err(format!("given up after {time:.1} s: {what}")));
                }
                return found;
            }
            let waited = self.moved.wait_timeout(state, until - now);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn inspect(&self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let kernel = kernel(&shared);
        self.note(|found| found.kernel = kernel);
        #[cfg(all(feature = "stall-stacks", target_os = "linux", target_env = "gnu"))]
        {
            let stack = stacks::take(&shared, || shared.turns() == self.turn, |stage| self.enter(Step::Stack(stage)));
            self.note(|found| found.stack = Some(stack));
        }
        let Some(activity) = shared.activity() else { return };
        self.enter(Step::Asking);
        let activity = activity();
        self.note(|found| found.activity = activity);
    }
}

/// The inspector's thread.
fn run() {
    alone();
    let mut inspector = inspector();
    loop {
        if std::mem::take(&mut inspector.prepares) {
            PREPARING.store(true, Ordering::Relaxed);
            drop(inspector);
            #[cfg(all(feature = "stall-stacks", target_os = "linux", target_env = "gnu"))]
            let _ = catch(stacks::warm);
            PREPARING.store(false, Ordering::Relaxed);
            inspector = self::inspector();
            // Their time begins now.
            inspector.queue.iter().for_each(|queued| queued.enter(Step::Queued));
        } else if let Some(inspection) = inspector.queue.pop_front() {
            drop(inspector);
            let _ = catch(|| inspection.inspect());
            inspection.enter(Step::Done);
            inspector = self::inspector();
        } else if inspector.kept > 0 {
            inspector = WORK.wait(inspector).unwrap_or_else(PoisonError::into_inner);
        } else {
            inspector.is_there = false;
            return;
        }
    }
}

/// The inspector never waits for the log, and the profiler's own lines aren't wanted there.
fn alone() {
    #[cfg(feature = "logging")]
    {
        crate::logging::never_wait();
        crate::logging::mute();
    }
}

/// Returns what the kernel says of the thread that drives this loop.
#[cfg(target_os = "linux")]
fn kernel(shared: &Shared) -> Option<String> {
    use crate::kit::proc;

    let tid = shared.driver.with(|driver| driver.tid)??;
    let of = |file: &str| proc::read(format!("/proc/self/task/{tid}/{file}")).ok();
    let call = of("syscall").and_then(|call| call.split_whitespace().next().map(str::to_owned));
    if call.as_deref() == Some("running") {
        return Some("it runs".to_owned());
    }
    let call = call.filter(|call| call.parse::<u32>().is_ok()).map(|number| format!("system call {number}"));
    let place = of("wchan").filter(|place| !place.is_empty() && place != "0");
    let said = call.into_iter().chain(place.map(|place| format!("in {place}"))).collect::<Vec<_>>();
    (!said.is_empty()).then(|| said.join(" "))
}

#[cfg(not(target_os = "linux"))]
fn kernel(_: &Shared) -> Option<String> {
    None
}
