//! The service builder: assembled in `main`, then run.

use std::{any::TypeId, ffi::OsString, fmt, sync::mpsc};

use clap::{ArgMatches, Args, Command};

use super::{
    choice::Choice,
    settings::{LoopEntry, LoopEntrySettings, LoopSettings, TaskSettings},
};
use crate::{
    EventLoop, Remote, ServiceHandle, Slot,
    channel::shared::Shared,
    control::events::{Events, Told},
    kit::clock::Clock,
    options::{Check, OptionDefaults, ServiceAbout},
    task::{
        Offer,
        erased::{LoopOf, LoopSpec, Make},
    },
};

/// Builds a service: a process with a name, a set of tasks and one lifecycle.
///
/// ```no_run
/// use std::{process::ExitCode, time::Duration};
/// use interloop::{Service, Thread, tasks::Periodic};
///
/// fn main() -> ExitCode {
///     let mut service = Service::new("clock");
///     service.task_on::<Thread>("tick", Periodic::new(Duration::from_secs(1), || println!("tick")));
///     service.run()
/// }
/// ```
///
/// # Ways to add a task
///
/// | the task | add it by |
/// |---|---|
/// | an async closure for one kind of loop | [`task(name, task_fn::<Thread>(async \|cx\| ..))`](Self::task) |
/// | a type that names its loop, `impl Task<Glib> for Ui` | [`task(name, Ui)`](Self::task) |
/// | a type for any loop, `impl<L: EventLoop> Task<L> for Echo` | [`task_on::<Tokio>(name, Echo)`](Self::task_on) |
/// | the same; `--{task}-loop` chooses the loop | [`task_any::<(Tokio, Glib)>(name, Echo)`](Self::task_any) |
/// | any of these, recreated by a closure at restarts | [`task_with::<Tokio>(name, move \|\| Echo)`](Self::task_with) |
/// | the last two together | [`task_any_with::<(Tokio, Glib)>(name, move \|\| Echo)`](Self::task_any_with) |
///
/// [`task_fn`](crate::task_fn) turns an async closure into a task. All built-in tasks and servers run on any loop. A
/// task with a [restart policy](TaskSettings::restart) needs a closure that recreates it. All of these methods are
/// shorthand for [`add`](Self::add), which takes the loop and the task one after the other.
///
/// Each returns [`TaskSettings`]: the tasks it [requires](TaskSettings::requires), its [options](TaskSettings::set),
/// its time limits. Each kind of loop has one thread for all its tasks (a [`Thread`](crate::Thread) has one for each
/// task). [`event_loop`](Self::event_loop) plans further instances, and [`on`](TaskSettings::on) puts tasks on them by
/// name. If the set of tasks depends on options, use [`configure`](Self::configure).
pub struct Service {
    pub(super) about: ServiceAbout,
    pub(super) handle: ServiceHandle,
    pub(super) messages: mpsc::Receiver<Told>,
    pub(super) tasks: Vec<TaskEntry>,
    pub(super) loops: Vec<LoopEntry>,
    pub(super) own_options: Option<Command>,
    pub(super) own_check: Check,
    /// Assembles the service once its own options are known.
    pub(super) build: Option<Build>,
    pub(super) defaults: Vec<(String, String)>,
    pub(super) arguments: Vec<OsString>,
    /// Problems found while the service was assembled; `run` and `start` report them.
    pub(super) problems: Vec<String>,
    pub(super) unstarted: Unstarted,
}

/// A closure that is called with the matches of the service's own options.
type Build = Box<dyn FnOnce(&mut Service, &ArgMatches) -> crate::Result + Send>;

/// Notifies waiters when a service that was never started is dropped.
pub(super) struct Unstarted(pub(super) Option<ServiceHandle>);

impl Drop for Unstarted {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.close_addresses();
            handle.end_offers(None);
            handle.board().never_starts();
        }
    }
}

pub(super) struct TaskEntry {
    pub(super) settings: TaskSettings,
    pub(super) command: Command,
    pub(super) restartable: bool,
    pub(super) choices: Vec<Choice>,
}

