//! Runs work by the clock, and on request in between: the machinery of [`Periodic`](super::Periodic) and
//! [`Poller`](super::Poller).
//!
//! It waits for the first of these: the stop, a tick, a request. There is one run at a time: requests made during a run
//! share the run after it.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    panic::resume_unwind,
    pin::pin,
    rc::Rc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::{
    choices::FirstRun,
    common::catch,
    durations::Durations,
    ticks::{Ticks, Timing},
    work::{RunError, TryLater},
};
use crate::{
    Context, Error, Remote, Reply, Result, Slot, channel::Promise, counters::Counter, event_loop::Timers,
    options::OptionDefaults,
};

/// The result of a run that was asked for.
pub(super) type Ran<T> = std::result::Result<T, RunError>;

// --- Options ---

/// Parses an interval as people write it.
pub(super) fn period(text: &str) -> std::result::Result<Duration, String> {
    let period = crate::options::duration(text)?;
    if period.is_zero() { Err(NO_INTERVAL.into()) } else { Ok(period) }
}

pub(super) const NO_INTERVAL: &str = "the interval must not be zero";

/// The timing of runs, and the work's own options.
pub struct RunnerOptions<O: Args> {
    interval: Option<Duration>,
    #[cfg(feature = "cron")]
    by: super::cron::ByCron,
    own: Rc<O>,
}

impl<O: Args> FromArgMatches for RunnerOptions<O> {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Ok(Self {
            interval: matches.get_one("interval").copied(),
            #[cfg(feature = "cron")]
            by: super::cron::ByCron::from_arg_matches(matches)?,
            own: Rc::new(O::from_arg_matches(matches)?),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<O: Args> Args for RunnerOptions<O> {
    fn augment_args(command: Command) -> Command {
        let interval = Arg::new("interval").long("interval").value_name("DURATION").value_parser(period);
        let command = command.arg(interval.help("How often to do it"));
        #[cfg(feature = "cron")]
        let command = super::cron::ByCron::augment_args(command);
        O::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<O: Args> RunnerOptions<O> {
    /// Whether the timing differs from the earlier one.
    fn is_retimed(&self, before: &Self) -> bool {
        #[cfg(feature = "cron")]
        if self.by != before.by {
            return true;
        }
        self.interval != before.interval
    }

    /// Returns the timing set in code, except where these options override it.
    fn timing(&self, said: &Timing) -> Timing {
        #[allow(unused_mut, reason = "the feature cron")]
        let mut timing = Timing { interval: self.interval.unwrap_or(said.interval), ..said.clone() };
        #[cfg(feature = "cron")]
        match (self.interval, &self.by.cron) {
            // The expression comes from the code, and the options give an interval.
            (Some(_), Some(cron)) if !self.by.given && said.cron.as_ref().is_some_and(|said| said == cron) => {
                timing.cron = None;
            }
            (_, Some(cron)) => timing.cron = Some(cron.clone()),
            (Some(_), None) => timing.cron = None,
            (None, None) => {}
        }
        timing
    }
}

impl<O: Args> fmt::Debug for RunnerOptions<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerOptions").field("interval", &self.interval).finish_non_exhaustive()
    }
}

/// Returns the timing as options.
pub(super) fn defaults(said: &Timing) -> OptionDefaults {
    #[cfg(feature = "cron")]
    if let Some(cron) = &said.cron {
        return OptionDefaults::new().with("cron", cron);
    }
    // An interval that can't work is reported where it runs.
    OptionDefaults::new().with_duration("interval", Some(said.interval).filter(|interval| !interval.is_zero()))
}

// --- Requests ---

/// The way to a runner, from any thread, and the place where the runner will be.
pub(super) struct Door<T: Send + 'static> {
    slot: Slot<Asks<T>>,
    asks: Remote<Asks<T>>,
}

impl<T: Send + 'static> Door<T> {
    pub(super) fn new() -> Self {
        let (slot, asks) = Slot::new("runs");
        Self { slot, asks }
    }

    pub(super) fn remote(&self) -> &Remote<Asks<T>> {
        &self.asks
    }

    /// Serves requests from now on.
    pub(super) fn open<L: crate::EventLoop, O>(&self, cx: &Context<L, O>) -> Rc<Asks<T>> {
        let asks = Asks { pending: RefCell::default(), waker: RefCell::default(), asks: self.asks.clone() };
        cx.fill(self.slot.clone(), asks)
    }
}

impl<T: Send + 'static> Clone for Door<T> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone(), asks: self.asks.clone() }
    }
}

