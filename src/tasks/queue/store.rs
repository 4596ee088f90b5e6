//! Where a queue keeps its items: a trait, and the object-safe twin by which the queue holds one.
//!
//! But for [`ItemId`] and [`DeadLetter`], it is public with the feature `unstable-store` alone.

#![cfg_attr(not(feature = "unstable-store"), allow(unreachable_pub))]

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::super::common::lock;
use crate::{Error, Result, task::ServiceClock};

/// Which item: unique among all processes that share a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct ItemId {
    /// Of the handle that it was submitted by: a random number.
    pub origin: u64,
    /// Counts what that handle submitted.
    pub number: u64,
}

#[cfg(feature = "unstable-store")]
impl ItemId {
    /// That of an item which a store has kept elsewhere.
    pub fn new(origin: u64, number: u64) -> Self {
        Self { origin, number }
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)
    }
}

/// An item on its way into a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry<T> {
    /// Which one.
    pub id: ItemId,
    /// What was submitted.
    pub item: T,
    /// While an item with this key is not done, another one is a [duplicate](Refusal::Duplicate).
    pub key: Option<String>,
    /// The higher goes first; among equals, the older.
    pub priority: i64,
}

#[cfg(feature = "unstable-store")]
impl<T> Entry<T> {
    /// One without a key, of priority 0.
    pub fn new(id: ItemId, item: T) -> Self {
        Self { id, item, key: None, priority: 0 }
    }

    /// With this key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// With this priority.
    #[must_use]
    pub fn priority(mut self, priority: i64) -> Self {
        self.priority = priority;
        self
    }
}

/// An item that was taken, and is somebody's to work on until it is given up by one of the store's methods.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lease<T> {
    /// Which one.
    pub id: ItemId,
    /// What was submitted.
    pub item: T,
    /// How often it has been taken, this time included. With the id it names the lease.
    pub attempt: u32,
    /// How long it waited for this, if the store knows.
    pub waited: Duration,
}

#[cfg(feature = "unstable-store")]
impl<T> Lease<T> {
    /// One of an item that nobody knows to have waited. Attempts are counted from 1.
    pub fn new(id: ItemId, item: T, attempt: u32) -> Self {
        Self { id, item, attempt, waited: Duration::ZERO }
    }

    /// It has waited so long.
    #[must_use]
    pub fn waited(mut self, time: Duration) -> Self {
        self.waited = time;
        self
    }
}

/// An item that was given up: nobody works on it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter<T> {
    /// Which one.
    pub id: ItemId,
    /// What was submitted.
    pub item: T,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it was given up.
    pub why: String,
}

#[cfg(feature = "unstable-store")]
impl<T> DeadLetter<T> {
    /// One that a store has kept.
    pub fn new(id: ItemId, item: T, attempts: u32, why: impl Into<String>) -> Self {
        Self { id, item, attempts, why: why.into() }
    }
}

/// What a store did not put in.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused<T> {
    /// It comes back.
    pub entry: Entry<T>,
    /// Why.
    pub why: Refusal,
}

#[cfg(feature = "unstable-store")]
impl<T> Refused<T> {
    /// This was not put in, for that reason.
    pub fn new(entry: Entry<T>, why: Refusal) -> Self {
        Self { entry, why }
    }
}

/// Why a store did not put something in.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// It holds as many items as it may.
    Full,
    /// It was [closed](Store::close).
    Closed,
    /// An item of the same key is not done yet: this one.
    Duplicate(ItemId),
    /// The store could not do it.
    #[cfg_attr(not(feature = "unstable-store"), expect(dead_code, reason = "memory does not fail"))]
    Failed(Error),
}

/// By which a store that knows when its next item is due, and has no timers, has its [`take`](Store::take) polled again then.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    time: ServiceClock,
    due: Arc<Mutex<Option<Instant>>>,
}

impl Clock {
    pub(super) fn new(time: ServiceClock) -> Self {
        Self { time, due: Arc::default() }
    }

    /// The time, by the service's clock: the system's, unless a test has put a fake in its place.
    pub fn now(&self) -> Instant {
        self.time.now()
    }

    /// Has the future polled again at this time. Said anew at each poll that is pending; the last word counts.
    pub fn wake_at(&self, time: Instant) {
        *lock(&self.due) = Some(time);
    }

    pub(super) fn take(&self) -> Option<Instant> {
        lock(&self.due).take()
    }
}

/// Where a [`Queue`](crate::tasks::Queue) keeps its items. [`InProcess`](super::InProcess) is the default; a store that keeps them elsewhere lets them
/// outlive the process, and machines share them.
///
/// **Unstable**: it is there with the feature `unstable-store` alone, and may change in any release, minor ones
/// included.
///
/// # The contract
///
/// An item is put in once, and is in the store until it is acknowledged or made a dead letter. To take it is to lease it: nobody else gets it meanwhile.
/// A lease ends by [`ack`](Self::ack), [`retry_later`](Self::retry_later), [`dead_letter`](Self::dead_letter) or [`abandon`](Self::abandon), or, where
/// the holder has died, by a time that the store sets; then the item is *delivered again*, with a higher `attempt`.
///
/// The queue acknowledges after the work is done, never before: so each item is worked on **at least once**, and more than once when a lease ran out, an
/// `ack` failed, or the process died in between. Work for a store that delivers again has to bear that. An item that was taken more often than the
/// queue's limit says becomes a dead letter without being tried: it may be what the process dies of.
///
/// `put` is polled by whoever submits, on any executor and thread; `take`, `ack`, `retry_later` and `dead_letter` on the queue's loop, several at a time.
/// So all futures are neutral: a store that needs a runtime has a task of its own on that, and talks to it. The methods that return no future must not
/// block.
pub trait Store<T: Send + 'static>: Send + Sync + 'static {
    /// Puts an item in, and waits for room where there is none: in the order of those that wait.
    ///
    /// Dropped before it is ready, it leaves no trace, as far as that is in the store's power.
    fn put(&self, entry: Entry<T>) -> impl Future<Output = std::result::Result<(), Refused<T>>> + Send;

