//! The store in memory.
//!
//! Invariants:
//! 1. Callers that wait for room enter by the order of tickets: only the first may enter, and it wakes the next while
//!    there is room. Whoever makes room, or leaves the row, wakes the first.
//! 2. While an item is ready, a waiting taker has been woken: whoever puts an item in wakes the first taker, and a
//!    taker that takes one, or goes away, wakes the next if there are more.
//! 3. While an item is due later and a taker waits, one of the takers, the timekeeper, has the clock set to the
//!    earliest.
//!
//! Wakers are called outside the lock; no user code runs under it.

#![cfg_attr(not(feature = "unstable-store"), allow(unreachable_pub, reason = "public with the feature"))]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    fmt,
    future::Future,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::{
    super::common::lock,
    store::{Clock, DeadLetter, Entry, ItemId, Lease, Refusal, Refused, Store},
};
use crate::Result;

/// How many dead letters are kept, the newest ones.
const DEAD_LETTERS: usize = 1000;

/// The default store, in memory. Waiting items survive restarts of the task, but not of the process.
///
/// It never delivers an item again: an item that was in progress when the task died becomes a dead letter, and its
/// reply is [`Cancelled`](crate::CallError::Cancelled). The newest 1000 dead letters are kept.
pub struct InProcess<T>(Mutex<Inner<T>>);

struct Inner<T> {
    /// The queue's clock, once the queue has taken an item.
    clock: Clock,
    closed: bool,
    max: usize,
    next: u64,
    ready: BTreeMap<(Reverse<i64>, u64), Waiting<T>>,
    later: BTreeMap<(Instant, u64), Waiting<T>>,
    leased: BTreeMap<ItemId, (Option<String>, i64)>,
    keys: BTreeMap<String, ItemId>,
    /// The callers that wait for room, by ticket.
    row: BTreeMap<u64, Waker>,
    takers: BTreeMap<u64, Waker>,
    timekeeper: Option<u64>,
    dead: VecDeque<DeadLetter<T>>,
}

struct Waiting<T> {
    entry: Entry<T>,
    attempts: u32,
    since: Instant,
}

impl<T> Default for InProcess<T> {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            clock: Clock::default(),
            closed: false,
            max: usize::MAX,
            next: 0,
            ready: BTreeMap::new(),
            later: BTreeMap::new(),
            leased: BTreeMap::new(),
            keys: BTreeMap::new(),
            row: BTreeMap::new(),
            takers: BTreeMap::new(),
            timekeeper: None,
            dead: VecDeque::new(),
        }))
    }
}

impl<T> InProcess<T> {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T> Inner<T> {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn depth(&self) -> usize {
        self.ready.len() + self.later.len()
    }

    fn has_room(&self) -> bool {
        self.depth() < self.max
    }

    /// Returns the first of the row, if it may enter.
    fn first_of_row(&self) -> Option<Waker> {
        self.row.first_key_value().filter(|_| self.has_room()).map(|(_, waker)| waker.clone())
    }

    /// Returns a taker that must look, if there is one.
    fn taker(&self) -> Option<Waker> {
        let wanted = !self.ready.is_empty() || (!self.later.is_empty() && self.timekeeper.is_none());
        self.takers.first_key_value().filter(|_| wanted).map(|(_, waker)| waker.clone())
    }

    fn put(&mut self, entry: Entry<T>, ticket: Option<u64>) -> std::result::Result<(), Refused<T>> {
        let duplicate = entry.key.as_ref().and_then(|key| self.keys.get(key)).copied();
        let ahead = match self.row.first_key_value() {
            None => false,
            Some((first, _)) => ticket.is_none_or(|ticket| *first < ticket),
        };
        let why = match duplicate {
            _ if self.closed => Refusal::Closed,
            Some(first) => Refusal::Duplicate(first),
            None if ahead || !self.has_room() => Refusal::Full,
            None => {
                if let Some(key) = &entry.key {
                    self.keys.insert(key.clone(), entry.id);
                }
                let since = self.clock.now();
                self.add(Waiting { entry, attempts: 0, since });
                return Ok(());
            }
        };
        Err(Refused { entry, why })
    }

