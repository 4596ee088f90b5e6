//! A task that fetches a value at regular intervals, and reports changes.

use std::{
    cell::RefCell,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context as Polled, Poll},
    time::Duration,
};

use futures_core::Stream;

#[cfg(feature = "cron")]
use super::Cron;
use super::{
    FirstRun, MissedTicks, RunError, Work,
    common::lock,
    runner::{self, Asks, Door, OnError, RunnerOptions},
    ticks::Timing,
    work::{AsyncClosure, Blocking, Closure},
};
use crate::{
    CallError, Context, EventLoop, Remote, Reply, Result, Slot, Task,
    channel::Promise,
    event_loop::Timers,
    options::OptionDefaults,
    task::{Offer, TaskHandle, TaskRef},
};

/// Fetches a value at regular intervals, keeps the latest, and reports when it has changed.
///
/// Changes are reported to [`on_change`](Self::on_change), and to all who [watch](PollerHandle::watch), on any loop.
/// The first fetch is at once, unless [`first_run`](Self::first_run) says otherwise.
///
/// The fetch is a closure, an [async closure](Self::new_async), or [a type of yours](Self::of). It runs on the loop,
/// and must not block a loop that is shared: [`blocking`](Self::blocking) gives it a thread. If it returns an error,
/// the error is counted and logged, and the value stays; or the task [fails](Self::fail_on_error).
/// [`TryLater`](super::TryLater) has the fetch tried again after some time. A panic fails the task.
///
/// Ticks, clones and restarts work as for [`Periodic`](super::Periodic); the latest value survives a restart.
///
/// Options: `--{task}-interval`, such as `1.5s`; with the feature `cron`, `--{task}-cron`. Counters: those of
/// `Periodic`, and `changes`.
///
/// ```
/// use std::{fs, time::Duration};
/// use interloop::{Service, Thread, task_fn, tasks::Poller};
///
/// let load = Poller::new(Duration::from_secs(5), || Ok(fs::read_to_string("/proc/loadavg")?))
///     .on_change(|old, new| println!("{old:?} -> {new}"));
/// let handle = load.handle();
/// let mut service = Service::new("monitor");
/// service.task_on::<Thread>("load", load);
/// let show = handle.clone();
/// let show = task_fn::<Thread>(async move |cx| {
///     let mut watch = show.watch();
///     cx.spawn_local(async move {
///         while let Some(load) = watch.next().await {
///             println!("now {load}");
///         }
///     }).detach();
///     Ok(cx.until_shutdown().await)
/// });
/// service.task("show", show).uses(&handle);
/// ```
pub struct Poller<W, T: Clone + Send + 'static> {
    fetch: W,
    timing: Timing,
    on_error: OnError,
    on_change: Option<OnChange<T>>,
    door: Door<T>,
    watchers: (Slot<Watchers<T>>, Remote<Watchers<T>>),
    latest: Arc<Mutex<Latest<T>>>,
    task: TaskRef,
}

/// Receives the old value, if any, and the new one.
type OnChange<T> = Arc<Mutex<Box<dyn FnMut(Option<&T>, &T) + Send>>>;

/// The latest value, and the number of changes so far.
struct Latest<T> {
    value: Option<T>,
    version: u64,
}

impl<F, T: Clone + Send + 'static> Poller<Closure<F>, T> {
    /// Calls `fetch` every `interval`.
    pub fn new(interval: Duration, fetch: F) -> Self
    where
        F: FnMut() -> Result<T> + Send + 'static,
    {
        Self::of(interval, Closure(fetch))
    }

    /// Calls the closure on a thread of its own, which is named for the task: the closure may block.
    pub fn blocking(self) -> Poller<Blocking<F>, T> {
        let Self { fetch, timing, on_error, on_change, door, watchers, latest, task } = self;
        Poller { fetch: fetch.blocking(), timing, on_error, on_change, door, watchers, latest, task }
    }
}

impl<F, T: Clone + Send + 'static> Poller<AsyncClosure<F>, T> {
    /// Calls and awaits `fetch` every `interval`.
    pub fn new_async(interval: Duration, fetch: F) -> Self
    where
        F: AsyncFnMut() -> Result<T> + Send + 'static,
    {
        Self::of(interval, AsyncClosure(fetch))
    }
}

