//! Signals: the first INT or TERM stops the service in order, the second cancels everything, the third leaves at once.
//!
//! A thread of its own forwards them to the supervisor; it takes no lock and writes no log, so that it works when everything else is stuck. The third
//! signal is not even forwarded: once the second was taken, the handler itself ends the process.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use signal_hook::{
    SigId,
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1},
    flag,
    iterator::{Handle, Signals},
    low_level,
};

use crate::{
    Reason,
    events::{Events, Message},
    lifecycle::Event,
    shutdown::Shutdown,
};

/// How long a second signal of the same kind counts as the first.
const SAME_SIGNAL: Duration = Duration::from_millis(250);

/// The handlers and their thread, until dropped.
#[derive(Debug)]
pub(crate) struct SignalThread {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    leaving: Vec<SigId>,
    closing: Shutdown,
}

impl SignalThread {
    /// Installs the handlers.
    pub(crate) fn start(events: Events) -> io::Result<Self> {
        // First of all what takes a signal: between a handler that only looks whether it is armed and this one, a signal would be lost.
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1])?;
        let armed = Arc::new(AtomicBool::new(false));
        let mut leaving = Vec::new();
        for signal in [SIGINT, SIGTERM] {
            leaving.push(flag::register_conditional_shutdown(signal, 128 + signal, armed.clone())?);
        }
        let handle = signals.handle();
        let closing = Shutdown::new();
        let counter = Counter { events, armed, closing: closing.clone(), last: None, taken: 0 };
        let thread = thread::Builder::new().name("signals".into()).spawn(move || counter.run(signals))?;
        Ok(Self { handle, thread: Some(thread), leaving, closing })
    }
}

impl Drop for SignalThread {
    fn drop(&mut self) {
        self.closing.request(Reason::AllDone, None);
        self.handle.close();
        for id in self.leaving.drain(..) {
            low_level::unregister(id);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Counter {
    events: Events,
    armed: Arc<AtomicBool>,
    closing: Shutdown,
    last: Option<(i32, Instant)>,
    taken: u32,
}

impl Counter {
    fn run(mut self, mut signals: Signals) {
        for signal in signals.forever() {
            match signal {
                SIGUSR1 => self.events.tell(Message::ShowStatus),
                // A terminal that hangs up takes its service along; a daemon reads its settings again.
                SIGHUP if !io::stdin().is_terminal() => self.events.tell(Message::Reload),
                _ => self.count(signal),
            }
        }
    }

    fn count(&mut self, signal: i32) {
        let now = Instant::now();
        // The same signal again and again (a shell and a supervisor both send it, a key is held down) is one wish.
        if let Some((last, at)) = self.last
            && last == signal
            && now.duration_since(at) < SAME_SIGNAL
        {
            return;
        }
        self.last = Some((signal, now));
        self.taken += 1;
        match self.taken {
            1 => self.events.send(Event::ShutdownRequested(Reason::Signal(signal))),
            2 => {
                self.events.send(Event::HardStop(signal));
                // The handler can't tell a third signal from an echo of the second: it is armed when the echo has died away.
                self.closing.wait_timeout(SAME_SIGNAL);
                self.armed.store(true, Ordering::SeqCst);
            }
            _ => low_level::exit(128 + signal),
        }
    }
}