/// The requests for a run that has not begun. At the end of an incarnation they are passed on to the next one.
pub(super) struct Asks<T: Send + 'static> {
    pending: RefCell<Vec<Promise<Ran<T>>>>,
    waker: RefCell<Option<Waker>>,
    asks: Remote<Self>,
}

/// Asks for a run.
pub(super) fn ask<T: Send + 'static>(asks: &Remote<Asks<T>>) -> Reply<Ran<T>> {
    asks.ask(|asks, promise| asks.add(promise))
}

impl<T: Send + 'static> Asks<T> {
    fn add(&self, promise: Promise<Ran<T>>) {
        self.pending.borrow_mut().push(promise);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the requests that are still wanted.
    fn take(&self) -> Vec<Promise<Ran<T>>> {
        let mut asks = self.pending.take();
        asks.retain(|promise| !promise.is_cancelled());
        asks
    }
}

impl<T: Send + 'static> Drop for Asks<T> {
    fn drop(&mut self) {
        for promise in self.pending.take() {
            self.asks.ask_with(promise, |asks, promise| asks.add(promise));
        }
    }
}

// --- Runs ---

struct Figures {
    iterations: Counter,
    slow: Counter,
    missed: Counter,
    try_later: Counter,
    failures: Counter,
    execute_duration: Durations,
}

impl Figures {
    fn of<L: crate::EventLoop, O>(cx: &Context<L, O>) -> Self {
        Self {
            iterations: cx.counter("iterations"),
            slow: cx.counter("slow_iterations"),
            missed: cx.counter("missed"),
            try_later: cx.counter("try_later"),
            failures: cx.counter("failures"),
            execute_duration: Durations::of(cx, "execute_duration"),
        }
    }
}

/// Says what an error, other than [`TryLater`], does to the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnError {
    Fail,
    /// The error is counted and logged.
    GoOn,
}

