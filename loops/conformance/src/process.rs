//! The system's figures about this process: threads, descriptors, memory, sleeps.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// A loop that has nothing to do comes to rest within this time, however busy the machine is.
pub(crate) const REST: Duration = Duration::from_secs(3);

fn tasks() -> impl Iterator<Item = PathBuf> {
    fs::read_dir("/proc/self/task").into_iter().flatten().flatten().map(|task| task.path())
}

/// Returns the fields of a thread's line after its name, which is in brackets and may hold anything.
fn fields(task: &Path) -> Option<Vec<String>> {
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// The threads of tests that wait for their turn.
static QUEUED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Marks this thread as one that the test harness has started and that waits for its turn, until this is dropped.
/// The harness may start it at any time, also while another check counts threads.
pub(crate) struct InQueue(PathBuf);

impl InQueue {
    pub(crate) fn enter() -> Self {
        let task = SystemThread::current().task;
        queued().insert(task.clone());
        Self(task)
    }
}

impl Drop for InQueue {
    fn drop(&mut self) {
        queued().remove(&self.0);
    }
}

fn queued() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    QUEUED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the number of this process's threads that have not ended, without those of tests that wait for their turn. A
/// thread that is on its way out counts as gone, as it does for `join`, which returns a moment before the kernel has
/// taken the thread off its list.
pub(crate) fn threads() -> usize {
    const PF_EXITING: u64 = 4;
    let lives = |fields: &Vec<String>| {
        let flags = fields.get(6).and_then(|flags| flags.parse::<u64>().ok());
        flags.is_some_and(|flags| flags & PF_EXITING == 0)
    };
    let all = tasks().collect::<Vec<_>>();
    // After the list: who is on it and not queued yet counts, until the caller looks again.
    let queued = queued().clone();
    all.iter().filter(|task| !queued.contains(*task)).filter_map(|task| fields(task)).filter(lives).count()
}

pub(crate) fn has_thread(name: &str) -> bool {
    tasks().filter_map(|task| fs::read_to_string(task.join("comm")).ok()).any(|comm| comm.trim_end() == name)
}

pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Returns the resident memory of this process, in bytes.
pub(crate) fn resident() -> usize {
    const PAGE: usize = 4096;
    let pages = fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|pages| pages.split_whitespace().nth(1)?.parse::<usize>().ok()).unwrap_or(0) * PAGE
}

fn switches(task: &Path) -> Option<u64> {
    let status = fs::read_to_string(task.join("status")).ok()?;
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    count.trim().parse().ok()
}

/// Returns how often this process's threads, except this one, went to sleep.
pub(crate) fn sleeps() -> u64 {
    let own = own_id();
    let others = tasks().filter(|task| task.file_name().map(ToOwned::to_owned) != own);
    others.filter_map(|task| switches(&task)).sum()
}

/// Returns how long this process's threads, except this one, were busy so far, or would have been had there been a
/// processor for them.
pub(crate) fn busy() -> Duration {
    let own = own_id();
    let others = tasks().filter(|task| task.file_name().map(ToOwned::to_owned) != own);
    let times = others.filter_map(|task| fs::read_to_string(task.join("schedstat")).ok());
    let sum = |times: String| times.split_whitespace().take(2).filter_map(|time| time.parse::<u64>().ok()).sum::<u64>();
    Duration::from_nanos(times.map(sum).sum())
}

fn own_id() -> Option<OsString> {
    fs::read_link("/proc/thread-self").ok()?.file_name().map(ToOwned::to_owned)
}

/// A thread of this process, as the system knows it.
#[derive(Clone, Debug)]
pub(crate) struct SystemThread {
    task: PathBuf,
    has_beat: bool,
}

impl SystemThread {
    pub(crate) fn current() -> Self {
        Self { task: Path::new("/proc/self/task").join(own_id().unwrap_or_default()), has_beat: false }
    }

    /// Sets whether the thread's loop has a beat: such a thread may wake between two looks, and still counts as at
    /// rest.
    pub(crate) fn with(self, beat: Option<Duration>) -> Self {
        Self { has_beat: beat.is_some(), ..self }
    }

    pub(crate) fn id(&self) -> i32 {
        self.task.file_name().and_then(|id| id.to_str()?.parse().ok()).unwrap_or(0)
    }

    /// Waits until the thread sleeps, and has done so for a while, or is gone.
    ///
    /// # Panics
    ///
    /// If it does neither within this time, or within [`REST`] if that is shorter: the check can't continue, and says
    /// so long before the watchdog ends it and all others.
    #[track_caller]
    pub(crate) fn wait_for_rest(&self, long: Duration) {
        let long = long.min(REST);
        assert!(self.comes_to_rest(long), "the loop does not come to rest within {long:?}");
    }

    /// Whether the thread comes to rest within this time.
    pub(crate) fn comes_to_rest(&self, long: Duration) -> bool {
        let begun = Instant::now();
        let mut before = None;
        loop {
            let sleeps = fields(&self.task).is_some_and(|fields| fields.first().is_some_and(|state| state == "S"));
            let now = switches(&self.task);
            if now.is_none() || (sleeps && (now == before || self.has_beat)) {
                return true;
            }
            if begun.elapsed() >= long {
                return false;
            }
            before = now;
            // There is no event for this: the system must be asked again.
            thread::sleep(Duration::from_millis(3));
        }
    }
}
