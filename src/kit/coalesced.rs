//! Work that is requested more often than it can be done.

use std::{io, sync::Arc};

use super::{
    panics::catch,
    sync::{Mutex, lock},
};

/// Runs one kind of work, one run at a time, on a thread that exists while there is work. If a run is in progress, one
/// further run is queued; callers in the meantime share it.
pub(crate) struct Coalesced {
    /// The thread's name.
    name: &'static str,
    state: Mutex<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Busy,
    /// Busy, and a caller has asked since the run began.
    Asked,
}

impl Coalesced {
    pub(crate) fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, state: Mutex::new(State::Idle) })
    }

    /// Makes sure that a run begins after this call. Returns an error if no thread can be started.
    pub(crate) fn ask(self: &Arc<Self>, work: impl Fn() + Send + 'static) -> io::Result<()> {
        let mut state = lock(&self.state);
        if *state != State::Idle {
            *state = State::Asked;
            return Ok(());
        }
        let this = self.clone();
        let run = move || {
            loop {
                // The next caller must be served, whatever becomes of this run.
                if let Err(panic) = catch(&work) {
                    crate::kit::panics::say(format_args!("{} panicked", this.name), &panic);
                }
                let mut state = lock(&this.state);
                *state = if *state == State::Asked { State::Busy } else { State::Idle };
                if *state == State::Idle {
                    break;
                }
            }
        };
        std::thread::Builder::new().name(self.name.to_owned()).spawn(run)?;
        *state = State::Busy;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    const WATCHDOG: Duration = Duration::from_secs(60);

    #[test]
    fn all_who_ask_during_a_run_are_served_by_one_more() {
        let runs = Coalesced::new("test");
        let (begins, begun) = mpsc::channel();
        let (let_go, goes) = mpsc::channel::<()>();
        let goes = Arc::new(Mutex::new(goes));
        let ask = || {
            let (begins, goes) = (begins.clone(), goes.clone());
            runs.ask(move || {
                begins.send(std::thread::current().id()).unwrap();
                lock(&goes).recv_timeout(WATCHDOG).unwrap();
            })
        };
        ask().unwrap();
        let first = begun.recv_timeout(WATCHDOG).unwrap();
        (0..100).for_each(|_| ask().unwrap());
        assert!(begun.try_recv().is_err());
        let_go.send(()).unwrap();
        assert_eq!(begun.recv_timeout(WATCHDOG).unwrap(), first);
        let_go.send(()).unwrap();
        while *lock(&runs.state) != State::Idle {
            std::thread::yield_now();
        }
        assert!(begun.try_recv().is_err());
    }

    #[test]
    fn a_run_that_panics_does_not_keep_the_next_away() {
        let runs = Coalesced::new("test");
        let (begins, begun) = mpsc::channel();
        for _ in 0..3 {
            let begins = begins.clone();
            let work = move || {
                begins.send(()).unwrap();
                panic!("on purpose");
            };
            runs.ask(work).unwrap();
            begun.recv_timeout(WATCHDOG).unwrap();
        }
    }
}
