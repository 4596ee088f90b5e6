//! The work on an item: what it sees, how it ends, and where it runs (on the loop, on the runtime's workers, or on
//! threads of its own).

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    ops::Deref,
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, mpsc},
    task::Poll,
    time::Duration,
};

use super::{
    super::{common::catch, work::TryLater},
    QueueOptions,
    core::{Core, Held},
    store::ItemId,
};
use crate::{
    Context, Error, EventLoop, Shutdown,
    channel::promise,
    task::{ServiceClock, TaskThread},
};

/// The error of work on an item. Any error becomes one through `?`.
///
/// [`TryLater`] becomes one too, and is no failure: the item is tried again.
///
/// ```
/// use std::time::Duration;
/// use interloop::tasks::queue::WorkError;
///
/// fn deliver(busy: bool) -> Result<(), WorkError> {
///     if busy {
///         return Err(WorkError::later("the line is busy").after(Duration::from_secs(3)));
///     }
///     Ok(())
/// }
/// # assert!(deliver(true).is_err() && deliver(false).is_ok());
/// ```
#[derive(Debug)]
pub struct WorkError(Kind);

#[derive(Debug)]
enum Kind {
    Failed(Error),
    Later { why: String, after: Option<Duration> },
}

impl WorkError {
    /// Makes an error that is no failure: the item must be tried again, for this reason, after the queue's
    /// [backoff](super::Queue::backoff).
    pub fn later(why: impl Into<String>) -> Self {
        Self(Kind::Later { why: why.into(), after: None })
    }

    /// Sets the time until the next try, instead of the backoff. It has no effect on a failure.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Self {
        if let Kind::Later { after, .. } = &mut self.0 {
            *after = Some(time);
        }
        self
    }
}

impl<E: Into<Error>> From<E> for WorkError {
    fn from(error: E) -> Self {
        let error = error.into();
        Self(match TryLater::of(&error) {
            Some(later) => Kind::Later { why: later.to_string(), after: Some(later.after) },
            None => Kind::Failed(error),
        })
    }
}

/// What the work sees of its item's history. Unlike [`WorkContext`], it is `Clone + Send`.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub(super) id: ItemId,
    pub(super) number: u32,
    pub(super) limit: u32,
    pub(super) shutdown: Shutdown,
}

impl Attempt {
    /// Returns the id of the item, which is the same at each attempt.
    pub fn id(&self) -> ItemId {
        self.id
    }

    /// Returns the number of this attempt, counted from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether this is the last attempt.
    pub fn is_last(&self) -> bool {
        self.number >= self.limit
    }

    /// Returns the signal that asks the task to stop: for blocking work that can end early.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }
}

/// The surroundings of the work on an item: the task's [`Context`], and the [`Attempt`].
pub struct WorkContext<L: EventLoop> {
    cx: Context<L, QueueOptions>,
    attempt: Attempt,
}

impl<L: EventLoop> WorkContext<L> {
    /// Returns the attempt.
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }
}

impl<L: EventLoop> Deref for WorkContext<L> {
    type Target = Context<L, QueueOptions>;

    fn deref(&self) -> &Self::Target {
        &self.cx
    }
}

impl<L: EventLoop> fmt::Debug for WorkContext<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkContext").field("task", &self.cx.name()).field("attempt", &self.attempt).finish()
    }
}

/// Says how the work ended.
pub(super) enum Outcome<R> {
    Done(R),
    Failed(String),
    Later { why: String, after: Option<Duration> },
    Panicked(String),
    Cancelled,
}

impl<R> From<Result<R, WorkError>> for Outcome<R> {
    fn from(result: Result<R, WorkError>) -> Self {
        match result {
            Ok(value) => Self::Done(value),
            Err(WorkError(Kind::Failed(error))) => Self::Failed(error.to_string()),
            Err(WorkError(Kind::Later { why, after })) => Self::Later { why, after },
        }
    }
}

/// The item comes back with the outcome, unless it is gone with a thread that was left behind.
pub(super) type Worked<T, R> = (Option<Held<T, R>>, Outcome<R>);
pub(super) type LocalBoxed<R> = Pin<Box<dyn Future<Output = R>>>;