impl Service {
    /// Returns a service with this name, which appears in the log, in the help and as the prefix of environment
    /// variables.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let clock = Clock::default();
        let (events, messages) = Events::new(clock.clone());
        let handle = ServiceHandle::new(&name, events, clock);
        Self {
            unstarted: Unstarted(Some(handle.clone())),
            handle,
            about: ServiceAbout { name, version: None, about: None, has_own_logger: false },
            messages,
            tasks: Vec::new(),
            loops: Vec::new(),
            own_options: None,
            own_check: |_| Ok(()),
            build: None,
            defaults: Vec::new(),
            arguments: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Sets the version that `--version` and the status show, such as `env!("CARGO_PKG_VERSION")`.
    pub fn version(&mut self, version: impl Into<String>) -> &mut Self {
        self.about.version = Some(version.into());
        self
    }

    /// Sets a one-line description of the service for `--help`.
    pub fn about(&mut self, text: impl Into<String>) -> &mut Self {
        self.about.about = Some(text.into());
        self
    }

    /// Declares the service's own options, which have no prefix; tasks get them by [`ServiceHandle::own_options`].
    pub fn options<O: Args>(&mut self) -> &mut Self {
        self.own_options = Some(O::augment_args(Command::new(self.about.name.clone())));
        self.own_check = |matches| O::from_arg_matches(matches).map(drop);
        self
    }

    /// Declares the service's own options, as [`options`](Self::options) does, and passes their parsed values to
    /// `build`.
    ///
    /// [`run`](Self::run) and [`start`](Self::start) call `build` first, before the service starts. So options can
    /// decide which tasks there are, or how they are built. `build` is called for `--help` and `--dry-run` too, so it
    /// must only assemble the service.
    ///
    /// The values come from the same sources as all options. Positional arguments among them should follow `--` if
    /// tasks have options too: the parser doesn't yet know which options of the tasks take a value. If the service's
    /// options are wrong, `build` is not called and the service doesn't start.
    ///
    /// ```
    /// use std::time::Duration;
    /// use interloop::{Service, Thread, clap, tasks::Periodic};
    ///
    /// #[derive(clap::Args)]
    /// struct Options {
    ///     /// Greet these
    ///     #[arg(long, value_delimiter = ',', default_value = "world")]
    ///     greet: Vec<String>,
    /// }
    ///
    /// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    /// let mut service = Service::new("hello");
    /// service.configure(|service, options: Options| {
    ///     for name in options.greet {
    ///         let task = format!("greet-{name}");
    ///         let every = Periodic::new(Duration::from_secs(1), move || println!("hello, {name}"));
    ///         service.task_on::<Thread>(task, every);
    ///     }
    ///     Ok(())
    /// });
    /// service.arguments(["--greet", "tea,coffee", "--greet-tea-interval", "5s"]);
    /// let running = service.start()?;
    /// assert_eq!(running.status().tasks.len(), 2);
    /// running.stop();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If `build` returns an error, startup fails with that error on one line and exit code 78.
    pub fn configure<O: Args>(
        &mut self,
        build: impl FnOnce(&mut Self, O) -> crate::Result + Send + 'static,
    ) -> &mut Self {
        self.options::<O>();
        self.build = Some(Box::new(move |service, matches| build(service, O::from_arg_matches(matches)?)));
        self
    }

    /// Sets an option that every service has, by its long name.
    ///
    /// The value becomes the default; files, the environment and the command line override it.
    ///
    /// ```
    /// let mut service = interloop::Service::new("hello");
    /// service.set("drain-delay", "5s").set("log-level", "debug");
    /// ```
    pub fn set(&mut self, option: &str, value: impl fmt::Display) -> &mut Self {
        self.defaults.push((option.to_owned(), value.to_string()));
        self
    }

    /// Adds command-line arguments for a service that is [started](Self::start) inside another program.
    ///
    /// `start` does not read the arguments of the process.
    pub fn arguments(&mut self, words: impl IntoIterator<Item = impl Into<OsString>>) -> &mut Self {
        self.arguments.extend(words.into_iter().map(Into::into));
        self
    }

    /// Returns a handle that controls the service from any thread; it is usable right away.
    pub fn handle(&self) -> ServiceHandle {
        self.handle.clone()
    }

    pub(super) fn add_once<T: Send + 'static>(
        &mut self,
        name: String,
        task: T,
        (offer, defaults): (Option<Offer>, OptionDefaults),
        choices: impl FnOnce(Make<T>) -> Vec<Choice>,
        command: impl FnOnce(Command) -> Command,
    ) -> &mut TaskSettings {
        let mut task = Some(task);
        let settings = self.add_task(name, false, choices(Make::once(move || task.take())), command);
        settings.built = defaults;
        if let Some(offer) = offer {
            settings.offer(offer);
        }
        settings
    }

