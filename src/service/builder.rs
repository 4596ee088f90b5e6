//! The service: what is put together in `main`, and run.

use std::{
    any::TypeId,
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fmt,
    process::ExitCode,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Command};

use super::{
    loop_set::LoopSet,
    running::{Running, StartError},
    settings::{LoopSettings, TaskSettings},
    supervisor::{SupervisedLoop, SupervisedTask, Supervisor, outside::Outside},
};
use crate::{
    EventLoop, Offer, Remote, Report, ServiceHandle, Slot, State, Task,
    channel::{address::Address, shared::Shared},
    control::{
        events::{Events, MainJob, Told},
        status::{LoopRow, TaskInfo, TaskRow},
    },
    kit::{
        clock::{Busy, Clock},
        coalesced::Coalesced,
        sync::Mutex,
    },
    lifecycle::{Lifecycle, planning},
    options::{self, Check, LOOP_ID, Live, OptionCell, Owner, Parsed, Section, ServiceAbout, Stop},
    task::erased::{Body, BodyOf, LoopSpec, Make, RunnerOf},
    words::state::Reason,
};

/// A process: a name, a set of tasks, one lifecycle.
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
pub struct Service {
    pub(super) about: ServiceAbout,
    pub(super) handle: ServiceHandle,
    pub(super) messages: mpsc::Receiver<Told>,
    pub(super) tasks: Vec<TaskEntry>,
    pub(super) loops: Vec<LoopEntry>,
    pub(super) own_options: Option<Command>,
    pub(super) own_check: Check,
    pub(super) defaults: Vec<(String, String)>,
    pub(super) arguments: Vec<OsString>,
    /// What was found wrong while it was put together; told by `run` and `start`.
    pub(super) problems: Vec<String>,
    pub(super) unstarted: Unstarted,
}

/// Dropped with a service that was never started, it tells whoever waits for it.
pub(super) struct Unstarted(Option<ServiceHandle>);

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

/// A loop that a task can run on.
pub(super) struct Choice {
    pub(super) spec: LoopSpec,
    pub(super) body: Box<dyn FnOnce() -> Box<dyn Body> + Send>,
}

pub(super) struct LoopEntry {
    pub(super) settings: super::settings::LoopEntrySettings,
    pub(super) spec: LoopSpec,
    pub(super) runner: Box<dyn crate::task::erased::Runner>,
    pub(super) shared: Arc<Shared>,
    pub(super) native: Arc<Address>,
    /// Whether somebody holds a Remote to it, so that it runs even without a task.
    pub(super) wanted: bool,
}

