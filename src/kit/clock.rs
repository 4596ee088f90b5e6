//! The service's time: the system's, or in a test a clock that the test advances.
//!
//! A fake clock also counts everything that the service's threads have yet to do, so a test knows when the work that it
//! has woken is at rest. Pending work holds a [`Busy`], from before it becomes visible until everything that it caused
//! holds one: so the count is zero only when nothing is left. Without the feature `testing` none of this exists.

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

/// Sleeps by the loop's timers: there is no other clock.
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

    /// Returns the time of day.
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

    /// Marks work as pending until the returned value is dropped.
    pub(crate) fn busy(&self) -> Busy {
        Busy {
            #[cfg(feature = "testing")]
            _begun: self.fake().map(Fake::begin),
        }
    }

    /// Gives the service a fake clock, from now on.
    #[cfg(feature = "testing")]
    pub(crate) fn be_fake(&self) -> Arc<Fake> {
        self.fake.get_or_init(Fake::new).clone()
    }

    #[cfg(feature = "testing")]
    pub(crate) fn fake(&self) -> Option<&Arc<Fake>> {
        self.fake.get()
    }
}

/// Pending work, which a fake clock waits for.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    #[cfg(feature = "testing")]
    _begun: Option<fake::Begun>,
}

impl Busy {
    /// Ends the work.
    pub(crate) fn end(self) {}
}

/// Without a fake clock the wakes are not counted.
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

/// Returns the time since this process first read the clock.
pub(crate) fn clock() -> Duration {
    clock_at(Instant::now())
}

/// Returns the time from when this process first read the clock until `now`.
pub(crate) fn clock_at(now: Instant) -> Duration {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    now.saturating_duration_since(*EPOCH.get_or_init(Instant::now))
}
