//! The settings of a task, or of a loop, when it is added.

use std::{any::type_name, fmt, marker::PhantomData, sync::Arc, time::Duration};

use crate::{
    EventLoop, Remote, RestartPolicy, ServiceHandle,
    channel::{address::Address, shared::Shared},
    options::OptionDefaults,
    task::{
        Offer, TaskHandle, TaskRef,
        erased::{ErasedLoop, LoopSpec},
    },
};

/// How long a task or a loop may take to start by default.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Settings of a task that is added to a [`Service`](crate::Service).
#[derive(Debug)]
pub struct TaskSettings {
    pub(super) name: String,
    service: ServiceHandle,
    /// The tasks that the used handles lead to, with the handles' types.
    uses: Vec<(TaskRef, &'static str)>,
    problem: Option<String>,
    pub(super) instance: Option<String>,
    pub(super) requires: Vec<String>,
    pub(super) after: Vec<String>,
    pub(super) first: bool,
    pub(super) last: bool,
    pub(super) start_timeout: Duration,
    /// `None` means the default.
    pub(super) stop_timeout: Option<Duration>,
    pub(super) restart: RestartPolicy,
    /// Whether its loop is asked for heartbeats even if the task could block it.
    pub(super) never_blocks: bool,
    /// The options that the task's own builder methods have set.
    pub(super) built: OptionDefaults,
    pub(super) options: OptionDefaults,
}

impl TaskSettings {
    pub(super) fn new(name: String, service: ServiceHandle) -> Self {
        Self {
            name,
            service,
            uses: Vec::new(),
            problem: None,
            instance: None,
            requires: Vec::new(),
            after: Vec::new(),
            first: false,
            last: false,
            start_timeout: START_TIMEOUT,
            stop_timeout: None,
            restart: RestartPolicy::never(),
            never_blocks: false,
            built: OptionDefaults::new(),
            options: OptionDefaults::new(),
        }
    }

    /// Requires another task: this one starts once that one is running or has ended with `Ok`, and stops before it.
    pub fn requires(&mut self, task: impl Into<String>) -> &mut Self {
        self.requires.push(task.into());
        self
    }

    /// Orders this task after another: it starts after that one and stops before it.
    ///
    /// The other task may also be skipped, stopped or unselected. If no task has this name, startup fails with exit
    /// code 78.
    pub fn after(&mut self, task: impl Into<String>) -> &mut Self {
        self.after.push(task.into());
        self
    }

    /// Declares that this task uses the task that the handle leads to, and so [requires](Self::requires) it.
    pub fn uses<H: TaskHandle>(&mut self, handle: &H) -> &mut Self {
        self.uses.push((handle.task().clone(), type_name::<H>()));
        self
    }

    /// Declares that this is the task that the handle leads to.
    ///
    /// Tasks that know their handle declare it themselves, by [`Task::offer`](crate::Task::offer), unless they are
    /// recreated for each incarnation.
    pub fn offers<H: TaskHandle>(&mut self, handle: &H) -> &mut Self {
        self.offer(Offer::new(handle));
        self
    }

    pub(super) fn offer(&mut self, offer: Offer) {
        match offer.task().set(&self.name) {
            Ok(()) => self.service.offer(&self.name, offer),
            Err(other) => {
                let (name, kind) = (&self.name, offer.type_name());
                self.problem = Some(format!("task {name} offers a {kind} that leads to task {other}"));
            }
        }
    }

    /// Resolves the used handles; all handles have been offered by now.
    pub(super) fn resolve_uses(&mut self) -> Result<(), String> {
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        for (task, kind) in std::mem::take(&mut self.uses) {
            match task.name() {
                Some(name) => self.requires.push(name.to_owned()),
                None => return Err(format!("task {} uses a {kind} that no task offers", self.name)),
            }
        }
        Ok(())
    }

    /// Puts the task on this [instance](crate::Service::event_loop) of its loop, instead of the default one.
    ///
    /// The default loop of another task has a name too: its kind, or the task's name if each task has its own thread.
    /// If no loop has this name, startup fails with exit code 78.
    pub fn on(&mut self, event_loop: impl Into<String>) -> &mut Self {
        self.instance = Some(event_loop.into());
        self
    }

    /// Starts the task before all others, which wait until it is ready. For health checks, which must answer during
    /// startup.
    pub fn first(&mut self) -> &mut Self {
        self.first = true;
        self
    }

    /// Stops the task after all others; it does not keep the service alive. For health, metrics, admin.
    pub fn last(&mut self) -> &mut Self {
        self.last = true;
        self
    }

