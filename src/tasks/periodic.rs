//! A task that does something at regular intervals.

use std::{fmt, time::Duration};

#[cfg(feature = "cron")]
use super::Cron;
use super::{
    FirstRun, MissedTicks, RunError, Work,
    runner::{self, Asks, Door, OnError, RunnerOptions},
    ticks::Timing,
    work::{AsyncClosure, Blocking, Closure, Outcome},
};
use crate::{
    Context, Remote, Reply, Result, Task,
    event_loop::Timers,
    options::OptionDefaults,
    task::{Offer, TaskHandle, TaskRef},
};

/// Does something at regular intervals, by the clock, without drift.
///
/// The first run is one interval after the start, unless [`first_run`](Self::first_run) says otherwise. There is never
/// more than one run at a time; [`missed_ticks`](Self::missed_ticks) sets what happens to ticks that a slow run has
/// missed.
///
/// The work is a closure, an [async closure](Self::new_async), or [a type of yours](Self::of). It runs on the loop, and
/// must not block a loop that is shared: [`blocking`](Self::blocking) gives it a thread. If it returns an error or
/// panics, the task fails; but errors can be [counted](Self::count_failures) instead, and [`TryLater`](super::TryLater)
/// has the run tried again after some time. A run that is in progress when the task is asked to stop continues to its
/// end, or to the task's deadline.
///
/// The [handle](Self::handle) asks for runs in between. A clone has the same handle: return clones from the closure of
/// [`task_with`](crate::Service::task_with), which makes a fresh value for each incarnation.
///
/// Options: `--{task}-interval`, such as `1.5s`; with the feature `cron`, `--{task}-cron`. These, and those of the
/// work, can be [set](crate::options::Options::set) while the task runs. Counters: `iterations` (completed runs),
/// `slow_iterations` (runs that took longer than the interval), `missed` (ticks that were skipped), `try_later`,
/// `failures`; and, with the feature `metrics`, the samples `execute_duration` of all runs, however they ended, in
/// seconds, over 60 s and 240 s.
///
/// ```
/// use std::time::Duration;
/// use interloop::{Service, Thread, tasks::Periodic};
///
/// let mut service = Service::new("clock");
/// service.task_on::<Thread>("tick", Periodic::new(Duration::from_secs(1), || println!("tick")));
/// ```
///
/// This one is restarted when it fails, runs at once at the start, and each tick is delayed at random by at most 5 s:
///
/// ```
/// use std::{fs, time::Duration};
/// use interloop::{RestartPolicy, Service, Thread, tasks::{FirstRun, Periodic}};
///
/// let sweep = Periodic::new(Duration::from_secs(60), || fs::remove_dir_all("/tmp/house/dust"))
///     .first_run(FirstRun::AtOnce)
///     .jitter(Duration::from_secs(5));
/// let handle = sweep.handle();
/// let mut service = Service::new("house");
/// service.task_with::<Thread>("sweep", move || sweep.clone()).offers(&handle).restart(RestartPolicy::on_failure());
/// ```
pub struct Periodic<W> {
    work: W,
    timing: Timing,
    on_error: OnError,
    door: Door<()>,
    task: TaskRef,
}

impl<F> Periodic<Closure<F>> {
    /// Calls `work` every `interval`. `work` returns nothing, or a [`Result`].
    ///
    /// A body that uses `?` ends with `interloop::Result::Ok(())`: by itself, `Ok(())` doesn't say of which error.
    ///
    /// ```
    /// use std::{fs, time::Duration};
    /// use interloop::tasks::Periodic;
    ///
    /// let sweep = Periodic::new(Duration::from_secs(60), || {
    ///     for entry in fs::read_dir("/tmp/house/dust")? {
    ///         fs::remove_file(entry?.path())?;
    ///     }
    ///     interloop::Result::Ok(())
    /// });
    /// # drop(sweep);
    /// ```
    pub fn new<R: Outcome<Value = ()>>(interval: Duration, work: F) -> Self
    where
        F: FnMut() -> R + Send + 'static,
    {
        Self::of(interval, Closure(work))
    }

    /// Calls the closure on a thread of its own, which is named for the task: the closure may block.
    pub fn blocking(self) -> Periodic<Blocking<F>> {
        let Self { work, timing, on_error, door, task } = self;
        Periodic { work: work.blocking(), timing, on_error, door, task }
    }
}

impl<F> Periodic<AsyncClosure<F>> {
    /// Calls and awaits `work` every `interval`. `work` returns nothing, or a [`Result`].
    ///
    /// ```
    /// use std::{cell::Cell, time::Duration};
    /// use interloop::{Service, Thread, tasks::Periodic};
    ///
    /// let mut service = Service::new("counter");
    /// let (slot, count) = service.slot::<Cell<u64>>("count");
    /// let every = Duration::from_secs(1);
    /// let report = Periodic::new_async(every, async move || count.call(Cell::get).await.map(|count| println!("{count}")));
    /// service.task_on::<Thread>("report", report);
    /// # drop(slot);
    /// ```
    ///
    /// As with [`new`](Self::new), a body that uses `?` ends with `interloop::Result::Ok(())`:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use interloop::{Remote, tasks::Periodic};
    /// # fn sweeper(dust: Remote<Vec<u8>>) {
    /// let sweep = Periodic::new_async(Duration::from_secs(60), async move || {
    ///     let grains = dust.call(|dust| dust.len()).await?;
    ///     println!("{grains} grains of dust");
    ///     interloop::Result::Ok(())
    /// });
    /// # drop(sweep);
    /// # }
    /// ```
    pub fn new_async<R: Outcome<Value = ()>>(interval: Duration, work: F) -> Self
    where
        F: AsyncFnMut() -> R + Send + 'static,
    {
        Self::of(interval, AsyncClosure(work))
    }
}

