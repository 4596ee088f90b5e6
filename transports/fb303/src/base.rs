//! fb303's questions about a service and their answers, for any transport.

use std::{
    collections::BTreeMap,
    error, fmt,
    ops::RangeInclusive,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use interloop::{
    ServiceHandle, State,
    counters::Reading,
    options::{OptionValue, Reloaded},
    service::{Phase, TaskStatus},
};

use crate::{CpuProfile, FbStatus};

/// The allowed duration of a profile.
const PROFILES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// What clients of sparts write and read for a missing value.
const NONE: &str = "__None__";

/// The answers of fb303, from a service itself: for any transport, on any thread, at any time.
///
/// Nothing here checks who asks: a transport that others can reach must guard [`set_option`](Self::set_option),
/// [`reinitialize`](Self::reinitialize) and [`shutdown`](Self::shutdown). Only `reinitialize`, which reads files, and
/// [`cpu_profile`](Self::cpu_profile) block. Reading counters or the status may call the user's code, in gauges with a
/// closure.
///
/// ```
/// use interloop::{Service, Thread, tasks::Periodic};
/// use interloop_fb303::{Base, FbStatus};
///
/// let mut service = Service::new("shop");
/// service.task_on::<Thread>("sweep", Periodic::new(std::time::Duration::from_secs(60), || ()));
/// let base = Base::new(service.handle());
/// let test = interloop::testing::run(service);
/// assert_eq!((base.name(), base.status()), ("shop", FbStatus::Alive));
/// base.set_option("sweep-interval", "30s")?;
/// assert_eq!(base.option("sweep-interval")?, "30s");
/// base.shutdown();
/// test.join().assert_clean();
/// # Ok::<(), interloop_fb303::Refused>(())
/// ```
#[derive(Clone)]
pub struct Base {
    service: ServiceHandle,
    /// Computed once, so that it doesn't change with the clock.
    since: Arc<OnceLock<i64>>,
}

impl Base {
    /// Answers for this service, before, during and after its run.
    pub fn new(service: ServiceHandle) -> Self {
        Self { service, since: Arc::default() }
    }

    /// Returns the service itself.
    pub fn service(&self) -> &ServiceHandle {
        &self.service
    }

    /// Returns the service's name.
    pub fn name(&self) -> &str {
        self.service.name()
    }

    /// Returns the service's [version](interloop::Service::version); empty if none was set, and before the start.
    pub fn version(&self) -> String {
        self.service.status().version.unwrap_or_default()
    }

    /// Returns the state of the service.
    pub fn status(&self) -> FbStatus {
        let status = self.service.status();
        match status.phase {
            Phase::New => FbStatus::Dead,
            Phase::Stopping => FbStatus::Stopping,
            Phase::Ended if status.tasks.iter().any(has_failed) => FbStatus::Dead,
            Phase::Ended => FbStatus::Stopped,
            _ if !status.warnings.is_empty() || status.tasks.iter().any(needs_attention) => FbStatus::Warning,
            Phase::Starting => FbStatus::Starting,
            _ => FbStatus::Alive,
        }
    }

    /// Returns the reasons for that state, one per line: the reason of a stop, tasks that start, have failed or are
    /// being restarted, warnings. Empty if all is well.
    pub fn status_details(&self) -> String {
        let status = self.service.status();
        let mut lines = Vec::new();
        match (status.phase, &status.reason) {
            (Phase::New, _) => lines.push(format!("{} has not been started", status.service)),
            (Phase::Stopping, Some(reason)) => lines.push(format!("{} is shutting down: {reason}", status.service)),
            (Phase::Stopping, None) => lines.push(format!("{} is shutting down", status.service)),
            (Phase::Ended, _) => lines.push(format!("{} has ended", status.service)),
            _ => {}
        }
        let starts = |task: &TaskStatus| status.phase == Phase::Starting && is_on_its_way(task);
        let tasks = status.tasks.iter().filter(|task| starts(task) || needs_attention(task));
        lines.extend(tasks.map(|task| format!("task {} is {}: {}", task.name, task.state, task.cause)));
        lines.extend(status.warnings.iter().map(ToString::to_string));
        lines.join("\n")
    }

    /// Returns each number of the service's [counters](interloop::counters::Counters::numbers) by its name, truncated
    /// to an integer, since fb303 has no other numbers; NaN is left out. A duration in seconds loses most of its
    /// precision.
    pub fn counters(&self) -> BTreeMap<String, i64> {
        let spread = |(name, reading): (String, Reading)| {
            let numbers = whole(&reading).into_iter();
            numbers.map(move |(of, value)| (if of.is_empty() { name.clone() } else { format!("{name}.{of}") }, value))
        };
        self.service.counters().all().into_iter().flat_map(spread).collect()
    }

    /// Returns one counter. It reads only that one, unless the counter consists of samples.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none of this name, or it isn't a number now.
    pub fn counter(&self, name: &str) -> Result<i64, Refused> {
        let single = self.service.counters().get(name).and_then(|reading| match &*whole(&reading) {
            [(of, value)] if of.is_empty() => Some(*value),
            _ => None,
        });
        let value = single.or_else(|| self.counters().remove(name));
        value.ok_or_else(|| Refused(format!("no counter {name}")))
    }

    /// Returns the values that the service and its tasks [export](interloop::Context::export), by name:
    /// `{task}.{name}`.
    pub fn exported_values(&self) -> BTreeMap<String, String> {
        self.service.counters().exports()
    }

    /// Returns one exported value.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none of this name.
    pub fn exported_value(&self, name: &str) -> Result<String, Refused> {
        self.exported_values().remove(name).ok_or_else(|| Refused(format!("no exported value {name}")))
    }

    /// Returns each option by its name, such as `http-port`, with its value; secrets are `***`, and missing values
    /// `__None__`, as in sparts.
    pub fn options(&self) -> BTreeMap<String, String> {
        let options = self.service.options().list();
        options.iter().map(|option| (option.name().to_owned(), shown(option))).collect()
    }

    /// Returns the value of one option. Its name may also be written as in sparts: `http_port`.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none of this name.
    pub fn option(&self, name: &str) -> Result<String, Refused> {
        let options = self.service.options();
        let option = options.get(name).or_else(|| options.get(&dashed(name)));
        option.as_ref().map(shown).ok_or_else(|| Refused(format!("no option {name}")))
    }

    /// [Sets](interloop::options::Options::set) an option, and logs that; `__None__` resets it. Its name may also be
    /// written as in sparts.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none of this name, it can't be changed while the service runs, or the value is
    /// invalid: nothing has changed then.
    pub fn set_option(&self, name: &str, value: &str) -> Result<(), Refused> {
        let options = self.service.options();
        let set = |name: &str| if value == NONE { options.reset(name) } else { options.set(name, value) };
        let done = match set(name) {
            Err(error) if error.is_unknown() && name.contains('_') => set(&dashed(name)),
            done => done,
        };
        let target = self.service.name();
        match done {
            Ok(applied) => {
                log::info!(target: target, "fb303: option {} was set, in force {applied}", name.escape_debug());
                Ok(())
            }
            Err(error) => Err(Refused(error.to_string())),
        }
    }

    /// Returns when the service was started, in seconds since 1970; 0 before that.
    pub fn alive_since(&self) -> i64 {
        if let Some(since) = self.since.get() {
            return *since;
        }
        let status = self.service.status();
        if status.phase == Phase::New {
            return 0;
        }
        let uptime = Duration::try_from_secs_f64(status.uptime).unwrap_or_default();
        let since = SystemTime::now().checked_sub(uptime).and_then(|since| since.duration_since(UNIX_EPOCH).ok());
        let since = since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        *self.since.get_or_init(|| since)
    }

    /// [Reloads](ServiceHandle::reload) the configuration, and reopens the log file. It reads files, on this thread;
    /// the result is logged.
    ///
    /// # Errors
    ///
    /// Returns everything that is wrong; the service runs on unchanged.
    pub fn reinitialize(&self) -> Result<Reloaded, Refused> {
        self.service.reload().map_err(|error| Refused(error.to_string()))
    }

    /// Returns whether there is a profiler: the feature `profile`.
    pub const fn has_profiler() -> bool {
        cfg!(feature = "profile")
    }

    /// Histogram what the threads of this process run for this time, from 1 s to 60 s of real time; a stop ends it early.
    /// It blocks this thread, and afterwards resolves the names of functions: up to some seconds, the first time. It
    /// must not be called on a loop's thread.
    ///
    /// [pprof](https://docs.rs/pprof) does the work: for each 10 ms of CPU time that the process has used, a signal,
    /// `SIGPROF`, interrupts the running thread, which walks its own stack. It interrupts system calls as any other
    /// signal does. Time inside libc and libgcc is left out, since stacks can't be walked safely from there; and after
    /// the first profile the process ignores `SIGPROF`. Names come from the symbols in the program: a stripped program
    /// has none.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no profiler, the time is out of range, or a profile is being taken already.
    pub fn cpu_profile(&self, duration: Duration) -> Result<CpuProfile, Refused> {
        if !PROFILES.contains(&duration) {
            return Err(Refused::new(format!("a profile takes from 1 s to 60 s, not {} s", duration.as_secs_f64())));
        }
        #[cfg(feature = "profile")]
        return crate::profiler::profile(duration, &self.service.shutdown());
        #[cfg(not(feature = "profile"))]
        Err(Refused::new("there is no profiler: the program is built without the feature profile"))
    }

    /// Asks the service to stop: in order, on time.
    pub fn shutdown(&self) {
        self.service.request_shutdown("asked to by fb303");
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Base").field(&self.service.name()).finish()
    }
}

/// Why there is no answer: one line for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(String);

impl Refused {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for Refused {}

fn has_failed(task: &TaskStatus) -> bool {
    matches!(task.state, State::Failed | State::Cancelled | State::Abandoned)
}

fn is_on_its_way(task: &TaskStatus) -> bool {
    matches!(task.state, State::Waiting | State::Starting)
}

/// Returns whether the task has failed, or is being stopped or restarted.
fn needs_attention(task: &TaskStatus) -> bool {
    has_failed(task) || task.state == State::Stopping || (is_on_its_way(task) && task.incarnation > 1)
}

fn shown(option: &OptionValue) -> String {
    option.value().unwrap_or(NONE).to_owned()
}

fn dashed(name: &str) -> String {
    name.replace('_', "-")
}

/// Returns its numbers as integers for fb303. A counter isn't converted through a float.
fn whole(reading: &Reading) -> Vec<(String, i64)> {
    if let Reading::Counter(value) = reading {
        return vec![(String::new(), i64::try_from(*value).unwrap_or(i64::MAX))];
    }
    let numbers = reading.numbers().into_iter().filter(|(_, value)| !value.is_nan());
    numbers.map(|(name, value)| (name, value as i64)).collect()
}
