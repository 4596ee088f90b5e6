//! Threads that run futures which may go to any thread.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use interloop::{EventLoop, Shutdown, event_loop::Mailbox};
use smol::{Executor, channel};

/// How long, at most, to wait for the threads' ends; in any case not more than half of the time until the loop's
/// deadline.
const PATIENCE: Duration = Duration::from_secs(1);

/// The threads. Dropping this ends them; a thread that is stuck in a blocking future is left behind.
pub(crate) struct Workers {
    threads: Vec<thread::JoinHandle<()>>,
    /// Closing this ends the threads.
    stop: Option<channel::Sender<()>>,
    /// Closed once all threads have ended.
    ended: mpsc::Receiver<()>,
    shutdown: Shutdown,
    name: String,
}

impl Workers {
    pub(crate) fn start<L: EventLoop>(count: usize, mailbox: &Mailbox<L>) -> io::Result<Self> {
        let (stop, stopped) = channel::bounded::<()>(1);
        let (end, ended) = mpsc::channel();
        let name = mailbox.name().to_owned();
        let mut workers = Self { threads: Vec::new(), stop: Some(stop), ended, shutdown: mailbox.shutdown(), name };
        if count == 0 {
            return Ok(workers);
        }
        let executor = Arc::new(Executor::new());
        for _ in 0..count {
            let (executor, stopped, end) = (executor.clone(), stopped.clone(), end.clone());
            let run = move || {
                let _ = smol::block_on(executor.run(stopped.recv()));
                drop((executor, end));
            };
            let thread = thread::Builder::new().name(format!("{}-worker", workers.name)).spawn(run)?;
            workers.threads.push(thread);
        }
        mailbox.set_workers(move |future| executor.spawn(future).detach());
        Ok(workers)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.take();
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now()) / 2;
        let patience = self.shutdown.deadline().map_or(PATIENCE, left).min(PATIENCE);
        if self.ended.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
            log::warn!(
                "loop {}: a future that blocks a worker did not end within {patience:?} and is left behind",
                self.name
            );
            return;
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
