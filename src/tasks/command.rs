//! Child processes: a single one as a task, and many on behalf of other tasks.

mod child;
mod core;
mod error;
mod events;
mod guard;
mod handle;
mod life;
mod run;
mod terminal;
mod thread;

use std::{
    fmt,
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as Polled, Poll},
    time::Duration,
};

use clap::{Arg, ArgMatches, Args, FromArgMatches};

pub use self::{
    child::{Child, ChildInput, ChildOutput, Output},
    error::CommandError,
    handle::CommandHandle,
    run::Command,
};
use self::{core::Core, thread::Crew};
use crate::{Context, Error, Reason, Reply, Result, Task, event_loop::Timers, options::OptionDefaults, task::Offer};

/// The default time between TERM and KILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of the time until the task's deadline is kept for the end itself, at most.
const MARGIN: Duration = Duration::from_secs(1);

/// The limits on children.
#[derive(Clone, Copy)]
struct Bounds {
    /// The time between TERM and KILL.
    patience: Duration,
    /// How many children there may be at once; 0 means any number.
    most: usize,
}

/// A program as a task: a child process that runs until the service stops.
///
/// The task is ready once the child has been started. If the child exits with 0, the task ends; if it exits with
/// anything else, or by a signal, the task fails, and its [restart policy](crate::service::TaskSettings::restart)
/// applies. The child's output is logged, line by line, unless [callbacks](Command::on_stdout_line) receive it.
///
/// ```
/// use interloop::{RestartPolicy, Service, Thread, tasks::command::{Process, Command}};
///
/// let mut service = Service::new("site");
/// let serve = || Process::new(Command::new("python3").args(["-m", "http.server"]).current_dir("/srv/www"));
/// service.task_with::<Thread>("www", serve).restart(RestartPolicy::on_failure());
/// ```
///
/// A child that is ended by HUP, INT, TERM or KILL, or exits with 128 plus one of these, may have been hit by the cause
/// of the service's own stop: systemd, for example, sends TERM to every process of a service. If the service is asked
/// to stop within 200 ms, the task counts as stopped; otherwise it fails, 200 ms later.
///
/// Groups, the stop, counters and the kill timeout work as for [`Commands`].
pub struct Process {
    run: Option<Command>,
    kill_timeout: Duration,
}

impl Process {
    /// Makes a task that runs this program: a path or a name, or a [`Command`] with arguments and more.
    pub fn new(run: impl Into<Command>) -> Self {
        Self { run: Some(run.into()), kill_timeout: KILL_TIMEOUT }
    }

    /// Sets the time between TERM and KILL at the stop, unless the options say otherwise; 10 s by default.
    #[must_use]
    pub fn kill_timeout(mut self, timeout: Duration) -> Self {
        self.kill_timeout = timeout;
        self
    }
}