/// Does the work for one worker.
pub(super) trait Executor<T: Send + 'static, R: Send + 'static> {
    fn execute(&self, held: Held<T, R>, attempt: Attempt) -> LocalBoxed<Worked<T, R>>;

    /// Awaits the end of the executor's own threads, once it has no more to do.
    fn end(self: Box<Self>) -> LocalBoxed<()> {
        Box::pin(std::future::ready(()))
    }
}

/// Makes this many executors, when the task begins.
pub(super) type Hire<L, T, R> =
    Box<dyn FnOnce(&Context<L, QueueOptions>, usize) -> io::Result<Vec<Box<dyn Executor<T, R>>>> + Send>;

/// Polls the work, in the span in which the item was submitted, until it ends, panics, or all who wait for it have
/// cancelled it. Then drops the work at once.
async fn supervise<T: Send + 'static, R: Send + 'static>(
    core: Arc<Core<T, R>>,
    id: ItemId,
    work: impl Future<Output = Result<R, WorkError>>,
) -> Outcome<R> {
    let (mut cancels, span) = (core.cancels(id), core.span(id));
    let mut work = pin!(Some(work));
    poll_fn(|cx| {
        // Each one is polled, so that each wakes this future.
        let some =
            cancels.iter_mut().map(|cancel| Pin::new(cancel).poll(cx).is_ready()).fold(false, |some, one| some | one);
        let cancelled = some && core.is_cancelled(id);
        let outcome = match work.as_mut().as_pin_mut() {
            _ if cancelled => Outcome::Cancelled,
            None => Outcome::Cancelled,
            // Formatting an error is user code too.
            Some(work) => match catch(|| span.in_scope(|| work.poll(cx).map(Outcome::from))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(outcome)) => outcome,
                Err(panic) => Outcome::Panicked(panic),
            },
        };
        Poll::Ready(match catch(|| span.in_scope(|| work.set(None))) {
            Ok(()) => outcome,
            Err(panic) => Outcome::Panicked(panic),
        })
    })
    .await
}

/// Runs the work on the loop's thread.
struct OnLoop<L: EventLoop, F> {
    work: Rc<F>,
    cx: Context<L, QueueOptions>,
}

pub(super) fn on_loop<L, T, R, F>(work: F) -> Hire<L, T, R>
where
    L: EventLoop,
    T: Send + 'static,
    R: Send + 'static,
    F: AsyncFn(&T, WorkContext<L>) -> Result<R, WorkError> + Send + 'static,
{
    Box::new(|cx, workers| {
        let work = Rc::new(work);
        let hired = (0..workers).map(|_| OnLoop { work: work.clone(), cx: cx.clone() });
        Ok(hired.map(|worker| Box::new(worker) as Box<dyn Executor<T, R>>).collect())
    })
}

impl<L, T, R, F> Executor<T, R> for OnLoop<L, F>
where
    L: EventLoop,
    T: Send + 'static,
    R: Send + 'static,
    F: AsyncFn(&T, WorkContext<L>) -> Result<R, WorkError> + 'static,
{
    fn execute(&self, held: Held<T, R>, attempt: Attempt) -> LocalBoxed<Worked<T, R>> {
        let (work, cx) = (self.work.clone(), self.cx.clone());
        Box::pin(async move {
            let (core, id) = (held.core().clone(), attempt.id);
            let outcome = supervise(core, id, async { work(held.item(), WorkContext { cx, attempt }).await }).await;
            (Some(held), outcome)
        })
    }
}

/// Runs the work on the workers of a runtime that has some.
struct OnWorkers<L: EventLoop, F> {
    work: Arc<F>,
    cx: Context<L, QueueOptions>,
}

