//! The log's state of a thread: how long it may wait for room, and what it waits for at its end.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use super::queue::{CAPACITY, Part, installed};

/// How long a line may wait for room on a pipe, a terminal or the like.
pub(super) const LINE: Duration = Duration::from_millis(10);
/// How long a thread may wait for room at a stretch. It regains this as it works, a millisecond for each one without a
/// wait; and whenever the sink has since taken as much as the queue holds: such a sink keeps up, so nothing has to be
/// lost.
pub(super) const STRETCH: Duration = Duration::from_millis(100);

thread_local!(static THREAD: Thread = const {
    Thread {
        part: Cell::new(Part::Ordinary),
        muted: Cell::new(false),
        last: Cell::new(0),
        left: Cell::new(STRETCH),
        taken: Cell::new(0),
        waited_at: Cell::new(None),
    }
});

struct Thread {
    part: Cell<Part>,
    muted: Cell<bool>,
    /// The number of its last line, until the thread ends in order.
    last: Cell<u64>,
    left: Cell<Duration>,
    /// How much the sink had taken when the thread began to use that up.
    taken: Cell<usize>,
    /// When it last stopped waiting.
    waited_at: Cell<Option<Instant>>,
}

/// Makes this thread never wait for the log, with a separate part of the queue. For the service's own threads, on which
/// everything else relies.
pub(crate) fn never_wait() {
    let _ = THREAD.try_with(|thread| thread.part.set(Part::Reserved));
}

/// Drops what this thread logs below the level of a warning: lines of a library that nobody wants.
pub(crate) fn mute() {
    let _ = THREAD.try_with(|thread| thread.muted.set(true));
}

/// Whether a line of this level is dropped because this thread is muted.
pub(super) fn mutes(level: log::Level) -> bool {
    level > log::Level::Warn && THREAD.try_with(|thread| thread.muted.get()).unwrap_or(false)
}

/// Declares that this thread is about to end while the process continues: its last lines need no wait.
pub(crate) fn ends_in_order() {
    let _ = THREAD.try_with(|thread| thread.last.set(0));
}

/// Returns this thread's part of the queue.
pub(super) fn part() -> Part {
    THREAD.try_with(|thread| thread.part.get()).unwrap_or(Part::Ordinary)
}

/// Records the number of this thread's last line.
pub(super) fn has_logged(number: u64) {
    let _ = THREAD.try_with(|thread| thread.last.set(number));
}

/// Returns how long this thread may wait for room now, when the sink has taken this much.
pub(super) fn patience(now: Instant, taken: usize) -> Duration {
    let left = THREAD.try_with(|thread| {
        let worked = thread.waited_at.get().map_or(STRETCH, |at| now.saturating_duration_since(at));
        let left = thread.left.get().saturating_add(worked);
        if left >= STRETCH || taken.wrapping_sub(thread.taken.get()) >= CAPACITY {
            thread.taken.set(taken);
            thread.left.set(STRETCH);
        } else {
            thread.left.set(left);
        }
        thread.left.get()
    });
    // A thread whose locals are gone is about to end.
    left.unwrap_or_default()
}

/// Records that this thread has waited for this long.
pub(super) fn has_waited(time: Duration, now: Instant) {
    let _ = THREAD.try_with(|thread| {
        thread.left.set(thread.left.get().saturating_sub(time));
        thread.waited_at.set(Some(now));
    });
}

/// glibc's `exit`, like the end of `main`, runs the destructors of the calling thread: this thread's lines are still
/// written then.
impl Drop for Thread {
    fn drop(&mut self) {
        let last = self.last.get();
        if last > 0
            && self.part.get() == Part::Ordinary
            && let Some(queue) = installed()
        {
            queue.flush_at_end(last);
        }
    }
}
