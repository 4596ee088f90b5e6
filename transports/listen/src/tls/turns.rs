//! Limits how many handshakes run at once; the others wait, in the order in which they came.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as Poller, Poll, Waker},
};

#[derive(Clone)]
pub(super) struct Turns(Arc<Inner>);

struct Inner {
    most: usize,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    taken: usize,
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

impl Turns {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Inner { most, line: Mutex::default() }))
    }

    /// Waits for a turn. Dropping the future leaves the line.
    pub(super) fn take(&self) -> impl Future<Output = Turn> + Send + use<> {
        let mut place = Place { turns: self.clone(), number: None };
        poll_fn(move |poller| place.poll(poller))
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the first in line, if it can go on.
    fn call(&self, line: MutexGuard<'_, Line>) {
        let first = line.waiting.first_key_value().filter(|_| line.taken < self.0.most);
        let waker = first.map(|(_, waker)| waker.clone());
        drop(line);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A place in line.
struct Place {
    turns: Turns,
    number: Option<u64>,
}

impl Place {
    fn poll(&mut self, poller: &Poller<'_>) -> Poll<Turn> {
        let mut line = self.turns.lock();
        let first = line.waiting.first_key_value().map(|(number, _)| *number);
        if line.taken < self.turns.0.most && (first.is_none() || first == self.number) {
            line.taken += 1;
            let left = self.number.take().and_then(|number| line.waiting.remove(&number));
            // There may be room for the next one too.
            self.turns.call(line);
            drop(left);
            return Poll::Ready(Turn(self.turns.clone()));
        }
        let number = *self.number.get_or_insert_with(|| {
            line.next += 1;
            line.next
        });
        let before = line.waiting.insert(number, poller.waker().clone());
        drop(line);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut line = self.turns.lock();
        let left = line.waiting.remove(&number);
        self.turns.call(line);
        drop(left);
    }
}

/// A turn, held as long as this lives.
pub(super) struct Turn(Turns);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut line = self.0.lock();
        line.taken -= 1;
        self.0.call(line);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(poll: Poll<Turn>) -> Option<Turn> {
        match poll {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn who_came_first_goes_first_and_who_leaves_holds_nobody_up() {
        let turns = Turns::new(1);
        let wakers: [Arc<Woken>; 3] = Default::default();
        let [a, b, c] = wakers.clone().map(Waker::from);
        let (mut first, mut third) = (pin!(turns.take()), pin!(turns.take()));
        let turn = take(first.as_mut().poll(&mut Poller::from_waker(&a))).expect("nobody is there");
        {
            let mut second = pin!(turns.take());
            assert!(second.as_mut().poll(&mut Poller::from_waker(&b)).is_pending());
            assert!(third.as_mut().poll(&mut Poller::from_waker(&c)).is_pending());
            drop(turn);
            assert_eq!(wakers[1].0.load(Ordering::Relaxed), 1);
            assert!(third.as_mut().poll(&mut Poller::from_waker(&c)).is_pending(), "it is not its turn");
        }
        assert_eq!(wakers[2].0.load(Ordering::Relaxed), 1);
        assert!(take(third.as_mut().poll(&mut Poller::from_waker(&c))).is_some());
    }
}
