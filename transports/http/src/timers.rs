//! The time limits of all connections of a server, behind one alarm.
//!
//! A runtime whose timers are in use reads the clock and tells the system how long to wait, at each turn: that would
//! cost time for every request. Therefore a server's connections share one queue here, and the server sets one alarm,
//! which costs nothing until it rings.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::net::Alarm;

/// A number distinguishes equal deadlines.
type Key = (Instant, u64);

/// The timers of one server, behind one alarm of its loop: for transports that are built on
/// [`HttpServer`](crate::HttpServer) with [`serve_with`](crate::HttpServer::serve_with). They ring as long as the
/// server runs. Clones share the same queue, and are usable on any thread.
#[derive(Clone, Default)]
pub struct Timers(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    waiting: BTreeMap<Key, Waiting>,
    next: u64,
    /// The waker of the server, which sets the alarm.
    server: Option<Waker>,
}

struct Waiting {
    rung: Arc<AtomicBool>,
    waker: Option<Waker>,
}

impl Timers {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A timer, which can be set again. It rings on the thread of the server's loop; it may be set and polled on any.
pub struct Timer {
    timers: Timers,
    key: Option<Key>,
    rung: Arc<AtomicBool>,
    registered: bool,
}

impl Timer {
    /// Creates a timer that is not set.
    pub fn new(timers: &Timers) -> Self {
        Self { timers: timers.clone(), key: None, rung: Arc::default(), registered: false }
    }

    /// Sets it to ring after this time.
    pub fn set(&mut self, time: Duration) {
        let server = {
            let mut queue = self.timers.lock();
            if let Some(key) = self.key {
                queue.waiting.remove(&key);
            }
            self.rung.store(false, Ordering::Relaxed);
            // A time too far for the clock is never.
            self.key = Instant::now().checked_add(time).map(|deadline| (deadline, queue.next));
            queue.next += 1;
            match self.key {
                None => None,
                Some(key) => {
                    let is_first = queue.waiting.first_key_value().is_none_or(|(first, _)| key < *first);
                    queue.waiting.insert(key, Waiting { rung: self.rung.clone(), waker: None });
                    is_first.then(|| queue.server.take()).flatten()
                }
            }
        };
        self.registered = false;
        if let Some(server) = server {
            server.wake();
        }
    }

    /// Returns ready once the time is up, and from then on until it is set again; never if it was not set. The last
    /// task that polled is woken.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.poll_by(cx, true)
    }

    /// Polls as [`poll`](Self::poll). This costs one load if it was set, and polled by the same task, before.
    #[inline]
    pub(crate) fn poll_by(&mut self, cx: &Context<'_>, new_waker: bool) -> Poll<()> {
        if !self.registered || new_waker {
            let mut queue = self.timers.lock();
            if let Some(waiting) = self.key.and_then(|key| queue.waiting.get_mut(&key)) {
                waiting.waker = Some(cx.waker().clone());
            }
            self.registered = true;
        }
        if self.rung.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers").field("waiting", &self.lock().waiting.len()).finish()
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("rings_at", &self.key.map(|(time, _)| time)).finish_non_exhaustive()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waiting = self.timers.lock().waiting.remove(&key);
            drop(waiting);
        }
    }
}

/// The server's side, which rings due timers.
pub(crate) struct Clock<A> {
    pub(crate) timers: Timers,
    alarm: A,
    set_for: Option<Instant>,
}

impl<A: Alarm> Clock<A> {
    pub(crate) fn new(alarm: A) -> Self {
        Self { timers: Timers::default(), alarm, set_for: None }
    }

    /// Rings due timers, and arranges to be polled when the next one is due. Never ready; an error comes from the
    /// alarm.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            let mut due = Vec::new();
            let first = {
                let mut queue = self.timers.lock();
                // The clock is read only if the alarm was set.
                if self.set_for.is_some() {
                    let now = Instant::now();
                    while let Some(first) = queue.waiting.first_entry().filter(|first| first.key().0 <= now) {
                        let waiting = first.remove();
                        waiting.rung.store(true, Ordering::Release);
                        due.extend(waiting.waker);
                    }
                }
                queue.server = Some(cx.waker().clone());
                queue.waiting.first_key_value().map(|(first, _)| first.0)
            };
            due.into_iter().for_each(Waker::wake);
            if first != self.set_for {
                self.alarm.set(first)?;
                self.set_for = first;
            }
            if first.is_none() || self.alarm.poll(cx)?.is_pending() {
                return Ok(());
            }
            // It has rung, so it must be set again, even for the same time.
            self.set_for = first;
            self.alarm.set(first)?;
        }
    }
}
