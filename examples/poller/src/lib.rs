//! A poller: fetches a value every so often, on a thread, keeps the latest, and tells whoever waits for the next. What
//! `interloop::tasks::Poller` is, by the public API alone; the last part of `docs/writing-a-task.md`.

use std::sync::{Arc, Mutex, PoisonError};
use std::{cell::RefCell, time::Duration};

use interloop::task::{Offer, TaskHandle, TaskRef};
use interloop::{Context, Remote, Reply, Result, Slot, Task, channel::Promise, clap, event_loop::Timers};

/// Fetches a value every `--{task}-interval`.
#[derive(Clone, Debug)]
pub struct Poller<F, T: 'static> {
    fetch: F,
    slot: Slot<Waiting<T>>,
    /// The way to it, from any thread.
    pub handle: PollerHandle<T>,
}

/// The way to it, from any thread.
#[derive(Clone, Debug)]
pub struct PollerHandle<T: 'static> {
    task: TaskRef,
    waiting: Remote<Waiting<T>>,
    latest: Arc<Mutex<Option<T>>>,
}

/// Those who wait for the next value: on the task's loop.
type Waiting<T> = RefCell<Vec<Promise<T>>>;

/// The flags of a poller.
#[derive(Debug, clap::Args)]
pub struct PollerOptions {
    /// How often to fetch
    #[arg(long, value_name = "DURATION", value_parser = interloop::options::duration, default_value = "10s")]
    interval: Duration,
}

impl<F, T> Poller<F, T> {
    /// Calls this on a thread: it may block.
    pub fn new(fetch: F) -> Self {
        let (slot, waiting) = Slot::new("waiting");
        Self { fetch, slot, handle: PollerHandle { task: TaskRef::default(), waiting, latest: Arc::default() } }
    }
}

impl<L: Timers, F: Fn() -> Result<T> + Clone + Send + 'static, T: Clone + Send + 'static> Task<L> for Poller<F, T> {
    type Options = PollerOptions;

    async fn run(&mut self, cx: Context<L, PollerOptions>) -> Result {
        let waiting = cx.fill(self.slot.clone(), RefCell::default());
        let (fetched, mut ticks) = (cx.counter("fetched"), cx.interval(cx.options().interval).at_once());
        cx.ready();
        while cx.run_until_shutdown(ticks.tick()).await.is_some() {
            // A panic of the thread is an error here, and the task's.
            let result = cx.thread("fetch", self.fetch.clone())?.await?;
            let Some(value) = cx.ok_or_warn("fetch", result) else { continue };
            fetched.add(1);
            self.handle.latest.lock().unwrap_or_else(PoisonError::into_inner).replace(value.clone());
            waiting.take().into_iter().for_each(|promise| promise.fulfil(value.clone()));
        }
        Ok(())
    }

    fn offer(&self) -> Option<Offer> {
        Some(Offer::new(&self.handle))
    }
}

impl<T: Clone + Send + 'static> PollerHandle<T> {
    /// The latest value; it stays when the task has stopped.
    pub fn value(&self) -> Option<T> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next value. `Cancelled` when the task ends before it comes, `Stopped` when it has ended.
    pub fn next(&self) -> Reply<T> {
        self.waiting.ask(|waiting, promise| waiting.borrow_mut().push(promise))
    }
}

impl<T: Clone + Send + 'static> TaskHandle for PollerHandle<T> {
    fn task(&self) -> &TaskRef {
        &self.task
    }
}
