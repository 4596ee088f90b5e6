//! Counts and limits open connections.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as Poller, Poll, Waker},
    time::{Duration, Instant},
};

use interloop::counters::{Counter, Gauge};

use crate::Spare;

/// How long it isn't logged again that all permits are taken.
const QUIET: Duration = Duration::from_secs(60);

/// Counts the open connections of a server. Only one future may wait at a time: the server's own, for a free permit or
/// for all permits to be free.
#[derive(Debug)]
pub struct Permits {
    most: usize,
    room: Arc<Room>,
    /// What is told when all permits are taken.
    full: Option<Full>,
}

#[derive(Debug)]
struct Full {
    target: String,
    times: Counter,
    /// When it was logged.
    told: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Room {
    open: Gauge,
    inner: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    permits: usize,
    waker: Option<Waker>,
}

impl Permits {
    /// Creates one with a maximum of `most` at once. The gauge shows how many are open.
    pub fn new(most: usize, open: Gauge) -> Self {
        Self { most, room: Arc::new(Room { open, inner: Mutex::default() }), full: None }
    }

    /// Counts by this counter how often the last permit was taken, and logs it to this target, once a minute at most.
    #[must_use]
    pub fn tell_full(mut self, target: &str, times: Counter) -> Self {
        self.full = Some(Full { target: target.to_owned(), times, told: Mutex::default() });
        self
    }

    /// Takes a permit, whether one is free or not.
    pub fn take(&self) -> Permit {
        self.room.open.add(1.0);
        let taken = {
            let mut taken = self.room.lock();
            taken.permits += 1;
            taken.permits
        };
        if let Some(full) = self.full.as_ref().filter(|_| taken == self.most) {
            full.tell(taken);
        }
        Permit { room: self.room.clone(), spare: None }
    }

    /// Returns whether a permit is free.
    pub fn are_free(&self) -> bool {
        self.room.lock().permits < self.most
    }

    /// Returns ready when a permit is free.
    pub fn poll_free(&self, poller: &Poller<'_>) -> Poll<()> {
        self.poll_below(self.most, poller)
    }

    /// Returns ready when all permits are free.
    pub fn poll_empty(&self, poller: &Poller<'_>) -> Poll<()> {
        self.poll_below(1, poller)
    }

    fn poll_below(&self, limit: usize, poller: &Poller<'_>) -> Poll<()> {
        let mut taken = self.room.lock();
        if taken.permits < limit {
            taken.waker = None;
            return Poll::Ready(());
        }
        taken.waker = Some(poller.waker().clone());
        Poll::Pending
    }
}

impl Full {
    fn tell(&self, open: usize) {
        self.times.add(1);
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| now.saturating_duration_since(told) < QUIET) {
            return;
        }
        *told = Some(now);
        drop(told);
        let are = if open == 1 { "connection is" } else { "connections are" };
        log::warn!(
            target: &self.target,
            "{open} {are} open, as many as may be (max-connections): further clients wait"
        );
    }
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The permit of an open connection, held as long as its socket is open.
#[derive(Debug)]
pub struct Permit {
    room: Arc<Room>,
    spare: Option<Spare>,
}

impl Permit {
    /// Notes that its connection uses the spare descriptor, which is restored when the permit is dropped.
    #[must_use]
    pub fn with(mut self, spare: Option<Spare>) -> Self {
        self.spare = spare;
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.spare.iter().for_each(Spare::restore);
        self.room.open.sub(1.0);
        let waker = {
            let mut taken = self.room.lock();
            taken.permits -= 1;
            taken.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
