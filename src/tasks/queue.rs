//! A queue: items come in from anywhere, and workers work on them.

mod core;
mod handle;
mod in_process;
mod store;
mod work;
mod worker;

use std::{
    fmt,
    future::{Future, poll_fn},
    num::{NonZeroU32, NonZeroUsize},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use clap::{Arg, ArgMatches, Args, FromArgMatches};

pub use self::{
    handle::{MapError, QueueHandle, SubmitError},
    store::{DeadLetter, ItemId},
    work::{Attempt, WorkContext, WorkError},
};
#[cfg(feature = "unstable-store")]
pub use self::{
    in_process::InProcess,
    store::{Clock, Entry, Lease, Refusal, Refused, Store},
};
use self::{
    work::Hire,
    worker::{Policy, Shift, Worker},
};
use crate::{
    Context, Error, EventLoop, Reason, Reply, Result, Task, event_loop::Timers, options::OptionDefaults, task::Offer,
};

/// How long the workers may continue when the failure of another one has ended the task.
const LINGER: Duration = Duration::from_secs(10);

/// A queue whose [handles](QueueHandle) submit items from any thread or loop, and whose workers work on them.
///
/// The result or failure of each item comes through its [`Reply`].
///
/// ```
/// use std::time::Duration;
/// use interloop::{Service, Thread, task_fn, tasks::queue::Queue};
///
/// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
/// let mut service = Service::new("words");
/// let lengths = Queue::<Thread, String, usize>::new(async |word, _| Ok(word.len())).workers(2);
/// let words = lengths.handle();
/// service.task("lengths", lengths);
/// let asks = words.clone();
/// let asker = task_fn::<Thread>(async move |_| {
///     let reply = asks.submit("hello".to_owned()).await?; // waits for room
///     assert_eq!(reply.await?, 5);                        // waits for the result
///     Ok(())
/// });
/// service.task("asker", asker).uses(&words);
/// let running = service.start()?;
/// // From a thread, without waiting for room.
/// let reply = words.try_submit("good bye".to_owned())?;
/// assert_eq!(reply.wait_timeout(Duration::from_secs(10))?, 8);
/// assert_eq!(running.stop().code, 0);
/// # Ok(())
/// # }
/// ```
///
/// # Workers
///
/// `--{task}-workers` sets the number of workers, one by default, and thereby how many items are in progress at once.
/// The work is an async closure on the task's loop ([`new`](Self::new)); or one whose futures are `Send`, on the
/// workers of a runtime that has some ([`on_workers`](Self::on_workers)); or a closure that may block, on threads named
/// `{task}-1` and so on ([`blocking`](Self::blocking)). Workers wake only if there is something to do.
///
/// # Order
///
/// Items go first in, first out; or by [priority](Self::priority). A retried item goes behind the others of its
/// priority. While an item of the same [key](Self::refuse_duplicates) waits or is in progress, a further one is
/// refused, or [joins](Self::join_duplicates) it.
///
/// # Ends of an item
///
/// | the work | the reply | counted | the item |
/// |---|---|---|---|
/// | returns a value | brings it | `completed` | is done |
/// | says [`later`](WorkError::later) | continues to wait | `try_later` | is retried after a pause |
/// | says so at the last attempt | [`Failed`] | `dead_letters` | is a dead letter |
/// | fails, and a reply is held | [`Failed`] | `failed` | is done |
/// | fails, and no reply is held | | `failed`, `unhandled`, `dead_letters` | is a dead letter; the task fails |
/// | fails, and the reply is dropped unread | | `failed`, `unhandled` | is done; the task fails |
/// | panics | [`Panicked`] | `failed`, `unhandled` | is treated as if the work had failed |
/// | is [cancelled](Reply::cancel) by all who wait for it | [`Cancelled`] | `cancelled` | is done |
/// | is cut short by the task's deadline, or with its loop | [`Cancelled`] | `cancelled` | is a dead letter |
/// | never begins | [`Stopped`] | `given_back` | is [given back](QueueHandle::take_left) |
///
/// With [`count_failures`](Self::count_failures) the task doesn't fail, and so doesn't stop the service. If a failure
/// ends the task, the other workers finish their current items, within ten seconds.
///
/// # Stop
///
/// Once the task is asked to stop, the queue accepts nothing more, and callers that wait for room get their items back.
/// The workers work on waiting items until shortly before the task's deadline, including retries that are due by then;
/// what is left is given back. Or all waiting items are given back [at once](Self::give_back_at_stop). Items in
/// progress have until the deadline. A thread that blocks beyond that is not waited for.
///
/// # Restart
///
/// To recreate a queue for each incarnation, make it [with](Self::with_handle) the same handle:
///
/// ```
/// use interloop::{RestartPolicy, Service, Thread, tasks::queue::{Queue, QueueHandle}};
///
/// let mut service = Service::new("mail");
/// let mails = QueueHandle::<String>::new();
/// let queue = mails.clone();
/// let make = move || Queue::<Thread, _, _>::new(async |mail: &String, _| Ok(println!("{mail}"))).with_handle(&queue);
/// service.task_with("mailer", make).offers(&mails).restart(RestartPolicy::on_failure());
/// ```
///
/// Waiting items wait for the next incarnation. An item that was in progress and was cut short is not run again by the
/// store in memory, as no job of a [`Remote`](crate::Remote) is: nobody knows how far the work came. Its reply says
/// `Cancelled`, and the item is a dead letter. A custom store (feature `unstable-store`) that delivers again promises
/// the opposite, at least once: there the reply continues to wait, for the result of the next run. A stop that begins a
/// restart drains nothing.
///
/// # Options
///
/// `--{task}-workers`, `--{task}-max-items` (how many items may wait; no limit by default), `--{task}-attempts` (5 by
/// default).
///
/// # Counters
///
/// Those in the table; `discarded` (duplicates); `store_errors`; the gauge `depth`, the number of waiting items; and,
/// with the feature `metrics`, the samples `wait_duration` and `execute_duration`, in seconds, over 60 s and 240 s.
///
/// [`Failed`]: crate::CallError::Failed
/// [`Panicked`]: crate::CallError::Panicked
/// [`Cancelled`]: crate::CallError::Cancelled
/// [`Stopped`]: crate::CallError::Stopped
pub struct Queue<L: EventLoop, T, R = ()> {
    handle: QueueHandle<T, R>,
    hire: Option<Hire<L, T, R>>,
    workers: NonZeroUsize,
    max_items: Option<NonZeroUsize>,
    policy: Policy,
    drains: bool,
}

impl<L: EventLoop, T: Send + 'static, R: Send + 'static> Queue<L, T, R> {
    fn of(hire: Hire<L, T, R>) -> Self {
        Self {
            handle: QueueHandle::new(),
            hire: Some(hire),
            workers: NonZeroUsize::MIN,
            max_items: None,
            policy: Policy {
                attempts: 5,
                first: Duration::from_millis(100),
                longest: Duration::from_secs(10),
                stops: true,
            },
            drains: true,
        }
    }

    /// Makes a queue whose work runs on the loop's thread: what the work holds need not be `Send`, and the work must
    /// not block a loop that is shared.
    pub fn new<F>(work: F) -> Self
    where
        F: AsyncFn(&T, WorkContext<L>) -> std::result::Result<R, WorkError> + Send + 'static,
    {
        Self::of(work::on_loop(work))
    }

    /// Makes a queue whose work runs on the [workers](Context::spawn) of a runtime that has some, and elsewhere on the
    /// loop's thread. Each attempt gets a clone of the item.
    ///
    /// ```
    /// use interloop::{Thread, tasks::queue::Queue};
    /// let queue = Queue::<Thread, String, usize>::on_workers(|word, _| async move { Ok(word.len()) });
    /// ```
    pub fn on_workers<F, W>(work: F) -> Self
    where
        T: Clone,
        F: Fn(T, Attempt) -> W + Send + Sync + 'static,
        W: Future<Output = std::result::Result<R, WorkError>> + Send + 'static,
    {
        Self::of(work::on_workers(work))
    }

    /// Makes a queue whose work runs on threads of its own, one for each worker, and may block.
    ///
    /// ```
    /// use interloop::{Thread, tasks::queue::Queue};
    /// let queue = Queue::<Thread, String, Vec<u8>>::blocking(|path, _| Ok(std::fs::read(path)?)).workers(4);
    /// ```
    pub fn blocking<F>(work: F) -> Self
    where
        F: Fn(&T, &Attempt) -> std::result::Result<R, WorkError> + Send + Sync + 'static,
    {
        Self::of(work::on_threads(work))
    }

    /// Returns a handle to this queue.
    pub fn handle(&self) -> QueueHandle<T, R> {
        self.handle.clone()
    }

    /// Makes this the queue of the given handle, with its store. Call this first: the handle then owns the settings for
    /// duplicates, order and capacity.
    #[must_use]
    pub fn with_handle(mut self, handle: &QueueHandle<T, R>) -> Self {
        self.handle = handle.clone();
        self
    }

    /// Sets how many items are in progress at once, unless the options say otherwise; 1 by default.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = NonZeroUsize::new(workers).expect("a queue has one worker at least");
        self
    }

    /// Sets how many items may wait, unless the options say otherwise; no limit by default. When the queue is full,
    /// [`submit`](QueueHandle::submit) waits for room.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[must_use]
    pub fn max_items(mut self, items: usize) -> Self {
        self.max_items = Some(NonZeroUsize::new(items).expect("a queue has room for one item at least"));
        self.handle.0.store.set_bound(Some(items));
        self
    }

    /// Sets how often an item that says [`later`](WorkError::later) is tried, unless the options say otherwise; 5 by
    /// default.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.policy.attempts = NonZeroU32::new(attempts).expect("an item is tried once at least").get();
        self
    }

    /// Sets the pause before the second attempt, and the longest pause; each pause is twice the one before. 100 ms and
    /// 10 s by default.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.policy.first = first;
        self.policy.longest = longest;
        self
    }

    /// Has items of the highest priority go first.
    #[must_use]
    pub fn priority(self, priority: impl Fn(&T) -> i64 + Send + Sync + 'static) -> Self {
        self.handle.0.change_rules(|rules| rules.priority = Some(std::sync::Arc::new(priority)));
        self
    }

    /// Refuses duplicates: while an item is not done, a further one of the same key is
    /// [refused](SubmitError::Duplicate), and counted.
    #[must_use]
    pub fn refuse_duplicates<K: Into<String>>(self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Self {
        self.unique(key, None)
    }

    /// Joins duplicates: while an item is not done, a further one of the same key is dropped, and counted. Its reply
    /// brings a copy of the first item's result.
    ///
    /// ```
    /// use interloop::{Thread, tasks::queue::Queue};
    /// let pages = Queue::<Thread, String, usize>::new(async |url, _| Ok(url.len())).join_duplicates(|url| url.clone());
    /// let first = pages.handle().try_submit("http://a".into());
    /// let same = pages.handle().try_submit("http://a".into());
    /// assert!(first.is_ok() && same.is_ok());
    /// assert_eq!(pages.handle().depth(), 1);
    /// ```
    #[must_use]
    pub fn join_duplicates<K: Into<String>>(self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Self
    where
        R: Clone,
    {
        self.unique(key, Some(R::clone))
    }

    fn unique<K: Into<String>>(self, key: impl Fn(&T) -> K + Send + Sync + 'static, join: Option<fn(&R) -> R>) -> Self {
        self.handle.0.change_rules(|rules| {
            rules.key = Some(std::sync::Arc::new(move |item| key(item).into()));
            rules.join = join;
        });
        self
    }

    /// Counts and logs failures for which nobody holds the reply; by default such a failure fails the task.
    #[must_use]
    pub fn count_failures(mut self) -> Self {
        self.policy.stops = false;
        self
    }

    /// [Gives back](QueueHandle::take_left) the waiting items at once when the task is asked to stop; by default the
    /// workers work on them until shortly before the deadline.
    #[must_use]
    pub fn give_back_at_stop(mut self) -> Self {
        self.drains = false;
        self
    }
}

/// The options of a [`Queue`].
#[derive(Clone, Debug)]
pub struct QueueOptions {
    workers: Option<NonZeroUsize>,
    max_items: Option<NonZeroUsize>,
    attempts: Option<NonZeroU32>,
}

impl FromArgMatches for QueueOptions {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Ok(Self {
            workers: matches.get_one("workers").copied(),
            max_items: matches.get_one("max_items").copied(),
            attempts: matches.get_one("attempts").copied(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for QueueOptions {
    fn augment_args(command: clap::Command) -> clap::Command {
        let number = |id, long| Arg::new(id).long(long).value_name("N");
        let workers = number("workers", "workers").value_parser(clap::value_parser!(NonZeroUsize));
        let max_items = number("max_items", "max-items").value_parser(clap::value_parser!(NonZeroUsize));
        let attempts = number("attempts", "attempts").value_parser(clap::value_parser!(NonZeroU32));
        command
            .arg(workers.help("How many items are in work at once"))
            .arg(max_items.help("How many items may wait (default: any number)"))
            .arg(attempts.help("How often an item is tried"))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl<L: Timers, T: Send + 'static, R: Send + 'static> Task<L> for Queue<L, T, R> {
    type Options = QueueOptions;

    fn defaults(&self) -> OptionDefaults {
        let defaults = OptionDefaults::new().with("workers", self.workers).with_some("max-items", self.max_items);
        defaults.with("attempts", self.policy.attempts)
    }

    async fn run(&mut self, cx: Context<L, QueueOptions>) -> Result {
        let options = cx.options();
        let core = &self.handle.0;
        core.store.set_bound(options.max_items.or(self.max_items).map(NonZeroUsize::get));
        core.begin(&cx);
        let workers = options.workers.unwrap_or(self.workers).get();
        let mut policy = self.policy.clone();
        policy.attempts = options.attempts.map_or(policy.attempts, NonZeroU32::get);

        let hire = self.hire.take().expect("a task value runs once");
        let shift = Shift::new(cx.clock());
        let mut crew = Crew::default();
        for executor in hire(&cx, workers)? {
            let (core, cx, shift, policy) = (core.clone(), cx.clone(), shift.clone(), policy.clone());
            let worker = Worker { core, cx: cx.clone(), shift, policy, executor };
            crew.at_work.push(cx.spawn_local(worker.run()));
        }

        let mut stop = pin!(cx.until_shutdown());
        let stops = poll_fn(|context| match stop.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => {
                let unread = core.poll_unread(context.waker()).filter(|_| self.policy.stops);
                crew.failure = crew.failure.take().or(unread.map(Error::new));
                crew.poll_failed(context).map(|()| false)
            }
        });
        if !stops.await {
            shift.end(false, None);
            // A stop that comes in the meantime has a deadline of its own.
            let _ = cx.timeout(LINGER, crew.ended()).await;
            return crew.result();
        }
        let ends = cx.service().shutdown().is_requested() || !is_restart(cx.shutdown().reason());
        if ends {
            core.store.shut();
        }
        shift.end(ends && self.drains, cx.shutdown().deadline());
        crew.ended().await;
        if ends {
            core.give_back();
        }
        crew.result()
    }

    fn offer(&self) -> Option<Offer> {
        Some(Offer::new(&self.handle))
    }
}

fn is_restart(reason: Option<Reason>) -> bool {
    matches!(reason, Some(Reason::Restart | Reason::Dependency(_)))
}

/// The workers of one incarnation.
#[derive(Default)]
struct Crew {
    at_work: Vec<Reply<Result>>,
    failure: Option<Error>,
}

impl Crew {
    /// Ready when all workers have ended.
    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Poll<()> {
        self.at_work.retain_mut(|worker| match Pin::new(worker).poll(context) {
            Poll::Pending => true,
            Poll::Ready(ended) => {
                let failed = ended.map_or_else(|error| Some(error.into()), Result::err);
                self.failure = self.failure.take().or(failed);
                false
            }
        });
        if self.at_work.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ready when a worker has failed.
    fn poll_failed(&mut self, context: &mut std::task::Context<'_>) -> Poll<()> {
        let _ = self.poll(context);
        if self.failure.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }

    async fn ended(&mut self) {
        poll_fn(|context| self.poll(context)).await;
    }

    fn result(self) -> Result {
        self.failure.map_or(Ok(()), Err)
    }
}

impl<L: EventLoop, T, R> fmt::Debug for Queue<L, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("handle", &self.handle).field("workers", &self.workers).finish_non_exhaustive()
    }
}
