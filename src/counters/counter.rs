//! A number that only goes up, and to which many threads add at once.
//!
//! The first thread to add owns the first cell; others share sixteen more, by their numbers. These are created once
//! there is a second thread. Each cell has its own cache line. The fields that all threads read, the owner and the
//! place of the cells, are on another line, which no thread writes any more.

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// How many cells a counter has for threads other than the first.
const CELLS: usize = 16;

/// A number that only goes up; clones are the same counter, usable from any thread.
///
/// Adding takes at most one atomic add, however many threads add: they add to different cells, and a read sums the
/// cells. A later read by the same thread never returns less, except after a [reset](crate::counters::Counters::reset).
///
/// ```
/// let requests = interloop::counters::Counter::default();
/// requests.add(2);
/// assert_eq!(requests.get(), 2);
/// ```
#[derive(Clone, Default)]
pub struct Counter(Arc<Cells>);

/// 384 bytes while one thread adds, and 2 KiB more from the second thread on.
#[derive(Default)]
struct Cells {
    /// The first thread to add, which owns the first cell.
    owner: AtomicUsize,
    /// The amount subtracted since the last reset.
    base: AtomicU64,
    first: CacheLine,
    others: OnceLock<Box<[CacheLine; CELLS]>>,
}

/// Two lines of 64 bytes: processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct CacheLine(AtomicU64);

impl Counter {
    /// Adds a number; wraps around on overflow.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.add(n);
    }

    /// Returns the present number.
    pub fn get(&self) -> u64 {
        // The base first: a thread that sees the base sees at least the count that it was taken from.
        let base = self.0.base.load(Ordering::Acquire);
        self.0.sum().wrapping_sub(base)
    }

    /// Restarts at 0, and returns the previous number; concurrent additions count from there.
    pub(crate) fn reset(&self) -> u64 {
        let sum = self.0.sum();
        sum.wrapping_sub(self.0.base.swap(sum, Ordering::AcqRel))
    }
}

impl Cells {
    #[inline]
    fn add(&self, n: u64) {
        let thread = thread();
        if self.owner.load(Ordering::Relaxed) == thread {
            self.add_as_owner(n);
        } else {
            self.add_as_other(n, thread);
        }
    }

    /// Adds without a locked instruction: only the owner writes the first cell, and no two threads have the same
    /// number.
    fn add_as_owner(&self, n: u64) {
        let before = self.first.0.load(Ordering::Relaxed);
        self.first.0.store(before.wrapping_add(n), Ordering::Relaxed);
    }

    #[inline(never)]
    fn add_as_other(&self, n: u64, thread: usize) {
        let becomes_owner = self.owner.load(Ordering::Relaxed) == 0
            && self.owner.compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if becomes_owner {
            return self.add_as_owner(n);
        }
        self.others.get_or_init(Box::default)[thread % CELLS].0.fetch_add(n, Ordering::Relaxed);
    }

    fn sum(&self) -> u64 {
        let others = self.others.get().into_iter().flat_map(|cells| cells.iter());
        others.fold(self.first.0.load(Ordering::Relaxed), |sum, cell| sum.wrapping_add(cell.0.load(Ordering::Relaxed)))
    }
}

/// Returns this thread's number, from 1.
#[inline]
fn thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    thread_local!(static NUMBER: Cell<usize> = const { Cell::new(0) });
    match NUMBER.get() {
        0 => {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            NUMBER.set(number);
            number
        }
        number => number,
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.get()).finish()
    }
}
