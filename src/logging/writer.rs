//! The thread that writes the log, and waits only for the sink.

use std::{io, mem, sync::Arc, thread};

use log::{Level, Metadata, Record};

use super::{
    levels::Filter,
    lines::Style,
    queue::{Item, Queue},
    sink::Sink,
};

pub(super) struct Writer {
    pub(super) queue: Arc<Queue>,
    pub(super) sink: Sink,
    pub(super) style: Style,
    pub(super) filter: Arc<Filter>,
    /// The number of lines that the sink did not take, and the error, until that is written.
    pub(super) unwritten: Option<(u64, io::Error)>,
}

impl Writer {
    pub(super) fn start(self) -> io::Result<()> {
        // Never joined: a sink may hold it forever.
        thread::Builder::new().name("log".to_owned()).spawn(move || self.run()).map(drop)
    }

    fn run(mut self) {
        // It outlives `Service::run`, which restores the process's signals: they are for the threads of the host.
        #[cfg(unix)]
        if let Err(error) = nix::sys::signal::SigSet::all().thread_block() {
            log::debug!("the log's thread can't leave signals to others: {error}");
        }
        super::thread::never_wait();
        let (mut batch, mut text) = (Vec::new(), String::new());
        loop {
            self.queue.take(&mut batch, self.sink.together());
            let lost = self.perform(&batch, &mut text);
            self.queue.done(&mut batch, lost);
            // One huge line is no reason to keep that much memory forever.
            text.clear();
            text.shrink_to(2 * self.sink.together());
        }
    }

    /// Performs the batch; returns how many lines were lost.
    fn perform(&mut self, batch: &[Item], text: &mut String) -> u64 {
        if let [Item::Reopen(why)] = batch {
            self.reopen(why, text);
        }
        // Where each line ends, and how many lines are lost with it.
        let mut ends = Vec::with_capacity(batch.len() + 1);
        let untold = mem::take(&mut self.unwritten);
        if let Some((lost, error)) = &untold {
            self.tell(text, Level::Warn, &were_lost(*lost, error));
            ends.push((text.len(), *lost, 0));
        }
        for item in batch {
            match item {
                Item::Line(line) => {
                    text.push_str(&line.text);
                    ends.push((text.len(), 1, 1));
                }
                Item::Lost(lost) => {
                    self.tell(text, Level::Warn, &were_lost(*lost, &"there was no room for them"));
                    ends.push((text.len(), *lost, 0));
                }
                Item::Reopen(_) => {}
            }
        }
        let (taken, result) = self.sink.write(text.as_bytes(), &self.queue);
        let Err(error) = result else { return 0 };
        let missed = ends.iter().filter(|(end, ..)| *end > taken);
        let (untold, lost) = missed.fold((0, 0), |sum, (_, untold, lost)| (sum.0 + untold, sum.1 + lost));
        self.unwritten = Some((untold, error));
        lost
    }

    fn reopen(&mut self, why: &str, text: &mut String) {
        let (level, words) = match self.sink.reopen() {
            Ok(()) => (Level::Info, format!("{why}log reopened")),
            Err(error) => (Level::Error, format!("{why}but the log can't be reopened: {error}")),
        };
        if self.filter.allows(&Metadata::builder().level(level).target(self.filter.service()).build()) {
            self.tell(text, level, &words);
        }
    }

    /// Adds a line of the log itself.
    fn tell(&self, text: &mut String, level: Level, words: &str) {
        let record = Record::builder().level(level).target(self.filter.service()).build();
        text.push_str(&self.style.render(&record, words));
        text.push('\n');
    }
}

fn were_lost(lost: u64, why: &dyn std::fmt::Display) -> String {
    let lines = if lost == 1 { "line of the log was" } else { "lines of the log were" };
    format!("{lost} {lines} lost: {why}")
}
