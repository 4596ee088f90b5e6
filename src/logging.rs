//! Logging: one line a record, to stderr or a file, through [`log`] and fern.
//!
//! Libraries and tasks speak [`log`] only; `Service::run` calls [`init`] once. A record of a task has the target
//! `{service}.{task}`, one of the service itself `{service}`. What is logged is decided by a [filter](levels::Filter)
//! that can be changed at any time; how a line looks by [`lines`]. Who logs renders the line and puts it into a bounded
//! [queue](queue::Queue); a [thread](writer::Writer) of its own writes it to the [sink](sink::Sink). A sink that is
//! gone, full or stuck costs lines, which are counted, never the service.
//!
//! `queue` and `thread` are a circle: how long a thread may wait is counted by what it has put into the queue, and goes
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
    thread::{ends_in_order, never_wait},
};

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
/// The log file can't be opened; the text names it. Or there is no thread to be had.
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

/// The logger that is in the process's one place from the beginning of `run` on, and says nothing before it is told
/// how.
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

/// Takes the process's one place for a logger; false if the program has one of its own there.
pub(crate) fn claim() -> bool {
    static IS_OURS: OnceLock<bool> = OnceLock::new();
    *IS_OURS.get_or_init(|| log::set_logger(&CLAIMED).is_ok())
}

/// How long a message may be, in bytes; of a longer one the rest is cut off.
const LONGEST: usize = 1024 * 1024;

/// The logger before it is installed. Fern's dispatch lets everything pass: the filter is what can change.
fn assemble(filter: Arc<Filter>, style: Style, queue: Arc<Queue>) -> Box<dyn Log> {
    let (_, logger) = fern::Dispatch::new()
        .level(LevelFilter::Trace)
        .filter(move |metadata| filter.allows(metadata))
        .format(move |out, message, record| {
            // Rendered before the queue is locked: a message may log something itself while it is formatted.
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

/// Gives the log the time to write what a panic has said: the process may be about to end.
pub(crate) fn after_panic() {
    let Some(queue) = queue::installed() else { return };
    if cfg!(panic = "abort") {
        queue.flush(FLUSH);
    } else if thread::part() == Part::Ordinary {
        // Panics that can't unwind end the process, too.
        queue.flush(thread::LINE);
    }
}

/// The logger of this process, for those that steer it.
#[derive(Clone, Debug)]
pub(crate) struct Logger {
    filter: Arc<Filter>,
    queue: Arc<Queue>,
    has_file: bool,
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

    /// Has the log file opened anew, after it was moved away, once all that was logged so far is written; if there is
    /// one. The reason stands before what is logged about it.
    pub(crate) fn reopen(&self, why: &str) {
        if self.ours && self.has_file {
            self.queue.reopen(why);
        }
    }

    /// Whether it is the one in place.
    pub(crate) fn is_ours(&self) -> bool {
        self.ours
    }

    /// How many lines have been lost so far.
    pub(crate) fn lost_lines(&self) -> &Arc<AtomicU64> {
        self.queue.lost()
    }
}
