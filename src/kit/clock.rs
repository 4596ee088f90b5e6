//! The service's time: the system's, or, in a test, one that the test moves.
//!
//! With a fake clock the service is watched too: all that its threads have yet to do is counted, so that a test knows
//! when what it has woken has come to rest. What is to be done holds a [`Busy`], from before it can be seen until all
//! that it brought about holds one: so the count is zero only when nothing is left. Without the feature `testing`
//! nothing of this is there.

#[cfg(feature = "testing")]
mod fake;
#[cfg(feature = "testing")]
mod wakes;

#[cfg(feature = "testing")]
use std::sync::{Arc, OnceLock};
#[cfg(not(feature = "testing"))]
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime};

#[cfg(feature = "testing")]
pub(crate) use self::fake::{Alarm, Fake, Rest, Sleep};
#[cfg(feature = "testing")]
pub(crate) use self::wakes::Wakes;

/// By the loop's timers: there is no other clock.
#[cfg(not(feature = "testing"))]
pub(crate) type Sleep<F> = F;

/// The time of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// Set before the start, or never.
    #[cfg(feature = "testing")]
    fake: Arc<OnceLock<Arc<Fake>>>,
}

impl Clock {
    pub(crate) fn now(&self) -> Instant {
        #[cfg(feature = "testing")]
        if let Some(fake) = self.fake() {
            return fake.now();
        }
        Instant::now()
    }

    /// The time of day.
    pub(crate) fn time_of_day(&self) -> SystemTime {
        #[cfg(feature = "testing")]
        if let Some(fake) = self.fake() {
            return fake.time_of_day();
        }
        SystemTime::now()
    }

    /// Waits for this long, by the loop's own timers unless the clock is a fake.
    pub(crate) fn sleep<F>(&self, duration: Duration, native: impl FnOnce(Duration) -> F) -> Sleep<F> {
        #[cfg(feature = "testing")]
        return match self.fake() {
            Some(fake) => Sleep::Fake { alarm: fake.alarm_in(duration) },
            None => Sleep::Native { sleep: native(duration) },
        };
        #[cfg(not(feature = "testing"))]
        native(duration)
    }

    /// There is something to be done, until what is returned is dropped.
    pub(crate) fn busy(&self) -> Busy {
        Busy {
            #[cfg(feature = "testing")]
            _begun: self.fake().map(Fake::begin),
        }
    }

    /// The service has a fake clock, from now on.
    #[cfg(feature = "testing")]
    pub(crate) fn be_fake(&self) -> Arc<Fake> {
        self.fake.get_or_init(Fake::new).clone()
    }

    #[cfg(feature = "testing")]
    pub(crate) fn fake(&self) -> Option<&Arc<Fake>> {
        self.fake.get()
    }
}

/// Something that is to be done: what a fake clock waits for.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    #[cfg(feature = "testing")]
    _begun: Option<fake::Begun>,
}

impl Busy {
    /// It is done.
    pub(crate) fn end(self) {}
}

/// Nobody counts the wakes.
#[cfg(not(feature = "testing"))]
pub(crate) struct Wakes;

#[cfg(not(feature = "testing"))]
impl Wakes {
    pub(crate) fn new(_: &Clock) -> Self {
        Self
    }

    pub(crate) fn polled(&mut self, _: &Context<'_>) -> Self {
        Self
    }

    pub(crate) fn waker<'a>(&'a self, cx: &'a Context<'_>) -> &'a Waker {
        cx.waker()
    }

    pub(crate) fn end(&mut self) {}
}

/// The time since this process first looked.
pub(crate) fn clock() -> Duration {
    clock_at(Instant::now())
}

/// The time from when this process first looked until `now`.
pub(crate) fn clock_at(now: Instant) -> Duration {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    now.saturating_duration_since(*EPOCH.get_or_init(Instant::now))
}
