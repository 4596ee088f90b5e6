//! Open connections, counted.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as Poller, Poll, Waker},
};

use interloop::counters::Gauge;

use crate::Spare;

/// Counts the open connections of a server. One future waits: the server's own, for a free permit, or for all to be free.
#[derive(Debug)]
pub struct Permits {
    most: usize,
    room: Arc<Room>,
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
    /// At most so many at once. The gauge shows how many there are.
    pub fn new(most: usize, open: Gauge) -> Self {
        Self { most, room: Arc::new(Room { open, inner: Mutex::default() }) }
    }

    /// A permit, whether one is free or not.
    pub fn take(&self) -> Permit {
        self.room.open.add(1.0);
        self.room.lock().permits += 1;
        Permit { room: self.room.clone(), spare: None }
    }

    /// Whether there is one more.
    pub fn are_free(&self) -> bool {
        self.room.lock().permits < self.most
    }

    /// Ready when there is one more.
    pub fn poll_free(&self, poller: &Poller<'_>) -> Poll<()> {
        self.poll_below(self.most, poller)
    }

    /// Ready when all are free.
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

impl Room {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection's, for as long as its socket is open.
#[derive(Debug)]
pub struct Permit {
    room: Arc<Room>,
    spare: Option<Spare>,
}

impl Permit {
    /// Its connection has the spare descriptor, which is kept back again after it.
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
