//! The cross-loop queue and the wake protocol, which the loom models check.
//!
//! A poster pushes, then rings: `full_fence(); if !rung.load() && !rung.swap(true) { notify() }`. A turn takes items
//! one by one; only when it saw the queue empty does it lower the flag, `rung.swap(false); full_fence()`, and then it
//! checks once more. Invariants:
//!
//! 1. An item in the queue, or a raised flag, implies `rung`, or a turn that will check again before it rests. A poster
//!    that finds `rung` true may rely on this: the turn that lowers the flag checks after that.
//! 2. One of the two fences comes first. If it is the poster's, the last check, behind the other, finds the item. If it
//!    is the lowering's, the poster, behind its own, finds the flag down, or raised since by another thread, which has
//!    notified. The flag is changed only by swaps, each of which builds on the previous one; they need no ordering
//!    beside the fences, and either fence alone is not enough. In a flood the flag is up, and posters only read it: if
//!    each swapped, they would tear its cache line from each other.
//! 3. [`Bell::set_notify`] always raises the flag and notifies, even if the flag is up: that notification may have gone
//!    to the previous notify.
//! 4. A notify that panics may have woken nothing: the [registered listener](Bell::on_panic) has it called again, and
//!    the flag stays up. Without a listener, the flag goes down: the next poster notifies again.
//! 5. A poster may find a loop that is blocked, even if it is the first to ring: a loop that sleeps looks the same.
//!    [`Bell::on_busy`] reports the first poster, then none until [`Bell::heed`]: whether the loop is blocked shows
//!    only later, and a flood costs one more look at the flag's cache line.
//! 6. Accepting or returning an item is one atomic step with [`Queue::close`].

use std::{
    fmt, mem,
    sync::{Arc, OnceLock},
    time::Duration,
};

use concurrent_queue::{ConcurrentQueue, PushError};

use crate::kit::{
    clock::clock,
    panics::catch,
    sync::{AtomicBool, AtomicU8, Mutex, Ordering, figure, full_fence, lock},
};

/// Wakes the loop from any thread.
pub(crate) type Notify = Arc<dyn Fn() + Send + Sync>;
/// Called with the message of a notify that panicked.
type OnPanic = Box<dyn Fn(String) + Send + Sync>;
/// Called when a poster has given the loop something to do.
type OnBusy = Box<dyn Fn() + Send + Sync>;

/// The flag and the notify of the wake protocol. It has its own cache lines: posters write it, and a turn reads the
/// fields beside it before each job.
#[repr(align(128))]
pub(crate) struct Bell {
    rung: AtomicBool,
    /// When it was rung, by [`clock`] in nanoseconds, for the latency; 0 if unknown. This is only a figure: two threads
    /// that ring at once may mix up their times.
    #[cfg(feature = "metrics")]
    rung_at: figure::AtomicU64,
    notify: Mutex<Option<Notify>>,
    /// How many threads are in the notify, and since when there is one, by [`clock`] in nanoseconds.
    inside: figure::AtomicUsize,
    inside_since: figure::AtomicU64,
    on_panic: OnceLock<OnPanic>,
    /// Whether a poster was reported.
    told: figure::AtomicBool,
    on_busy: OnceLock<OnBusy>,
}

impl Bell {
    fn new() -> Self {
        Self {
            rung: AtomicBool::new(false),
            #[cfg(feature = "metrics")]
            rung_at: figure::AtomicU64::new(0),
            notify: Mutex::new(None),
            inside: figure::AtomicUsize::new(0),
            inside_since: figure::AtomicU64::new(0),
            on_panic: OnceLock::new(),
            told: figure::AtomicBool::new(false),
            on_busy: OnceLock::new(),
        }
    }

    /// Wakes the loop, unless it has been woken already; called after something was made visible to it.
    pub(crate) fn ring(&self) {
        full_fence();
        if self.rung.load(Ordering::Relaxed) {
            return;
        }
        // Before the flag goes up, so that a turn that finds it up finds a time. Next to the notify that follows it
        // costs little.
        #[cfg(feature = "metrics")]
        self.rung_at.store(clock().as_nanos() as u64, Ordering::Relaxed);
        if !self.rung.swap(true, Ordering::Relaxed) {
            self.notify();
        }
    }

    /// Rings as [`ring`](Self::ring) does, for an item that a caller waits for, and reports it.
    fn ring_for_item(&self) {
        self.ring();
        if !self.told.load(Ordering::Relaxed) {
            self.found_busy();
        }
    }

