//! The service's clock, for a loop with a beat of its own.

use std::{
    fmt,
    time::{Duration, Instant},
};

#[cfg(feature = "testing")]
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
};

use crate::kit::clock::Clock;
#[cfg(feature = "testing")]
use crate::{
    channel::shared::Shared,
    kit::{
        clock::{Alarm, Busy, Fake},
        sync::lock,
    },
};

/// The service's clock, for a loop that wakes at times of its own: to draw a frame, or to do a step of a simulation.
///
/// It is the system's clock, unless a test has replaced it with a fake (feature `testing`): then the loop's beat is
/// the test's, too. [`Mailbox::clock`](super::Mailbox::clock) returns it.
pub struct LoopClock {
    clock: Clock,
    #[cfg(feature = "testing")]
    fake: Option<Faked>,
}

#[cfg(feature = "testing")]
struct Faked {
    fake: Arc<Fake>,
    alarm: Option<Alarm>,
    rings: Arc<Rings>,
}

/// Wakes the loop, which is at work from then on until it waits again.
#[cfg(feature = "testing")]
struct Rings {
    shared: Arc<Shared>,
    at_work: Mutex<Option<Busy>>,
}

#[cfg(feature = "testing")]
impl Wake for Rings {
    fn wake(self: Arc<Self>) {
        let busy = self.shared.clock().busy();
        let before = lock(&self.at_work).replace(busy);
        drop(before);
        self.shared.queue.bell.ring();
    }
}

impl LoopClock {
    #[cfg(not(feature = "testing"))]
    pub(super) fn new(clock: &Clock) -> Self {
        Self { clock: clock.clone() }
    }

    #[cfg(feature = "testing")]
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let clock = shared.clock().clone();
        let fake = clock.fake().map(|fake| {
            // Until the loop waits for the first time.
            let at_work = Mutex::new(Some(clock.busy()));
            Faked { fake: fake.clone(), alarm: None, rings: Arc::new(Rings { shared: shared.clone(), at_work }) }
        });
        Self { clock, fake }
    }

    /// Returns the time now, as [`Context::now`](crate::Context::now) does.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Returns how long the loop may wait at most, so that it is awake at this time of the clock; zero if the time has
    /// come.
    ///
    /// It must be called before each wait, when the loop's own work is done. By a fake clock it returns
    /// [`Duration::MAX`]: the mailbox's [notify](super::Mailbox::set_notify) wakes the loop when a test has moved the
    /// clock to this time, and the clock goes no further before the loop waits again.
    pub fn wait_until(&mut self, time: Instant) -> Duration {
        #[cfg(feature = "testing")]
        if let Some(faked) = &mut self.fake {
            return faked.wait_until(time);
        }
        time.saturating_duration_since(self.now())
    }
}

#[cfg(feature = "testing")]
impl Faked {
    fn wait_until(&mut self, time: Instant) -> Duration {
        if self.alarm.as_ref().and_then(Alarm::at) != Some(time) {
            self.alarm = Some(self.fake.alarm_at(time));
        }
        let waker = Waker::from(self.rings.clone());
        let is_due = |alarm: &mut Alarm| Pin::new(alarm).poll(&mut Context::from_waker(&waker)) == Poll::Ready(());
        if self.alarm.as_mut().is_some_and(is_due) {
            return Duration::ZERO;
        }
        // The alarm is set: from here on the clock may go on.
        let rests = lock(&self.rings.at_work).take();
        drop(rests);
        Duration::MAX
    }
}

impl fmt::Debug for LoopClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopClock").field("clock", &self.clock).finish_non_exhaustive()
    }
}
