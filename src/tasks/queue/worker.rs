//! A worker: takes an item, has the work done, and settles the item.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{self, Poll, Waker},
    time::{Duration, Instant},
};

use super::{
    QueueOptions,
    core::{Core, Held},
    store::{Clock, ItemId, Lease},
    work::{Attempt, Executor, LocalBoxed, Outcome},
};
use crate::{CallError, Context, Error, Result, event_loop::Timers, task::ServiceClock};

/// Tells the workers of one incarnation to end.
pub(super) struct Shift {
    clock: ServiceClock,
    ends: Ends,
    /// Waiting items are worked on first.
    drains: Cell<bool>,
    /// After this time nothing more is begun.
    cutoff: Cell<Option<Instant>>,
}

impl Shift {
    pub(super) fn new(clock: ServiceClock) -> Rc<Self> {
        Rc::new(Self { clock, ends: Ends::default(), drains: Cell::new(false), cutoff: Cell::new(None) })
    }

    /// Ends the workers: after their current items, or, if they drain, when nothing waits any more.
    pub(super) fn end(&self, drains: bool, deadline: Option<Instant>) {
        self.drains.set(drains);
        let now = self.clock.now();
        // This is a little earlier than the deadline, so that what is left is given back in good order.
        self.cutoff.set(deadline.map(|deadline| {
            let rest = deadline.saturating_duration_since(now);
            now + rest - (rest / 10).min(Duration::from_millis(500))
        }));
        self.ends.tell();
    }

    fn is_over(&self) -> bool {
        self.ends.told.get() && (!self.drains.get() || self.is_past(self.clock.now()))
    }

    fn is_past(&self, time: Instant) -> bool {
        self.cutoff.get().is_some_and(|cutoff| time >= cutoff)
    }
}

/// A signal that is given once, to all workers, on the loop's thread.
#[derive(Default)]
struct Ends {
    told: Cell<bool>,
    wakers: RefCell<Vec<Waker>>,
}

impl Ends {
    fn tell(&self) {
        self.told.set(true);
        self.wakers.take().into_iter().for_each(Waker::wake);
    }

    /// Whether the signal was given; if not, keeps the waker for it.
    fn is_told(&self, cx: &task::Context<'_>) -> bool {
        if !self.told.get() && !self.wakers.borrow().iter().any(|waker| waker.will_wake(cx.waker())) {
            let waker = cx.waker().clone();
            self.wakers.borrow_mut().push(waker);
        }
        self.told.get()
    }
}

/// Says when, and how often, an item is tried again, and what happens to failures.
#[derive(Clone)]
pub(super) struct Policy {
    pub(super) attempts: u32,
    pub(super) first: Duration,
    pub(super) longest: Duration,
    pub(super) stops: bool,
}