impl Service {
    /// A service of this name: it stands in the log, in the help, and before environment variables.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let clock = Clock::default();
        let (events, messages) = Events::new(clock.clone());
        let handle = ServiceHandle::new(&name, events, clock);
        Self {
            unstarted: Unstarted(Some(handle.clone())),
            handle,
            about: ServiceAbout { name, version: None, about: None },
            messages,
            tasks: Vec::new(),
            loops: Vec::new(),
            own_options: None,
            own_check: |_| Ok(()),
            defaults: Vec::new(),
            arguments: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// What `--version` and the status show: `env!("CARGO_PKG_VERSION")`.
    pub fn version(&mut self, version: impl Into<String>) -> &mut Self {
        self.about.version = Some(version.into());
        self
    }

    /// One line on what the service does, for `--help`.
    pub fn about(&mut self, text: impl Into<String>) -> &mut Self {
        self.about.about = Some(text.into());
        self
    }

    /// Options of the service's own, without a prefix; tasks get them by [`ServiceHandle::own_options`].
    pub fn options<O: Args>(&mut self) -> &mut Self {
        self.own_options = Some(O::augment_args(Command::new(self.about.name.clone())));
        self.own_check = |matches| O::from_arg_matches(matches).map(drop);
        self
    }

    /// Sets an option that every service has, by its long name: it becomes the default, which files, the environment and the command line override.
    ///
    /// ```
    /// let mut service = interloop::Service::new("hello");
    /// service.set("drain-delay", "5s").set("log-level", "debug");
    /// ```
    pub fn set(&mut self, option: &str, value: impl fmt::Display) -> &mut Self {
        self.defaults.push((option.to_owned(), value.to_string()));
        self
    }

    /// Words of a command line, for a service that is [started](Self::start) inside something else: `start` does not look at the process's own.
    pub fn arguments(&mut self, words: impl IntoIterator<Item = impl Into<OsString>>) -> &mut Self {
        self.arguments.extend(words.into_iter().map(Into::into));
        self
    }

    /// Controls the service from any thread: usable from now on.
    pub fn handle(&self) -> ServiceHandle {
        self.handle.clone()
    }

    /// Adds a task whose type says which loop it runs on.
    pub fn task<L: EventLoop, T: Task<L>>(&mut self, name: impl Into<String>, task: T) -> &mut TaskSettings {
        let offer = task.offer();
        self.add_once(name.into(), task, offer, |make| vec![choice::<L, T>(make)], T::Options::augment_args)
    }

    /// Adds a task that can run on any loop, on a loop of kind `L`.
    pub fn task_on<L: EventLoop>(&mut self, name: impl Into<String>, task: impl Task<L>) -> &mut TaskSettings {
        self.task::<L, _>(name, task)
    }

    /// Adds a task that is made anew for each incarnation, so that it can be [restarted](TaskSettings::restart). `make` is called on the loop's thread. A
    /// handle that all of them share is to be [offered](TaskSettings::offers).
    ///
    /// Where the task can run on any loop: `service.task_with::<Thread, _>("echo", || Echo)`.
    pub fn task_with<L: EventLoop, T: Task<L>>(
        &mut self,
        name: impl Into<String>,
        make: impl FnMut() -> T + Send + 'static,
    ) -> &mut TaskSettings {
        let choices = vec![choice::<L, T>(Make::anew(make))];
        self.add(name.into(), true, choices, T::Options::augment_args)
    }

    /// Adds a task that runs on one of several kinds of loop, chosen by `--{task}-loop`; the first is the default.
    ///
    /// ```
    /// # use interloop::{Context, EventLoop, NoOptions, Result, Service, Task, Thread};
    /// # struct Echo;
    /// # impl<L: EventLoop> Task<L> for Echo {
    /// #     type Options = NoOptions;
    /// #     async fn run(&mut self, cx: Context<L>) -> Result { Ok(cx.until_shutdown().await) }
    /// # }
    /// # let mut service = Service::new("echo");
    /// service.task_any::<(Thread,), _>("echo", Echo);
    /// ```
    pub fn task_any<S: LoopSet<T>, T: Send + 'static>(
        &mut self,
        name: impl Into<String>,
        task: T,
    ) -> &mut TaskSettings {
        let offer = S::offer(&task);
        self.add_once(name.into(), task, offer, choices_of::<S, T>, command_of::<S, T>)
    }