    fn add(&mut self, waiting: Waiting<T>) {
        let number = self.number();
        self.ready.insert((Reverse(waiting.entry.priority), number), waiting);
    }

    fn take(&mut self) -> Option<Lease<T>> {
        if !self.later.is_empty() {
            let now = self.clock.now();
            while let Some(first) = self.later.first_entry().filter(|first| first.key().0 <= now) {
                let waiting = first.remove();
                self.add(waiting);
            }
        }
        let (_, Waiting { entry, attempts, since }) = self.ready.pop_first()?;
        let Entry { id, item, key, priority } = entry;
        self.leased.insert(id, (key, priority));
        Some(Lease { id, item, attempt: attempts + 1, waited: self.clock.now().saturating_duration_since(since) })
    }

    /// Ends a lease, and frees the key.
    fn end(&mut self, id: ItemId) {
        if let Some((Some(key), _)) = self.leased.remove(&id) {
            self.keys.remove(&key);
        }
    }

    /// Adds a dead letter; returns the oldest if there are too many.
    fn bury(&mut self, lease: Lease<T>, why: String) -> Option<DeadLetter<T>> {
        self.end(lease.id);
        let Lease { id, item, attempt, .. } = lease;
        self.dead.push_back(DeadLetter { id, item, attempts: attempt, why });
        if self.dead.len() > DEAD_LETTERS { self.dead.pop_front() } else { None }
    }
}

fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

fn forget<T>(oldest: Option<DeadLetter<T>>) {
    if let Some(letter) = oldest {
        log::warn!("dead letter {} is forgotten: there are more than {DEAD_LETTERS}", letter.id);
    }
}

impl<T: Send + 'static> Store<T> for InProcess<T> {
    fn put(&self, entry: Entry<T>) -> impl Future<Output = std::result::Result<(), Refused<T>>> + Send {
        Put { store: self, entry: Some(entry), ticket: None }
    }

    fn try_put(&self, entry: Entry<T>) -> std::result::Result<(), Refused<T>> {
        let (result, taker) = {
            let mut inner = lock(&self.0);
            let result = inner.put(entry, None);
            (result, inner.taker())
        };
        wake(taker);
        result
    }

    fn take(&self, clock: &Clock) -> impl Future<Output = Result<Lease<T>>> + Send {
        lock(&self.0).clock = clock.clone();
        Take { store: self, clock: clock.clone(), id: None }
    }

    async fn ack(&self, id: ItemId, _: u32) -> Result {
        lock(&self.0).end(id);
        Ok(())
    }

    async fn retry_later(&self, lease: Lease<T>, after: Duration) -> Result {
        let waker = {
            let mut inner = lock(&self.0);
            let now = inner.clock.now();
            // A time beyond the clock counts as a year from now.
            let due = now.checked_add(after).unwrap_or(now + Duration::from_secs(31_536_000));
            let (key, priority) = inner.leased.remove(&lease.id).unwrap_or_default();
            let entry = Entry { id: lease.id, item: lease.item, key, priority };
            let number = inner.number();
            inner.later.insert((due, number), Waiting { entry, attempts: lease.attempt, since: due });
            let timekeeper = inner.timekeeper.and_then(|id| inner.takers.get(&id)).cloned();
            timekeeper.or_else(|| inner.taker())
        };
        wake(waker);
        Ok(())
    }

    async fn dead_letter(&self, lease: Lease<T>, why: String) -> Result {
        let oldest = lock(&self.0).bury(lease, why);
        forget(oldest);
        Ok(())
    }

    fn depth(&self) -> usize {
        lock(&self.0).depth()
    }

    fn abandon(&self, lease: Lease<T>) -> bool {
        let oldest = lock(&self.0).bury(lease, "it was cancelled while it was worked on".into());
        forget(oldest);
        false
    }

    fn bound(&self, max: Option<usize>) {
        let first = {
            let mut inner = lock(&self.0);
            inner.max = max.unwrap_or(usize::MAX);
            inner.first_of_row()
        };
        wake(first);
    }

    fn open(&self) {
        lock(&self.0).closed = false;
    }