    /// Puts an item in, at once or not at all. By default it is [full](Refusal::Full), for a store that can't say at once.
    ///
    /// # Errors
    ///
    /// What was not put in.
    fn try_put(&self, entry: Entry<T>) -> std::result::Result<(), Refused<T>> {
        Err(Refused { entry, why: Refusal::Full })
    }

    /// Waits for an item that is due, and leases it. Dropped before it is ready, it leases nothing. Its error fails the task.
    fn take(&self, clock: &Clock) -> impl Future<Output = Result<Lease<T>>> + Send;

    /// The item of this lease is done. Its key is free.
    fn ack(&self, id: ItemId, attempt: u32) -> impl Future<Output = Result> + Send;

    /// The item is due again, in this time. It is put back whether there is room or not.
    fn retry_later(&self, lease: Lease<T>, after: Duration) -> impl Future<Output = Result> + Send;

    /// The item is given up, and kept where people find it. Its key is free.
    fn dead_letter(&self, lease: Lease<T>, why: String) -> impl Future<Output = Result> + Send;

    /// How many items wait, those that are due later included, as far as the store knows.
    fn depth(&self) -> usize;

    /// The work on this item was cancelled: past the deadline, or by the end of its loop. Says whether the item will be delivered again; true by default,
    /// for a store whose leases run out.
    fn abandon(&self, lease: Lease<T>) -> bool {
        drop(lease);
        true
    }

    /// How many items may wait; all, if there is no limit. By default nothing happens.
    fn bound(&self, max: Option<usize>) {
        let _ = max;
    }

    /// Items may be put in again: the task begins, maybe anew.
    fn open(&self) {}

    /// From now on nothing is put in: who waits for room is [refused](Refusal::Closed). Taking goes on.
    fn close(&self) {}

    /// Takes out what waits still, since nobody will work on it. Nothing by default: a store that outlives the process keeps it.
    fn give_back(&self) -> Vec<Entry<T>> {
        Vec::new()
    }

    /// Takes out the dead letters, if they are here. None by default.
    fn take_dead_letters(&self) -> Vec<DeadLetter<T>> {
        Vec::new()
    }
}

pub(super) type Boxed<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;

/// A store, whatever its type.
pub(super) trait AnyStore<T>: Send + Sync {
    fn begin_put(&self, entry: Entry<T>) -> Boxed<'_, std::result::Result<(), Refused<T>>>;
    fn put_now(&self, entry: Entry<T>) -> std::result::Result<(), Refused<T>>;
    fn begin_take<'a>(&'a self, clock: &'a Clock) -> Boxed<'a, Result<Lease<T>>>;
    fn begin_ack(&self, id: ItemId, attempt: u32) -> Boxed<'_, Result>;
    fn begin_retry(&self, lease: Lease<T>, after: Duration) -> Boxed<'_, Result>;
    fn begin_dead_letter(&self, lease: Lease<T>, why: String) -> Boxed<'_, Result>;
    fn current_depth(&self) -> usize;
    fn abandon_lease(&self, lease: Lease<T>) -> bool;
    fn set_bound(&self, max: Option<usize>);
    fn reopen(&self);
    fn shut(&self);
    fn rest(&self) -> Vec<Entry<T>>;
    fn dead_letters(&self) -> Vec<DeadLetter<T>>;
}

impl<T: Send + 'static, S: Store<T>> AnyStore<T> for S {
    fn begin_put(&self, entry: Entry<T>) -> Boxed<'_, std::result::Result<(), Refused<T>>> {
        Box::pin(self.put(entry))
    }

    fn put_now(&self, entry: Entry<T>) -> std::result::Result<(), Refused<T>> {
        self.try_put(entry)
    }

    fn begin_take<'a>(&'a self, clock: &'a Clock) -> Boxed<'a, Result<Lease<T>>> {
        Box::pin(self.take(clock))
    }

    fn begin_ack(&self, id: ItemId, attempt: u32) -> Boxed<'_, Result> {
        Box::pin(self.ack(id, attempt))
    }

    fn begin_retry(&self, lease: Lease<T>, after: Duration) -> Boxed<'_, Result> {
        Box::pin(self.retry_later(lease, after))
    }

    fn begin_dead_letter(&self, lease: Lease<T>, why: String) -> Boxed<'_, Result> {
        Box::pin(self.dead_letter(lease, why))
    }

    fn current_depth(&self) -> usize {
        self.depth()
    }

    fn abandon_lease(&self, lease: Lease<T>) -> bool {
        self.abandon(lease)
    }

    fn set_bound(&self, max: Option<usize>) {
        self.bound(max);
    }

    fn reopen(&self) {
        self.open();
    }

    fn shut(&self) {
        self.close();
    }

    fn rest(&self) -> Vec<Entry<T>> {
        self.give_back()
    }

    fn dead_letters(&self) -> Vec<DeadLetter<T>> {
        self.take_dead_letters()
    }
}