pub(super) fn on_workers<L, T, R, F, W>(work: F) -> Hire<L, T, R>
where
    L: EventLoop,
    T: Clone + Send + 'static,
    R: Send + 'static,
    F: Fn(T, Attempt) -> W + Send + Sync + 'static,
    W: Future<Output = Result<R, WorkError>> + Send + 'static,
{
    Box::new(|cx, workers| {
        let work = Arc::new(work);
        let hired = (0..workers).map(|_| OnWorkers { work: work.clone(), cx: cx.clone() });
        Ok(hired.map(|worker| Box::new(worker) as Box<dyn Executor<T, R>>).collect())
    })
}

impl<L, T, R, F, W> Executor<T, R> for OnWorkers<L, F>
where
    L: EventLoop,
    T: Clone + Send + 'static,
    R: Send + 'static,
    F: Fn(T, Attempt) -> W + Send + Sync + 'static,
    W: Future<Output = Result<R, WorkError>> + Send + 'static,
{
    fn execute(&self, held: Held<T, R>, attempt: Attempt) -> LocalBoxed<Worked<T, R>> {
        let (work, cx) = (self.work.clone(), self.cx.clone());
        Box::pin(async move {
            let (core, id) = (held.core().clone(), attempt.id);
            let item = match catch(|| held.item().clone()) {
                Ok(item) => item,
                Err(panic) => return (Some(held), Outcome::Panicked(panic)),
            };
            let work = cx.spawn(async move { supervise(core, id, async move { work(item, attempt).await }).await });
            let outcome = work.await.unwrap_or(Outcome::Cancelled);
            (Some(held), outcome)
        })
    }
}

/// A thread for one worker's jobs.
struct OnThread {
    clock: ServiceClock,
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
    thread: TaskThread,
}

struct Blocking<F> {
    work: Arc<F>,
    thread: OnThread,
}

pub(super) fn on_threads<L, T, R, F>(work: F) -> Hire<L, T, R>
where
    L: EventLoop,
    T: Send + 'static,
    R: Send + 'static,
    F: Fn(&T, &Attempt) -> Result<R, WorkError> + Send + Sync + 'static,
{
    Box::new(|cx, workers| {
        let work = Arc::new(work);
        let mut hired = Vec::<Box<dyn Executor<T, R>>>::with_capacity(workers);
        for number in 1..=workers {
            let thread = OnThread::start(cx, &number.to_string())?;
            hired.push(Box::new(Blocking { work: work.clone(), thread }));
        }
        Ok(hired)
    })
}

impl OnThread {
    fn start<L: EventLoop>(cx: &Context<L, QueueOptions>, name: &str) -> io::Result<Self> {
        let (jobs, todo) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let thread = cx.thread(name, move || {
            // Jobs count as busy; a thread that waits for one doesn't.
            while let Ok(job) = TaskThread::idle(|| todo.recv()) {
                job();
            }
        })?;
        Ok(Self { clock: cx.clock(), jobs, thread })
    }
}

impl<T, R, F> Executor<T, R> for Blocking<F>
where
    T: Send + 'static,
    R: Send + 'static,
    F: Fn(&T, &Attempt) -> Result<R, WorkError> + Send + Sync + 'static,
{
    fn execute(&self, held: Held<T, R>, attempt: Attempt) -> LocalBoxed<Worked<T, R>> {
        let (promise, reply) = promise();
        let work = self.work.clone();
        // The job owns the item: if nobody waits for its end any more, the job releases the item.
        let busy = self.thread.clock.busy();
        let job = move || {
            let (_busy, span) = (busy, held.core().span(attempt.id));
            let worked = catch(|| span.run(|| Outcome::from(work(held.item(), &attempt))));
            let outcome = worked.unwrap_or_else(Outcome::Panicked);
            promise.fulfil((Some(held), outcome));
        };
        let sent = self.thread.jobs.send(Box::new(job));
        Box::pin(async move {
            // A thread that is gone has dropped the job, and with it the item.
            if sent.is_err() {
                return (None, Outcome::Cancelled);
            }
            reply.await.unwrap_or((None, Outcome::Cancelled))
        })
    }

    fn end(self: Box<Self>) -> LocalBoxed<()> {
        let OnThread { clock, jobs, thread } = self.thread;
        Box::pin(async move {
            let _busy = clock.busy();
            drop(jobs);
            let _ = thread.await;
        })
    }
}
