//! The time as hyper needs it for pings on HTTP/2.
//!
//! hyper also pings idle connections, and can't be told not to. So time passes only while requests are open; on a
//! connection without any, the wait for a ping, or for its answer, doesn't end.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer as HyperTimer};

use crate::{activity::Activity, timers::Timer};

/// The timer of a connection.
#[derive(Clone)]
pub(crate) struct Pings(Arc<Activity>);

impl Pings {
    pub(crate) fn new(activity: &Arc<Activity>) -> Self {
        Self(activity.clone())
    }
}

impl HyperTimer for Pings {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Sleep>> {
        let now = Instant::now();
        // A time too far for the clock is replaced by one in the distant future.
        self.sleep_until(now.checked_add(time).unwrap_or(now + FAR))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let timer = Timer::new(&self.0.server.timers);
        Box::pin(WhileOpen { activity: self.0.clone(), timer, deadline, is_set: false, waker: None })
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<WhileOpen>() {
            Some(sleep) => {
                let sleep = sleep.get_mut();
                (sleep.deadline, sleep.is_set) = (deadline, false);
            }
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Gets ready once a time has come and requests are open. On a connection without any, no timer is set for it.
struct WhileOpen {
    activity: Arc<Activity>,
    timer: Timer,
    deadline: Instant,
    is_set: bool,
    waker: Option<Waker>,
}

impl Future for WhileOpen {
    type Output = ();

    /// Checks the time; it is polled with each request that begins.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // A client that has finished can't answer.
        if this.activity.is_between_requests() || this.activity.room.is_all_read() {
            return Poll::Pending;
        }
        let known = this.is_set && this.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !known {
            this.waker = Some(cx.waker().clone());
        }
        if !this.is_set {
            this.timer.set(this.deadline.saturating_duration_since(Instant::now()));
            this.is_set = true;
        }
        this.timer.poll_by(cx, !known)
    }
}

impl Sleep for WhileOpen {}
