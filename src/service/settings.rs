//! What can be said of a task, or a loop, when it is added.

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

/// How long a start may take, of a task or of a loop.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// What can be said of a task when it is added to a [`Service`](crate::Service).
#[derive(Debug)]
pub struct TaskSettings {
    pub(super) name: String,
    service: ServiceHandle,
    /// The tasks of the handles that it uses, and the handles' types.
    uses: Vec<(TaskRef, &'static str)>,
    problem: Option<String>,
    pub(super) instance: Option<String>,
    pub(super) requires: Vec<String>,
    pub(super) after: Vec<String>,
    pub(super) first: bool,
    pub(super) last: bool,
    pub(super) start_timeout: Duration,
    /// None: the default.
    pub(super) stop_timeout: Option<Duration>,
    pub(super) restart: RestartPolicy,
    /// What the task itself was told in code.
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
            built: OptionDefaults::new(),
            options: OptionDefaults::new(),
        }
    }

    /// It starts once that task is running, or has ended with `Ok`; it stops before it.
    pub fn requires(&mut self, task: impl Into<String>) -> &mut Self {
        self.requires.push(task.into());
        self
    }

    /// It starts after that task and stops before it, if that is there at all: skipped, stopped or unselected will do.
    pub fn after(&mut self, task: impl Into<String>) -> &mut Self {
        self.after.push(task.into());
        self
    }

    /// It uses the task that this handle leads to: it [requires](Self::requires) that.
    pub fn uses<H: TaskHandle>(&mut self, handle: &H) -> &mut Self {
        self.uses.push((handle.task().clone(), type_name::<H>()));
        self
    }

    /// It is the task that this handle leads to. Tasks that know their handle say so themselves, by
    /// [`Task::offer`](crate::Task::offer), unless they are made anew for each incarnation.
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

    /// All handles have been offered by now.
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

    /// It runs on this [instance](crate::Service::event_loop) of its loop, instead of the default one. Another task's
    /// default loop is known by its name too: that of its kind, or of the task where each has a thread. A name of no
    /// loop is refused, with 78.
    pub fn on(&mut self, event_loop: impl Into<String>) -> &mut Self {
        self.instance = Some(event_loop.into());
        self
    }

    /// All others start after it, once it is ready: health checks, which have to answer while the others start.
    pub fn first(&mut self) -> &mut Self {
        self.first = true;
        self
    }

    /// It stops when all others have ended, and does not keep the service alive: health, metrics, admin.
    pub fn last(&mut self) -> &mut Self {
        self.last = true;
        self
    }

    /// How long it may take to get ready. 30 s by default; past it the start has failed.
    pub fn start_timeout(&mut self, time: Duration) -> &mut Self {
        self.start_timeout = time;
        self
    }

    /// How long it may take to end once it was asked to. 10 s by default; past it, it is cancelled.
    pub fn stop_timeout(&mut self, time: Duration) -> &mut Self {
        self.stop_timeout = Some(time);
        self
    }

    /// Whether it is started again when it has ended. Needs [`task_with`](crate::Service::task_with).
    pub fn restart(&mut self, policy: RestartPolicy) -> &mut Self {
        self.restart = policy;
        self
    }

    /// Sets one of its options, by its long name without the prefix: it becomes the default, which files, the
    /// environment and the command line override.
    pub fn set(&mut self, option: impl Into<String>, value: impl fmt::Display) -> &mut Self {
        self.options.set(option, value);
        self
    }
}

/// What is kept of what was said of a loop.
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

/// A loop that is planned.
pub(super) struct LoopEntry {
    pub(super) settings: super::settings::LoopEntrySettings,
    pub(super) spec: LoopSpec,
    pub(super) runner: Box<dyn ErasedLoop>,
    pub(super) shared: Arc<Shared>,
    pub(super) native: Arc<Address>,
    /// Whether somebody holds a Remote to it, so that it runs even without a task.
    pub(super) wanted: bool,
}

/// What can be said of an instance of a loop when it is planned by [`Service::event_loop`](crate::Service::event_loop).
pub struct LoopSettings<'a, L> {
    entry: &'a mut LoopEntry,
    of: PhantomData<fn() -> L>,
}

impl<'a, L: EventLoop> LoopSettings<'a, L> {
    pub(super) fn new(entry: &'a mut LoopEntry) -> Self {
        Self { entry, of: PhantomData }
    }

    /// A Remote to what tasks see of this loop, its Native. The loop then runs even without a task.
    pub fn remote(&mut self) -> Remote<L::Native> {
        self.entry.wanted = true;
        Remote::new(self.entry.native.clone())
    }

    /// Whether it is driven again, on a new thread, when it has died; its tasks then come back with it. They must have
    /// been added by [`task_with`](crate::Service::task_with).
    pub fn restart(&mut self, policy: RestartPolicy) -> &mut Self {
        self.entry.settings.restart = policy;
        self
    }

    /// Within what time it has to be [started](EventLoop::drive): 30 s by default. One that isn't is left behind, and
    /// the service fails.
    pub fn start_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.entry.settings.start_timeout = timeout;
        self
    }

    /// How many jobs its mailbox holds at most: 1,000,000 by default. Beyond that, posts come back as full.
    pub fn mailbox_capacity(&mut self, jobs: usize) -> &mut Self {
        self.entry.shared.queue.set_capacity(jobs);
        self
    }

    /// Sets one of its options, by its long name without the prefix: it becomes the default, which files, the
    /// environment and the command line override.
    ///
    /// A plan may have a builder method for it, as `Tokio::default().worker_threads(4)`; what is set here goes before
    /// that.
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