    /// As [`task_any`](Self::task_any), of a task that is made anew for each incarnation, as by [`task_with`](Self::task_with).
    pub fn task_any_with<S: LoopSet<T>, T: Send + 'static>(
        &mut self,
        name: impl Into<String>,
        make: impl FnMut() -> T + Send + 'static,
    ) -> &mut TaskSettings {
        self.add(name.into(), true, choices_of::<S, T>(Make::anew(make)), command_of::<S, T>)
    }

    fn add_once<T: Send + 'static>(
        &mut self,
        name: String,
        task: T,
        offer: Option<Offer>,
        choices: impl FnOnce(Make<T>) -> Vec<Choice>,
        command: impl FnOnce(Command) -> Command,
    ) -> &mut TaskSettings {
        let mut task = Some(task);
        let settings = self.add(name, false, choices(Make::once(move || task.take())), command);
        if let Some(offer) = offer {
            settings.offer(offer);
        }
        settings
    }

    fn add(
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

    /// Plans an instance of a loop, by name; tasks are put on it by [`TaskSettings::on`]. It runs even without a task if its
    /// [`remote`](LoopSettings::remote) was taken.
    pub fn event_loop<L: EventLoop>(&mut self, name: impl Into<String>, plan: L) -> LoopSettings<'_, L> {
        let name = name.into();
        let last = self.add_loop(name, LoopSpec::of::<L>(), Box::new(RunnerOf(plan)));
        LoopSettings::new(&mut self.loops[last])
    }

    /// A Remote to what tasks see of the default instance of a kind of loop. The loop then runs even without a task.
    pub fn remote_to<L: EventLoop>(&mut self) -> Remote<L::Native> {
        let known =
            self.loops.iter().position(|entry| entry.settings.name == L::NAME && entry.spec.id == TypeId::of::<L>());
        match known {
            Some(index) => LoopSettings::<L>::new(&mut self.loops[index]).remote(),
            None => self.event_loop(L::NAME, L::default()).remote(),
        }
    }

    /// A place for a value that a task will put on its loop by [`Context::fill`](crate::Context::fill), and the Remote that reaches it: usable from now on,
    /// from any thread.
    pub fn slot<T: 'static>(&mut self, name: impl Into<String>) -> (Slot<T>, Remote<T>) {
        let name = name.into();
        let address = Address::new(&name);
        if !self.handle.register::<T>(&name, &address) {
            self.problems.push(format!("two slots, or a slot and a loop, are named {name}"));
        }
        (Slot::new(address.clone()), Remote::new(address))
    }

    fn add_loop(&mut self, name: String, spec: LoopSpec, runner: Box<dyn crate::task::erased::Runner>) -> usize {
        let settings = super::settings::LoopEntrySettings::new(name.clone());
        let shared = Shared::with_clock(&name, self.handle.clock().clone());
        let native = shared.native_address();
        // A loop for one task alone is named for it, and so may a slot be: only those that are shared are known by name.
        let is_shared = !spec.thread_a_task || self.tasks.iter().all(|task| task.settings.name != name);
        if is_shared && !(spec.register)(&self.handle, &name, &native) {
            self.problems.push(format!("two loops, or a slot and a loop, are named {name}"));
        }
        self.loops.push(LoopEntry { settings, spec, runner, shared, native, wanted: false });
        self.loops.len() - 1
    }

    /// Runs the service on the process's command line and environment, with its log, its signals and its panic hook, to its end. Where a loop claims the
    /// main thread this call drives it, so call it from `main`.
    ///
    /// The exit code: 0 asked to stop, or all done; 1 a task or a start failed, or a restart limit was hit; 2 the command line's words; 78 a configuration
    /// that can't work; 124 something ran past its deadline; 128 + n forced by signal n. If a thread had to be left behind, the process ends here.
    ///
    /// Signals are handled from the first moment on. When it returns, INT, TERM, HUP and USR1, this thread's signal mask and the panic hook are what they were;
    /// the logger stays. It may be called again, for another service.
    /// [`docs/signals.md`](https://docs.rs/crate/interloop/latest/source/docs/signals.md) says exactly what is changed and given back.
    pub fn run(self) -> ExitCode {
        super::running::run(self)
    }

    /// Starts the service inside something else: no signals, no logger, no look at the process's command line and environment, no exit. Any number of
    /// services can run in a process.
    ///
    /// It returns as soon as the supervisor runs; [`wait_started`](ServiceHandle::wait_started) waits for the tasks.
    ///
    /// # Errors
    ///
    /// When the configuration can't work. No thread has been started then.
    pub fn start(self) -> Result<Running, StartError> {
        super::running::start(self)
    }

    /// Checks everything and brings it into shape; nothing has been started yet.
    pub(super) fn prepare(mut self, arguments: Vec<OsString>, environment: options::Env) -> Result<Prepared, Stop> {
        // Instances first by what code says; a task that chooses at run time is asked below.
        let sections = self.sections();
        if let Some(problem) = self.problems.first() {
            return Err(Stop::Config(format!("{}: {problem}", self.about.name)));
        }
        // `--version` is always there, and says when there is nothing to say.
        let version = self.about.version.clone().unwrap_or_else(|| "(no version)".to_owned());
        let about = ServiceAbout { version: Some(version), ..self.about.clone() };
        let parsed = options::parse(&about, sections, &self.defaults, arguments, environment)?;
        let service = self.about.name.clone();
        let config = |text: String| Stop::Config(format!("{service}: {text}"));
        let chosen = self.choose(&parsed).map_err(config)?;
        for task in &mut self.tasks {
            task.settings.resolve_uses().map_err(config)?;
        }
        let (declared, loops) = self.declare(&chosen);
        let core = &parsed.core;
        if core.list_tasks {
            return Err(Stop::Asked(planning::list(&declared, &loops).trim_end().to_owned()));
        }
        if core.graph {
            return Err(Stop::Asked(planning::graphviz(&service, &declared, &loops).trim_end().to_owned()));
        }
        let timing = planning::Timing {
            drain_delay: core.drain_delay,
            shutdown_timeout: core.shutdown_timeout,
            seed: fastrand::u64(..),
        };
        let planned = planning::plan(&declared, &loops, core.tasks.as_deref(), timing).map_err(|error| {
            let line = format!("{service}: {error}");
            if error.exit_code() == 2 { Stop::Usage(line) } else { Stop::Config(line) }
        })?;
        if core.dry_run {
            let text = parsed.show();
            self.assemble(planned, chosen, parsed)?;
            return Err(Stop::Asked(text));
        }
        self.assemble(planned, chosen, parsed)
    }

    /// The options of the service, of the loops that code names, and of the tasks; then of the loops that tasks bring along.
    fn sections(&mut self) -> Vec<Section> {
        for index in 0..self.tasks.len() {
            for choice in 0..self.tasks[index].choices.len() {
                let spec = self.tasks[index].choices[choice].spec;
                let name = self.instance_name(index, spec);
                if !self.loops.iter().any(|entry| entry.settings.name == name) {
                    self.add_loop(name, spec, (spec.plan)());
                }
            }
        }
        let own = Section {
            kind: Owner::Service,
            name: String::new(),
            command: self.own_options.take().unwrap_or_else(|| Command::new(self.about.name.clone())),
            defaults: Vec::new(),
        };
        let tasks = self.tasks.iter().map(|task| Section {
            kind: Owner::Task,
            name: task.settings.name.clone(),
            command: task.command.clone(),
            defaults: task.settings.options.0.clone(),
        });
        let loops = self.loops.iter().map(|entry| Section {
            kind: Owner::Loop,
            name: entry.settings.name.clone(),
            command: entry.runner.command(Command::new(entry.settings.name.clone())),
            defaults: entry.settings.options.0.clone(),
        });
        std::iter::once(own).chain(tasks).chain(loops).collect()
    }

    fn instance_name(&self, task: usize, spec: LoopSpec) -> String {
        let settings = &self.tasks[task].settings;
        match &settings.instance {
            Some(name) => name.clone(),
            None if spec.thread_a_task => settings.name.clone(),
            None => spec.kind.to_owned(),
        }
    }

    /// For each task: which of its loops, and which instance of it.
    fn choose(&self, parsed: &Parsed) -> Result<Vec<Chosen>, String> {
        let mut chosen = Vec::with_capacity(self.tasks.len());
        for (index, task) in self.tasks.iter().enumerate() {
            // What a task that isn't selected was given may not be complete: its first loop will do.
            let kind = match task.choices.len() {
                1 => None,
                _ => parsed.matches(1 + index).ok().and_then(|matches| matches.get_one::<String>(LOOP_ID).cloned()),
            };
            let choice =
                kind.and_then(|kind| task.choices.iter().position(|choice| choice.spec.kind == kind)).unwrap_or(0);
            let spec = task.choices[choice].spec;
            let name = self.instance_name(index, spec);
            let Some(event_loop) = self.loops.iter().position(|entry| entry.settings.name == name) else {
                return Err(format!("task {} is to run on loop {name}, which is not there", task.settings.name));
            };
            let entry = &self.loops[event_loop];
            if entry.spec.id != spec.id {
                let task = &task.settings.name;
                return Err(format!(
                    "task {task} runs on a {} loop, but loop {name} is a {} loop",
                    spec.kind, entry.spec.kind
                ));
            }
            chosen.push(Chosen { choice, event_loop });
        }
        Ok(chosen)
    }

    fn declare(&self, chosen: &[Chosen]) -> (Vec<planning::Declared>, Vec<planning::DeclaredLoop>) {
        let first = self.tasks.iter().filter(|task| task.settings.first);
        let first = first.map(|task| task.settings.name.clone()).collect::<Vec<_>>();
        let tasks = self.tasks.iter().zip(chosen).map(|(task, chosen)| {
            let TaskSettings { name, requires, after, last, start_timeout, stop_timeout, restart, .. } = &task.settings;
            let after_first = first.iter().filter(|_| !task.settings.first).cloned();
            planning::Declared {
                name: name.clone(),
                event_loop: chosen.event_loop,
                requires: requires.clone(),
                after: after.iter().cloned().chain(after_first).collect(),
                last: *last,
                start_timeout: *start_timeout,
                stop_timeout: stop_timeout.unwrap_or(STOP_TIMEOUT),
                restart: restart.clone(),
                restartable: task.restartable,
            }
        });
        let loops = self.loops.iter().map(|entry| planning::DeclaredLoop {
            name: entry.settings.name.clone(),
            kind: entry.spec.kind,
            needs_main_thread: entry.runner.needs_main_thread(),
            claims: entry.runner.claims(),
            restart: entry.settings.restart.clone(),
            wanted: entry.wanted,
        });
        (tasks.collect(), loops.collect())
    }

    /// Puts together what the plan selects.
    fn assemble(self, planned: planning::Planned, chosen: Vec<Chosen>, parsed: Parsed) -> Result<Prepared, Stop> {
        let Self { about, handle, messages, tasks, loops, own_check, unstarted, .. } = self;
        let first_loop = 1 + tasks.len();
        // Where nobody has said how long anything may take, nobody needs to hear that it doesn't add up.
        let timed = tasks.iter().any(|task| task.settings.stop_timeout.is_some());
        let timed = timed || parsed.core.shutdown_timeout != options::SHUTDOWN_TIMEOUT;
        let overlong = if timed { planning::overlong_chain(&planned.plan) } else { None };

        let mut cells = vec![None; first_loop + loops.len()];
        let cell = |cells: &mut Vec<_>, section: usize, check, matches| {
            let cell = OptionCell::new(check, matches);
            cells[section] = Some(cell.clone());
            cell
        };
        let mut entries = tasks.into_iter().zip(chosen).map(Some).collect::<Vec<_>>();
        let mut supervised = Vec::with_capacity(planned.tasks.len());
        let mut rows = Vec::with_capacity(planned.tasks.len());
        for (id, &declared) in planned.tasks.iter().enumerate() {
            let (mut entry, chosen) = entries[declared].take().expect("a plan has each task once");
            let mut body = (entry.choices.swap_remove(chosen.choice).body)();
            let check = body.check();
            let matches = parsed.checked(1 + declared, check)?;
            body.check_task(&matches).map_err(|why| parsed.refused(1 + declared, why))?;
            let plan = &planned.plan.tasks[id];
            let info = TaskInfo::new(&about.name, &plan.name);
            rows.push(TaskRow {
                name: plan.name.clone(),
                event_loop: plan.event_loop,
                info: info.clone(),
                state: State::Waiting,
                cause: None,
                incarnation: 1,
                since: Duration::ZERO,
            });
            supervised.push(SupervisedTask {
                name: plan.name.clone(),
                event_loop: plan.event_loop,
                body: Arc::new(Mutex::new(Some(body))),
                options: cell(&mut cells, 1 + declared, check, matches),
                info,
                restartable: plan.restartable,
                incarnation: None,
            });
        }

        // What is not selected never starts.
        for (entry, _) in entries.iter().flatten() {
            handle.end_offers(Some(&entry.settings.name));
        }

        let mut entries = loops.into_iter().map(Some).collect::<Vec<_>>();
        let mut supervised_loops = Vec::with_capacity(planned.loops.len());
        let mut loop_rows = Vec::with_capacity(planned.loops.len());
        for &declared in &planned.loops {
            let entry = entries[declared].take().expect("a plan has each loop once");
            let check = entry.runner.check();
            let matches = parsed.checked(first_loop + declared, check)?;
            loop_rows.push(LoopRow {
                kind: entry.spec.kind,
                main_thread: entry.runner.needs_main_thread(),
                shared: entry.shared.clone(),
                running: false,
                incarnation: 1,
            });
            let start_timeout = entry.settings.start_timeout;
            let main_thread = entry.runner.needs_main_thread();
            let (runner, shared) = (Arc::new(Mutex::new(entry.runner)), entry.shared);
            let options = cell(&mut cells, first_loop + declared, check, matches);
            supervised_loops.push(SupervisedLoop {
                runner,
                main_thread,
                options,
                shared,
                thread: Arc::default(),
                start_timeout,
                stop_by: None,
                leaves: None,
                busy: Busy::default(),
            });
        }
        // Whoever holds a Remote to a loop that isn't used gets Stopped.
        let unused = entries.into_iter().flatten().map(|entry| entry.shared).collect::<Vec<_>>();

        cell(&mut cells, 0, own_check, parsed.checked(0, own_check)?);
        let core = parsed.core.clone();
        handle.set_live(Live::new(parsed, cells));
        let claims_main = loop_rows.iter().any(|row| row.main_thread);
        let begun = Instant::now();
        #[cfg(feature = "testing")]
        let started = handle.clock().fake().map_or(begun, |fake| fake.now());
        #[cfg(not(feature = "testing"))]
        let started = begun;
        unused.iter().for_each(|shared| shared.terminate());
        let ids = supervised.iter().enumerate().map(|(id, task)| (task.name.clone(), id)).collect::<HashMap<_, _>>();
        let supervisor = Supervisor {
            lifecycle: Lifecycle::new(planned.plan),
            messages,
            // Until it waits for the first time.
            busy: handle.clock().busy(),
            outside: Outside::new(handle.board().clone()),
            handle,
            started,
            begun,
            #[cfg(feature = "testing")]
            alarm: None,
            tasks: supervised,
            ids,
            loops: supervised_loops,
            main: None,
            on_abandoned: None,
            stuck: Vec::new(),
            stop_reason: Reason::AllDone,
            starting: BTreeMap::new(),
            reopenings: Coalesced::new("reopen"),
            reloads: Coalesced::new("reload"),
            shows: Coalesced::new("status"),
        };
        let board = (about.version, rows, loop_rows);
        Ok(Prepared { supervisor, board, core, claims_main, overlong, unstarted })
    }
}

