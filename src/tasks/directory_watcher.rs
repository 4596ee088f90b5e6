//! A task that reports what happens to the files of a folder.

mod ears;
mod entry;
mod handle;
mod scout;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::resume_unwind,
    path::PathBuf,
    pin::pin,
    rc::Rc,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches};

use self::{
    ears::{Inbox, Look},
    handle::{Board, Life},
    scout::{Filter, Known, Polls, Root, Scout, View},
};
pub use self::{
    entry::{Change, Entry},
    handle::{Changes, WatcherHandle},
};
use super::{
    Workers,
    common::{Seconds, lock},
    runner,
    work::{AsyncClosure, Closure, Outcome},
};
use crate::{
    CallError, Context, EventLoop, NoOptions, Result, Task,
    counters::Counter,
    event_loop::Timers,
    options::OptionDefaults,
    task::{Offer, TaskRef},
};

/// How long notify's thread may continue at the end.
const LINGER: Duration = Duration::from_secs(1);

/// Reports what happens to the files of a folder: each [`Change`] goes to a callback, and to all who
/// [follow](WatcherHandle::changes), on any loop.
///
/// The callback is a closure, an [async closure](Self::new_async), or [a type of yours](Self::of). It runs on the loop,
/// one change at a time, and must not block a loop that is shared. If it returns an error or panics, the task fails.
/// The task is ready once it sees all that happens from then on. By default it doesn't report what
/// [exists](Self::existing) at the start, and doesn't look into [subfolders](Self::recursive). It never looks into
/// folders behind symbolic links.
///
/// The system's events only say where to look: the task compares what it finds with what it knew, so that nothing is
/// lost, whatever the events were. It waits until no event has come for `--{task}-debounce` (100 ms by default), at
/// most ten times that: all that happens to a file in the meantime is one change. If the system has dropped events, the
/// task looks at everything again. If there are no events, because the file system is remote or because the system has
/// run out of what they need (then there is a [warning](crate::counters::Warning) `events`), the task looks every
/// `--{task}-poll-interval` (2 s by default).
///
/// The folder may be missing, at the start or later, and come back. While it is missing, there is the
/// [warning](crate::counters::Warning) `folder`, and its files count as deleted. Two things go unseen until something
/// else happens in the folder: that a folder above it is renamed, and that a file system is mounted over it.
///
/// The task has two threads besides the loop's: `{task}-1`, which looks, and one of the crate notify. Both end with the
/// task. Nothing wakes up while nothing happens, except for polling.
///
/// Other tasks use its [handle](Self::handle). A clone has the same handle: return clones from the closure of
/// [`task_with`](crate::Service::task_with), which makes a fresh value for each incarnation. Changes that happen
/// between two incarnations, or were not reported before a failure, are reported by the next incarnation.
///
/// Options: `--{task}-path`, `--{task}-debounce`, `--{task}-poll-interval`, `--{task}-poll` (poll whatever the file
/// system). Counters: `created`, `changed`, `deleted`, `rescans` (times when all was looked at again), `overflows`
/// (times when the system has dropped events). Exported: `watches`.
///
/// ```
/// use interloop::{Service, Thread, tasks::{Change, DirectoryWatcher}};
///
/// let sources = DirectoryWatcher::new("src", |change| match change {
///     Change::Created(new) => println!("{} is new, {} bytes", new.path.display(), new.size),
///     Change::Changed { old, new } => println!("{}: from {} to {} bytes", new.path.display(), old.size, new.size),
///     Change::Deleted(old) => println!("{} is gone", old.path.display()),
///     _ => {}
/// })
/// .recursive()
/// .filter(|entry| entry.is_dir || entry.path.extension().is_some_and(|extension| extension == "rs"));
/// let mut service = Service::new("dev");
/// service.task_on::<Thread>("sources", sources);
/// ```
pub struct DirectoryWatcher<W> {
    path: PathBuf,
    work: W,
    recursive: bool,
    existing: bool,
    filter: Option<Filter>,
    debounce: Duration,
    poll_interval: Duration,
    poll: bool,
    known: Arc<Mutex<Known>>,
    life: Arc<Life>,
    task: TaskRef,
}

