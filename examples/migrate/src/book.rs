//! The book, and the job that files lines into it.

use std::{cell::RefCell, time::Duration};

use async_channel::Receiver;
use interloop::{Context, Result, Slot, Task, clap, event_loop::Timers, options::duration};

/// The lines in order. The book lives on the loop of its task: nothing here is shared or locked.
#[derive(Default)]
pub(crate) struct Book {
    lines: Vec<String>,
}

impl Book {
    pub(crate) fn page(&self) -> String {
        self.lines.iter().enumerate().map(|(index, line)| format!("{} {line}\n", index + 1)).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.lines.len()
    }
}

/// Files at each interval the lines that have come through the channel.
pub(crate) struct Files {
    slot: Option<Slot<RefCell<Book>>>,
    heard: Receiver<String>,
}

/// The options of [`Files`].
#[derive(clap::Args)]
pub(crate) struct FilesOptions {
    /// How often to file the lines
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "100ms")]
    interval: Duration,
}

impl Files {
    pub(crate) fn new(slot: Slot<RefCell<Book>>, heard: Receiver<String>) -> Self {
        Self { slot: Some(slot), heard }
    }

    fn file(&self, book: &RefCell<Book>) {
        while let Ok(line) = self.heard.try_recv() {
            book.borrow_mut().lines.push(line);
        }
    }
}

impl<L: Timers> Task<L> for Files {
    type Options = FilesOptions;

    async fn run(&mut self, cx: Context<L, FilesOptions>) -> Result {
        let slot = self.slot.take().expect("it is not restarted");
        let book = cx.fill(slot, RefCell::new(Book::default()));
        let mut ticks = cx.interval(cx.options().interval);
        cx.ready();
        while cx.run_until_shutdown(ticks.tick()).await.is_some() {
            self.file(&book);
        }
        // Lines accepted before the stop belong in the book.
        self.file(&book);
        log::info!(target: cx.target(), "{} lines were filed", book.borrow().count());
        Ok(())
    }
}
