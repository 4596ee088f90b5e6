//! The state that handles and workers of a queue share: the store, and for each item the replies to it and the span in
//! which it was submitted.
//!
//! Invariants:
//! 1. The list of replies exists before the item is in the store, and is removed after the item has left it. So a
//!    caller that joins a duplicate, and finds no list, knows that the first item is done.
//! 2. `ended` is set, and read by those who add a list, under one lock: no reply is added after all were resolved.
//!
//! No user code runs under the lock, except a store's `depth`, and what a subscriber does when a span is cloned.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

use super::{
    super::{
        common::{Span, catch, catch_and_log, lock},
        durations::Durations,
    },
    handle::SubmitError,
    store::{AnyStore, Clock, DeadLetter, Entry, ItemId, Lease, Refusal, Refused},
};
use crate::{
    CallError, Context, EventLoop, Remote, Reply, Slot,
    channel::{Cancelled, Promise},
    counters::{Counter, Gauge},
    task::TaskRef,
};

pub(super) struct Core<T, R> {
    pub(super) task: TaskRef,
    pub(super) store: Box<dyn AnyStore<T>>,
    /// The loop of the workers: replies are told when that loop is left behind.
    place: (Slot<()>, Remote<()>),
    target: OnceLock<String>,
    origin: u64,
    next: AtomicU64,
    rules: Mutex<Arc<Rules<T, R>>>,
    inner: Mutex<Inner<R>>,
    left: Mutex<Vec<T>>,
    unread: Mutex<UnreadFailure>,
}

/// A failure that nobody has read, and the waker of the task, which waits for one.
#[derive(Default)]
struct UnreadFailure {
    why: Option<String>,
    waker: Option<Waker>,
}

type Replies<R> = Vec<Promise<R>>;
/// The reply to an item, if one was asked for.
type Maybe<R> = Option<Reply<R>>;

/// The replies to an item, and the span in which it was submitted.
struct Asked<R> {
    replies: Replies<R>,
    span: Span,
}

struct Inner<R> {
    ended: bool,
    asked: BTreeMap<ItemId, Asked<R>>,
    figures: Arc<Figures>,
}

/// The rules for the order and identity of items.
pub(super) struct Rules<T, R> {
    pub(super) priority: Option<Rule<T, i64>>,
    pub(super) key: Option<Rule<T, String>>,
    /// Copies the first item's result for a duplicate; without this, a duplicate is refused.
    pub(super) join: Option<fn(&R) -> R>,
}

pub(super) type Rule<T, V> = Arc<dyn Fn(&T) -> V + Send + Sync>;

impl<T, R> Default for Rules<T, R> {
    fn default() -> Self {
        Self { priority: None, key: None, join: None }
    }
}

impl<T, R> Clone for Rules<T, R> {
    fn clone(&self) -> Self {
        Self { priority: self.priority.clone(), key: self.key.clone(), join: self.join }
    }
}

macro_rules! figures {
    ($($name:ident),*) => {
        /// The task's counters; until the task begins, they are not published.
        #[derive(Default)]
        pub(super) struct Figures {
            $(pub(super) $name: Counter,)*
            /// The number of waiting items.
            depth: Gauge,
            /// How long items waited, and how long work on them took; recorded once the task has begun.
            wait_duration: Option<Durations>,
            execute_duration: Option<Durations>,
        }

        impl Figures {
            fn of<L: EventLoop, O>(cx: &Context<L, O>) -> Self {
                Self {
                    $($name: cx.counter(stringify!($name)),)*
                    depth: cx.gauge("depth"),
                    wait_duration: Some(Durations::of(cx, "wait_duration")),
                    execute_duration: Some(Durations::of(cx, "execute_duration")),
                }
            }

            /// Adds what was counted before.
            fn add(&self, before: &Self) {
                $(self.$name.add(before.$name.get());)*
            }
        }
    };
}

figures!(completed, failed, unhandled, try_later, dead_letters, discarded, cancelled, given_back, store_errors);

impl Figures {
    fn waited(&self, duration: Duration) {
        self.wait_duration.iter().for_each(|durations| durations.took(duration));
    }

    pub(super) fn executed(&self, duration: Duration) {
        self.execute_duration.iter().for_each(|durations| durations.took(duration));
    }
}