/// The action for each change that a [`DirectoryWatcher`] sees.
///
/// Implement it for an action that needs its [`Context`]. Otherwise a closure will do.
///
/// ```
/// use interloop::{Context, EventLoop, Result, Service, Thread, tasks::{Change, DirectoryWatcher, OnChange}};
///
/// struct Count;
///
/// impl<L: EventLoop> OnChange<L> for Count {
///     async fn changed(&mut self, cx: Context<L>, change: Change) -> Result {
///         cx.meter().label("kind", if change.after().is_some() { "there" } else { "gone" }).counter("files").add(1);
///         Ok(())
///     }
/// }
///
/// let mut service = Service::new("dev");
/// service.task_on::<Thread>("sources", DirectoryWatcher::of("src", Count));
/// ```
pub trait OnChange<L: EventLoop>: Send + 'static {
    /// Handles one change. The future is awaited to its end, also if the task is asked to stop in the meantime; past
    /// the task's deadline it is dropped.
    fn changed(&mut self, cx: Context<L>, change: Change) -> impl Future<Output = Result>;
}

impl<L: EventLoop, R: Outcome<Value = ()>, F: FnMut(Change) -> R + Send + 'static> OnChange<L> for Closure<F> {
    async fn changed(&mut self, _: Context<L>, change: Change) -> Result {
        (self.0)(change).into_result()
    }
}

impl<L: EventLoop, R: Outcome<Value = ()>, F: AsyncFnMut(Change) -> R + Send + 'static> OnChange<L>
    for AsyncClosure<F>
{
    async fn changed(&mut self, _: Context<L>, change: Change) -> Result {
        (self.0)(change).await.into_result()
    }
}

impl<F> DirectoryWatcher<Closure<F>> {
    /// Watches this folder, and calls `on_change` with each change. `on_change` returns nothing, or a [`Result`];
    /// a body that uses `?` ends with `interloop::Result::Ok(())`.
    pub fn new<R: Outcome<Value = ()>>(path: impl Into<PathBuf>, on_change: F) -> Self
    where
        F: FnMut(Change) -> R + Send + 'static,
    {
        Self::of(path, Closure(on_change))
    }
}

impl<F> DirectoryWatcher<AsyncClosure<F>> {
    /// Watches this folder, and calls and awaits `on_change` with each change. `on_change` returns nothing, or a
    /// [`Result`].
    pub fn new_async<R: Outcome<Value = ()>>(path: impl Into<PathBuf>, on_change: F) -> Self
    where
        F: AsyncFnMut(Change) -> R + Send + 'static,
    {
        Self::of(path, AsyncClosure(on_change))
    }
}

impl<W> DirectoryWatcher<W> {
    /// Watches this folder, and does this with each change: for an action that needs its [`Context`].
    pub fn of(path: impl Into<PathBuf>, work: W) -> Self {
        Self {
            path: path.into(),
            work,
            recursive: false,
            existing: false,
            filter: None,
            debounce: Duration::from_millis(100),
            poll_interval: Duration::from_secs(2),
            poll: false,
            known: Arc::default(),
            life: Arc::new(Life(Arc::default())),
            task: TaskRef::default(),
        }
    }

    /// Looks into subfolders too, however deep.
    #[must_use]
    pub fn recursive(mut self) -> Self {
        self.recursive = true;
        self
    }

    /// Reports what exists at the start, as created.
    #[must_use]
    pub fn existing(mut self) -> Self {
        self.existing = true;
        self
    }

    /// Ignores everything for which the filter returns false; the task doesn't look into an ignored folder. The filter
    /// runs on the thread that looks.
    #[must_use]
    pub fn filter(mut self, filter: impl Fn(&Entry) -> bool + Send + Sync + 'static) -> Self {
        self.filter = Some(Arc::new(filter));
        self
    }

    /// Sets how long there must be silence before a change is reported, unless the options say otherwise; 100 ms by
    /// default.
    #[must_use]
    pub fn debounce(mut self, silence: Duration) -> Self {
        self.debounce = silence;
        self
    }

    /// Looks every [`poll_interval`](Self::poll_interval), whatever the file system reports, as `--{task}-poll` does.
    #[must_use]
    pub fn poll(mut self) -> Self {
        self.poll = true;
        self
    }

    /// Sets how often to look where there are no events, unless the options say otherwise; 2 s by default.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Returns a handle to this task, for any thread.
    pub fn handle(&self) -> WatcherHandle {
        WatcherHandle { task: self.task.clone(), board: self.board().clone() }
    }

    fn board(&self) -> &Arc<Board> {
        &self.life.0
    }
}

/// The options of a [`DirectoryWatcher`].
#[derive(Clone, Debug)]
pub struct WatcherOptions {
    path: Option<PathBuf>,
    debounce: Option<Duration>,
    poll_interval: Option<Duration>,
    poll: bool,
}

