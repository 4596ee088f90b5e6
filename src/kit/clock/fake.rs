//! A clock that a test advances.
//!
//! Invariants:
//! 1. `busy` is raised before the work becomes visible to the thread that does it, and lowered only when everything
//!    that the work caused is counted. So it is zero only at rest, seen from any thread.
//! 2. The time goes from deadline to deadline, and only at rest: each woken waiter finds exactly the time that it
//!    waited for.
//!
//! Wakers are called outside the lock.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant, SystemTime},
};

use pin_project_lite::pin_project;

/// How long nothing may happen before pending work counts as blocked.
const PATIENCE: Duration = Duration::from_secs(2);

/// A clock that stands still unless it is advanced.
pub(crate) struct Fake {
    inner: Mutex<Inner>,
    rested: Condvar,
    began: Instant,
    /// Held by the one thread that advances it.
    moving: Mutex<()>,
}

struct Inner {
    now: Instant,
    /// The time that the system's clock would have shown when this began, had it been set then as it is now.
    time_of_day: SystemTime,
    next: u64,
    alarms: BTreeMap<(Instant, u64), Waker>,
    /// The amount of pending work.
    busy: usize,
    /// The part of it that is no longer waited for, since it blocks its thread.
    blocked: usize,
    /// The amount of work that was ever begun, and the same when work was given up last.
    begun: u64,
    given_up: u64,
    /// Counts the changes of `busy`.
    changes: u64,
}

/// The result of waiting for rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    Rests,
    /// At rest, except for this much work, which blocks its threads.
    Blocked(usize),
    /// The time is up, and some work never ends.
    Restless,
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            inner: Mutex::new(Inner {
                now,
                time_of_day: SystemTime::now(),
                next: 0,
                alarms: BTreeMap::new(),
                busy: 0,
                blocked: 0,
                begun: 0,
                given_up: 0,
                changes: 0,
            }),
            rested: Condvar::new(),
            began: now,
            moving: Mutex::new(()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Instant {
        self.lock().now
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now() - self.began
    }

    pub(crate) fn time_of_day(&self) -> SystemTime {
        let inner = self.lock();
        inner.time_of_day + (inner.now - self.began)
    }

    /// Sets the time of day; returns `None` if it is too far back for the clock.
    pub(crate) fn set_time_of_day(&self, time: SystemTime) -> Option<()> {
        let mut inner = self.lock();
        inner.time_of_day = time.checked_sub(inner.now - self.began)?;
        Some(())
    }

    // --- Alarms ---

    /// Returns an alarm after this time; a time too far for the clock is never.
    pub(crate) fn alarm_in(self: &Arc<Self>, duration: Duration) -> Alarm {
        let mut inner = self.lock();
        let at = inner.now.checked_add(duration);
        self.alarm(&mut inner, at)
    }

    pub(crate) fn alarm_at(self: &Arc<Self>, time: Instant) -> Alarm {
        self.alarm(&mut self.lock(), Some(time))
    }

    fn alarm(self: &Arc<Self>, inner: &mut Inner, at: Option<Instant>) -> Alarm {
        inner.next += 1;
        Alarm { key: at.map(|at| (at, inner.next)), fake: self.clone() }
    }

    /// Returns the time until the next alarm.
    pub(crate) fn next_alarm(&self) -> Option<Duration> {
        let inner = self.lock();
        inner.alarms.first_key_value().map(|((at, _), _)| at.saturating_duration_since(inner.now))
    }

    /// Advances the time, from alarm to alarm; after each it waits until the woken work rests, until this (real) time
    /// at most.
    pub(crate) fn advance(&self, duration: Duration, until: Option<Instant>) -> Rest {
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = self.settle(until);
        let target = self.now().checked_add(duration).expect("the clock does not go that far");
        while rest != Rest::Restless {
            let woken = {
                let mut inner = self.lock();
                let first = inner.alarms.first_key_value().map(|(&(at, _), _)| at).filter(|at| *at <= target);
                let Some(first) = first else {
                    inner.now = target;
                    break;
                };
                inner.now = inner.now.max(first);
                let later = inner.alarms.split_off(&(first, u64::MAX));
                std::mem::replace(&mut inner.alarms, later)
            };
            woken.into_values().for_each(Waker::wake);
            rest = self.settle(until);
        }
        rest
    }

    // --- Rest ---

    /// Marks work as pending until the returned value is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Begun {
        let mut inner = self.lock();
        inner.busy += 1;
        inner.begun += 1;
        inner.changes += 1;
        Begun { fake: self.clone(), number: inner.begun }
    }

    fn end(&self, number: u64) {
        let mut inner = self.lock();
        inner.busy -= 1;
        inner.changes += 1;
        if number <= inner.given_up {
            // It was blocked and no longer is, and others may have waited for it: all count again.
            (inner.blocked, inner.given_up) = (0, 0);
        }
        if inner.busy <= inner.blocked {
            self.rested.notify_all();
        }
    }

    /// Waits until all work is done, except for work that blocks its thread.
    pub(crate) fn settle(&self, until: Option<Instant>) -> Rest {
        let mut inner = self.lock();
        let (mut changes, mut changed) = (inner.changes, Instant::now());
        while inner.busy > inner.blocked {
            let waited = self.rested.wait_timeout(inner, PATIENCE / 8);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
            let now = Instant::now();
            if inner.changes != changes {
                (changes, changed) = (inner.changes, now);
            } else if now.duration_since(changed) >= PATIENCE {
                (inner.blocked, inner.given_up) = (inner.busy, inner.begun);
            }
            if inner.busy > inner.blocked && until.is_some_and(|until| now >= until) {
                return Rest::Restless;
            }
        }
        if inner.blocked == 0 { Rest::Rests } else { Rest::Blocked(inner.blocked) }
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("Fake")
            .field("elapsed", &(inner.now - self.began))
            .field("alarms", &inner.alarms.len())
            .field("busy", &inner.busy)
            .finish()
    }
}

