//! The storage of a queue: a trait, and the object-safe twin through which the queue holds a store.
//!
//! All of it but [`ItemId`] and [`DeadLetter`] is public only with the feature `unstable-store`.

#![cfg_attr(not(feature = "unstable-store"), allow(unreachable_pub, reason = "public with the feature"))]

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::super::common::lock;
use crate::{Error, Result, task::ServiceClock};

/// The identity of an item, unique among all processes that share a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct ItemId {
    /// A random number of the handle that submitted the item.
    pub origin: u64,
    /// The number of the item among those that this handle submitted.
    pub number: u64,
}

#[cfg(feature = "unstable-store")]
impl ItemId {
    /// Makes the id of an item that a store has kept elsewhere.
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
    /// The id of the item.
    pub id: ItemId,
    /// The submitted item.
    pub item: T,
    /// While an item with this key is not done, a further one is a [duplicate](Refusal::Duplicate).
    pub key: Option<String>,
    /// The priority: higher goes first, and among equals the older.
    pub priority: i64,
}

#[cfg(feature = "unstable-store")]
impl<T> Entry<T> {
    /// Makes an entry without a key, of priority 0.
    pub fn new(id: ItemId, item: T) -> Self {
        Self { id, item, key: None, priority: 0 }
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the priority.
    #[must_use]
    pub fn priority(mut self, priority: i64) -> Self {
        self.priority = priority;
        self
    }
}

/// A taken item: its holder works on it, and gives it up by one of the store's methods.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lease<T> {
    /// The id of the item.
    pub id: ItemId,
    /// The submitted item.
    pub item: T,
    /// How often the item has been taken, including this time. Together with the id it names the lease.
    pub attempt: u32,
    /// How long the item waited for this, if the store knows.
    pub waited: Duration,
}

#[cfg(feature = "unstable-store")]
impl<T> Lease<T> {
    /// Makes a lease whose waiting time is unknown. Attempts are counted from 1.
    pub fn new(id: ItemId, item: T, attempt: u32) -> Self {
        Self { id, item, attempt, waited: Duration::ZERO }
    }

    /// Sets how long the item has waited.
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
    /// The id of the item.
    pub id: ItemId,
    /// The submitted item.
    pub item: T,
    /// How often the item was tried.
    pub attempts: u32,
    /// The reason why the item was given up.
    pub why: String,
}

#[cfg(feature = "unstable-store")]
impl<T> DeadLetter<T> {
    /// Makes a dead letter that a store has kept.
    pub fn new(id: ItemId, item: T, attempts: u32, why: impl Into<String>) -> Self {
        Self { id, item, attempts, why: why.into() }
    }
}

/// An entry that a store has refused.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused<T> {
    /// The entry, given back.
    pub entry: Entry<T>,
    /// The reason.
    pub why: Refusal,
}

#[cfg(feature = "unstable-store")]
impl<T> Refused<T> {
    /// Makes a refusal of this entry, for this reason.
    pub fn new(entry: Entry<T>, why: Refusal) -> Self {
        Self { entry, why }
    }
}

/// Says why a store has refused an entry.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The store holds as many items as it may.
    Full,
    /// The store was [closed](Store::close).
    Closed,
    /// An item of the same key is not done yet: this one.
    Duplicate(ItemId),
    /// The store has failed.
    #[cfg_attr(not(feature = "unstable-store"), expect(dead_code, reason = "memory does not fail"))]
    Failed(Error),
}

/// A clock for stores without timers: a store that knows when its next item is due has its [`take`](Store::take) polled
/// again at that time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    time: ServiceClock,
    due: Arc<Mutex<Option<Instant>>>,
}

impl Clock {
    pub(super) fn new(time: ServiceClock) -> Self {
        Self { time, due: Arc::default() }
    }

    /// Returns the time by the service's clock: the system's, unless a test has replaced it with a fake one.
    pub fn now(&self) -> Instant {
        self.time.now()
    }

    /// Has the future polled again at this time. A store must say so at each poll that is pending; the last call wins.
    pub fn wake_at(&self, time: Instant) {
        *lock(&self.due) = Some(time);
    }

    pub(super) fn take(&self) -> Option<Instant> {
        lock(&self.due).take()
    }
}