/// How long a task may take to stop, if nothing else is said.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The option, of a task that chooses its loop at run time, that says which.
const LOOP: &str = "loop";

struct Chosen {
    choice: usize,
    event_loop: usize,
}

/// A service that has been checked, before anything of it has been started.
pub(super) struct Prepared {
    pub(super) supervisor: Supervisor,
    /// What the status shows at the start: the version, the tasks, the loops.
    pub(super) board: (Option<String>, Vec<TaskRow>, Vec<LoopRow>),
    #[cfg_attr(not(feature = "logging"), expect(dead_code, reason = "it says how to log"))]
    pub(super) core: options::CoreOptions,
    pub(super) claims_main: bool,
    pub(super) overlong: Option<String>,
    pub(super) unstarted: Unstarted,
}

impl Prepared {
    /// Runs the supervisor on a thread of its own.
    pub(super) fn launch(self) -> std::io::Result<thread::JoinHandle<Report>> {
        let (handle, outside) = (self.supervisor.handle.clone(), self.supervisor.outside.clone());
        if let Some(warning) = self.overlong {
            outside.log(log::Level::Warn, handle.name(), || warning);
        }
        if cfg!(panic = "abort") {
            let warning = || "built with panic = \"abort\": a panic of one task ends the process".to_owned();
            outside.log(log::Level::Warn, handle.name(), warning);
        }
        let (version, tasks, loops) = self.board;
        handle.board().begin(version, self.supervisor.started, tasks, loops);
        let (supervisor, mut unstarted) = (self.supervisor, self.unstarted);
        // While it starts, so does the supervisor.
        outside.start()?;
        let started = thread::Builder::new().name("supervisor".into()).spawn(move || supervisor.run())?;
        unstarted.0 = None;
        Ok(started)
    }