impl<W, T: Clone + Send + 'static> Poller<W, T> {
    /// Fetches the output of this work every `interval`: for work that needs its [`Context`], or has options.
    pub fn of(interval: Duration, fetch: W) -> Self {
        Self {
            fetch,
            timing: Timing::every(interval, FirstRun::AtOnce),
            on_error: OnError::GoOn,
            on_change: None,
            door: Door::new(),
            watchers: Slot::new("watchers"),
            latest: Arc::new(Mutex::new(Latest { value: None, version: 0 })),
            task: TaskRef::default(),
        }
    }

    /// Calls this, on the loop, when the value has changed, before anybody else sees the new value.
    ///
    /// It is also called for the first value: then there is no old one.
    #[must_use]
    pub fn on_change(mut self, f: impl FnMut(Option<&T>, &T) + Send + 'static) -> Self {
        self.on_change = Some(Arc::new(Mutex::new(Box::new(f))));
        self
    }

    /// Fails the task when a fetch returns an error.
    #[must_use]
    pub fn fail_on_error(mut self) -> Self {
        self.on_error = OnError::Fail;
        self
    }

    /// Sets when the first fetch takes place; at once by default.
    #[must_use]
    pub fn first_run(mut self, first: FirstRun) -> Self {
        self.timing.first = first;
        self
    }

    /// Sets what happens to missed ticks; they are skipped by default.
    #[must_use]
    pub fn missed_ticks(mut self, missed: MissedTicks) -> Self {
        self.timing.missed = missed;
        self
    }

    /// Delays each tick by a random amount up to this; the schedule doesn't drift.
    ///
    /// This keeps many processes from asking all at once. A first fetch at once is not delayed.
    #[must_use]
    pub fn jitter(mut self, most: Duration) -> Self {
        self.timing.jitter = most;
        self
    }

    /// Fetches at these times instead of by the interval, unless `--{task}-interval` is given. See
    /// [`Periodic::cron`](crate::tasks::Periodic::cron).
    #[cfg(feature = "cron")]
    #[must_use]
    pub fn cron(mut self, cron: Cron) -> Self {
        self.timing.cron = Some(cron);
        self
    }

    /// Returns a handle to this task, for any thread.
    pub fn handle(&self) -> PollerHandle<T> {
        PollerHandle {
            task: self.task.clone(),
            asks: self.door.remote().clone(),
            watchers: self.watchers.1.clone(),
            latest: self.latest.clone(),
        }
    }
}

impl<L, W, T> Task<L> for Poller<W, T>
where
    L: Timers,
    W: Work<L, Output = T>,
    T: Clone + PartialEq + Send + 'static,
{
    type Options = RunnerOptions<W::Options>;

    async fn run(&mut self, cx: Context<L, Self::Options>) -> Result {
        let asks = self.door.open(&cx);
        let watchers = self.watch_out(&cx);
        let changes = cx.counter("changes");
        let (fetch, latest, on_change) = (&mut self.fetch, &self.latest, &self.on_change);
        let once = async |inner| {
            let new = fetch.run(inner).await?;
            let old = lock(latest).value.clone();
            if old.as_ref() != Some(&new) {
                if let Some(on_change) = on_change {
                    lock(on_change)(old.as_ref(), &new);
                }
                changes.add(1);
                let before = {
                    let mut latest = lock(latest);
                    latest.version += 1;
                    latest.value.replace(new.clone())
                };
                drop(before);
                watchers.tell();
            }
            Ok(new)
        };
        runner::run(&cx, &self.timing, self.on_error, &asks, once).await
    }

    fn defaults(&self) -> OptionDefaults {
        runner::defaults(&self.timing)
    }

    fn offer(&self) -> Option<Offer> {
        Some(Offer::new(&self.handle()))
    }
}

impl<W, T: Clone + Send + 'static> Poller<W, T> {
    /// Serves watchers from now on.
    fn watch_out<L: EventLoop, O>(&self, cx: &Context<L, O>) -> std::rc::Rc<Watchers<T>> {
        let (slot, remote) = &self.watchers;
        let watchers = Watchers { waiting: RefCell::default(), latest: self.latest.clone(), watchers: remote.clone() };
        cx.fill(slot.clone(), watchers)
    }
}

impl<W: Clone, T: Clone + Send + 'static> Clone for Poller<W, T> {
    fn clone(&self) -> Self {
        Self {
            fetch: self.fetch.clone(),
            timing: self.timing.clone(),
            on_error: self.on_error,
            on_change: self.on_change.clone(),
            door: self.door.clone(),
            watchers: self.watchers.clone(),
            latest: self.latest.clone(),
            task: self.task.clone(),
        }
    }
}

impl<W, T: Clone + Send + 'static> fmt::Debug for Poller<W, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("timing", &self.timing).finish_non_exhaustive()
    }
}

/// The watchers that wait for a newer value, each with the version that it knows. At the end of an incarnation they
/// move on to the next one.
struct Watchers<T: Clone + Send + 'static> {
    waiting: RefCell<Vec<(u64, Promise<Newer<T>>)>>,
    latest: Arc<Mutex<Latest<T>>>,
    watchers: Remote<Self>,
}

/// A version and its value.
type Newer<T> = (u64, T);

impl<T: Clone + Send + 'static> Watchers<T> {
    fn add(&self, seen: u64, promise: Promise<Newer<T>>) {
        {
            let mut waiting = self.waiting.borrow_mut();
            // Forget watchers that have gone away: watchers that ask again and again would pile up between two changes.
            waiting.retain(|(_, promise)| promise.is_awaited());
            waiting.push((seen, promise));
        }
        // The value may have changed on the way here.
        self.tell();
    }

    /// Sends the latest value to those that know an older version.
    fn tell(&self) {
        let latest = {
            let latest = lock(&self.latest);
            latest.value.clone().map(|value| (latest.version, value))
        };
        let Some((version, value)) = latest else { return };
        let told = self.waiting.borrow_mut().extract_if(.., |(seen, _)| *seen < version).collect::<Vec<_>>();
        told.into_iter().for_each(|(_, promise)| promise.fulfil((version, value.clone())));
    }
}

