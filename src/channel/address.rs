//! The address of a value, which exists with or without the value.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, OnceLock, Weak},
};

use super::{
    job::Job,
    queue::Refused,
    shared::{MAILBOX_CAPACITY, Shared},
    waiting::Waiting,
};
use crate::kit::{
    panics::catch,
    sync::{AtomicBool, AtomicUsize, Mutex, Ordering, lock},
};

/// The address of a value, which outlives the value. It exists before the loop runs, and survives restarts.
///
/// Invariant: jobs of one sender reach the value in order. Before the first `bind` they wait in `waiting`. `bind` takes
/// them out, under the lock, before it sets `loop_`, so jobs that a sender puts into the mailbox afterwards come later.
/// Once bound, only the loop's thread puts jobs here.
pub(crate) struct Address {
    key: u64,
    name: Arc<str>,
    loop_: OnceLock<Arc<Shared>>,
    closed: AtomicBool,
    waiting_len: AtomicUsize,
    waiting: Mutex<VecDeque<Job>>,
    /// Replies that already wait while there is no loop to list them at; the first bind has them check again.
    early: Mutex<Vec<Weak<dyn Waiting>>>,
}

impl Address {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        Arc::new(Self {
            key: NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            name: name.into(),
            loop_: OnceLock::new(),
            closed: AtomicBool::new(false),
            waiting_len: AtomicUsize::new(0),
            waiting: Mutex::default(),
            early: Mutex::default(),
        })
    }

    /// Returns an address that is bound to this loop from the beginning.
    pub(crate) fn at(name: &str, loop_: &Arc<Shared>) -> Arc<Self> {
        let address = Self::new(name);
        // It is fresh, so nothing else can have bound it.
        let _ = address.bind(loop_);
        address
    }

    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn loop_(&self) -> Option<&Arc<Shared>> {
        self.loop_.get()
    }

    /// Returns the loop; if there is none yet, records once that this reply must be told when there is.
    pub(crate) fn loop_or_later(&self, waiting: &Weak<dyn Waiting>, noted: &mut bool) -> Option<&Arc<Shared>> {
        if self.loop_.get().is_none() && !*noted {
            let mut early = lock(&self.early);
            // Under the lock: the first bind sets the loop, then takes the list.
            if self.loop_.get().is_none() {
                early.push(waiting.clone());
                *noted = true;
            }
        }
        self.loop_.get()
    }

    /// Returns how many jobs wait here, for the first value or for the next.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting_len.load(Ordering::Acquire)
    }

    /// Returns how many jobs may wait here: as many as in a mailbox.
    fn capacity(&self) -> usize {
        self.loop_.get().map_or(MAILBOX_CAPACITY, |loop_| loop_.queue.capacity())
    }

    /// Binds the address to this loop, where the value lives from now on; returns the jobs that waited for it.
    pub(crate) fn bind(self: &Arc<Self>, loop_: &Arc<Shared>) -> Result<VecDeque<Job>, &'static str> {
        let mut waiting = lock(&self.waiting);
        if loop_.queue.is_closed() {
            return Err("its loop is ending");
        }
        if self.loop_.get().is_some_and(|bound| !Arc::ptr_eq(bound, loop_)) {
            return Err("it was filled on another loop before");
        }
        let waited = std::mem::take(&mut *waiting);
        self.waiting_len.store(0, Ordering::Release);
        // It was closed when its task ended, and the task has been started again.
        self.closed.store(false, Ordering::Release);
        let first = self.loop_.set(loop_.clone()).is_ok();
        if first {
            loop_.register(self);
        }
        drop(waiting);
        if first {
            let early = std::mem::take(&mut *lock(&self.early));
            early.iter().filter_map(Weak::upgrade).for_each(|reply| reply.look_again());
        }
        Ok(waited)
    }

    /// Accepts a job for the value, or returns it.
    pub(super) fn send(&self, job: Job) -> Result<(), Refused<Job>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Refused::Closed(job));
        }
        if self.waiting_len.load(Ordering::Acquire) >= self.capacity() {
            return Err(Refused::Full(job));
        }
        if let Some(loop_) = self.loop_.get() {
            return loop_.push(job);
        }
        let mut waiting = lock(&self.waiting);
        if self.closed.load(Ordering::Acquire) {
            return Err(Refused::Closed(job));
        }
        if let Some(loop_) = self.loop_.get() {
            // It has just been bound, and the waiting jobs have been taken.
            drop(waiting);
            return loop_.push(job);
        }
        if waiting.len() >= self.capacity() {
            return Err(Refused::Full(job));
        }
        waiting.push_back(job);
        self.waiting_len.store(waiting.len(), Ordering::Release);
        Ok(())
    }

    /// Keeps a job for the next incarnation of the value; returns the job if there will be none.
    pub(crate) fn keep(&self, job: Job) -> Result<(), Job> {
        let mut waiting = lock(&self.waiting);
        if self.closed.load(Ordering::Acquire) {
            return Err(job);
        }
        waiting.push_back(job);
        self.waiting_len.store(waiting.len(), Ordering::Release);
        Ok(())
    }

    /// Closes the address for good: drops the waiting jobs, whose replies resolve as Stopped.
    pub(crate) fn close(&self) {
        self.close_and_take().into_iter().for_each(|job| drop(catch(|| drop(job))));
    }

    /// Closes it as [`close`](Self::close) does, but returns the jobs that have no loop yet to drop them.
    pub(crate) fn close_and_take(&self) -> Vec<Job> {
        let jobs = {
            let mut waiting = lock(&self.waiting);
            self.closed.store(true, Ordering::Release);
            self.waiting_len.store(0, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        match self.loop_.get() {
            Some(loop_) => loop_.discard(jobs.into()),
            None => return jobs.into(),
        }
        Vec::new()
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        if let Some(loop_) = self.loop_.get() {
            loop_.unregister(self.key);
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("name", &self.name)
            .field("loop", &self.loop_.get().map(|l| l.name().clone()))
            .finish()
    }
}
