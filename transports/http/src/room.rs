//! Tracks whether a connection's client leaves room for what it is sent, and the state that its waiting requests share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    task::Context,
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use interloop_listen::{LAST_ROOM, Pace, Wait};

/// The room of one connection, which its activity and its requests' lines share.
pub(crate) struct Room {
    pace: Pace,
    /// On HTTP/2: all that will ever come was read.
    all_read: AtomicBool,
    /// The client takes no more of what it is sent, for the moment.
    is_full: AtomicBool,
    wait: Mutex<Wait>,
    /// The client has left no room at times, and hasn't made up for it yet.
    is_behind: AtomicBool,
    began: Instant,
    /// For how long there was no room in total, and since when there is none: in nanoseconds, the latter from `began`.
    full: AtomicU64,
    full_since: AtomicU64,
    /// The number of HTTP/2 answers of which the client could take more.
    answers: AtomicU32,
    /// The connection's timer is set, so that a new wait will be checked.
    is_watched: AtomicBool,
    /// Something waits, or is found to be too late, that the timer isn't set for.
    look: AtomicBool,
    look_now: AtomicBool,
    task: AtomicWaker,
    is_last: AtomicBool,
}

/// No time.
const NEVER: u64 = u64::MAX;

fn nanos(time: Instant, since: Instant) -> u64 {
    u64::try_from(time.saturating_duration_since(since).as_nanos()).unwrap_or(NEVER - 1)
}

impl Room {
    pub(crate) fn new(pace: Pace) -> Arc<Self> {
        Arc::new(Self {
            pace,
            all_read: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            wait: Mutex::new(Wait::new(pace)),
            is_behind: AtomicBool::new(false),
            began: Instant::now(),
            full: AtomicU64::new(0),
            full_since: AtomicU64::new(NEVER),
            answers: AtomicU32::new(0),
            is_watched: AtomicBool::new(false),
            look: AtomicBool::new(false),
            look_now: AtomicBool::new(false),
            task: AtomicWaker::new(),
            is_last: AtomicBool::new(false),
        })
    }

    fn wait(&self) -> MutexGuard<'_, Wait> {
        self.wait.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the minimum rate of the client.
    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// Notes that the end was read, on HTTP/2. Returns whether that is news.
    pub(crate) fn has_read_all(&self) -> bool {
        !self.all_read.swap(true, AcqRel)
    }

    /// Returns whether nothing more comes, on HTTP/2. Usable from any thread.
    #[inline]
    pub(crate) fn is_all_read(&self) -> bool {
        self.all_read.load(Acquire)
    }

    /// Notes that something begins to wait for the client.
    pub(crate) fn wait_begins(&self) {
        if !self.is_watched.load(Relaxed) && !self.look.swap(true, Relaxed) {
            self.task.wake();
        }
    }

    /// Notes that something is too late.
    pub(crate) fn look_now(&self) {
        self.look_now.store(true, Relaxed);
        self.task.wake();
    }

    /// Registers the task that polls the connection from now on.
    pub(crate) fn is_polled_by(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
    }

    /// Returns whether the timer must be set for new waits: `Some(true)` if one is too late already.
    #[inline]
    pub(crate) fn wants_look(&self) -> Option<bool> {
        let now = self.look_now.load(Relaxed) && self.look_now.swap(false, Relaxed);
        let look = self.look.load(Relaxed) && self.look.swap(false, Relaxed);
        (now || look).then_some(now)
    }

    /// Sets whether a new wait will be checked.
    pub(crate) fn set_watched(&self, watched: bool) {
        self.is_watched.store(watched, Relaxed);
    }

    pub(crate) fn answer_begins(&self) {
        self.answers.fetch_add(1, Relaxed);
        self.wait_begins();
    }

    pub(crate) fn answer_ends(&self) {
        self.answers.fetch_sub(1, Relaxed);
    }

    pub(crate) fn answers(&self) -> u32 {
        self.answers.load(Relaxed)
    }

    /// Returns the time by a clock that stands still while the client leaves no room at all.
    pub(crate) fn time_with_room(&self) -> Instant {
        let now = Instant::now();
        let mut full = self.full.load(Relaxed);
        let since = self.full_since.load(Relaxed);
        if since != NEVER {
            full += nanos(now, self.began).saturating_sub(since);
        }
        now.checked_sub(Duration::from_nanos(full)).unwrap_or(now)
    }

    /// Notes that this many bytes were written, or None if the client leaves no room. Returns whether that is news.
    #[inline]
    pub(crate) fn has_written(&self, bytes: Option<usize>) -> bool {
        let was_full = self.is_full.load(Relaxed);
        // The usual case.
        if bytes.is_some() && !was_full && !self.is_behind.load(Relaxed) {
            return false;
        }
        self.has_written_behind(bytes, was_full)
    }

    /// Works as [`has_written`](Self::has_written), for a client that leaves no room now or left none before.
    fn has_written_behind(&self, bytes: Option<usize>, was_full: bool) -> bool {
        match bytes {
            None if was_full => false,
            None => {
                let now = Instant::now();
                self.wait().begin(now);
                self.full_since.store(nanos(now, self.began), Relaxed);
                self.is_full.store(true, Relaxed);
                self.is_behind.store(true, Relaxed);
                self.wait_begins();
                true
            }
            Some(bytes) => {
                let now = Instant::now();
                let mut wait = self.wait();
                wait.moved(bytes as u64, now);
                wait.end(now);
                self.is_behind.store(!wait.is_even(), Relaxed);
                if was_full {
                    let since = self.full_since.swap(NEVER, Relaxed);
                    self.full.fetch_add(nanos(now, self.began).saturating_sub(since), Relaxed);
                    self.is_full.store(false, Relaxed);
                }
                was_full
            }
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Relaxed)
    }

    /// Returns how long the client may still leave no room: None if there is some.
    pub(crate) fn rest_of_room(&self, now: Instant) -> Option<Duration> {
        if self.is_full.load(Relaxed) { self.wait().rest(now) } else { None }
    }

    /// Shortens the wait for room, since the server stops.
    pub(crate) fn hurry(&self, now: Instant) {
        self.is_last.store(true, Relaxed);
        self.wait().hurry(LAST_ROOM, now);
    }

    #[inline]
    pub(crate) fn is_last(&self) -> bool {
        self.is_last.load(Relaxed)
    }
}