/// Runs commands for other tasks, on any loop, which [ask](CommandHandle::run) for them.
///
/// ```
/// use std::time::Duration;
/// use interloop::{Service, Thread, task_fn, tasks::command::{Commands, Command}};
///
/// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
/// let commands = Commands::new();
/// let runs = commands.handle();
/// let mut service = Service::new("words");
/// service.task_on::<Thread>("commands", commands);
/// let asks = runs.clone();
/// let sorter = task_fn::<Thread>(async move |_| {
///     let sorted = asks.run(Command::new("sort").stdin("pear\napple\n")).output().await?;
///     assert!(sorted.status.success());
///     assert_eq!(sorted.stdout, b"apple\npear\n");
///     Ok(())
/// });
/// service.task("sorter", sorter).uses(&runs);
/// let running = service.start()?;
/// // From a thread that no loop drives.
/// let missing = runs.run("no-such-program").output_timeout(Duration::from_secs(10));
/// assert_eq!(missing.unwrap_err().to_string(), "can't run no-such-program: there is no such program");
/// assert_eq!(running.stop().code, 0);
/// # Ok(())
/// # }
/// ```
///
/// # Groups
///
/// Each child is in a process group of its own, so that a terminal's `^C` reaches the service alone. A run is over when
/// the child has ended and its group is empty. If other members of the group still hold the child's outputs, the group
/// gets TERM, and KILL after the kill timeout; otherwise the remaining members get KILL at once.
///
/// The group is led by a guard, a small `/bin/sh` script that `ps` shows as `interloop-guard`: when the service is
/// gone, even if it was killed by KILL, the guard kills the group. So nothing outlives the service, with these
/// exceptions: a process that has left the group by `setsid` or `setpgid` and is not the child itself; a process of
/// another user (set-user-ID), which the guard may not signal; and a group whose guard somebody has killed, or stopped
/// for good. No child is started on a system without `/bin/sh`.
///
/// One thread, named `{task}-children`, starts the children and watches them by their descriptors (pidfd, Linux 5.3). A
/// handler of `SIGCHLD` tells it of stopped children; the handler coexists with others in the program. No other
/// children are reaped, except what a child has left in its group, and only where that falls to this process: as PID 1
/// without an init, or as a child subreaper.
///
/// # Stop
///
/// Tasks that [use](crate::service::TaskSettings::uses) this task stop before it. They need not wait for their
/// children: a child that they drop runs until this task is asked to stop too.
///
/// From then on nothing is started: callers that ask, or wait, get [`Stopped`](CommandError::Stopped). All groups get
/// TERM; what is left gets KILL after `--{task}-kill-timeout`, or shortly before the task's deadline if that is
/// earlier; then the task ends. Past its deadline, or if its loop has died, all groups are killed at once. A restart
/// ends the children too; commands that are still to be started then wait for the next incarnation.
///
/// A child may be hit by the cause of the service's own stop, as with [`Process`]. A task that returns an error within
/// 200 ms of learning of the child's end (by its status, the end of an output or a broken pipe) then counts as stopped,
/// not as failed.
///
/// # Outputs
///
/// Up to 64 KiB of each output, and what the system's pipe holds, wait for a reader; beyond that the child waits.
///
/// # Options
///
/// `--{task}-kill-timeout`; `--{task}-max-running`: how many children there may be at once, 0 for any number. Further
/// commands wait, and are started in the order in which they were asked for.
///
/// # Counters
///
/// `started`; `finished`; `spawn_failures`; `killed` (children that got KILL); `stopped` (how often a child was
/// stopped); `running` and `waiting`, gauges.
#[derive(Default)]
pub struct Commands {
    handle: CommandHandle,
    kill_timeout: Option<Duration>,
    /// 0 means any number.
    max_running: usize,
}

impl Commands {
    /// Makes a task that runs nothing by itself.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a handle to this task.
    pub fn handle(&self) -> CommandHandle {
        self.handle.clone()
    }

    /// Makes this the task of the given handle.
    #[must_use]
    pub fn with_handle(mut self, handle: &CommandHandle) -> Self {
        self.handle = handle.clone();
        self
    }

    /// Sets the time between TERM and KILL, unless the options say otherwise; 10 s by default.
    #[must_use]
    pub fn kill_timeout(mut self, timeout: Duration) -> Self {
        self.kill_timeout = Some(timeout);
        self
    }

    /// Sets how many children there may be at once, unless the options say otherwise; 0, the default, means any number.
    /// Further commands wait.
    #[must_use]
    pub fn max_running(mut self, children: usize) -> Self {
        self.max_running = children;
        self
    }
}

/// The options of [`Process`].
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    kill_timeout: Option<Duration>,
}