/// The storage of a [`Queue`](crate::tasks::queue::Queue)'s items.
///
/// [`InProcess`](super::InProcess) is the default; a store that keeps the items elsewhere lets them outlive the
/// process, and lets machines share them.
///
/// **Unstable**: it is available only with the feature `unstable-store`, and may change in any release, including minor
/// ones.
///
/// # The contract
///
/// An item is put in once, and stays in the store until it is acknowledged or made a dead letter. To take an item is to
/// lease it: nobody else gets it in the meantime. A lease ends by [`ack`](Self::ack),
/// [`retry_later`](Self::retry_later), [`dead_letter`](Self::dead_letter) or [`abandon`](Self::abandon); or, if the
/// holder has died, after a time that the store sets. Then the item is *delivered again*, with a higher `attempt`.
///
/// The queue acknowledges an item after the work is done, never before. So each item is worked on **at least once**,
/// and more than once if a lease ran out, an `ack` failed, or the process died in between. Work for a store that
/// delivers again must cope with that. An item that was taken more often than the queue's limit becomes a dead letter
/// without being tried: it may be the cause of the process's deaths.
///
/// `put` is polled by those who submit, on any executor and thread; `take`, `ack`, `retry_later` and `dead_letter` are
/// polled on the queue's loop, several at a time. So all futures must be independent of a runtime: a store that needs
/// one has a task of its own on it, and talks to that task. The methods that return no future must not block.
pub trait Store<T: Send + 'static>: Send + Sync + 'static {
    /// Puts an item in; if there is no room, waits for it, in the order of the callers.
    ///
    /// If the future is dropped before it is ready, it leaves no trace, as far as that is in the store's power.
    fn put(&self, entry: Entry<T>) -> impl Future<Output = std::result::Result<(), Refused<T>>> + Send;

    /// Puts an item in, at once or not at all. By default it returns [`Full`](Refusal::Full), for stores that can't say
    /// at once.
    ///
    /// # Errors
    ///
    /// The entry that was not put in, with the reason.
    fn try_put(&self, entry: Entry<T>) -> std::result::Result<(), Refused<T>> {
        Err(Refused { entry, why: Refusal::Full })
    }

    /// Waits for an item that is due, and leases it. If the future is dropped before it is ready, it leases nothing. An
    /// error fails the task.
    fn take(&self, clock: &Clock) -> impl Future<Output = Result<Lease<T>>> + Send;

    /// Acknowledges a lease: the item is done, and its key is free.
    fn ack(&self, id: ItemId, attempt: u32) -> impl Future<Output = Result> + Send;

    /// Makes the item due again after this time. The item is put back whether there is room or not.
    fn retry_later(&self, lease: Lease<T>, after: Duration) -> impl Future<Output = Result> + Send;

    /// Gives the item up, and keeps it where people find it. The item's key is free.
    fn dead_letter(&self, lease: Lease<T>, why: String) -> impl Future<Output = Result> + Send;

    /// Returns how many items wait, as far as the store knows; it includes items that are due later.
    fn depth(&self) -> usize;

    /// Ends a lease whose work was cancelled: past the deadline, or by the end of its loop. Returns whether the item
    /// will be delivered again; true by default, for stores whose leases run out.
    fn abandon(&self, lease: Lease<T>) -> bool {
        drop(lease);
        true
    }

    /// Sets how many items may wait; None removes the limit. Does nothing by default.
    fn bound(&self, max: Option<usize>) {
        let _ = max;
    }

    /// Reopens the store: the task begins, possibly after a restart.
    fn open(&self) {}

    /// Closes the store: from now on nothing is put in, and callers that wait for room are [refused](Refusal::Closed).
    /// Items can still be taken.
    fn close(&self) {}

    /// Takes out the items that still wait, since nobody will work on them. Returns none by default: a store that
    /// outlives the process keeps them.
    fn give_back(&self) -> Vec<Entry<T>> {
        Vec::new()
    }

    /// Takes out the dead letters that are held here; none by default.
    fn take_dead_letters(&self) -> Vec<DeadLetter<T>> {
        Vec::new()
    }
}

pub(super) type Boxed<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;

/// A store of any type.
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
