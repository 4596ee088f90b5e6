//! A number that only goes up, and that many threads add to at once.
//!
//! The first thread to add owns the first cell; others share sixteen more, by their numbers, which are made once there
//! is a second thread. Each cell is on a cache line of its own, and what all threads read, the owner and the place of
//! the cells, is on another, which nobody writes any more.

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// How many cells a counter has that several threads add to.
const CELLS: usize = 16;

/// A number that only goes up. `Clone` gives the same counter; any thread may use it.
///
/// Adding is one atomic add at most, however many threads do it: they add to different cells, and reading sums these.
/// Who reads twice never finds less the second time, but for a [reset](crate::counters::Counters::reset).
///
/// ```
/// let requests = interloop::counters::Counter::default();
/// requests.add(2);
/// assert_eq!(requests.get(), 2);
/// ```
#[derive(Clone, Default)]
pub struct Counter(Arc<Cells>);

/// 384 bytes while one thread adds to it, and 2 KiB more from the second on.
#[derive(Default)]
struct Cells {
    /// The first thread to add: the first cell is its own.
    owner: AtomicUsize,
    /// What is taken off since the last reset.
    base: AtomicU64,
    first: CacheLine,
    others: OnceLock<Box<[CacheLine; CELLS]>>,
}

/// Two lines of 64 bytes: processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct CacheLine(AtomicU64);

impl Counter {
    /// Adds; wraps around at the end.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.add(n);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        // The base first: whoever sees it sees at least what it was taken from.
        let base = self.0.base.load(Ordering::Acquire);
        self.0.sum().wrapping_sub(base)
    }

    /// Begins at 0 again, and says what it was; what others add meanwhile counts from there.
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

    /// Adds without a locked instruction: nobody but the owner writes the first cell, and no two threads have one
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

/// This thread's number, from 1.
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
