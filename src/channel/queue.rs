//! The cross-loop queue and the wake protocol: what the loom models check.
//!
//! A poster pushes, then rings: `full_fence(); if !rung.load() && !rung.swap(true) { notify() }`. A turn takes items
//! one by one; only when it saw the queue empty does it lower the flag, `rung.swap(false); full_fence()`, and then it
//! looks once more. Invariants:
//!
//! 1. An item in the queue, or a raised flag, implies `rung`, or a turn that will look again before it rests. A poster
//!    that finds `rung` true may rely on this: whoever lowers the flag looks after that.
//! 2. Of the two fences one comes first. If the poster's: the last look, behind the other, finds the item. If the
//!    lowering's: the poster, behind its own, finds the flag down, or raised by somebody since, who has notified. The
//!    flag is changed by swaps alone, each of which builds on the one before; they need no ordering beside the fences,
//!    and either fence alone is not enough. In a flood the flag is up, and posters only read it: with a swap each, they
//!    would tear its cache line from each other.
//! 3. [`Bell::set_notify`] raises the flag and notifies always, also when the flag is up: that notification may have
//!    gone to the one before.
//! 4. A notify that panics has woken nobody, perhaps: whoever [was asked to know](Bell::on_panic) has it called again,
//!    and the flag stays up. Where there is nobody, it goes down: the next poster notifies again.
//! 5. A poster that finds the flag up finds a loop that has not come to rest since somebody rang. [`Bell::on_busy`]
//!    tells of the first such poster, then of none until [`Bell::heed`]: whether the loop is blocked shows only later,
//!    and a flood costs one more look at the flag's cache line.
//! 6. Accepting an item or giving it back is one atomic step with [`Queue::close`].

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
/// Is told what a notify has said that panicked.
type OnPanic = Box<dyn Fn(String) + Send + Sync>;
/// Is told of a poster that has found the loop busy.
type OnBusy = Box<dyn Fn() + Send + Sync>;

/// The flag and the notify of the wake protocol. On cache lines of its own: posters write it, and a turn reads what
/// stands beside it before each job.
#[repr(align(128))]
pub(crate) struct Bell {
    rung: AtomicBool,
    /// When it was, by [`clock`] in nanoseconds, for the latency; 0: nobody knows. A figure: two that ring at once may
    /// mix up their times.
    #[cfg(feature = "metrics")]
    rung_at: figure::AtomicU64,
    notify: Mutex<Option<Notify>>,
    /// How many threads are in the notify, and since when there is one, by [`clock`] in nanoseconds.
    inside: figure::AtomicUsize,
    inside_since: figure::AtomicU64,
    on_panic: OnceLock<OnPanic>,
    /// Whether it was told that a poster has found the flag up.
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

    /// After something was made visible to the loop: wakes it, unless it has been already.
    pub(crate) fn ring(&self) {
        self.rings();
    }

