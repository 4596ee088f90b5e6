//! Dropping what is the user's and was never used: on a thread of its own, since a Drop may block, and one by one,
//! since a Drop that panics takes no other along.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{
    panics::catch,
    sync::{Mutex, lock, thread},
};

/// How long the drops of what was never used may take at the end.
pub(crate) const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// The threads that drop, while they do.
#[derive(Default)]
pub(crate) struct Discards(Mutex<Vec<Discard>>);

struct Discard {
    thread: thread::JoinHandle<()>,
    /// Disconnected when it ends.
    end: mpsc::Receiver<()>,
}

impl Discards {
    /// Drops the things; `panicked` is told what one said.
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

    /// Waits until all threads are gone; false if one is not by then.
    pub(crate) fn wait(&self, deadline: Instant) -> bool {
        let discards = std::mem::take(&mut *lock(&self.0));
        // Each is waited for, also after one that takes too long.
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
