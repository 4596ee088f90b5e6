//! Logging: one line a record, to stderr or a file, through [`log`] and fern.
//!
//! Libraries and tasks speak [`log`] only; `Service::run` calls [`init`] once. A record of a task has the target
//! `{service}.{task}`, one of the service itself `{service}`. What is logged is decided by a [filter](levels::Filter)
//! that can be changed at any time; how a line looks by [`lines`]; and a sink that is gone (a closed stderr, a full
//! disk) costs the line, never the service.

mod levels;
mod lines;
mod sink;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc};

use log::{LevelFilter, Log};

use self::{
    levels::Filter,
    lines::Style,
    sink::{Sink, Surroundings},
};
pub(crate) use self::{levels::Levels, lines::Format};

/// What to log, where to and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogSettings {
    /// The service's name: the first part of its targets.
    pub(crate) service: String,
    pub(crate) levels: Levels,
    /// Instead of stderr.
    pub(crate) file: Option<PathBuf>,
    pub(crate) format: Format,
}

/// Installs the logger of this process.
///
/// Where the host has installed one before, that one stays, and the [`Logger`] does nothing but [say so](Logger::note).
///
/// # Errors
///
/// The log file can't be opened; the text names it.
pub(crate) fn init(settings: LogSettings) -> Result<Logger, String> {
    let sink = match &settings.file {
        Some(path) => {
            Sink::file(path).map_err(|error| format!("can't open the log file {}: {error}", path.display()))?
        }
        None => Sink::stderr(),
    };
    let style = Style::new(settings.format, sink.surroundings());
    let sink = Arc::new(sink);
    let filter = Arc::new(Filter::new(settings.service, settings.levels));
    let ours = log::set_boxed_logger(assemble(filter.clone(), style, sink.clone())).is_ok();
    if ours {
        log::set_max_level(filter.most());
    }
    Ok(Logger { filter, sink, ours })
}

/// The logger before it is installed. Fern's dispatch lets everything pass: the filter is what can change.
fn assemble(filter: Arc<Filter>, style: Style, sink: Arc<Sink>) -> Box<dyn Log> {
    let (_, logger) = fern::Dispatch::new()
        .level(LevelFilter::Trace)
        .filter(move |metadata| filter.allows(metadata))
        .format(move |out, message, record| {
            // Rendered before the sink is locked: a message may log something itself while it is formatted.
            let text = style.render(record, &message.to_string());
            out.finish(format_args!("{text}"));
        })
        .chain(Box::new(sink) as Box<dyn Log>)
        .into_log();
    logger
}

/// The logger of this process, for those that steer it.
#[derive(Clone, Debug)]
pub(crate) struct Logger {
    filter: Arc<Filter>,
    sink: Arc<Sink>,
    /// Whether it is the one in place.
    ours: bool,
}

impl Logger {
    /// Changes what is logged, from now on.
    pub(crate) fn set_levels(&self, levels: Levels) {
        if self.ours {
            self.filter.set(levels);
            log::set_max_level(self.filter.most());
        }
    }

    /// What is logged now.
    pub(crate) fn levels(&self) -> Levels {
        self.filter.levels()
    }

    /// Returns when all that was logged has been handed to the system.
    #[cfg(test)]
    pub(crate) fn flush(&self) {
        if self.ours {
            log::logger().flush();
        }
    }

    /// Opens the log file anew, after it was moved away; false if there is none.
    pub(crate) fn reopen(&self) -> std::io::Result<bool> {
        self.sink.reopen()
    }

    /// What one should know about this logger, if anything.
    pub(crate) fn note(&self) -> Option<&'static str> {
        (!self.ours).then_some("a logger is already installed: the options for logging have no effect")
    }
}