    pub(super) fn add_task(
        &mut self,
        name: String,
        restartable: bool,
        choices: Vec<Choice>,
        command: impl FnOnce(Command) -> Command,
    ) -> &mut TaskSettings {
        let command = command(Command::new(name.clone()));
        self.tasks.push(TaskEntry {
            settings: TaskSettings::new(name, self.handle.clone()),
            command,
            restartable,
            choices,
        });
        let last = self.tasks.len() - 1;
        &mut self.tasks[last].settings
    }

    /// Plans a named instance of a loop; [`TaskSettings::on`] puts tasks on it.
    ///
    /// Under the name of its kind ([`EventLoop::NAME`], such as `"gtk"`) it is the default instance, which runs the
    /// tasks that name no other. Under another name it runs only the tasks that are put on it; if there are none, a
    /// warning at the start says so.
    ///
    /// The instance runs even without a task if its [`remote`](LoopSettings::remote) was taken.
    pub fn event_loop<L: EventLoop>(&mut self, name: impl Into<String>, plan: L) -> LoopSettings<'_, L> {
        let name = name.into();
        let last = self.add_loop(name, LoopSpec::of::<L>(), Box::new(LoopOf(plan)));
        LoopSettings::new(&mut self.loops[last])
    }

    /// Returns a Remote to the Native of the default instance of a kind of loop.
    ///
    /// The loop then runs even without a task.
    pub fn remote_to<L: EventLoop>(&mut self) -> Remote<L::Native> {
        let known =
            self.loops.iter().position(|entry| entry.settings.name == L::NAME && entry.spec.id == TypeId::of::<L>());
        match known {
            Some(index) => LoopSettings::<L>::new(&mut self.loops[index]).remote(),
            None => self.event_loop(L::NAME, L::default()).remote(),
        }
    }

    /// Returns a slot for a value that a task puts on its loop by [`Context::fill`](crate::Context::fill), and its
    /// Remote.
    ///
    /// The Remote is usable right away, from any thread. [`ServiceHandle::remote`] finds it by its name too. Without a
    /// service, use [`Slot::new`].
    ///
    /// A value that is `Clone` and `Send`, such as a pool of connections, can leave its slot as a clone:
    /// `remote.call(Pool::clone).await`.
    pub fn slot<T: 'static>(&mut self, name: impl Into<String>) -> (Slot<T>, Remote<T>) {
        let name = name.into();
        let (slot, remote) = Slot::new(&name);
        if !self.handle.register::<T>(&name, slot.address()) {
            self.problems.push(format!("two slots, or a slot and a loop, are named {name}"));
        }
        (slot, remote)
    }

    pub(super) fn add_loop(
        &mut self,
        name: String,
        spec: LoopSpec,
        runner: Box<dyn crate::task::erased::ErasedLoop>,
    ) -> usize {
        let settings = LoopEntrySettings::new(name.clone());
        let shared = Shared::with_clock(&name, self.handle.clock().clone());
        let native = shared.native_address();
        // A loop for a single task has the task's name, and a slot may have that name too: only shared loops are found
        // by name.
        let is_shared = !spec.thread_a_task || self.tasks.iter().all(|task| task.settings.name != name);
        if is_shared && !(spec.register)(&self.handle, &name, &native) {
            self.problems.push(format!("two loops, or a slot and a loop, are named {name}"));
        }
        self.loops.push(LoopEntry { settings, spec, runner, shared, native, wanted: false });
        self.loops.len() - 1
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.tasks.iter().map(|task| &task.settings.name).collect::<Vec<_>>();
        f.debug_struct("Service").field("name", &self.about.name).field("tasks", &tasks).finish_non_exhaustive()
    }
}
