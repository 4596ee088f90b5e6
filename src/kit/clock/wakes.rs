//! Counts the wakes of a hosted future for a fake clock: from the wake to the end of the resulting poll, the future has
//! work to do.
//!
//! This holds whatever executor polls it, and from whatever thread it is woken.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Wake, Waker},
};

use super::{
    Clock,
    fake::{Begun, Fake},
};

/// The wakes of one hosted future; `None` if they are not counted.
pub(crate) struct Wakes(Option<Watched>);

struct Watched {
    pending: Arc<Pending>,
    /// The waker of its executor, and the one that the future sees instead.
    waker: Option<(Waker, Waker)>,
}

struct Pending {
    fake: Arc<Fake>,
    state: Mutex<State>,
}

enum State {
    Rests,
    /// A poll will follow.
    Woken(Begun),
    /// It is no longer polled.
    Ended,
}

impl Wakes {
    /// Returns the wakes of a future that its executor is about to poll.
    pub(crate) fn new(clock: &Clock) -> Self {
        Self(clock.fake().map(|fake| {
            let state = Mutex::new(State::Woken(fake.begin()));
            let pending = Pending { fake: fake.clone(), state };
            Watched { pending: Arc::new(pending), waker: None }
        }))
    }

    /// Begins a poll, which lasts until the returned value is dropped.
    pub(crate) fn polled(&mut self, cx: &Context<'_>) -> Polled {
        let Some(Watched { pending, waker }) = &mut self.0 else { return Polled(None) };
        let begun = pending.polled();
        let known = waker.take().filter(|(own, _)| own.will_wake(cx.waker()));
        let (_, counts) = waker.insert(known.unwrap_or_else(|| {
            let (own, pending) = (cx.waker().clone(), pending.clone());
            (own.clone(), Waker::from(Arc::new(Counts { own, pending })))
        }));
        Polled(Some((counts.clone(), begun)))
    }

    /// Records that the future is no longer polled.
    pub(crate) fn end(&mut self) {
        if let Some(Watched { pending, .. }) = &self.0 {
            let before = mem::replace(&mut *pending.lock(), State::Ended);
            drop(before);
        }
    }
}

/// A poll, with the waker that counts.
pub(crate) struct Polled(Option<(Waker, Begun)>);

impl Polled {
    pub(crate) fn waker<'a>(&'a self, cx: &'a Context<'_>) -> &'a Waker {
        self.0.as_ref().map_or(cx.waker(), |(counts, _)| counts)
    }
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a poll: it takes over the count of the wake or, if there was none, counts itself.
    fn polled(&self) -> Begun {
        match mem::replace(&mut *self.lock(), State::Rests) {
            State::Woken(begun) => begun,
            State::Rests | State::Ended => self.fake.begin(),
        }
    }

    fn wake(&self) {
        let mut state = self.lock();
        if matches!(*state, State::Rests) {
            *state = State::Woken(self.fake.begin());
        }
    }
}

struct Counts {
    own: Waker,
    pending: Arc<Pending>,
}

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.pending.wake();
        self.own.wake_by_ref();
    }
}

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wakes")
    }
}