impl FromArgMatches for ProcessOptions {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Ok(Self { kill_timeout: matches.get_one("kill_timeout").copied() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ProcessOptions {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.arg(kill_timeout())
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// The options of [`Commands`].
#[derive(Clone, Debug)]
pub struct CommandsOptions {
    kill_timeout: Option<Duration>,
    max_running: Option<usize>,
}

impl FromArgMatches for CommandsOptions {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Ok(Self {
            kill_timeout: matches.get_one("kill_timeout").copied(),
            max_running: matches.get_one("max_running").copied(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for CommandsOptions {
    fn augment_args(command: clap::Command) -> clap::Command {
        let max_running = Arg::new("max_running").long("max-running").value_name("CHILDREN");
        let max_running = max_running.value_parser(clap::value_parser!(usize));
        command
            .arg(kill_timeout())
            .arg(max_running.help("How many children may run at once, 0 for any number; others wait"))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

fn kill_timeout() -> Arg {
    let timeout =
        Arg::new("kill_timeout").long("kill-timeout").value_name("DURATION").value_parser(crate::options::duration);
    timeout.help("How long children may take to end before they are killed")
}

impl<L: Timers> Task<L> for Process {
    type Options = ProcessOptions;

    fn defaults(&self) -> OptionDefaults {
        OptionDefaults::new().with_duration("kill-timeout", Some(self.kill_timeout))
    }

    async fn run(&mut self, cx: Context<L, ProcessOptions>) -> Result {
        let run = self.run.take().expect("a task value runs once").log_to(cx.target());
        let program = run.program();
        let core: Arc<Core> = Arc::default();
        let child = core.run(run);
        let ended = async {
            child.started().await?;
            cx.ready();
            let status = child.status().await?;
            if status.success() { Ok(()) } else { Err(Error::exited(program, status)) }
        };
        let patience = cx.options().kill_timeout.unwrap_or(self.kill_timeout);
        serve(&cx, &core, Bounds { patience, most: 0 }, ended).await
    }
}

impl<L: Timers> Task<L> for Commands {
    type Options = CommandsOptions;

    fn defaults(&self) -> OptionDefaults {
        let defaults =
            OptionDefaults::new().with_duration("kill-timeout", Some(self.kill_timeout.unwrap_or(KILL_TIMEOUT)));
        defaults.with("max-running", self.max_running)
    }

    async fn run(&mut self, cx: Context<L, CommandsOptions>) -> Result {
        let options = cx.options();
        let patience = options.kill_timeout.or(self.kill_timeout).unwrap_or(KILL_TIMEOUT);
        let bounds = Bounds { patience, most: options.max_running.unwrap_or(self.max_running) };
        let waits = self.handle.0.clone();
        cx.gauge_from("waiting", move || waits.waiting() as f64);
        let ready = async {
            cx.ready();
            pending().await
        };
        serve(&cx, &self.handle.0, bounds, ready).await
    }

    fn offer(&self) -> Option<Offer> {
        Some(Offer::new(&self.handle))
    }
}

/// Runs commands until the task is asked to stop, or `until` is ready; then ends all children.
async fn serve<L: Timers, O>(
    cx: &Context<L, O>,
    core: &Arc<Core>,
    bounds: Bounds,
    until: impl Future<Output = Result>,
) -> Result {
    let patience = bounds.patience;
    let mut crew = Crew::start(cx, core, bounds)?;
    let mut jobs = Jobs { cx, core, awaited: Vec::new() };
    let (mut until, mut stop) = (Box::pin(until), pin!(cx.shutdown().requested()));
    let ended = poll_fn(|context| {
        jobs.host(context);
        if let Poll::Ready(result) = until.as_mut().poll(context) {
            return Poll::Ready(Some(result));
        }
        if Pin::new(&mut crew.end).poll(context).is_ready() {
            return Poll::Ready(None);
        }
        stop.as_mut().poll(context).map(|()| Some(Ok(())))
    });
    let Some(result) = ended.await else {
        return Err(Error::new("the thread that watches the children has ended"));
    };
    // The future in there waits no more.
    drop(until);
    let shutdown = cx.shutdown();
    let comes_again = matches!(shutdown.reason(), Some(Reason::Restart | Reason::Dependency(_)));
    if result.is_ok() && (cx.service().shutdown().is_requested() || !comes_again) {
        core.shut();
    }
    let rest = shutdown.deadline().map(|deadline| {
        let rest = deadline.saturating_duration_since(cx.now());
        rest - MARGIN.min(rest / 4)
    });
    crew.stop(rest.map_or(patience, |rest| rest.min(patience)));
    poll_fn(|context| {
        jobs.host(context);
        // Once the thread has ended it makes no more jobs.
        Pin::new(&mut crew.end).poll(context).map(|_| jobs.host(context))
    })
    .await;
    poll_fn(|context| jobs.poll_awaited(context)).await;
    result
}

/// Runs the children's jobs on the loop.
struct Jobs<'a, L: Timers, O> {
    cx: &'a Context<L, O>,
    core: &'a Core,
    awaited: Vec<Reply<()>>,
}

impl<L: Timers, O> Jobs<'_, L, O> {
    fn host(&mut self, context: &Polled<'_>) {
        for job in self.core.jobs(context) {
            let reply = self.cx.spawn_local((job.make)());
            if job.is_awaited {
                self.awaited.retain(|reply| !reply.is_done());
                self.awaited.push(reply);
            }
        }
    }

    /// Ready when all awaited jobs have ended.
    fn poll_awaited(&mut self, context: &mut Polled<'_>) -> Poll<()> {
        self.awaited.retain_mut(|reply| Pin::new(reply).poll(context).is_pending());
        if self.awaited.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("run", &self.run).finish_non_exhaustive()
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands").field("handle", &self.handle).finish_non_exhaustive()
    }
}
