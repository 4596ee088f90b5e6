//! The options of a running service, to look at, to set and to read again; what of them can change at once is put in
//! force here.

use std::fmt;

use super::{events::Message, handle::ServiceHandle};
use crate::options::{Applied, CoreOptions, Host, Live, OptionError, OptionValue, Reloaded};

impl ServiceHandle {
    /// The options of the service, its tasks and its loops: to look at, and to set while it runs.
    pub fn options(&self) -> Options {
        Options(self.clone())
    }

    /// The service's [own options](crate::Service::options), parsed, as they are now; None before the start, or when
    /// they are of another type.
    pub fn own_options<O: clap::Args>(&self) -> Option<O> {
        let (_, matches) = self.live()?.cell(0)?.latest();
        O::from_arg_matches(&matches).ok()
    }

    /// Reads the file of `--config`, those of `*_FILE` variables and systemd's credentials again, and [what tasks
    /// read](crate::Context::on_reload), checks everything, and puts it in force: all of it, or, if there is an error,
    /// nothing. Tasks [are told](crate::Context::option_changes). The log file is opened anew, without this call
    /// waiting for it. What came of it is logged, too.
    ///
    /// Unlike the other calls it reads files, on this thread.
    ///
    /// # Errors
    ///
    /// All that is wrong; the service runs on as it was.
    pub fn reload(&self) -> Result<Reloaded, OptionError> {
        self.reopen_log("");
        self.reload_options("")
    }

    /// Opens the log file anew, first of all of a reload, so that the rest is in the new one. The reason stands before
    /// what is logged.
    pub(crate) fn reopen_log(&self, why: &str) {
        #[cfg(not(feature = "logging"))]
        let _ = why;
        #[cfg(feature = "logging")]
        if let Some(logger) = self.logger() {
            logger.reopen(why);
        }
    }

    /// The rest of a reload.
    pub(crate) fn reload_options(&self, why: &str) -> Result<Reloaded, OptionError> {
        let reloaded = self.options().reload();
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

    /// Changes what is logged, from now on: `info,http=debug`, as for `--log-level`. It is the same as to
    /// [set](Options::set) that option.
    ///
    /// # Errors
    ///
    /// When the words are wrong, or the service has no log of its own: it was [started](crate::Service::start) inside
    /// something else, or the host has installed a logger.
    #[cfg(feature = "logging")]
    pub fn set_log_levels(&self, levels: &str) -> crate::Result {
        self.options().set("log-level", levels).map(drop).map_err(|error| crate::Error::new(error.to_string()))
    }

    /// What is logged now; None where [`set_log_levels`](Self::set_log_levels) would fail.
    #[cfg(feature = "logging")]
    pub fn log_levels(&self) -> Option<String> {
        let logger = self.logger().filter(|logger| logger.is_ours())?;
        Some(logger.levels().to_string())
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
        let CoreOptions { drain_delay, shutdown_timeout, .. } = *core;
        self.events().tell(Message::Timing { drain_delay, shutdown_timeout });
    }
}

/// The options of a service while it runs: made by [`ServiceHandle::options`].
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
    /// All of them: Interloop's own, the service's, then those of tasks and loops. None before the start.
    pub fn list(&self) -> Vec<OptionValue> {
        self.0.live().map(Live::list).unwrap_or_default()
    }

    /// One, by its name on the command line, without the dashes: `http-port`.
    pub fn get(&self, name: &str) -> Option<OptionValue> {
        self.list().into_iter().find(|option| option.name() == name)
    }

    /// Sets one, by the same name, to what one would write into the environment. It is checked as at the start, by the
    /// option's parser and by what its owner has declared of options together, and wins over all other values until the
    /// process ends, or it is [reset](Self::reset).
    ///
    /// Of the options that every service has, `log-level`, `drain-delay` and `shutdown-timeout` can be set.
    ///
    /// # Errors
    ///
    /// There is no such option, it can't be changed while the service runs, or the value is wrong: then nothing has
    /// changed.
    pub fn set(&self, name: &str, value: impl fmt::Display) -> Result<Applied, OptionError> {
        self.live()?.set(name, Some(value.to_string()), &self.0)
    }

    /// Takes back what was set: the strongest of the other values is in force again.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
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