impl Policy {
    /// Returns the pause after this attempt.
    fn pause(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(30);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

pub(super) struct Worker<L: Timers, T: Send + 'static, R: Send + 'static> {
    pub(super) core: Arc<Core<T, R>>,
    pub(super) cx: Context<L, QueueOptions>,
    pub(super) shift: Rc<Shift>,
    pub(super) policy: Policy,
    pub(super) executor: Box<dyn Executor<T, R>>,
}

impl<L: Timers, T: Send + 'static, R: Send + 'static> Worker<L, T, R> {
    /// Works until the shift is over. An error is the task's.
    pub(super) async fn run(self) -> Result {
        let worked = self.work().await;
        self.executor.end().await;
        worked
    }

    async fn work(&self) -> Result {
        while let Some(taken) = self.next().await {
            self.handle(taken?).await?;
        }
        Ok(())
    }

    /// Returns the next item; None when the shift is over.
    async fn next(&self) -> Option<Result<Held<T, R>>> {
        if self.shift.is_over() {
            return None;
        }
        let (clock, stop) = (Clock::new(self.cx.clock()), self.cx.shutdown());
        let mut take = pin!(self.core.take(&clock));
        let mut alarm: Option<(Instant, LocalBoxed<()>)> = None;
        poll_fn(|cx| {
            let ends = self.shift.ends.is_told(cx);
            if !ends && stop.is_requested() {
                // The task is about to say how the shift ends: nothing more is begun before that.
                return Poll::Pending;
            }
            if ends && self.shift.is_over() {
                return Poll::Ready(None);
            }
            loop {
                if let Poll::Ready(taken) = take.as_mut().poll(cx) {
                    return Poll::Ready(Some(taken));
                }
                let due = clock.take();
                if ends && due.is_none_or(|due| self.shift.is_past(due)) {
                    // Nothing waits, or there is no time for what waits.
                    return Poll::Ready(None);
                }
                let Some(due) = due else {
                    alarm = None;
                    return Poll::Pending;
                };
                if alarm.as_ref().is_none_or(|(time, _)| *time != due) {
                    let rest = due.saturating_duration_since(self.cx.now());
                    alarm = Some((due, Box::pin(self.cx.sleep(rest))));
                }
                let rings = alarm.as_mut().is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready());
                if !rings {
                    return Poll::Pending;
                }
                alarm = None;
            }
        })
        .await
    }

    async fn handle(&self, held: Held<T, R>) -> Result {
        let (id, number) = (held.lease().id, held.lease().attempt);
        if self.core.is_cancelled(id) {
            return self.finish(held, Outcome::Cancelled).await;
        }
        if number > self.policy.attempts {
            // The item was delivered again and again: it may be the cause of the process's deaths.
            let why = format!("it was taken {number} times and never done");
            self.give_up(held.release(), why).await;
            return Ok(());
        }
        let attempt = Attempt { id, number, limit: self.policy.attempts, shutdown: self.cx.shutdown() };
        let begun = self.cx.now();
        let (held, outcome) = self.executor.execute(held, attempt).await;
        self.core.figures().executed(self.cx.now().saturating_duration_since(begun));
        match held {
            Some(held) => self.finish(held, outcome).await,
            None => Ok(()),
        }
    }

    async fn finish(&self, held: Held<T, R>, outcome: Outcome<R>) -> Result {
        let (core, figures) = (&self.core, self.core.figures());
        let id = held.lease().id;
        match outcome {
            Outcome::Done(value) => {
                self.done(held).await;
                figures.completed.add(1);
                core.complete(id, value);
            }
            Outcome::Cancelled if core.is_cancelled(id) => {
                self.done(held).await;
                figures.cancelled.add(1);
                core.fail(id, &CallError::Cancelled);
            }
            // The work was cut short by the end of the task.
            Outcome::Cancelled => drop(held),
            Outcome::Later { why, after } => {
                let attempt = held.lease().attempt;
                if attempt >= self.policy.attempts {
                    self.give_up(held.release(), format!("given up after {attempt} attempts: {why}")).await;
                } else {
                    figures.try_later.add(1);
                    let after = after.unwrap_or_else(|| self.policy.pause(attempt));
                    log::debug!(target: self.cx.target(), "item {id} is tried again: {why}");
                    let retried = core.store.begin_retry(held.release(), after).await;
                    self.stored(id, "put back", retried);
                    core.note_depth();
                }
            }
            Outcome::Failed(why) => return self.failed(held, CallError::Failed(why)).await,
            Outcome::Panicked(why) => return self.failed(held, CallError::Panicked(why)).await,
        }
        Ok(())
    }

    /// Reports a failure to the holders of replies; if nobody holds one, the failure is the service's.
    async fn failed(&self, held: Held<T, R>, error: CallError) -> Result {
        let (core, figures) = (&self.core, self.core.figures());
        let id = held.lease().id;
        if core.is_cancelled(id) {
            // Blocking work continued after the cancellation: nobody wants its result.
            self.done(held).await;
            figures.cancelled.add(1);
            core.fail(id, &CallError::Cancelled);
            return Ok(());
        }
        let awaited = core.is_awaited(id);
        figures.failed.add(1);
        if !awaited || matches!(error, CallError::Panicked(_)) {
            figures.unhandled.add(1);
        }
        if awaited {
            self.done(held).await;
            core.fail_aloud(id, &error);
            return Ok(());
        }
        let buried = core.store.begin_dead_letter(held.release(), error.to_string()).await;
        self.stored(id, "made a dead letter", buried);
        figures.dead_letters.add(1);
        core.fail(id, &error);
        log::error!(target: self.cx.target(), "item {id}, which nobody waits for: {error}");
        if self.policy.stops { Err(Error::new(format!("item {id}, which nobody waits for: {error}"))) } else { Ok(()) }
    }

    /// Finishes the item: it leaves the store, and is dropped.
    async fn done(&self, held: Held<T, R>) {
        let lease = held.release();
        let acknowledged = self.core.store.begin_ack(lease.id, lease.attempt).await;
        self.stored(lease.id, "acknowledged", acknowledged);
        self.core.discard(lease);
    }

    async fn give_up(&self, lease: Lease<T>, why: String) {
        let id = lease.id;
        log::warn!(target: self.cx.target(), "item {id} is a dead letter: {why}");
        let buried = self.core.store.begin_dead_letter(lease, why.clone()).await;
        self.stored(id, "made a dead letter", buried);
        self.core.figures().dead_letters.add(1);
        self.core.fail(id, &CallError::Failed(why));
    }

    /// Reports what a store could not do: the lease then runs out, and the item is delivered again.
    fn stored(&self, id: ItemId, what: &str, result: Result) {
        if let Err(error) = result {
            self.core.figures().store_errors.add(1);
            log::warn!(target: self.cx.target(), "item {id} could not be {what}: {error}");
        }
    }
}
