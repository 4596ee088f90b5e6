//! The options of a running service: reading, setting and rereading them; those that can change at once are applied
//! here.

use std::{fmt, sync::Arc};

use super::{events::Message, handle::ServiceHandle, watch::PhaseChange};
use crate::options::{Applied, CoreOptions, Host, Live, OptionError, OptionValue, Reloaded};

impl ServiceHandle {
    /// Returns the options of the service, its tasks and its loops, to read and to set while it runs.
    pub fn options(&self) -> Options {
        Options(self.clone())
    }

    /// Returns the present, parsed value of the service's [own options](crate::Service::options).
    ///
    /// Returns `None` before the start, or if they are of another type.
    pub fn own_options<O: clap::Args>(&self) -> Option<O> {
        let (_, matches) = self.live()?.cell(0)?.latest();
        O::from_arg_matches(&matches).ok()
    }

    /// Rereads all option files and [other files of tasks](crate::Context::on_reload), and applies them if all are
    /// valid.
    ///
    /// The option files are the file of `--config`, those of `*_FILE` variables and systemd's credentials. If there is
    /// an error, nothing changes. Tasks [are told](crate::Context::option_changes) of changes. The log file is
    /// reopened, without this call waiting for it. The result is logged, too.
    ///
    /// Unlike the other calls it reads files, on this thread.
    ///
    /// # Errors
    ///
    /// Returns all that is wrong; the service continues unchanged.
    pub fn reload(&self) -> Result<Reloaded, OptionError> {
        self.reopen_log("");
        self.reload_options("")
    }

    /// Reopens the log file, first in a reload, so that the rest goes into the new file. `why` precedes the log lines.
    pub(crate) fn reopen_log(&self, why: &str) {
        #[cfg(not(feature = "logging"))]
        let _ = why;
        #[cfg(feature = "logging")]
        if let Some(logger) = self.logger() {
            logger.reopen(why);
        }
    }

    /// Does the rest of a reload.
    pub(crate) fn reload_options(&self, why: &str) -> Result<Reloaded, OptionError> {
        self.board().tell_reload(&PhaseChange::ReloadBegun);
        // Validation may run user code, which may panic.
        let ended = Ended(self, Some("it panicked".into()));
        let reloaded = self.options().reload();
        ended.with(reloaded.as_ref().err().map(|error| error.to_string().into()));
        match &reloaded {
            Ok(reloaded) if reloaded.changes().is_empty() => {
                log::info!(target: self.name(), "{why}reloaded: {reloaded}");
            }
            Ok(reloaded) => {
                for change in reloaded.changes() {
                    log::info!(target: self.name(), "{why}reloaded: {change}");
                }
            }
            Err(error) => {
                for line in error.lines() {
                    log::error!(target: self.name(), "{why}not reloaded: {line}");
                }
            }
        }
        reloaded
    }

    /// Sets the log levels from now on, in the format of `--log-level`: `info,http=debug`.
    ///
    /// It is the same as to [set](Options::set) that option.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is invalid, or the service has no log of its own: it was
    /// [started](crate::Service::start) inside another program, or the program has installed its own logger.
    #[cfg(feature = "logging")]
    pub fn set_log_levels(&self, levels: &str) -> crate::Result {
        self.options().set("log-level", levels).map(drop).map_err(|error| crate::Error::new(error.to_string()))
    }

    /// Returns the present log levels; `None` where [`set_log_levels`](Self::set_log_levels) would fail.
    #[cfg(feature = "logging")]
    pub fn log_levels(&self) -> Option<String> {
        let logger = self.logger().filter(|logger| logger.is_ours())?;
        Some(logger.levels().to_string())
    }
}

/// Tells of the end of a reload, whatever its end.
struct Ended<'a>(&'a ServiceHandle, Option<Arc<str>>);

impl Ended<'_> {
    fn with(mut self, error: Option<Arc<str>>) {
        self.1 = error;
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.board().tell_reload(&PhaseChange::ReloadEnded { error: self.1.take() });
    }
}

impl Host for ServiceHandle {
    #[cfg(feature = "logging")]
    fn can_log(&self) -> bool {
        self.logger().is_some_and(|logger| logger.is_ours())
    }

    #[cfg(not(feature = "logging"))]
    fn can_log(&self) -> bool {
        false
    }

    fn apply(&self, core: &CoreOptions) {
        #[cfg(feature = "logging")]
        if let Some(logger) = self.logger() {
            logger.set_levels(core.log_level.clone());
        }
        let CoreOptions { drain_delay, shutdown_timeout, stall_after, .. } = *core;
        self.events().tell(Message::Timing { drain_delay, shutdown_timeout, stall_after });
    }
}

/// The options of a running service; [`ServiceHandle::options`] returns it.
///
/// ```
/// use std::time::Duration;
/// use interloop::{Service, Thread, options::{Applied, Origin}, tasks::Periodic};
///
/// let mut service = Service::new("clock");
/// service.task_on::<Thread>("tick", Periodic::new(Duration::from_secs(3600), || println!("tick")));
/// let running = service.start()?;
/// assert!(running.wait_started_timeout(Duration::from_secs(10)));
/// let options = running.options();
/// assert_eq!(options.set("tick-interval", "30min")?, Applied::Now);
/// assert_eq!(options.get("tick-interval").unwrap().origin(), &Origin::Set);
/// assert!(options.set("tick-interval", "soon").is_err());
/// running.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options(ServiceHandle);

impl Options {
    /// Returns all options: Interloop's own, the service's, then those of tasks and loops. None before the start.
    pub fn list(&self) -> Vec<OptionValue> {
        self.0.live().map(Live::list).unwrap_or_default()
    }

    /// Returns one option, by its name on the command line, without the dashes: `http-port`.
    pub fn get(&self, name: &str) -> Option<OptionValue> {
        self.list().into_iter().find(|option| option.name() == name)
    }

    /// Sets one option, by the same name, to a value as in the environment.
    ///
    /// It is checked as at the start, by the option's parser and by the owner's constraints. It overrides all other
    /// values until the process ends, or it is [reset](Self::reset).
    ///
    /// Of the options that every service has, `log-level`, `drain-delay`, `shutdown-timeout` and `stall-after` can be
    /// set.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such option, it can't be changed while the service runs, or the value is wrong;
    /// nothing has changed then.
    pub fn set(&self, name: &str, value: impl fmt::Display) -> Result<Applied, OptionError> {
        self.live()?.set(name, Some(value.to_string()), &self.0)
    }

    /// Resets a value that was set: the strongest of the other values is in force again.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`set`](Self::set).
    pub fn reset(&self, name: &str) -> Result<Applied, OptionError> {
        self.live()?.set(name, None, &self.0)
    }

    pub(crate) fn reload(&self) -> Result<Reloaded, OptionError> {
        self.live()?.reload(&self.0)
    }

    fn live(&self) -> Result<&Live, OptionError> {
        self.0.live().ok_or_else(|| OptionError::refused("the service has not been started".to_owned()))
    }
}