impl FromArgMatches for WatcherOptions {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Ok(Self {
            path: matches.get_one("path").cloned(),
            debounce: matches.get_one("debounce").copied(),
            poll_interval: matches.get_one("poll_interval").copied(),
            poll: matches.get_flag("poll"),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for WatcherOptions {
    fn augment_args(command: clap::Command) -> clap::Command {
        let path = Arg::new("path").long("path").value_name("FOLDER").value_parser(clap::value_parser!(PathBuf));
        let duration = |id, long| Arg::new(id).long(long).value_name("DURATION");
        let debounce = duration("debounce", "debounce").value_parser(crate::options::duration);
        let poll_interval = duration("poll_interval", "poll-interval").value_parser(runner::period);
        let poll = Arg::new("poll").long("poll").action(ArgAction::SetTrue);
        command
            .arg(path.help("The folder to watch"))
            .arg(debounce.help("For how long there is to be silence before changes are told of"))
            .arg(poll_interval.help("How often to look where the file system tells of no changes"))
            .arg(poll.help("Look every so often, whatever the file system tells"))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

struct Figures {
    created: Counter,
    changed: Counter,
    deleted: Counter,
    rescans: Counter,
    overflows: Counter,
}

impl Figures {
    fn of<L: EventLoop, O>(cx: &Context<L, O>) -> Self {
        Self {
            created: cx.counter("created"),
            changed: cx.counter("changed"),
            deleted: cx.counter("deleted"),
            rescans: cx.counter("rescans"),
            overflows: cx.counter("overflows"),
        }
    }

    fn count(&self, change: &Change) {
        match change {
            Change::Created(_) => self.created.add(1),
            Change::Changed { .. } => self.changed.add(1),
            Change::Deleted(_) => self.deleted.add(1),
        }
    }
}

impl<L: Timers, W: OnChange<L>> Task<L> for DirectoryWatcher<W> {
    type Options = WatcherOptions;

    fn defaults(&self) -> OptionDefaults {
        let interval = Some(self.poll_interval).filter(|interval| !interval.is_zero());
        let defaults = OptionDefaults::new().with_duration("debounce", Some(self.debounce));
        let path = self.path.to_str();
        defaults.with_duration("poll-interval", interval).with_some("path", path.filter(|path| !path.is_empty()))
    }

    async fn run(&mut self, cx: Context<L, WatcherOptions>) -> Result {
        let options = cx.options();
        let root = std::path::absolute(options.path.as_ref().unwrap_or(&self.path))?;
        let poll_interval = options.poll_interval.unwrap_or(self.poll_interval);
        if poll_interval.is_zero() {
            return Err(crate::Error::new(runner::NO_INTERVAL));
        }
        let debounce = options.debounce.unwrap_or(self.debounce);
        let inbox = Arc::new(Inbox::new(root.clone()));
        let (filter, known) = (self.filter.clone(), self.known.clone());
        let scout = Scout::new(root, self.recursive, filter, known, inbox.clone(), options.poll || self.poll);
        let watch = Watch {
            cx: cx.clone(),
            workers: Workers::start(&cx, 1)?,
            scout: Arc::new(Mutex::new(scout)),
            inbox: inbox.clone(),
            figures: Figures::of(&cx),
            debounce,
            poll_interval,
        };
        self.board().begin();
        let ended = self.watch(&watch).await;
        inbox.end();
        let Watch { workers, scout, .. } = watch;
        // Its last owner ends notify's thread: here, or at the end of a look that is in progress.
        drop(scout);
        // The thread first reads the pending events; where files are written to without a pause, that may take for
        // ever.
        let _ = cx.timeout(LINGER, inbox.deaf()).await;
        workers.finish().await;
        ended
    }

    fn offer(&self) -> Option<Offer> {
        Some(Offer::new(&self.handle()))
    }
}

/// The state of one incarnation.
struct Watch<L: EventLoop> {
    cx: Context<L, WatcherOptions>,
    workers: Workers,
    scout: Arc<Mutex<Scout>>,
    inbox: Arc<Inbox>,
    figures: Figures,
    debounce: Duration,
    poll_interval: Duration,
}

impl<W> DirectoryWatcher<W> {
    /// Watches until the task is asked to stop, or fails.
    async fn watch<L: Timers>(&mut self, watch: &Watch<L>) -> Result
    where
        W: OnChange<L>,
    {
        let Watch { cx, figures, .. } = watch;
        let stop = cx.shutdown();
        let (mut look, mut is_first) = (Look::Everywhere, true);
        loop {
            let Some(View { changes, root, polls, whole }) = watch.look(look).await? else { return Ok(()) };
            if whole && !is_first {
                figures.rescans.add(1);
            }
            let polls = watch.tell_state(&root, polls);
            let is_known = {
                let mut known = lock(&self.known);
                // A folder that could not be read is not known yet.
                let is_known = known.begun;
                known.begun |= !matches!(root, Root::Unreadable(_));
                is_known
            };
            if is_first {
                cx.ready();
            }
            is_first = false;
            if is_known || self.existing {
                for (number, change) in changes.into_iter().enumerate() {
                    if stop.is_requested() {
                        return Ok(());
                    }
                    if number % 64 == 63 {
                        runner::yield_once().await;
                    }
                    lock(&self.known).apply(&change);
                    figures.count(&change);
                    self.board().tell(&change);
                    self.work.changed(cx.with_options(Rc::new(NoOptions {})), change).await?;
                }
            } else {
                let mut known = lock(&self.known);
                changes.iter().for_each(|change| known.apply(change));
            }
            match watch.next(polls).await {
                Some(next) => look = next,
                None => return Ok(()),
            }
        }
    }
}

impl<L: Timers> Watch<L> {
    /// Looks, on the thread for that; None if the task is asked to stop in the meantime.
    async fn look(&self, look: Look) -> Result<Option<View>> {
        let scout = self.scout.clone();
        let view = self.cx.run_until_shutdown(self.workers.run(move || lock(&scout).look(look))).await;
        match view {
            None => Ok(None),
            Some(Ok(view)) => Ok(Some(view)),
            // The filter panicked. The panic has already been reported where it happened.
            Some(Err(CallError::Panicked(message))) => resume_unwind(Box::new(message)),
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// Reports the state of the folder and the events. Returns whether it must look by the clock.
    fn tell_state(&self, root: &Root, polls: Option<Polls>) -> bool {
        match root {
            Root::There => {
                if self.cx.clear_warning("folder") {
                    log::info!(target: self.cx.target(), "the folder is there");
                }
            }
            Root::Missing(why) => self.warn_of_folder(why),
            Root::Unreadable(why) => self.warn_of_folder(why),
        }
        let interval = Seconds(self.poll_interval);
        match &polls {
            None => {
                self.cx.export("watches", "by events");
            }
            Some(Polls::Meant(why)) => self.cx.export("watches", format_args!("every {interval}, {why}")),
            Some(Polls::Fallback(why)) => {
                self.cx.export("watches", format_args!("every {interval}: no events"));
                self.cx.warn("events", format_args!("no events, it is looked at every {interval}: {why}"));
            }
        }
        polls.is_some() || matches!(root, Root::Unreadable(_))
    }

    fn warn_of_folder(&self, why: &str) {
        self.cx.warn("folder", format_args!("{}: {why}", self.inbox.root().display()));
    }

    /// Waits for the next place to look at; None if the task is asked to stop.
    async fn next(&self, polls: bool) -> Option<Look> {
        let mut clock = pin!(polls.then(|| self.cx.sleep(self.poll_interval)));
        let heard = poll_fn(|context| {
            if let Poll::Ready(count) = self.inbox.poll(context) {
                return Poll::Ready(Some(count));
            }
            match clock.as_mut().as_pin_mut() {
                Some(clock) => clock.poll(context).map(|()| None),
                None => Poll::Pending,
            }
        });
        let Some(mut count) = self.cx.run_until_shutdown(heard).await? else { return Some(Look::Everywhere) };
        let (begun, most) = (self.cx.now(), self.debounce.saturating_mul(10));
        let rest = || most.saturating_sub(self.cx.now().saturating_duration_since(begun));
        while !rest().is_zero() {
            let pause = self.debounce.min(rest());
            self.cx.run_until_shutdown(self.cx.sleep(pause)).await?;
            let now = self.inbox.count();
            if now == count {
                break;
            }
            count = now;
        }
        let (look, overflows) = self.inbox.take();
        self.figures.overflows.add(overflows);
        if overflows > 0 {
            log::warn!(target: self.cx.target(), "the system has dropped events; the whole folder is looked at");
        }
        Some(look)
    }
}

impl<W: Clone> Clone for DirectoryWatcher<W> {
    fn clone(&self) -> Self {
        Self {
            path: self.path.clone(),
            work: self.work.clone(),
            recursive: self.recursive,
            existing: self.existing,
            filter: self.filter.clone(),
            debounce: self.debounce,
            poll_interval: self.poll_interval,
            poll: self.poll,
            known: self.known.clone(),
            life: self.life.clone(),
            task: self.task.clone(),
        }
    }
}

impl<W> fmt::Debug for DirectoryWatcher<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryWatcher").field("path", &self.path).finish_non_exhaustive()
    }
}
