//! A clock that the test advances.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use super::watchdog::{LIMIT, Limit};
use crate::{
    CallError, ServiceHandle,
    channel::this_thread,
    control::handle::Heartbeat,
    kit::clock::{Fake, Rest},
    words::state::Seconds,
};

/// The time within which a loop that isn't blocked has answered.
const ANSWER: Duration = Duration::from_millis(100);

/// A service's clock that stands still until the test advances it; clones are the same clock.
///
/// [`TestService::fake_clock`](super::TestService::fake_clock) returns it. See [the module](super#the-fake-clock) for
/// what it drives, and what it doesn't.
#[derive(Clone)]
pub struct Clock {
    fake: Arc<Fake>,
    service: ServiceHandle,
    /// The test's limit, once the test has begun.
    limit: Arc<OnceLock<Limit>>,
    /// Whether a test was told of a blocked thread, until the service has rested.
    told: Arc<AtomicBool>,
}

impl Clock {
    pub(super) fn of(service: ServiceHandle) -> Self {
        Self { fake: service.clock().be_fake(), service, limit: Arc::default(), told: Arc::default() }
    }

    pub(super) fn begin(&self, limit: &Limit) {
        let _ = self.limit.set(limit.clone());
    }

    /// Advances the time by this much, from deadline to deadline.
    ///
    /// At each deadline it wakes the waiters, and waits until the service [rests](Self::settle). So each waiter sees
    /// exactly the time that it waited for, however far the clock is advanced at once.
    ///
    /// It first waits for rest too, so earlier requests of the test have set their timers by then.
    ///
    /// # Panics
    ///
    /// Panics if the watchdog's time is up, or the time is too far for the clock; also on the thread of a loop of this
    /// service, which would wait for itself.
    #[track_caller]
    pub fn advance(&self, duration: Duration) {
        let limit = self.limit();
        let rest = self.fake.advance(duration, limit.deadline());
        self.note(rest, &limit);
    }

    /// Waits until the service rests: it has nothing left to do except wait for time, for the outside, or for the test.
    ///
    /// See [the module](super#rest) for what that means.
    ///
    /// # Panics
    ///
    /// Panics if the watchdog's time is up, or on the thread of a loop of this service.
    #[track_caller]
    pub fn settle(&self) {
        let limit = self.limit();
        let rest = self.fake.settle(limit.deadline());
        self.note(rest, &limit);
    }

    /// Returns how far the clock was advanced so far.
    pub fn elapsed(&self) -> Duration {
        self.fake.elapsed()
    }

    /// Returns the time now, as [`Context::now`](crate::Context::now) does.
    pub fn now(&self) -> Instant {
        self.fake.now()
    }

    /// Returns the time of day, which cron expressions use.
    ///
    /// It is that of the system's clock when the fake clock was made, advanced along with it.
    pub fn time_of_day(&self) -> SystemTime {
        self.fake.time_of_day()
    }

    /// Sets the time of day, as an administrator may set the system's clock, forward or back.
    ///
    /// [`now`](Self::now) stays unchanged, and no waiter is woken. Before the start, it is the time of day at which the
    /// service starts.
    ///
    /// # Panics
    ///
    /// Panics if the time is too far back for the system's clock.
    #[track_caller]
    pub fn set_time_of_day(&self, time: SystemTime) {
        self.fake.set_time_of_day(time).expect("the clock does not go that far back");
    }

    /// Returns the time until the next deadline that anything waits for, at rest.
    ///
    /// # Panics
    ///
    /// Panics as [`settle`](Self::settle) does.
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

    /// Says what the clock has not waited for: what the test asserts next may not be so yet.
    fn tell_blocked(&self) {
        let (elapsed, name) = (Seconds(self.elapsed()), self.service.name());
        // By the macro, whose output the test harness shows if the test fails.
        eprintln!("{name}: the fake clock went on to {elapsed} although a thread was blocked for 2 s");
        let late = |beat: Heartbeat| (beat.reply.wait_timeout(ANSWER) == Err(CallError::TimedOut)).then_some(beat.name);
        let late = self.service.heartbeats().into_iter().filter_map(late).collect::<Vec<_>>();
        let blocked = self.service.blocked_loops();
        for l in late.iter().filter(|late| blocked.iter().all(|blocked| *blocked.name != ***late)) {
            eprintln!("{name}: loop {l} is blocked in its own events");
        }
        for stuck in &blocked {
            eprintln!("{name}: loop {} is blocked in {}", stuck.name, stuck.polling);
        }
    }

    #[track_caller]
    fn note(&self, rest: Rest, limit: &Limit) {
        match rest {
            Rest::Rests => self.told.store(false, Ordering::Relaxed),
            // Once: later steps go on past the same thread.
            Rest::Blocked(_) if self.told.swap(true, Ordering::Relaxed) => {}
            Rest::Blocked(_) => self.tell_blocked(),
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
