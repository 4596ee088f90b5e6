//! Drops unused user values: on a separate thread, since a Drop may block, and one at a time, so that a panicking Drop
//! spares the others.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{
    panics::catch,
    sync::{Mutex, lock, thread},
};

/// How long the drops of unused values may take at the end.
pub(crate) const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// The threads that drop values, while they run.
#[derive(Default)]
pub(crate) struct Discards(Mutex<Vec<Discard>>);

struct Discard {
    thread: thread::JoinHandle<()>,
    /// Disconnected when the thread ends.
    end: mpsc::Receiver<()>,
}

impl Discards {
    /// Drops the values; `panicked` gets the message of a panic.
    pub(crate) fn add<T: Send + 'static>(&self, things: Vec<T>, panicked: impl Fn(&str) + Send + 'static) {
        if things.is_empty() {
            return;
        }
        let (ends, end) = mpsc::channel();
        let work = move || {
            let _ends: mpsc::Sender<()> = ends;
            for thing in things {
                if let Err(panic) = catch(|| drop(thing)) {
                    panicked(&panic);
                }
            }
        };
        match thread::Builder::new().name("discard".into()).spawn(work) {
            Ok(thread) => {
                let mut discards = lock(&self.0);
                discards.retain(|discard| discard.end.try_recv() != Err(mpsc::TryRecvError::Disconnected));
                discards.push(Discard { thread, end });
            }
            Err(error) => log::warn!("no thread to drop what was never used: {error}"),
        }
    }

    /// Waits until all threads have ended; returns false if one has not by the deadline.
    pub(crate) fn wait(&self, deadline: Instant) -> bool {
        let discards = std::mem::take(&mut *lock(&self.0));
        // Each is waited for, even after one that takes too long.
        let stay = discards.into_iter().filter_map(|discard| (!discard.join(deadline)).then_some(()));
        stay.count() == 0
    }
}

impl Discard {
    fn join(self, deadline: Instant) -> bool {
        let rest = deadline.saturating_duration_since(Instant::now());
        let ended = self.end.recv_timeout(rest) == Err(mpsc::RecvTimeoutError::Disconnected);
        ended && self.thread.join().is_ok()
    }
}
