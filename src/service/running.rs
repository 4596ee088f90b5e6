//! The two ways to run a service: as the process, and inside another program.

use std::{
    fmt, future::Future, io::Write, ops::Deref, process::ExitCode, sync::Arc, thread::JoinHandle, time::Duration,
};

#[cfg(feature = "logging")]
use super::prepare::Prepared;
use super::{builder::Service, panic_hook::PanicHook, prepare::Surroundings, signals::SignalThread, supervised};
#[cfg(feature = "net")]
use crate::inherited::Announced;
use crate::{Report, ServiceHandle, kit::block, options::Stop};

impl Service {
    /// Runs the service to its end as the process: with its command line, environment, log, signals and panic hook.
    ///
    /// If a loop claims the main thread, this call drives it, so call it from `main`.
    ///
    /// The exit codes: 0 asked to stop, or all done; 1 a task or a start failed, or a restart limit was hit; 2 the
    /// command line is wrong; 78 the configuration is unusable; 124 something exceeded its deadline; 128 + n forced by
    /// signal n. If a thread had to be left behind, this call ends the process.
    ///
    /// Signals are handled from the start of this call. When it returns, INT, TERM, HUP and USR1 have their previous
    /// effect again, and this thread's signal mask and the panic hook are restored; the logger stays. It may be called
    /// again, for another service. [`docs/signals.md`](https://docs.rs/crate/interloop/latest/source/docs/signals.md)
    /// says exactly what is changed and restored.
    pub fn run(self) -> ExitCode {
        run(self)
    }

    /// Starts the service inside another program.
    ///
    /// It installs no signal handlers and no logger, ignores the process's command line and environment, and never
    /// exits the process. Any number of services can run in a process.
    ///
    /// It returns as soon as the supervisor runs; [`wait_started`](ServiceHandle::wait_started) waits for the tasks.
    /// Inside an async main, await [`started`](ServiceHandle::started) and [`Running::ended`]: they block no thread.
    ///
    /// # Errors
    ///
    /// Returns an error if the configuration is unusable. No thread has been started then.
    pub fn start(self) -> Result<Running, StartError> {
        start(self)
    }
}

/// Runs the service as the process: argv, environment, log, signals, panic hook.
fn run(service: Service) -> ExitCode {
    // This must happen before the first thread is created.
    #[cfg(all(feature = "command", target_os = "linux"))]
    let service = match super::init::begin(service) {
        Ok(service) => service,
        Err(code) => return code,
    };
    #[cfg(feature = "net")]
    let announced = Announced::read();
    let ready_fd = supervised::ReadyFd::claim(&service);
    // This comes first: parsing options may take long, and threads inherit the signal mask.
    let signals = match SignalThread::start(service.handle.events().clone()) {
        Ok(signals) => signals,
        Err(error) => {
            return tell(&Stop::Config(format!("{}: can't install the signal handlers: {error}", service.about.name)));
        }
    };
    let surroundings = Surroundings {
        arguments: Vec::new(),
        environment: Arc::new(|_: &str| None),
        variables: Vec::new(),
        #[cfg(feature = "net")]
        announced,
    };
    let code = run_with(&signals, ready_fd, service, surroundings).unwrap_or_else(|stop| tell(&stop));
    // This comes last.
    drop(signals);
    code
}

fn run_with(
    signals: &SignalThread,
    ready_fd: supervised::ReadyFd,
    mut service: Service,
    mut surroundings: Surroundings,
) -> Result<ExitCode, Stop> {
    let name = service.about.name.clone();
    #[cfg(all(feature = "command", target_os = "linux"))]
    super::signals::heed_children().map_err(|error| Stop::Config(format!("{name}: can't heed SIGCHLD: {error}")))?;
    #[cfg(feature = "logging")]
    let handle = service.handle.clone();
    #[cfg(feature = "logging")]
    {
        // If the program has its own logger, ours can't be configured.
        service.about.has_own_logger = !crate::logging::claim();
    }
    surroundings.arguments = std::mem::take(&mut service.arguments);
    if cfg!(feature = "cli") {
        surroundings.arguments.extend(std::env::args_os().skip(1));
        surroundings.environment = Arc::new(|variable: &str| std::env::var_os(variable));
        surroundings.variables = std::env::vars_os().map(|(name, _)| name).collect();
    }
    let mut prepared = service.prepare(surroundings)?;
    let config = |text: String| Stop::Config(format!("{name}: {text}"));
    #[cfg(feature = "logging")]
    handle.set_logger(logging(&name, &prepared).map_err(config)?);
    let _hook = PanicHook::install(&name, prepared.supervisor.outside());
    if let Some(note) = signals.note() {
        log::info!(target: &name, "{note}");
    }
    prepared.supervisor.on_abandoned(Box::new(|report| {
        // A thread is stuck inside that could keep a return from main waiting.
        signal_hook::low_level::exit(i32::from(report.code));
    }));
    let supervised = supervised::Supervised::begin(ready_fd, &prepared).map_err(config)?;
    let jobs = prepared.main_jobs();
    signals.begin();
    let supervisor =
        prepared.launch().map_err(|error| config(format!("can't start the supervisor's thread: {error}")))?;
    for job in jobs.iter().flatten() {
        job();
    }
    let ended = supervisor.join();
    drop(supervised);
    let code = match ended {
        Ok(report) => ExitCode::from(&report),
        Err(_) => {
            log::error!(target: &name, "the supervisor has died");
            ExitCode::FAILURE
        }
    };
    Ok(code)
}