    #[cold]
    fn found_busy(&self) {
        if let Some(tell) = self.on_busy.get()
            && !self.told.swap(true, Ordering::Relaxed)
        {
            tell();
        }
    }

    /// Sets the closure that is called, once, when something was posted. The first closure stays.
    pub(crate) fn on_busy(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_busy.set(Box::new(tell));
    }

    /// Has the next poster reported again.
    pub(crate) fn heed(&self) {
        self.told.store(false, Ordering::Relaxed);
    }

    /// Returns, once, when it was rung, for the turn that begins now.
    #[cfg(feature = "metrics")]
    pub(crate) fn rung_at(&self) -> Option<Duration> {
        // If the flag is down, the time is from a poster that came too late to raise it.
        let at = if self.is_rung() { self.rung_at.load(Ordering::Relaxed) } else { 0 };
        if at == 0 {
            return None;
        }
        self.rung_at.store(0, Ordering::Relaxed);
        Some(Duration::from_nanos(at))
    }

    /// Whether a turn is due.
    pub(crate) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }

    /// Lowers the flag before the last check: from here on a poster notifies again.
    fn lower(&self) {
        self.rung.swap(false, Ordering::Relaxed);
        full_fence();
    }

    /// Replaces the notify and notifies once.
    pub(crate) fn set_notify(&self, notify: Option<Notify>) {
        let old = std::mem::replace(&mut *lock(&self.notify), notify);
        drop(old);
        #[cfg(feature = "metrics")]
        self.rung_at.store(0, Ordering::Relaxed);
        self.rung.swap(true, Ordering::Relaxed);
        self.notify();
    }

    /// Notifies once more after a notify has panicked, unless a turn has begun since.
    pub(crate) fn ring_again(&self) {
        if self.is_rung() {
            self.notify();
        } else {
            self.ring();
        }
    }

    /// Returns for how long threads have been in the notify, if any is.
    pub(crate) fn inside_for(&self) -> Option<Duration> {
        let since = Duration::from_nanos(self.inside_since.load(Ordering::Relaxed));
        (self.inside.load(Ordering::Relaxed) > 0).then(|| clock().saturating_sub(since))
    }

    /// Sets the closure that is called when a notify panics, on whichever thread called it. The first closure stays.
    pub(crate) fn on_panic(&self, told: impl Fn(String) + Send + Sync + 'static) {
        let _ = self.on_panic.set(Box::new(told));
    }

    fn notify(&self) {
        // Called outside the lock: the notify is the adapter's code.
        let Some(notify) = lock(&self.notify).clone() else { return };
        let _inside = Inside::enter(self);
        if let Some(told) = self.on_panic.get() {
            // It is dropped inside, too, since it may be the last clone.
            if let Err(panic) = catch(move || notify()) {
                told(panic);
            }
            return;
        }
        let lower = LowerOnPanic(self);
        notify();
        mem::forget(lower);
    }
}

/// Counts a thread as inside the notify until this is dropped.
struct Inside<'a>(&'a Bell);

impl<'a> Inside<'a> {
    fn enter(bell: &'a Bell) -> Self {
        if bell.inside.fetch_add(1, Ordering::Relaxed) == 0 {
            bell.inside_since.store(clock().as_nanos() as u64, Ordering::Relaxed);
        }
        Self(bell)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

struct LowerOnPanic<'a>(&'a Bell);

impl Drop for LowerOnPanic<'_> {
    fn drop(&mut self) {
        self.0.lower();
    }
}

/// Read before each job.
pub(crate) mod flag {
    /// The loop must end.
    pub(crate) const STOP: u8 = 1;
    /// A caller wants to know whether the loop turns.
    pub(crate) const HEARTBEAT: u8 = 2;
    /// The loop was left behind: nothing more is run.
    pub(crate) const DEAD: u8 = 4;
}

/// Why an item was not accepted; it is returned.
#[derive(Debug)]
pub(crate) enum Refused<T> {
    Closed(T),
    Full(T),
}

/// A queue of items from any thread, and of wakes that are never refused, for one loop.
pub(crate) struct Queue<T, W> {
    items: ConcurrentQueue<T>,
    wakes: ConcurrentQueue<W>,
    capacity: figure::AtomicUsize,
    high_water: figure::AtomicUsize,
    flags: AtomicU8,
    pub(crate) bell: Bell,
}