impl<T: Send + 'static, R: Send + 'static> Core<T, R> {
    pub(super) fn new(store: Box<dyn AnyStore<T>>) -> Arc<Self> {
        let inner = Inner { ended: false, asked: BTreeMap::new(), figures: Arc::default() };
        Arc::new(Self {
            task: TaskRef::default(),
            store,
            place: Slot::new("queue"),
            target: OnceLock::new(),
            origin: fastrand::u64(..),
            next: AtomicU64::new(1),
            rules: Mutex::default(),
            inner: Mutex::new(inner),
            left: Mutex::default(),
            unread: Mutex::default(),
        })
    }

    pub(super) fn change_rules(&self, change: impl FnOnce(&mut Rules<T, R>)) {
        let mut rules = lock(&self.rules);
        let mut changed = Rules::clone(&rules);
        change(&mut changed);
        *rules = Arc::new(changed);
    }

    /// Begins an incarnation.
    pub(super) fn begin<L: EventLoop, O>(&self, cx: &Context<L, O>) {
        cx.fill(self.place.0.clone(), ());
        let first = self.target.set(cx.target().to_owned()).is_ok();
        {
            let mut inner = lock(&self.inner);
            inner.ended = false;
            if first {
                let figures = Figures::of(cx);
                figures.add(&inner.figures);
                inner.figures = Arc::new(figures);
            }
        }
        self.store.reopen();
        self.note_depth();
    }

    pub(super) fn target(&self) -> &str {
        self.target.get().map_or_else(|| self.task.name().unwrap_or("queue"), String::as_str)
    }

    pub(super) fn figures(&self) -> Arc<Figures> {
        lock(&self.inner).figures.clone()
    }

    pub(super) fn note_depth(&self) {
        let inner = lock(&self.inner);
        // This is done under the lock: otherwise an older figure could be noted last.
        inner.figures.depth.set(self.store.current_depth() as f64);
    }

    // --- Submitting ---

    fn entry(&self, item: T) -> Entry<T> {
        let rules = lock(&self.rules).clone();
        let id = ItemId { origin: self.origin, number: self.next.fetch_add(1, Ordering::Relaxed) };
        let key = rules.key.as_ref().map(|key| key(&item));
        let priority = rules.priority.as_ref().map_or(0, |priority| priority(&item));
        Entry { id, item, key, priority }
    }

    /// Puts the item in, and returns the reply if one is asked for.
    pub(super) async fn put(self: Arc<Self>, item: T, replies: bool) -> Result<Maybe<R>, SubmitError<T>> {
        let (mut entry, mut first) = (self.entry(item), None);
        loop {
            let Some((reply, listed)) = self.list(entry.id, replies) else {
                return Err(SubmitError::Stopped(entry.item));
            };
            match self.store.begin_put(entry).await {
                Ok(()) => return Ok(self.accepted(reply, listed)),
                Err(refused) => match self.refused(refused, replies, &mut first) {
                    Ok(result) => return result,
                    Err(again) => entry = again,
                },
            }
        }
    }

    pub(super) fn try_put(self: &Arc<Self>, item: T, replies: bool) -> Result<Maybe<R>, SubmitError<T>> {
        let (mut entry, mut first) = (self.entry(item), None);
        loop {
            let Some((reply, listed)) = self.list(entry.id, replies) else {
                return Err(SubmitError::Stopped(entry.item));
            };
            match self.store.put_now(entry) {
                Ok(()) => return Ok(self.accepted(reply, listed)),
                Err(refused) => match self.refused(refused, replies, &mut first) {
                    Ok(result) => return result,
                    Err(again) => entry = again,
                },
            }
        }
    }

    /// Adds a list of replies for a new item; dropping the guard removes it. Returns None after the end.
    fn list(self: &Arc<Self>, id: ItemId, replies: bool) -> Option<(Maybe<R>, Listed<T, R>)> {
        let (promise, reply) = replies.then(|| self.place.1.promise()).unzip();
        let asked = Asked { replies: promise.into_iter().collect(), span: Span::current() };
        let mut inner = lock(&self.inner);
        if inner.ended {
            return None;
        }
        inner.asked.insert(id, asked);
        drop(inner);
        Some((reply, Listed { core: Some(self.clone()), id }))
    }

    fn accepted(&self, reply: Maybe<R>, listed: Listed<T, R>) -> Maybe<R> {
        listed.keep();
        self.note_depth();
        reply
    }

