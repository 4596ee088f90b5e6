//! A clock that the test moves.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use super::watchdog::{LIMIT, Limit};
use crate::{
    ServiceHandle,
    channel::this_thread,
    kit::clock::{Fake, Rest},
    words::state::Seconds,
};

/// A service's clock that stands still, unless the test moves it: made by
/// [`TestService::fake_clock`](super::TestService::fake_clock). `Clone`: all clones are the same clock.
///
/// See [the module](super#the-fake-clock) for what goes by it, and what doesn't.
#[derive(Clone)]
pub struct Clock {
    fake: Arc<Fake>,
    service: ServiceHandle,
    /// The test's, once it has begun.
    limit: Arc<OnceLock<Limit>>,
}

impl Clock {
    pub(super) fn of(service: ServiceHandle) -> Self {
        Self { fake: service.clock().be_fake(), service, limit: Arc::default() }
    }

    pub(super) fn begin(&self, limit: &Limit) {
        let _ = self.limit.set(limit.clone());
    }

    /// Moves the time forward by this much: from deadline to deadline, in their order, and at each it wakes those who
    /// wait for it, and waits until the service [rests](Self::settle). So each finds the very time that it waited for,
    /// however far the clock is moved at once.
    ///
    /// It first waits for rest too: what the test has asked for before has set its timers by then.
    ///
    /// # Panics
    ///
    /// When the watchdog's time is up, or the time is too far for the clock; on the thread of a loop of this service,
    /// which would wait for itself.
    #[track_caller]
    pub fn advance(&self, duration: Duration) {
        let limit = self.limit();
        let rest = self.fake.advance(duration, limit.deadline());
        self.note(rest, &limit);
    }

    /// Waits until the service rests: nothing of what runs in it has anything left to do, but to wait for time, for the
    /// outside, or for the test.
    ///
    /// See [the module](super#rest) for what that means.
    ///
    /// # Panics
    ///
    /// When the watchdog's time is up; on the thread of a loop of this service.
    #[track_caller]
    pub fn settle(&self) {
        let limit = self.limit();
        let rest = self.fake.settle(limit.deadline());
        self.note(rest, &limit);
    }

    /// The time by which it was moved so far.
    pub fn elapsed(&self) -> Duration {
        self.fake.elapsed()
    }

    /// The time now, as [`Context::now`](crate::Context::now) has it.
    pub fn now(&self) -> Instant {
        self.fake.now()
    }

    /// Returns the time of day, which cron expressions go by: that of the system's clock when the fake clock was made,
    /// moved along with it.
    pub fn time_of_day(&self) -> SystemTime {
        self.fake.time_of_day()
    }

    /// Sets the time of day, as somebody may set the system's clock, forward or back; [`now`](Self::now) stays as it
    /// is, and nobody is woken. Before the start it is the time of day at which the service starts.
    ///
    /// # Panics
    ///
    /// If the time is too far back for the system's clock.
    #[track_caller]
    pub fn set_time_of_day(&self, time: SystemTime) {
        self.fake.set_time_of_day(time).expect("the clock does not go that far back");
    }

    /// How far it is to the next deadline that somebody waits for, at rest.
    ///
    /// # Panics
    ///
    /// As [`settle`](Self::settle).
    #[track_caller]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.settle();
        self.fake.next_alarm()
    }

    #[track_caller]
    fn limit(&self) -> Limit {
        assert!(
            !this_thread::is_by(&self.fake),
            "a task can't move or wait for the clock of its service: it would wait for itself"
        );
        self.limit.get().cloned().unwrap_or_else(|| Limit::begin(self.service.clone(), LIMIT))
    }

    #[track_caller]
    fn note(&self, rest: Rest, limit: &Limit) {
        match rest {
            Rest::Rests => {}
            Rest::Blocked(count) => {
                log::debug!(target: self.service.name(), "the fake clock goes on past {count} that block their threads");
            }
            Rest::Restless => {
                let elapsed = Seconds(self.elapsed());
                limit.is_up(format_args!("with the fake clock at {elapsed}, the service does not come to rest"));
            }
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("elapsed", &self.elapsed()).finish_non_exhaustive()
    }
}