impl<T, W> Queue<T, W> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            items: ConcurrentQueue::unbounded(),
            wakes: ConcurrentQueue::unbounded(),
            capacity: figure::AtomicUsize::new(capacity),
            high_water: figure::AtomicUsize::new(0),
            flags: AtomicU8::new(0),
            bell: Bell::new(),
        }
    }

    /// Accepts the item, or returns it. The capacity can be exceeded by as many items as there are threads pushing at
    /// that moment; a large one by 31 more for each thread, since not every push checks the length.
    pub(crate) fn push(&self, item: T) -> Result<(), Refused<T>> {
        if self.is_to_be_measured() && self.items.len() >= self.capacity() {
            self.note_depth();
            return if self.items.is_closed() { Err(Refused::Closed(item)) } else { Err(Refused::Full(item)) };
        }
        self.push_unbounded(item).map_err(Refused::Closed)
    }

    /// Whether this push checks the length: always for a small queue, one in 32 of each thread for a large one. The
    /// length is on the cache line that the turn writes at each pop.
    fn is_to_be_measured(&self) -> bool {
        thread_local!(static PUSHES: std::cell::Cell<u8> = const { std::cell::Cell::new(0) });
        let pushes = PUSHES.get().wrapping_add(1);
        PUSHES.set(pushes);
        // A model must take the same path each time.
        cfg!(loom) || pushes.is_multiple_of(32) || self.capacity() < 65_536
    }

    /// Accepts the item unless the queue is closed, however full it is.
    pub(crate) fn push_unbounded(&self, item: T) -> Result<(), T> {
        self.push_quietly(item)?;
        self.bell.ring_for_item();
        Ok(())
    }

    /// Accepts an item as [`push_unbounded`](Self::push_unbounded) does; the caller must ring.
    pub(crate) fn push_quietly(&self, item: T) -> Result<(), T> {
        self.items.push(item).map_err(PushError::into_inner)
    }

    /// Accepts a wake, always.
    pub(crate) fn push_wake(&self, wake: W) {
        // The queue is unbounded and never closed, so this can't fail.
        if self.wakes.push(wake).is_ok() {
            self.bell.ring();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.wakes.is_empty()
    }

    pub(crate) fn pop(&self) -> Option<T> {
        if self.items.is_empty() { None } else { self.items.pop().ok() }
    }

    pub(crate) fn pop_wake(&self) -> Option<W> {
        // A look costs two loads; a pop from an empty queue costs a full fence.
        if self.wakes.is_empty() { None } else { self.wakes.pop().ok() }
    }

    /// Lowers the flag. Call it when nothing was found; the loop may rest only if nothing is found afterwards either.
    pub(crate) fn lower(&self) {
        self.bell.lower();
    }

    /// Accepts no more items; accepted ones stay.
    pub(crate) fn close(&self) {
        self.items.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.items.is_closed()
    }

    /// Raises a flag and wakes the loop to see it.
    pub(crate) fn raise(&self, flag: u8) {
        self.raise_quietly(flag);
        self.bell.ring();
    }

    /// Raises a flag as [`raise`](Self::raise) does; the caller must ring.
    pub(crate) fn raise_quietly(&self, flag: u8) {
        // Release: the turn that reads the flag sees everything written before it was raised.
        self.flags.fetch_or(flag, Ordering::Release);
    }

    /// Clears a flag; returns whether it was up.
    pub(crate) fn clear(&self, flag: u8) -> bool {
        // This reads nothing that the flag stands for: the lists have locks of their own.
        self.flags.fetch_and(!flag, Ordering::Relaxed) & flag != 0
    }

    /// Returns the flags, for a thread that has just changed something that a turn reads once a flag is up: either the
    /// flag is in the result, or the thread that raises it, and the turn that reads it, see the change. A plain load
    /// could miss the flag while the turn misses the change.
    pub(crate) fn publish(&self) -> u8 {
        self.flags.fetch_or(0, Ordering::Release)
    }

    pub(crate) fn flags(&self) -> u8 {
        self.flags.load(Ordering::Acquire)
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    /// Records the present depth in the high-water mark.
    pub(crate) fn note_depth(&self) {
        self.high_water.fetch_max(self.items.len(), Ordering::Relaxed);
    }

    pub(crate) fn high_water(&self) -> usize {
        self.note_depth();
        self.high_water.load(Ordering::Relaxed)
    }
}

impl<T, W> fmt::Debug for Queue<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("depth", &self.len()).field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}