    /// Returns the result of the submission; or the entry, to try once more.
    fn refused(
        &self,
        refused: Refused<T>,
        replies: bool,
        first: &mut Option<ItemId>,
    ) -> Result<Result<Maybe<R>, SubmitError<T>>, Entry<T>> {
        let Refused { entry, why } = refused;
        let original = match why {
            Refusal::Full => return Ok(Err(SubmitError::Full(entry.item))),
            Refusal::Closed => return Ok(Err(SubmitError::Stopped(entry.item))),
            Refusal::Failed(error) => return Ok(Err(SubmitError::Store(entry.item, error))),
            Refusal::Duplicate(original) => original,
        };
        let joins = lock(&self.rules).join.is_some();
        let joined = if joins { self.join(original, replies) } else { None };
        if joins && joined.is_none() && original.origin == self.origin && *first != Some(original) {
            // The original was done in between (invariant 1). If it is still there, its replies were resolved before,
            // and there is none to join.
            *first = Some(original);
            return Err(entry);
        }
        self.figures().discarded.add(1);
        Ok(joined.ok_or(SubmitError::Duplicate(entry.item)))
    }

    fn join(&self, original: ItemId, replies: bool) -> Option<Maybe<R>> {
        let mut inner = lock(&self.inner);
        let asked = inner.asked.get_mut(&original)?;
        let (promise, reply) = replies.then(|| self.place.1.promise()).unzip();
        asked.replies.extend(promise);
        Some(reply)
    }

    // --- Working ---

    /// Leases the next item; the error is the store's.
    pub(super) async fn take(self: &Arc<Self>, clock: &Clock) -> crate::Result<Held<T, R>> {
        let lease = self.store.begin_take(clock).await?;
        self.note_depth();
        self.figures().waited(lease.waited);
        Ok(Held { core: self.clone(), lease: Some(lease) })
    }

    /// Returns a future for each reply to the item, ready when that reply is cancelled.
    pub(super) fn cancels(&self, id: ItemId) -> Vec<Cancelled> {
        let inner = lock(&self.inner);
        inner.asked.get(&id).into_iter().flat_map(|asked| &asked.replies).map(Promise::cancelled).collect()
    }

    /// Returns the span in which the item was submitted: none if it came from another process.
    pub(super) fn span(&self, id: ItemId) -> Span {
        lock(&self.inner).asked.get(&id).map_or_else(Span::none, |asked| asked.span.clone())
    }

    /// Whether all who waited for the item have cancelled it.
    pub(super) fn is_cancelled(&self, id: ItemId) -> bool {
        let inner = lock(&self.inner);
        let replies = inner.asked.get(&id).map(|asked| &asked.replies);
        replies.is_some_and(|replies| !replies.is_empty() && replies.iter().all(Promise::is_cancelled))
    }

    /// Whether anybody holds a reply to the item.
    pub(super) fn is_awaited(&self, id: ItemId) -> bool {
        lock(&self.inner).asked.get(&id).is_some_and(|asked| asked.replies.iter().any(Promise::is_awaited))
    }

    fn take_replies(&self, id: ItemId) -> Replies<R> {
        // The span is dropped before anybody hears of the item's end, and outside the lock.
        let asked = lock(&self.inner).asked.remove(&id);
        asked.map(|asked| asked.replies).unwrap_or_default()
    }

    pub(super) fn fail(&self, id: ItemId, error: &CallError) {
        self.take_replies(id).into_iter().for_each(|reply| reply.fail(error.clone()));
    }

    /// Like [`fail`](Self::fail), for a failure that must not go unread: it goes to the holders of replies, or else to
    /// the task.
    pub(super) fn fail_aloud(self: &Arc<Self>, id: ItemId, error: &CallError) {
        let replies = self.take_replies(id);
        if replies.is_empty() {
            return self.note_unread(id, error);
        }
        let (all, unread) = (replies.len(), Arc::new(AtomicUsize::new(0)));
        for reply in replies {
            let (core, why, unread) = (self.clone(), error.clone(), unread.clone());
            reply.fail_or(error.clone(), move || {
                // This is the last of them: nobody has read the failure.
                if unread.fetch_add(1, Ordering::AcqRel) + 1 == all {
                    core.note_unread(id, &why);
                }
            });
        }
    }