    /// The main thread drives the loop that claims it: jobs come through here.
    pub(super) fn main_jobs(&mut self) -> Option<mpsc::Receiver<MainJob>> {
        if !self.claims_main {
            return None;
        }
        let (sender, receiver) = mpsc::channel();
        self.supervisor.main = Some(sender);
        Some(receiver)
    }
}

fn choice<L: EventLoop, T: Task<L>>(make: Make<T>) -> Choice {
    Choice { spec: LoopSpec::of::<L>(), body: Box::new(move || BodyOf::<L, T>::boxed(make)) }
}

/// One for each kind of loop; whichever is chosen makes the task.
fn choices_of<S: LoopSet<T>, T: Send + 'static>(make: Make<T>) -> Vec<Choice> {
    let specs = S::specs();
    let makes = make.for_each_of(specs.len());
    let choose = |(index, (spec, make))| Choice { spec, body: Box::new(move || S::body(index, make).0) };
    specs.into_iter().zip(makes).enumerate().map(choose).collect()
}

/// The task's options, and which loop it runs on.
fn command_of<S: LoopSet<T>, T>(command: Command) -> Command {
    let names = S::specs().iter().map(|spec| spec.kind).collect::<Vec<_>>();
    let flag = clap::Arg::new(LOOP_ID).long(LOOP).value_name("LOOP").help("The loop that it runs on");
    let flag = flag.default_value(names[0]).value_parser(clap::builder::PossibleValuesParser::new(names));
    S::augment(command).arg(flag)
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.tasks.iter().map(|task| &task.settings.name).collect::<Vec<_>>();
        f.debug_struct("Service").field("name", &self.about.name).field("tasks", &tasks).finish_non_exhaustive()
    }
}
