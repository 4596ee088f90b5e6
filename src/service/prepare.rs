//! Turns declarations into a service that can run: checks them, and builds what the plan selects.

#[cfg(feature = "net")]
use std::any::TypeId;
use std::{
    ffi::OsString,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use clap::{ArgMatches, Command};

use super::{
    builder::{Service, TaskEntry, Unstarted},
    settings::{LoopEntry, TaskSettings},
    supervisor::{Parts, SupervisedLoop, SupervisedTask, Supervisor},
};
use crate::{
    control::{
        events::MainJob,
        report::Report,
        status_board::{LoopRow, TaskRow},
        task_info::TaskInfo,
    },
    kit::panics::catch,
    lifecycle::planning,
    options::{self, Check, LOOP_ID, Live, OptionCell, Owner, Parsed, Section, ServiceAbout, Stop},
    task::erased::LoopSpec,
    words::{names, state::State},
};
#[cfg(feature = "net")]
use crate::{
    inherited::{self, Announced, Assigned, Claimant, Inherited},
    reactor::bind::Bound,
};

impl Service {
    /// Checks all declarations and builds the service; nothing has been started yet.
    pub(super) fn prepare(mut self, surroundings: Surroundings) -> Result<Prepared, Stop> {
        let Surroundings { arguments, environment, variables, .. } = surroundings;
        let unbuilt = self.build_by_options(&arguments, &environment)?;
        // First the instances that code names; tasks that choose at run time are asked below.
        let sections = self.sections();
        if let Some(problem) = self.problems.first() {
            return Err(Stop::Config(format!("{}: {problem}", self.about.name)));
        }
        // `--version` always exists, and says so if there is no version.
        let version = self.about.version.clone().unwrap_or_else(|| "(no version)".to_owned());
        let about = ServiceAbout { version: Some(version), ..self.about.clone() };
        let parsed = options::parse(&about, sections, &self.defaults, arguments, environment)?;
        if let Some(stop) = unbuilt {
            return Err(stop);
        }
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
        let note = parsed.unused_log_variable(&variables);
        let unknown = parsed.unknown_variables(variables);
        if core.dry_run {
            let mut text = parsed.show();
            unknown.iter().chain(&note).for_each(|line| text.extend(["\n# ", line]));
            self.assemble(planned, chosen, parsed)?;
            return Err(Stop::Asked(text));
        }
        #[cfg(feature = "net")]
        let assigned = self.assign(surroundings.announced, &planned, &parsed).map_err(config)?;
        let mut prepared = self.assemble(planned, chosen, parsed)?;
        #[cfg(feature = "net")]
        prepared.inherits(assigned);
        if !unknown.is_empty() {
            prepared.warnings.push(unknown.join("; "));
        }
        prepared.notes.extend(note);
        Ok(prepared)
    }

    /// Gives each server the sockets that were passed to the process for it.
    #[cfg(feature = "net")]
    fn assign(
        &self,
        announced: Announced,
        planned: &planning::Planned,
        parsed: &Parsed,
    ) -> Result<Inheritance, String> {
        let mut servers = Vec::new();
        for (index, task) in self.tasks.iter().enumerate() {
            let is_name = |arg: &&clap::Arg| arg.get_value_parser().type_id() == TypeId::of::<Inherited>();
            let mut options = task.command.get_arguments().filter(is_name).peekable();
            let Some(option) = options.peek().map(|option| option.get_long().unwrap_or(option.get_id().as_str()))
            else {
                continue;
            };
            let task = task.settings.name.clone();
            let option = format!("{task}-{option}");
            // The options of a task that isn't selected may be incomplete.
            let wants = parsed.matches(1 + index).ok().map_or_else(Vec::new, |matches| {
                let named = options.filter_map(|option| matches.get_many::<Inherited>(option.get_id().as_str()));
                named.flatten().cloned().collect()
            });
            servers.push(Claimant { task, option, is_selected: planned.tasks.contains(&index), wants });
        }
        let Assigned { sockets, notes, warnings } = inherited::assign(announced, &servers)?;
        let of_tasks = servers.into_iter().map(|server| server.task).zip(sockets).collect();
        Ok(Inheritance { of_tasks, notes, warnings })
    }

    /// Assembles the service by its own options, if it has a closure for that. The returned [`Stop`] says why those
    /// options are wrong; a parse of all options may find a better message.
    fn build_by_options(&mut self, arguments: &[OsString], environment: &options::Env) -> Result<Option<Stop>, Stop> {
        let Some(build) = self.build.take() else { return Ok(None) };
        let own = self.own_section(self.own_options.clone());
        let matches = match options::parse_own(&self.about, own, &self.defaults, arguments, environment.clone()) {
            Ok(matches) => matches,
            Err(stop) => return Ok(Some(stop)),
        };
        let name = self.about.name.clone();
        let refuse = |why: String| Stop::Config(format!("{name}: {why}"));
        match catch(|| build(self, &matches).map_err(|error| error.to_string())) {
            Ok(built) => built.map(|()| None).map_err(refuse),
            Err(panic) => Err(refuse(format!("what puts the service together panicked: {panic}"))),
        }
    }

    fn own_section(&self, options: Option<Command>) -> Section {
        Section {
            kind: Owner::Service,
            name: String::new(),
            command: options.unwrap_or_else(|| Command::new(self.about.name.clone())),
            built: Vec::new(),
            defaults: Vec::new(),
        }
    }

    /// Returns the options of the service, of its tasks, and of its loops: first those that code names, then those that
    /// tasks need.
    fn sections(&mut self) -> Vec<Section> {
        self.check_instances();
        for index in 0..self.tasks.len() {
            for choice in 0..self.tasks[index].choices.len() {
                let spec = self.tasks[index].choices[choice].spec;
                let name = self.instance_name(index, spec);
                if !self.loops.iter().any(|entry| entry.settings.name == name) {
                    self.add_loop(name, spec, (spec.plan)());
                }
            }
        }
        let own = self.own_options.take();
        let own = self.own_section(own);
        let tasks = self.tasks.iter().map(|task| Section {
            kind: Owner::Task,
            name: task.settings.name.clone(),
            command: task.command.clone(),
            built: task.settings.built.clone().into_entries(),
            defaults: task.settings.options.clone().into_entries(),
        });
        let loops = self.loops.iter().map(|entry| Section {
            kind: Owner::Loop,
            name: entry.settings.name.clone(),
            command: entry.runner.command(Command::new(entry.settings.name.clone())),
            built: entry.runner.defaults().into_entries(),
            defaults: entry.settings.options.clone().into_entries(),
        });
        std::iter::once(own).chain(tasks).chain(loops).collect()
    }

    /// Checks that the instance named for a task exists: planned by name, or the default one of a task's loop.
    fn check_instances(&mut self) {
        let mut known = self.loops.iter().map(|entry| entry.settings.name.clone()).collect::<Vec<_>>();
        for task in &self.tasks {
            let TaskSettings { name, instance, .. } = &task.settings;
            known.extend(task.choices.iter().filter_map(|choice| match choice.spec.thread_a_task {
                // A task on another instance has no thread of its own.
                true => instance.as_ref().is_none_or(|instance| instance == name).then(|| name.clone()),
                false => Some(choice.spec.kind.to_owned()),
            }));
        }
        known.sort();
        known.dedup();
        for TaskSettings { name, instance, .. } in self.tasks.iter().map(|task| &task.settings) {
            if let Some(instance) = instance.as_ref().filter(|instance| !known.contains(instance)) {
                let there_is = names::there_is(instance, known.iter().map(String::as_str));
                let problem =
                    format!("task {name} is to run on loop {instance:?}, but there is no such loop; {there_is}");
                self.problems.push(problem);
            }
        }
    }

    fn instance_name(&self, task: usize, spec: LoopSpec) -> String {
        let settings = &self.tasks[task].settings;
        match &settings.instance {
            Some(name) => name.clone(),
            None if spec.thread_a_task => settings.name.clone(),
            None => spec.kind.to_owned(),
        }
    }

    /// Returns, for each task, which of its loops was chosen, and which instance of it.
    fn choose(&self, parsed: &Parsed) -> Result<Vec<Chosen>, String> {
        let mut chosen = Vec::with_capacity(self.tasks.len());
        for (index, task) in self.tasks.iter().enumerate() {
            // The options of a task that isn't selected may be incomplete: its first loop will do.
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

    /// Builds what the plan selects.
    fn assemble(self, planned: planning::Planned, chosen: Vec<Chosen>, parsed: Parsed) -> Result<Prepared, Stop> {
        let Self { about, handle, messages, tasks, loops, own_check, unstarted, .. } = self;
        // If nobody has set a time limit, nobody needs to hear that the limits don't add up.
        let timed = tasks.iter().any(|task| task.settings.stop_timeout.is_some());
        let timed = timed || parsed.core.shutdown_timeout != options::SHUTDOWN_TIMEOUT;
        let overlong = if timed { planning::overlong_chain(&planned.plan) } else { None };
        let mut warnings = overlong.into_iter().collect::<Vec<_>>();
        warnings.extend(unused_loops(&loops, &tasks, &chosen));
        let notes = Vec::new();

        let never_block = planned.tasks.iter().map(|&task| tasks[task].settings.never_blocks).collect::<Vec<_>>();
        let mut cells = Cells::new(tasks.len(), loops.len());
        let mut tasks = tasks.into_iter().zip(chosen).map(Some).collect::<Vec<_>>();
        let (supervised_tasks, task_rows) = cells.take_tasks(&about.name, &mut tasks, &planned, &parsed)?;
        // Tasks that are not selected never start.
        for (entry, _) in tasks.iter().flatten() {
            handle.end_offers(Some(&entry.settings.name));
        }
        let mut loops = loops.into_iter().map(Some).collect::<Vec<_>>();
        let (supervised_loops, mut loop_rows) = cells.take_loops(&mut loops, &planned, &parsed)?;
        for (id, row) in loop_rows.iter_mut().enumerate() {
            let on_it = planned.plan.tasks.iter().zip(&never_block).filter(|(task, _)| task.event_loop == id);
            let (tasks, never_blocks) = on_it.fold((0, false), |(tasks, never), (_, &one)| (tasks + 1, never || one));
            row.may_block &= !never_blocks;
            row.asked = !row.may_block || tasks != 1;
        }
        // A Remote to an unused loop resolves with Stopped.
        let unused = loops.into_iter().flatten().map(|entry| entry.shared).collect::<Vec<_>>();
        cells.add(SERVICE, own_check, parsed.checked(SERVICE, own_check)?);

        let core = parsed.core.clone();
        handle.set_live(Live::new(parsed, cells.of_sections));
        let claims_main = loop_rows.iter().any(|row| row.main_thread);
        unused.iter().for_each(|shared| shared.terminate());
        let parts = Parts { handle, messages, plan: planned.plan, tasks: supervised_tasks, loops: supervised_loops };
        let board = (about.version, task_rows, loop_rows);
        Ok(Prepared { supervisor: Supervisor::new(parts), board, core, claims_main, notes, warnings, unstarted })
    }
}

/// Returns a warning for each loop that was planned under a name of its own and that nothing uses. A loop under its
/// kind's name may be there for a task that an option has put elsewhere.
fn unused_loops(loops: &[LoopEntry], tasks: &[TaskEntry], chosen: &[Chosen]) -> Vec<String> {
    let is_unused = |&(id, entry): &(usize, &LoopEntry)| {
        let is_chosen = chosen.iter().any(|chosen| chosen.event_loop == id);
        !is_chosen && !entry.wanted && entry.settings.name != entry.spec.kind
    };
    let warning = |(_, entry): (usize, &LoopEntry)| {
        let (name, kind) = (&entry.settings.name, entry.spec.kind);
        let elsewhere = tasks.iter().zip(chosen).find_map(|(task, chosen)| {
            let other = &loops[chosen.event_loop];
            let of_kind = other.spec.id == entry.spec.id;
            of_kind.then(|| format!("task {} is on loop {}; ", task.settings.name, other.settings.name))
        });
        let elsewhere = elsewhere.unwrap_or_default();
        format!(
            "loop {name} has no task and no remote, so it does not run; {elsewhere}`.on({name:?})` puts a task on it, and \
             the name {kind:?} makes it the default of its kind"
        )
    };
    loops.iter().enumerate().filter(is_unused).map(warning).collect()
}

/// The index of the service's own section. The sections of its tasks follow, then those of its loops.
const SERVICE: usize = 0;

/// The options in force, by section; unused tasks and loops have none.
struct Cells {
    of_sections: Vec<Option<Arc<OptionCell>>>,
    first_loop: usize,
}

impl Cells {
    fn new(tasks: usize, loops: usize) -> Self {
        let first_loop = 1 + tasks;
        Self { of_sections: vec![None; first_loop + loops], first_loop }
    }

    fn add(&mut self, section: usize, check: Check, matches: ArgMatches) -> Arc<OptionCell> {
        let cell = OptionCell::new(check, matches);
        self.of_sections[section] = Some(cell.clone());
        cell
    }

    /// Takes the tasks that the plan selects out of those that were declared.
    fn take_tasks(
        &mut self,
        service: &str,
        entries: &mut [Option<(TaskEntry, Chosen)>],
        planned: &planning::Planned,
        parsed: &Parsed,
    ) -> Result<(Vec<SupervisedTask>, Vec<TaskRow>), Stop> {
        let mut supervised = Vec::with_capacity(planned.tasks.len());
        let mut rows = Vec::with_capacity(planned.tasks.len());
        for (&declared, plan) in planned.tasks.iter().zip(&planned.plan.tasks) {
            let (mut entry, chosen) = entries[declared].take().expect("a plan has each task once");
            let mut value = (entry.choices.swap_remove(chosen.choice).make)();
            let section = 1 + declared;
            let check = value.check();
            let matches = parsed.checked(section, check)?;
            value.check_task(&matches).map_err(|why| parsed.refused(section, why))?;
            let info = TaskInfo::new(service, &plan.name);
            rows.push(TaskRow {
                name: plan.name.clone(),
                event_loop: plan.event_loop,
                info: info.clone(),
                state: State::Waiting,
                cause: None,
                incarnation: 1,
                since: Duration::ZERO,
            });
            supervised.push(SupervisedTask::new(plan, value, self.add(section, check, matches), info));
        }
        Ok((supervised, rows))
    }

    /// Takes the loops that the plan selects out of those that were declared.
    fn take_loops(
        &mut self,
        entries: &mut [Option<LoopEntry>],
        planned: &planning::Planned,
        parsed: &Parsed,
    ) -> Result<(Vec<SupervisedLoop>, Vec<LoopRow>), Stop> {
        let mut supervised = Vec::with_capacity(planned.loops.len());
        let mut rows = Vec::with_capacity(planned.loops.len());
        for &declared in &planned.loops {
            let LoopEntry { settings, spec, runner, shared, .. } =
                entries[declared].take().expect("a plan has each loop once");
            let section = self.first_loop + declared;
            let check = runner.check();
            let matches = parsed.checked(section, check)?;
            runner.check_plan(&matches).map_err(|why| parsed.refused(section, why))?;
            rows.push(LoopRow {
                kind: spec.kind,
                main_thread: runner.needs_main_thread(),
                may_block: spec.thread_a_task,
                asked: true,
                shared: shared.clone(),
                running: false,
                incarnation: 1,
            });
            let options = self.add(section, check, matches);
            supervised.push(SupervisedLoop::new(runner, options, shared, settings.start_timeout));
        }
        Ok((supervised, rows))
    }
}

/// How long a task may take to stop by default.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

struct Chosen {
    choice: usize,
    event_loop: usize,
}

/// What a service is told by the process, or by whoever starts it.
pub(super) struct Surroundings {
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: options::Env,
    /// The names of the variables in the environment.
    pub(super) variables: Vec<OsString>,
    #[cfg(feature = "net")]
    pub(super) announced: Announced,
}

/// The sockets that were passed for tasks, by the tasks' names, and lines for the log.
#[cfg(feature = "net")]
struct Inheritance {
    of_tasks: Vec<(String, Vec<Bound>)>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

/// A service that has been checked; nothing of it has been started.
pub(super) struct Prepared {
    pub(super) supervisor: Supervisor,
    /// The initial status: the version, the tasks, the loops.
    pub(super) board: (Option<String>, Vec<TaskRow>, Vec<LoopRow>),
    pub(super) core: options::CoreOptions,
    pub(super) claims_main: bool,
    /// Logged at the start.
    pub(super) notes: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) unstarted: Unstarted,
}

impl Prepared {
    /// Gives the tasks the sockets that were passed for them.
    #[cfg(feature = "net")]
    fn inherits(&mut self, inheritance: Inheritance) {
        let (_, rows, _) = &self.board;
        for (task, sockets) in inheritance.of_tasks {
            if let Some(row) = rows.iter().find(|row| *row.name == *task) {
                row.info.inherits(sockets);
            }
        }
        self.notes.extend(inheritance.notes);
        self.warnings.extend(inheritance.warnings);
    }

    /// Runs the supervisor on a thread of its own.
    pub(super) fn launch(self) -> std::io::Result<thread::JoinHandle<Report>> {
        let (handle, outside) = (self.supervisor.handle().clone(), self.supervisor.outside().clone());
        for note in self.notes {
            outside.log(log::Level::Info, handle.name(), || note);
        }
        for warning in self.warnings {
            outside.log(log::Level::Warn, handle.name(), || warning);
        }
        if cfg!(panic = "abort") {
            let warning = || "built with panic = \"abort\": a panic of one task ends the process".to_owned();
            outside.log(log::Level::Warn, handle.name(), warning);
        }
        let (version, tasks, loops) = self.board;
        handle.board().begin(version, self.supervisor.started(), tasks, loops);
        let (supervisor, mut unstarted) = (self.supervisor, self.unstarted);
        // These threads and the supervisor start at the same time.
        outside.start()?;
        supervisor.stalls().set(self.core.stall_after);
        supervisor.stalls().start()?;
        let started = thread::Builder::new().name("supervisor".into()).spawn(move || supervisor.run())?;
        unstarted.0 = None;
        Ok(started)
    }

    /// Returns the receiver of the main thread's jobs, if a loop claims the main thread.
    pub(super) fn main_jobs(&mut self) -> Option<mpsc::Receiver<MainJob>> {
        if !self.claims_main {
            return None;
        }
        Some(self.supervisor.main_jobs())
    }
}