    /// Notes that the holder of a reply has dropped it with a failure in it.
    fn note_unread(&self, id: ItemId, error: &CallError) {
        // A panic has already been counted.
        if !matches!(error, CallError::Panicked(_)) {
            self.figures().unhandled.add(1);
        }
        log::error!(target: self.target(), "item {id}, whose reply nobody has read: {error}");
        let waker = {
            let mut unread = lock(&self.unread);
            unread.why = Some(format!("item {id}, whose reply nobody has read: {error}"));
            unread.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes a failure that nobody has read; until there is one, keeps the waker for it.
    pub(super) fn poll_unread(&self, waker: &Waker) -> Option<String> {
        let mut unread = lock(&self.unread);
        unread.waker = Some(waker.clone());
        unread.why.take()
    }

    pub(super) fn complete(&self, id: ItemId, value: R) {
        let mut replies = self.take_replies(id);
        let last = replies.pop();
        // There is more than one reply only if results can be copied.
        let copy = lock(&self.rules).join;
        for reply in replies {
            let copied = copy.map(|copy| catch(|| copy(&value)));
            reply.resolve(match copied {
                Some(Ok(value)) => Ok(value),
                Some(Err(panic)) => Err(CallError::Panicked(panic)),
                None => Err(CallError::Cancelled),
            });
        }
        match last {
            Some(last) => last.fulfil(value),
            // Dropping the value runs user code.
            None => self.discard(value),
        }
    }

    /// Drops a value of the user's.
    pub(super) fn discard<V>(&self, value: V) {
        catch_and_log(self.target(), "a drop in the queue", || drop(value));
    }

    /// Handles work that was cut short.
    fn abandon(&self, lease: Lease<T>) {
        let id = lease.id;
        if self.store.abandon_lease(lease) {
            log::debug!(target: self.target(), "item {id} was cancelled; it will be delivered again");
            return;
        }
        self.figures().cancelled.add(1);
        log::warn!(target: self.target(), "item {id} was cancelled while it was worked on; it is a dead letter now");
        self.fail(id, &CallError::Cancelled);
    }

    // --- The end ---

    /// Keeps the items that still wait, for those who ask for them: nobody will work on them.
    pub(super) fn give_back(&self) {
        let entries = self.store.rest();
        if entries.is_empty() {
            return;
        }
        let count = entries.len();
        log::warn!(target: self.target(), "{count} items were not worked on; they are given back");
        self.figures().given_back.add(count as u64);
        self.note_depth();
        let ids = entries.iter().map(|entry| entry.id).collect::<Vec<_>>();
        lock(&self.left).extend(entries.into_iter().map(|entry| entry.item));
        ids.into_iter().for_each(|id| self.fail(id, &CallError::Stopped));
    }

    /// Ends the queue: the task has ended, and only an operator can start it again. Called on any thread.
    pub(super) fn end(&self) {
        let asked = {
            let mut inner = lock(&self.inner);
            inner.ended = true;
            std::mem::take(&mut inner.asked)
        };
        self.store.shut();
        self.give_back();
        // These replies would have been resolved at the end of the work: a store that keeps its items may deliver them
        // again, in another process.
        for reply in asked.into_values().flat_map(|asked| asked.replies) {
            reply.fail(CallError::Stopped);
        }
    }

    pub(super) fn take_left(&self) -> Vec<T> {
        std::mem::take(&mut lock(&self.left))
    }

    pub(super) fn take_dead_letters(&self) -> Vec<DeadLetter<T>> {
        self.store.dead_letters()
    }
}

/// Removes a list of replies if the item is not accepted.
struct Listed<T: Send + 'static, R: Send + 'static> {
    core: Option<Arc<Core<T, R>>>,
    id: ItemId,
}

impl<T: Send + 'static, R: Send + 'static> Listed<T, R> {
    fn keep(mut self) {
        self.core = None;
    }
}

impl<T: Send + 'static, R: Send + 'static> Drop for Listed<T, R> {
    fn drop(&mut self) {
        if let Some(core) = &self.core {
            drop(core.take_replies(self.id));
        }
    }
}

/// An item in progress. If it is dropped before [`release`](Self::release), the work was cut short.
pub(super) struct Held<T: Send + 'static, R: Send + 'static> {
    core: Arc<Core<T, R>>,
    lease: Option<Lease<T>>,
}

impl<T: Send + 'static, R: Send + 'static> Held<T, R> {
    pub(super) fn core(&self) -> &Arc<Core<T, R>> {
        &self.core
    }

    pub(super) fn lease(&self) -> &Lease<T> {
        self.lease.as_ref().expect("it is there until the end of the work is told")
    }

    pub(super) fn item(&self) -> &T {
        &self.lease().item
    }

    /// Returns the lease once the work has ended: the caller must then give it up.
    pub(super) fn release(mut self) -> Lease<T> {
        self.lease.take().expect("it is there until the end of the work is told")
    }
}

impl<T: Send + 'static, R: Send + 'static> Drop for Held<T, R> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.core.abandon(lease);
        }
    }
}