    /// Sets how long the task may take to get ready: 30 s by default. If it takes longer, the start fails.
    pub fn start_timeout(&mut self, time: Duration) -> &mut Self {
        self.start_timeout = time;
        self
    }

    /// Sets how long the task may take to end once it was asked to: 10 s by default. If it takes longer, it is
    /// cancelled.
    pub fn stop_timeout(&mut self, time: Duration) -> &mut Self {
        self.stop_timeout = Some(time);
        self
    }

    /// Sets whether the task is restarted when it has ended. Needs [`task_with`](crate::Service::task_with).
    pub fn restart(&mut self, policy: RestartPolicy) -> &mut Self {
        self.restart = policy;
        self
    }

    /// Declares that the task never blocks its loop for long, although it is alone on a loop that it may block, such as a
    /// [`Thread`](crate::Thread).
    ///
    /// The loop is then asked for [heartbeats](ServiceHandle::heartbeats) as every other loop is: by `/livez`, by
    /// watchdogs, and by `--stall-after`. Without this a task that blocks its own thread for an hour is healthy. On other
    /// loops it has no effect.
    pub fn never_blocks(&mut self) -> &mut Self {
        self.never_blocks = true;
        self
    }

    /// Sets one of the task's options, by its long name without the prefix.
    ///
    /// The value becomes the default; files, the environment and the command line override it.
    pub fn set(&mut self, option: impl Into<String>, value: impl fmt::Display) -> &mut Self {
        self.options.set(option, value);
        self
    }
}

/// The stored settings of a loop.
#[derive(Debug)]
pub(super) struct LoopEntrySettings {
    pub(super) name: String,
    pub(super) restart: RestartPolicy,
    pub(super) start_timeout: Duration,
    pub(super) options: OptionDefaults,
}

impl LoopEntrySettings {
    pub(super) fn new(name: String) -> Self {
        Self { name, restart: RestartPolicy::never(), start_timeout: START_TIMEOUT, options: OptionDefaults::default() }
    }
}

/// A planned loop.
pub(super) struct LoopEntry {
    pub(super) settings: super::settings::LoopEntrySettings,
    pub(super) spec: LoopSpec,
    pub(super) runner: Box<dyn ErasedLoop>,
    pub(super) shared: Arc<Shared>,
    pub(super) native: Arc<Address>,
    /// Whether a Remote to the loop was taken, so that it runs even without a task.
    pub(super) wanted: bool,
}

/// Settings of an instance of a loop that [`Service::event_loop`](crate::Service::event_loop) plans.
pub struct LoopSettings<'a, L> {
    entry: &'a mut LoopEntry,
    of: PhantomData<fn() -> L>,
}

impl<'a, L: EventLoop> LoopSettings<'a, L> {
    pub(super) fn new(entry: &'a mut LoopEntry) -> Self {
        Self { entry, of: PhantomData }
    }

    /// Returns a Remote to the loop's Native, the value that tasks see. The loop then runs even without a task.
    pub fn remote(&mut self) -> Remote<L::Native> {
        self.entry.wanted = true;
        Remote::new(self.entry.native.clone())
    }

    /// Sets whether a loop that has died is driven again, on a new thread, together with its tasks.
    ///
    /// The tasks must have been added by [`task_with`](crate::Service::task_with).
    pub fn restart(&mut self, policy: RestartPolicy) -> &mut Self {
        self.entry.settings.restart = policy;
        self
    }

    /// Sets how long the loop may take to be [started](EventLoop::drive): 30 s by default.
    ///
    /// If it takes longer, it is left behind and the service fails.
    pub fn start_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.entry.settings.start_timeout = timeout;
        self
    }

    /// Sets how many jobs the loop's mailbox holds at most: 1,000,000 by default. If it is full, posts are refused.
    pub fn mailbox_capacity(&mut self, jobs: usize) -> &mut Self {
        self.entry.shared.queue.set_capacity(jobs);
        self
    }

    /// Sets one of the loop's options, by its long name without the prefix.
    ///
    /// The value becomes the default; files, the environment and the command line override it. A plan may have a
    /// builder method for the same option, such as `Tokio::default().worker_threads(4)`; the value set here overrides
    /// it.
    pub fn set(&mut self, option: impl Into<String>, value: impl fmt::Display) -> &mut Self {
        self.entry.settings.options.set(option, value);
        self
    }
}

impl<L> fmt::Debug for LoopSettings<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.settings.fmt(f)
    }
}