    /// As [`ring`](Self::ring), for what somebody waits for: tells if the loop is busy.
    fn ring_for_item(&self) {
        if !self.rings() && !self.told.load(Ordering::Relaxed) {
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

    /// Has this told, once, when a poster finds that the loop has not come to rest since it was rung. The first one
    /// stays.
    pub(crate) fn on_busy(&self, tell: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_busy.set(Box::new(tell));
    }

    /// The next poster that finds the loop busy is told of again.
    pub(crate) fn heed(&self) {
        self.told.store(false, Ordering::Relaxed);
    }

    /// Rings; false if it was rung already.
    fn rings(&self) -> bool {
        full_fence();
        if self.rung.load(Ordering::Relaxed) {
            return false;
        }
        // Before the flag goes up, so that a turn that finds it up finds a time. Beside the notify that follows it
        // costs little.
        #[cfg(feature = "metrics")]
        self.rung_at.store(clock().as_nanos() as u64, Ordering::Relaxed);
        if !self.rung.swap(true, Ordering::Relaxed) {
            self.notify();
        }
        true
    }

    /// When it was rung, for the turn that begins now; once.
    #[cfg(feature = "metrics")]
    pub(crate) fn rung_at(&self) -> Option<Duration> {
        // With the flag down it is the time of one who came too late to raise it.
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

    /// Before the last look: from here on a poster notifies again.
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

    /// After a notify has panicked: notifies once more, unless a turn has begun since.
    pub(crate) fn ring_again(&self) {
        if self.is_rung() {
            self.notify();
        } else {
            self.ring();
        }
    }

    /// For how long threads have been in the notify by now, if any is.
    pub(crate) fn inside_for(&self) -> Option<Duration> {
        let since = Duration::from_nanos(self.inside_since.load(Ordering::Relaxed));
        (self.inside.load(Ordering::Relaxed) > 0).then(|| clock().saturating_sub(since))
    }

    /// Has this told when a notify panics, by whichever thread has called it. The first one stays.
    pub(crate) fn on_panic(&self, told: impl Fn(String) + Send + Sync + 'static) {
        let _ = self.on_panic.set(Box::new(told));
    }

    fn notify(&self) {
        // Called outside the lock: the notify is the adapter's code.
        let Some(notify) = lock(&self.notify).clone() else { return };
        let _inside = Inside::enter(self);
        if let Some(told) = self.on_panic.get() {
            // Dropped in there, too: it may be the last one.
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

/// A thread is in the notify until this is dropped.
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
    /// The loop is to end.
    pub(crate) const STOP: u8 = 1;
    /// Somebody wants to know whether the loop turns.
    pub(crate) const HEARTBEAT: u8 = 2;
    /// The loop was left behind: nothing more is run.
    pub(crate) const DEAD: u8 = 4;
}

/// Why an item was not accepted; it is given back.
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

    /// Accepts the item, or gives it back. The capacity can be passed by as many items as there are threads pushing at
    /// that moment; a large one by 31 more a thread, since not every push looks at the length.
    pub(crate) fn push(&self, item: T) -> Result<(), Refused<T>> {
        if self.is_to_be_measured() && self.items.len() >= self.capacity() {
            self.note_depth();
            return if self.items.is_closed() { Err(Refused::Closed(item)) } else { Err(Refused::Full(item)) };
        }
        self.push_unbounded(item).map_err(Refused::Closed)
    }

    /// Every push into a small queue, one in 32 of a thread into a large one: the length stands on the cache line that
    /// the turn writes at each pop.
    fn is_to_be_measured(&self) -> bool {
        thread_local!(static PUSHES: std::cell::Cell<u8> = const { std::cell::Cell::new(0) });
        let pushes = PUSHES.get().wrapping_add(1);
        PUSHES.set(pushes);
        // A model has to take the same way each time.
        cfg!(loom) || pushes.is_multiple_of(32) || self.capacity() < 65_536
    }

    /// Accepts the item unless the queue is closed, however full it is.
    pub(crate) fn push_unbounded(&self, item: T) -> Result<(), T> {
        self.push_quietly(item)?;
        self.bell.ring_for_item();
        Ok(())
    }

    /// As [`push_unbounded`](Self::push_unbounded), but leaves it to the caller to ring.
    pub(crate) fn push_quietly(&self, item: T) -> Result<(), T> {
        self.items.push(item).map_err(PushError::into_inner)
    }

    /// Accepts a wake, always.
    pub(crate) fn push_wake(&self, wake: W) {
        // Unbounded and never closed: it can't fail.
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
        // Looking costs two loads, a pop of nothing a full fence.
        if self.wakes.is_empty() { None } else { self.wakes.pop().ok() }
    }

    /// To be called when nothing was found; only if nothing is found after it either may the loop rest.
    pub(crate) fn lower(&self) {
        self.bell.lower();
    }

    /// No item is accepted from now on. Those accepted stay.
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

    /// As [`raise`](Self::raise), but leaves it to the caller to ring.
    pub(crate) fn raise_quietly(&self, flag: u8) {
        // Release: what was written before the flag was raised is seen by the turn that reads it.
        self.flags.fetch_or(flag, Ordering::Release);
    }

    /// Takes a flag back; says whether it was up.
    pub(crate) fn clear(&self, flag: u8) -> bool {
        // It looks at nothing that the flag stands for: the lists have locks of their own.
        self.flags.fetch_and(!flag, Ordering::Relaxed) & flag != 0
    }

    /// The flags, for one who has just changed what a turn looks at once a flag is up: either the flag is in here, or
    /// who raises it, and the turn that reads it, sees the change. A plain load could miss the flag while the turn
    /// misses the change.
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

    /// Takes the present depth into the high-water mark.
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
