//! A timer wheel: 256 slots of a millisecond; a timer waits in the slot of its time, for as many rounds as its time is
//! away.
//!
//! George Varghese and Tony Lauck, "Hashed and hierarchical timing wheels", SOSP 1987: scheme 6.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

const SLOTS: u64 = 256;

/// The timers of a loop.
#[derive(Debug)]
pub struct Wheel {
    began: Instant,
    /// The first tick that has not been checked.
    hand: Cell<u64>,
    slots: RefCell<Vec<Vec<Timer>>>,
}

#[derive(Debug)]
struct Timer {
    deadline: Instant,
    /// Empty once it has fired, or nobody waits for it any more.
    waker: Rc<RefCell<Option<Waker>>>,
}

impl Default for Wheel {
    fn default() -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Self { began: Instant::now(), hand: Cell::new(0), slots: RefCell::new(slots) }
    }
}

impl Wheel {
    fn tick(&self, time: Instant) -> u64 {
        time.saturating_duration_since(self.began).as_millis() as u64
    }

    /// Returns a future that is ready once `duration` has passed.
    pub fn sleep(self: &Rc<Self>, duration: Duration) -> impl Future<Output = ()> + use<> {
        let deadline = Instant::now().checked_add(duration);
        let (wheel, mut mine) = (self.clone(), None::<Mine>);
        poll_fn(move |cx| {
            // A time too far for the clock is never.
            let Some(deadline) = deadline else { return Poll::Pending };
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            let Mine(waker) = mine.get_or_insert_with(|| wheel.set(deadline));
            *waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
    }

    fn set(&self, deadline: Instant) -> Mine {
        let waker = Rc::<RefCell<Option<Waker>>>::default();
        let slot = self.tick(deadline) % SLOTS;
        self.slots.borrow_mut()[slot as usize].push(Timer { deadline, waker: waker.clone() });
        Mine(waker)
    }

    /// Wakes all due timers, slot by slot.
    pub fn turn(&self) {
        let now = Instant::now();
        let (hand, tick) = (self.hand.get(), self.tick(now));
        let mut due = Vec::new();
        for slot in (hand..=tick).take(SLOTS as usize).map(|tick| tick % SLOTS) {
            due.extend(self.slots.borrow_mut()[slot as usize].extract_if(.., |timer| timer.deadline <= now));
        }
        self.hand.set(tick);
        due.sort_by_key(|timer| timer.deadline);
        // Outside the borrow: a waker may do anything.
        due.into_iter().filter_map(|timer| timer.waker.take()).for_each(Waker::wake);
    }

    /// Returns how long the loop may wait.
    pub fn timeout(&self) -> Option<Duration> {
        let slots = self.slots.borrow();
        let first = |slot: u64| slots[slot as usize].iter().map(|timer| timer.deadline).min();
        let hand = self.hand.get();
        let mut next = None;
        for tick in hand..hand + SLOTS {
            let Some(deadline) = first(tick % SLOTS) else { continue };
            next = Some(next.map_or(deadline, |next: Instant| next.min(deadline)));
            // In this round: timers in later slots are due later.
            if self.tick(deadline) <= tick {
                break;
            }
        }
        next.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// A timer that somebody waits for.
struct Mine(Rc<RefCell<Option<Waker>>>);

impl Drop for Mine {
    fn drop(&mut self) {
        let waker = self.0.take();
        drop(waker);
    }
}