impl<W> Periodic<W> {
    /// Does `work` every `interval`: for work that needs its [`Context`], or has options.
    pub fn of(interval: Duration, work: W) -> Self {
        let timing = Timing::every(interval, FirstRun::AfterInterval);
        Self { work, timing, on_error: OnError::Fail, door: Door::new(), task: TaskRef::default() }
    }

    /// Sets when the first run takes place; one interval after the start by default.
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
    /// This keeps many processes from doing the work all at once. A first run at once is not delayed.
    #[must_use]
    pub fn jitter(mut self, most: Duration) -> Self {
        self.timing.jitter = most;
        self
    }

    /// Counts failed runs, instead of failing the task.
    ///
    /// A run that returns an error is counted by the counter `failures` and logged as a warning; the next run is at its
    /// time, and the task continues. By default an error fails the task. A panic fails it in any case.
    /// [`Queue::count_failures`](super::queue::Queue::count_failures) means the same for a queue.
    ///
    /// ```
    /// use std::{fs, time::Duration};
    /// use interloop::{Service, Thread, tasks::Periodic};
    ///
    /// let sweep = Periodic::new(Duration::from_secs(60), || fs::remove_dir_all("/tmp/house/dust")).count_failures();
    /// let mut service = Service::new("house");
    /// service.task_on::<Thread>("sweep", sweep); // the counter is sweep.failures
    /// ```
    #[doc(alias = "keep_going")]
    #[doc(alias = "on_error")]
    #[must_use]
    pub fn count_failures(mut self) -> Self {
        self.on_error = OnError::GoOn;
        self
    }

    /// Runs at these times instead of by the interval, unless `--{task}-interval` is given.
    ///
    /// If the system's clock is set, the task notices it when a run is due, and within an hour otherwise; the same
    /// holds for a machine that slept.
    ///
    /// * Set forward: all times that the clock has jumped over run once, at once, also with [`MissedTicks::Burst`].
    /// * Set back: a time that the task has already run at runs again only if half an interval has passed since the
    ///   last run, and, if it is a [fixed time](Cron#when-the-clocks-change), three hours. So a job at noon doesn't run
    ///   again when the clock is set back from one minute past twelve to eleven; a job that runs every 15 minutes
    ///   continues to do so; and after a step back by a day neither pauses for a day.
    #[cfg(feature = "cron")]
    #[must_use]
    pub fn cron(mut self, cron: Cron) -> Self {
        self.timing.cron = Some(cron);
        self
    }

    /// Returns a handle to this task, for any thread.
    pub fn handle(&self) -> PeriodicHandle {
        PeriodicHandle { task: self.task.clone(), asks: self.door.remote().clone() }
    }
}

impl<L: Timers, W: Work<L, Output = ()>> Task<L> for Periodic<W> {
    type Options = RunnerOptions<W::Options>;

    async fn run(&mut self, cx: Context<L, Self::Options>) -> Result {
        let asks = self.door.open(&cx);
        let work = &mut self.work;
        runner::run(&cx, &self.timing, self.on_error, &asks, async |cx| work.run(cx).await).await
    }

    fn defaults(&self) -> OptionDefaults {
        runner::defaults(&self.timing)
    }

    fn offer(&self) -> Option<Offer> {
        Some(Offer::new(&self.handle()))
    }
}

impl<W: Clone> Clone for Periodic<W> {
    fn clone(&self) -> Self {
        let (work, timing) = (self.work.clone(), self.timing.clone());
        Self { work, timing, on_error: self.on_error, door: self.door.clone(), task: self.task.clone() }
    }
}

impl<W> fmt::Debug for Periodic<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Periodic").field("timing", &self.timing).finish_non_exhaustive()
    }
}

/// A handle to a [`Periodic`], for any thread. It survives restarts: a run asked for between two incarnations waits for
/// the next.
#[derive(Clone, Debug)]
pub struct PeriodicHandle {
    task: TaskRef,
    asks: Remote<Asks<()>>,
}

impl PeriodicHandle {
    /// Asks for a run now, in addition to the scheduled ones; the reply brings how that run ended.
    ///
    /// If a run is in progress, one further run is queued; callers in the meantime share it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use interloop::{CallError, Service, Thread, tasks::Periodic};
    /// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    /// let hourly = Periodic::new(Duration::from_secs(3600), || println!("swept"));
    /// let handle = hourly.handle();
    /// let mut service = Service::new("house");
    /// service.task_on::<Thread>("sweep", hourly);
    /// let running = service.start()?;
    /// handle.run_now().wait_timeout(Duration::from_secs(10))??;
    /// running.stop();
    /// assert_eq!(handle.run_now().wait_timeout(Duration::from_secs(10)), Err(CallError::Stopped));
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_now(&self) -> Reply<std::result::Result<(), RunError>> {
        runner::ask(&self.asks)
    }
}

impl TaskHandle for PeriodicHandle {
    fn task(&self) -> &TaskRef {
        &self.task
    }
}