/// Pending work.
#[derive(Debug)]
pub(crate) struct Begun {
    fake: Arc<Fake>,
    /// From 1.
    number: u64,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.fake.end(self.number);
    }
}

/// Resolves once the clock has reached a time.
#[derive(Debug)]
pub(crate) struct Alarm {
    fake: Arc<Fake>,
    key: Option<(Instant, u64)>,
}

impl Alarm {
    /// Returns the time when it rings.
    pub(crate) fn at(&self) -> Option<Instant> {
        self.key.map(|(at, _)| at)
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(key) = self.key else { return Poll::Pending };
        // Cloned and dropped outside the lock: it is user code, and the supervisor takes this lock.
        let waker = cx.waker().clone();
        let mut inner = self.fake.lock();
        if key.0 <= inner.now {
            return Poll::Ready(());
        }
        let before = inner.alarms.insert(key, waker);
        drop(inner);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = self.fake.lock().alarms.remove(&key);
            drop(waker);
        }
    }
}

pin_project! {
    /// A sleep by one clock or the other.
    #[project = SleepOf]
    pub(crate) enum Sleep<F> {
        Native { #[pin] sleep: F },
        Fake { alarm: Alarm },
    }
}

impl<F: Future<Output = ()>> Future for Sleep<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.project() {
            SleepOf::Native { sleep } => sleep.poll(cx),
            SleepOf::Fake { alarm } => Pin::new(alarm).poll(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn what_begins_after_something_was_given_up_is_waited_for() {
        let fake = Fake::new();
        let until = Instant::now().checked_add(SOON);
        let (blocked, other) = (fake.begin(), fake.begin());
        assert_eq!(fake.settle(until), Rest::Blocked(2));
        // The blocked work continues, and others do work of their own: as much as before is in progress.
        let fresh = fake.begin();
        drop(blocked);
        let (rests, rested) = mpsc::channel();
        let settles = fake.clone();
        let settler = thread::spawn(move || rests.send(settles.settle(until)));
        drop(other);
        assert_eq!(rested.recv_timeout(Duration::from_millis(50)), Err(mpsc::RecvTimeoutError::Timeout));
        drop(fresh);
        assert_eq!(rested.recv_timeout(SOON), Ok(Rest::Rests));
        settler.join().expect("it only waits").expect("the test listens");
    }
}