    fn close(&self) {
        let row = {
            let mut inner = lock(&self.0);
            inner.closed = true;
            inner.row.values().cloned().collect::<Vec<_>>()
        };
        wake(row);
    }

    fn give_back(&self) -> Vec<Entry<T>> {
        let (entries, first) = {
            let mut inner = lock(&self.0);
            let (ready, later) = (std::mem::take(&mut inner.ready), std::mem::take(&mut inner.later));
            let waiting = ready.into_values().chain(later.into_values());
            let entries = waiting.map(|waiting| waiting.entry).collect::<Vec<_>>();
            for key in entries.iter().filter_map(|entry| entry.key.as_ref()) {
                inner.keys.remove(key);
            }
            (entries, inner.first_of_row())
        };
        wake(first);
        entries
    }

    fn take_dead_letters(&self) -> Vec<DeadLetter<T>> {
        std::mem::take(&mut lock(&self.0).dead).into()
    }
}

impl<T> fmt::Debug for InProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.0);
        f.debug_struct("InProcess")
            .field("ready", &inner.ready.len())
            .field("later", &inner.later.len())
            .field("leased", &inner.leased.len())
            .field("dead", &inner.dead.len())
            .finish()
    }
}

struct Put<'a, T> {
    store: &'a InProcess<T>,
    entry: Option<Entry<T>>,
    ticket: Option<u64>,
}

/// Nothing in it is pinned.
impl<T> Unpin for Put<'_, T> {}

impl<T> Future for Put<'_, T> {
    type Output = std::result::Result<(), Refused<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let entry = this.entry.take().expect("a put was polled after it was ready");
        let (result, taker, next) = {
            let mut inner = lock(&this.store.0);
            let result = inner.put(entry, this.ticket);
            match result {
                Err(Refused { entry, why: Refusal::Full }) => {
                    this.entry = Some(entry);
                    let ticket = match this.ticket {
                        Some(ticket) => ticket,
                        None => inner.number(),
                    };
                    this.ticket = Some(ticket);
                    inner.row.insert(ticket, cx.waker().clone());
                    return Poll::Pending;
                }
                result => {
                    if let Some(ticket) = this.ticket.take() {
                        inner.row.remove(&ticket);
                    }
                    (result, inner.taker(), inner.first_of_row())
                }
            }
        };
        wake(taker.into_iter().chain(next));
        Poll::Ready(result)
    }
}

impl<T> Drop for Put<'_, T> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let (waker, first) = {
            let mut inner = lock(&self.store.0);
            (inner.row.remove(&ticket), inner.first_of_row())
        };
        drop(waker);
        wake(first);
    }
}

struct Take<'a, T> {
    store: &'a InProcess<T>,
    clock: Clock,
    id: Option<u64>,
}

impl<T> Future for Take<'_, T> {
    type Output = Result<Lease<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (lease, taker, first) = {
            let mut inner = lock(&this.store.0);
            let Some(lease) = inner.take() else {
                let id = match this.id {
                    Some(id) => id,
                    None => inner.number(),
                };
                this.id = Some(id);
                inner.takers.insert(id, cx.waker().clone());
                if let Some((&(due, _), _)) = inner.later.first_key_value()
                    && *inner.timekeeper.get_or_insert(id) == id
                {
                    this.clock.wake_at(due);
                }
                return Poll::Pending;
            };
            inner.leave(this.id.take());
            (lease, inner.taker(), inner.first_of_row())
        };
        wake(taker.into_iter().chain(first));
        Poll::Ready(Ok(lease))
    }
}

impl<T> Inner<T> {
    /// Removes a taker.
    fn leave(&mut self, taker: Option<u64>) {
        let Some(id) = taker else { return };
        self.takers.remove(&id);
        self.timekeeper = self.timekeeper.filter(|timekeeper| *timekeeper != id);
    }
}

impl<T> Drop for Take<'_, T> {
    fn drop(&mut self) {
        if self.id.is_none() {
            return;
        }
        let taker = {
            let mut inner = lock(&self.store.0);
            inner.leave(self.id);
            inner.taker()
        };
        wake(taker);
    }
}