/// Runs until the task is asked to stop, or fails.
///
/// Options that change in the meantime hold from then on: a new timing begins with one interval, and the next run has
/// the work's new options.
pub(super) async fn run<L: Timers, O: Args + 'static, T: Clone + Send + 'static>(
    cx: &Context<L, RunnerOptions<O>>,
    said: &Timing,
    on_error: OnError,
    asks: &Asks<T>,
    mut once: impl AsyncFnMut(Context<L, O>) -> Result<T>,
) -> Result {
    let timing = cx.options().timing(said);
    if timing.interval.is_zero() {
        return Err(Error::new(NO_INTERVAL));
    }
    let mut changes = cx.option_changes();
    let mut changed: Option<Rc<RunnerOptions<O>>> = None;
    let mut inner = cx.with_options(cx.options().own.clone());
    let figures = Figures::of(cx);
    let mut stop = pin!(cx.until_shutdown());
    let mut ticks = Ticks::begin(&timing, &cx.clock());
    // Until then nothing is tried again, unless there is a request.
    let mut retry: Option<Option<Instant>> = None;
    loop {
        let rest = match retry {
            Some(at) => at.map(|at| at.saturating_duration_since(cx.now())),
            None => ticks.rest(),
        };
        if rest == Some(Duration::ZERO) {
            // Let others on this loop have their turn, however many ticks must be made up for.
            yield_once().await;
        }
        let mut sleep = pin!(rest.map(|rest| cx.sleep(rest)));
        let mut change = pin!(changes.next());
        let event = poll_fn(|poll| {
            if stop.as_mut().poll(poll).is_ready() {
                return Poll::Ready(Event::Stop);
            }
            if let Poll::Ready(options) = change.as_mut().poll(poll) {
                return Poll::Ready(Event::Changed(options));
            }
            asks.waker.replace(Some(poll.waker().clone()));
            if !asks.pending.borrow().is_empty() {
                return Poll::Ready(Event::Run);
            }
            match sleep.as_mut().as_pin_mut() {
                Some(sleep) => sleep.poll(poll).map(|()| Event::Run),
                None => Poll::Pending,
            }
        });
        match event.await {
            Event::Stop => return Ok(()),
            Event::Changed(new) => {
                if new.is_retimed(changed.as_deref().unwrap_or(cx.options())) {
                    let timing = Timing { first: FirstRun::AfterInterval, ..new.timing(said) };
                    ticks = Ticks::begin(&timing, &cx.clock());
                }
                inner = cx.with_options(new.own.clone());
                changed = Some(new);
                continue;
            }
            Event::Run => {}
        }
        let is_due = match retry {
            Some(at) => at.is_some_and(|at| at <= cx.now()),
            None => ticks.rest().is_some_and(|rest| rest.is_zero()),
        };
        let asked = asks.take();
        if !is_due && asked.is_empty() {
            // The clock was set back, or the request was cancelled.
            continue;
        }
        if is_due && retry.is_none() {
            figures.missed.add(ticks.fire());
        }
        retry = None;

        let begun = cx.now();
        let ended = caught(once(inner.clone())).await;
        let took = cx.now().saturating_duration_since(begun);
        figures.execute_duration.took(took);
        if ticks.is_slow(took) {
            figures.slow.add(1);
        }
        if let Some(pause) = conclude(cx, &figures, on_error, ended, asked)? {
            retry = Some(cx.now().checked_add(pause));
        }
    }
}

/// Counts how a run has ended, and answers the requests for it. Returns after how long to try again, if at all; an
/// error is the task's.
fn conclude<L: Timers, O: Args + 'static, T: Clone + Send + 'static>(
    cx: &Context<L, RunnerOptions<O>>,
    figures: &Figures,
    on_error: OnError,
    ended: std::result::Result<Result<T>, String>,
    asked: Vec<Promise<Ran<T>>>,
) -> Result<Option<Duration>> {
    match ended {
        Ok(Ok(output)) => {
            figures.iterations.add(1);
            asked.into_iter().for_each(|promise| promise.fulfil(Ok(output.clone())));
        }
        Ok(Err(error)) => {
            if let Some(later) = TryLater::of(&error) {
                figures.try_later.add(1);
                log::debug!(target: cx.target(), "{later}");
                let pause = later.after;
                tell(asked, &RunError::TryLater(later));
                return Ok(Some(pause));
            }
            tell(asked, &RunError::Failed(error.to_string().into()));
            if on_error == OnError::Fail {
                return Err(error);
            }
            figures.failures.add(1);
            log::warn!(target: cx.target(), "failed, and goes on: {error}");
        }
        Err(panic) => {
            let all = asked.into_iter();
            all.for_each(|promise| promise.fail(crate::CallError::Panicked(panic.clone())));
            // The panic hook has already been called where it happened.
            resume_unwind(Box::new(panic));
        }
    }
    Ok(None)
}

/// An event that the runner waits for.
enum Event<O: Args> {
    Stop,
    Changed(Rc<RunnerOptions<O>>),
    Run,
}

fn tell<T: Send + 'static>(asked: Vec<Promise<Ran<T>>>, why: &RunError) {
    asked.into_iter().for_each(|promise| promise.fulfil(Err(why.clone())));
}

/// Awaits the future; if it panics, returns the panic's message.
async fn caught<F: Future>(future: F) -> std::result::Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch(|| future.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Lets others have their turn.
pub(super) async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
