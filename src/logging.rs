//! Logging: one line for each record, to stderr or a file, through [`log`] and fern.
//!
//! Libraries and tasks use only [`log`]; `Service::run` calls [`init`] once. A record of a task has the target
//! `{service}.{task}`, one of the service itself `{service}`. A [filter](levels::Filter), which can be changed at any
//! time, selects the records; [`lines`] formats them. A thread that logs renders the line and puts it into a bounded
//! [queue](queue::Queue); a dedicated [thread](writer::Writer) writes it to the [sink](sink::Sink). A sink that is
//! gone, full or stuck costs lines, which are counted, but never the service.
//!
//! `queue` and `thread` are a circle: how long a thread may wait depends on what it has put into the queue, and is kept
//! with the thread.
//!
//! May use: nothing of ours.

mod levels;
mod lines;
mod queue;
mod sink;
#[cfg(test)]
mod tests;
mod thread;
mod writer;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::AtomicU64},
};

use log::{LevelFilter, Log, Metadata, Record};

use self::{
    levels::Filter,
    lines::Style,
    queue::{FLUSH, Part, Queue},
    sink::{Sink, Surroundings},
    writer::Writer,
};
pub(crate) use self::{
    levels::Levels,
    lines::Format,
    thread::{ends_in_order, mute, never_wait},
};

/// What to log, where and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogSettings {
    /// The service's name: the first part of its targets.
    pub(crate) service: String,
    pub(crate) levels: Levels,
    /// The log file, in place of stderr.
    pub(crate) file: Option<PathBuf>,
    pub(crate) format: Format,
}

/// Installs the logger of this process.
///
/// If the program has already installed one, that one stays, and the [`Logger`] does nothing but [say
/// so](Logger::note).
///
/// # Errors
///
/// Returns an error if the log file can't be opened, with its name, or if no thread can be started.
pub(crate) fn init(settings: LogSettings) -> Result<Logger, String> {
    let sink = match &settings.file {
        Some(path) => {
            Sink::file(path).map_err(|error| format!("can't open the log file {}: {error}", path.display()))?
        }
        None => Sink::stderr(),
    };
    let style = Style::new(settings.format, sink.surroundings());
    let filter = Arc::new(Filter::new(settings.service, settings.levels));
    let queue = Arc::new(Queue::new(sink.patience()));
    let ours = claim() && CLAIMED.0.set(assemble(filter.clone(), style, queue.clone())).is_ok();
    let logger = Logger { filter: filter.clone(), queue: queue.clone(), has_file: sink.has_path(), ours };
    if ours {
        queue::install(&queue);
        log::set_max_level(filter.most());
        let writer = Writer { queue, sink, style, filter, unwritten: None };
        writer.start().map_err(|error| format!("can't start the log's thread: {error}"))?;
    }
    Ok(logger)
}

/// The logger in the process's one place from the beginning of `run`; it is silent until it is configured.
static CLAIMED: Claimed = Claimed(OnceLock::new());

struct Claimed(OnceLock<Box<dyn Log>>);

impl Log for Claimed {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.get().is_some_and(|logger| logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(logger) = self.0.get() {
            logger.log(record);
        }
    }

    fn flush(&self) {
        if let Some(logger) = self.0.get() {
            logger.flush();
        }
    }
}

/// Takes the process's one place for a logger; returns false if the program has its own logger there.
pub(crate) fn claim() -> bool {
    static IS_OURS: OnceLock<bool> = OnceLock::new();
    *IS_OURS.get_or_init(|| log::set_logger(&CLAIMED).is_ok())
}

/// How long a message may be, in bytes; a longer one is truncated.
const LONGEST: usize = 1024 * 1024;

/// Returns the logger before it is installed. Fern's dispatch passes everything: the filter is the part that can
/// change.
fn assemble(filter: Arc<Filter>, style: Style, queue: Arc<Queue>) -> Box<dyn Log> {
    let (_, logger) = fern::Dispatch::new()
        .level(LevelFilter::Trace)
        .filter(move |metadata| filter.allows(metadata) && !thread::mutes(metadata.level()))
        .format(move |out, message, record| {
            // Rendered before the queue is locked: formatting a message may log something itself.
            let mut message = message.to_string();
            if message.len() > LONGEST {
                let end = (0..=LONGEST).rfind(|at| message.is_char_boundary(*at)).unwrap_or(0);
                let cut = message.len() - end;
                message.truncate(end);
                message.push_str(&format!(" .. ({cut} more bytes)"));
            }
            let text = style.render(record, &message);
            out.finish(format_args!("{text}\n"));
        })
        .chain(Box::new(Queued(queue)) as Box<dyn Log>)
        .into_log();
    logger
}

/// The end of fern's chain.
struct Queued(Arc<Queue>);

impl Log for Queued {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.push(record.args().to_string());
    }

    fn flush(&self) {
        self.0.flush(FLUSH);
    }
}

/// Whether the logger of this process is ours.
pub(crate) fn is_ours() -> bool {
    queue::installed().is_some()
}

/// Gives the log time to write a panic's message: the process may be about to end.
pub(crate) fn after_panic() {
    let Some(queue) = queue::installed() else { return };
    if cfg!(panic = "abort") {
        queue.flush(FLUSH);
    } else if thread::part() == Part::Ordinary {
        // Panics that can't unwind end the process, too.
        queue.flush(thread::LINE);
    }
}

/// The logger of this process, for code that controls it.
#[derive(Clone, Debug)]
pub(crate) struct Logger {
    filter: Arc<Filter>,
    queue: Arc<Queue>,
    has_file: bool,
    /// Whether it is the installed logger.
    ours: bool,
}

impl Logger {
    /// Changes the log levels, from now on.
    pub(crate) fn set_levels(&self, levels: Levels) {
        if self.ours {
            self.filter.set(levels);
            log::set_max_level(self.filter.most());
        }
    }

    /// Returns the present log levels.
    pub(crate) fn levels(&self) -> Levels {
        self.filter.levels()
    }

    /// Returns when all earlier lines have been handed to the system.
    #[cfg(test)]
    pub(crate) fn flush(&self) {
        if self.ours {
            log::logger().flush();
        }
    }

    /// Reopens the log file, if there is one, after it was moved away, once all earlier lines are written. `why`
    /// precedes the log lines about it.
    pub(crate) fn reopen(&self, why: &str) {
        if self.ours && self.has_file {
            self.queue.reopen(why);
        }
    }

    /// Whether it is the installed logger.
    pub(crate) fn is_ours(&self) -> bool {
        self.ours
    }

    /// Returns the counter of lost lines.
    pub(crate) fn lost_lines(&self) -> &Arc<AtomicU64> {
        self.queue.lost()
    }
}