impl<T: Clone + Send + 'static> Drop for Watchers<T> {
    fn drop(&mut self) {
        let waiting = self.waiting.take();
        for (seen, promise) in waiting {
            self.watchers.ask_with(promise, move |watchers, promise| watchers.add(seen, promise));
        }
    }
}

/// Asks for a value that is newer than this version.
fn newer<T: Clone + Send + 'static>(watchers: &Remote<Watchers<T>>, seen: u64) -> Reply<Newer<T>> {
    watchers.ask(move |watchers, promise| watchers.add(seen, promise))
}

/// A handle to a [`Poller`], for any thread. It survives restarts.
pub struct PollerHandle<T: Clone + Send + 'static> {
    task: TaskRef,
    asks: Remote<Asks<T>>,
    watchers: Remote<Watchers<T>>,
    latest: Arc<Mutex<Latest<T>>>,
}

impl<T: Clone + Send + 'static> PollerHandle<T> {
    /// Returns the latest value, if there is one. The value stays after the task has stopped.
    pub fn value(&self) -> Option<T> {
        lock(&self.latest).value.clone()
    }

    /// Returns the latest value; if there is none yet, blocks this thread until there is. To await it, use
    /// [`ValueWatch::next`].
    ///
    /// # Errors
    ///
    /// [`TimedOut`](CallError::TimedOut) after `timeout`; [`Stopped`](CallError::Stopped) if the task has stopped
    /// without a value; [`WouldBlock`](CallError::WouldBlock) where [`Reply::wait`] says so.
    pub fn value_timeout(&self, timeout: Duration) -> std::result::Result<T, CallError> {
        match self.value() {
            Some(value) => Ok(value),
            None => newer(&self.watchers, 0).wait_timeout(timeout).map(|(_, value)| value),
        }
    }

    /// Returns a watch that brings the values from here on: first the latest, if there is one.
    pub fn watch(&self) -> ValueWatch<T> {
        ValueWatch { watchers: self.watchers.clone(), latest: self.latest.clone(), seen: 0, asked: None }
    }

    /// Asks for a fetch now, in addition to the scheduled ones; the reply brings the value.
    ///
    /// If a fetch is in progress, one further fetch is queued; callers in the meantime share it.
    pub fn poll_now(&self) -> Reply<std::result::Result<T, RunError>> {
        runner::ask(&self.asks)
    }
}

impl<T: Clone + Send + 'static> TaskHandle for PollerHandle<T> {
    fn task(&self) -> &TaskRef {
        &self.task
    }
}

impl<T: Clone + Send + 'static> Clone for PollerHandle<T> {
    fn clone(&self) -> Self {
        Self {
            task: self.task.clone(),
            asks: self.asks.clone(),
            watchers: self.watchers.clone(),
            latest: self.latest.clone(),
        }
    }
}

impl<T: Clone + Send + 'static> fmt::Debug for PollerHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollerHandle").field("task", &self.task).finish_non_exhaustive()
    }
}

/// A watch on the values of a [`Poller`], for any executor: made by [`PollerHandle::watch`].
///
/// The latest value wins: a slow reader doesn't see the values in between.
pub struct ValueWatch<T: Clone + Send + 'static> {
    watchers: Remote<Watchers<T>>,
    latest: Arc<Mutex<Latest<T>>>,
    seen: u64,
    /// The request for a value newer than that.
    asked: Option<Reply<(u64, T)>>,
}

impl<T: Clone + Send + 'static> ValueWatch<T> {
    /// Waits for the latest value that this watch has not brought yet; returns None once the task has stopped and no
    /// value will come.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the next call brings the value.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<T: Clone + Send + 'static> Stream for ValueWatch<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Polled<'_>) -> Poll<Option<T>> {
        let known = {
            let latest = lock(&self.latest);
            latest.value.as_ref().filter(|_| latest.version > self.seen).map(|value| (latest.version, value.clone()))
        };
        let (version, value) = match known {
            Some(known) => known,
            None => {
                let asked = self.asked.take();
                let mut asked = asked.unwrap_or_else(|| newer(&self.watchers, self.seen));
                match Pin::new(&mut asked).poll(cx) {
                    Poll::Ready(Ok(newest)) => newest,
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                    Poll::Pending => {
                        self.asked = Some(asked);
                        return Poll::Pending;
                    }
                }
            }
        };
        (self.seen, self.asked) = (version, None);
        Poll::Ready(Some(value))
    }
}

impl<T: Clone + Send + 'static> Clone for ValueWatch<T> {
    fn clone(&self) -> Self {
        Self { watchers: self.watchers.clone(), latest: self.latest.clone(), seen: self.seen, asked: None }
    }
}

impl<T: Clone + Send + 'static> fmt::Debug for ValueWatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueWatch").field("seen", &self.seen).finish_non_exhaustive()
    }
}