#[cfg(feature = "logging")]
fn logging(name: &str, prepared: &Prepared) -> Result<crate::logging::Logger, String> {
    let core = &prepared.core;
    crate::logging::init(crate::logging::LogSettings {
        service: name.to_owned(),
        levels: core.log_level.clone(),
        file: core.log_file.clone(),
        format: core.log_format,
    })
}

/// Reports why the service doesn't run. A closed stream must not cause a panic.
fn tell(stop: &Stop) -> ExitCode {
    match stop {
        Stop::Asked(text) if text.is_empty() => {}
        Stop::Asked(text) => {
            let _ = writeln!(std::io::stdout(), "{text}");
        }
        Stop::Usage(text) | Stop::Config(text) => {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
    ExitCode::from(code(stop))
}

fn code(stop: &Stop) -> u8 {
    match stop {
        Stop::Asked(_) => 0,
        Stop::Usage(_) => 2,
        Stop::Config(_) => 78,
    }
}

/// Starts the service inside another program.
fn start(mut service: Service) -> Result<Running, StartError> {
    let handle = service.handle.clone();
    let surroundings = Surroundings {
        arguments: std::mem::take(&mut service.arguments),
        environment: Arc::new(|_: &str| None),
        variables: Vec::new(),
        #[cfg(feature = "net")]
        announced: Announced::default(),
    };
    let refuse = |stop: Stop| StartError { code: code(&stop), message: stop.to_string() };
    let prepared = service.prepare(surroundings).map_err(refuse)?;
    if prepared.claims_main {
        let name = handle.name();
        return Err(refuse(Stop::Config(format!(
            "{name}: a loop needs the main thread, which only Service::run can give it"
        ))));
    }
    let supervisor = prepared.launch().map_err(|error| {
        refuse(Stop::Config(format!("{}: can't start the supervisor's thread: {error}", handle.name())))
    })?;
    Ok(Running { handle, supervisor: Some(supervisor) })
}

/// The reason why a service did not start: its configuration is unusable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    code: u8,
    message: String,
}

impl StartError {
    /// Returns the exit code that [`Service::run`] would have returned.
    ///
    /// It is 78, or 2 for a wrong command line, or 0 after a request such as `--help`.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}

/// A service that was [started](Service::start) inside another program. It dereferences to a [`ServiceHandle`].
///
/// Dropping it asks the service to stop, and does not wait.
#[derive(Debug)]
#[must_use = "dropping it stops the service"]
pub struct Running {
    handle: ServiceHandle,
    supervisor: Option<JoinHandle<Report>>,
}

impl Running {
    /// Blocks this thread until the service and all its threads have ended, except for threads that the report calls
    /// stuck.
    ///
    /// It doesn't ask the service to stop. Don't call it on a loop's thread; await [`ended`](ServiceHandle::ended)
    /// there.
    pub fn join(mut self) -> Report {
        self.join_supervisor()
    }

    /// Asks the service to stop, and [joins](Self::join) it.
    pub fn stop(self) -> Report {
        self.handle.request_shutdown("stop");
        self.join()
    }

    /// Waits as [`join`](Self::join) does, but for at most this time.
    ///
    /// # Errors
    ///
    /// Returns the `Running` itself if the time is up.
    pub fn join_timeout(mut self, timeout: Duration) -> Result<Report, Self> {
        match block::on(self.handle.ended(), Some(timeout)) {
            Some(_) => Ok(self.join_supervisor()),
            None => Err(self),
        }
    }

    /// Waits, on any executor, until the service has ended; it blocks no thread and doesn't ask the service to stop.
    ///
    /// The `main` of another runtime awaits this in place of [`join`](Self::join). All of the service's tasks and loops
    /// have ended by then, except for those that the report calls stuck.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use interloop::{Service, Thread, task_fn};
    /// # async fn timeout<F: Future>(_: Duration, future: F) -> Option<F::Output> { Some(future.await) }
    /// # async fn main_of_a_runtime() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut service = Service::new("part");
    /// service.task("once", task_fn::<Thread>(async |_| Ok(())));
    /// let running = service.start()?;
    /// if timeout(Duration::from_secs(60), running.ended()).await.is_none() {
    ///     running.request_shutdown("a minute is over");
    /// }
    /// assert_eq!(running.ended().await.code, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect: any number of callers can wait, before the end and after.
    pub fn ended(&self) -> impl Future<Output = Report> + Send + 'static {
        self.handle.ended()
    }

    /// Returns the service's handle, to keep.
    pub fn handle(&self) -> ServiceHandle {
        self.handle.clone()
    }

    fn join_supervisor(&mut self) -> Report {
        match self.supervisor.take().map(JoinHandle::join) {
            Some(Ok(report)) => report,
            // The supervisor runs no user code whose panic isn't caught, so this is a fault of its own.
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => unreachable!("it is joined once, by value"),
        }
    }
}

impl Deref for Running {
    type Target = ServiceHandle;

    fn deref(&self) -> &ServiceHandle {
        &self.handle
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.supervisor.is_some() {
            self.handle.request_shutdown("its owner is gone");
        }
    }
}
