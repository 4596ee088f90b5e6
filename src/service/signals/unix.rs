//! Unix: signal-hook's handlers, and a thread that reads the pipe they write to.
//!
//! signal-hook never restores a disposition. So its handlers stay when `run` has returned, and then do what the process
//! did before: see [`AT_REST`].

#[cfg(all(feature = "command", target_os = "linux"))]
mod children;
mod found;

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use signal_hook::{
    SigId,
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1},
    flag,
    iterator::{Handle, backend::SignalDelivery, exfiltrator::SignalOnly},
    low_level,
};

#[cfg(all(feature = "command", target_os = "linux"))]
pub(in crate::service) use self::children::heed as heed_children;
#[cfg(all(feature = "command", target_os = "linux"))]
pub(in crate::service) use self::found::is_ignored;
use self::found::{Found, Mask, Terminal};
use super::count::{Count, Wish};
use crate::{
    Reason,
    control::events::{Events, Message},
    lifecycle::Event,
    words::state::signal_name,
};

/// The signals that `run` handles.
const SIGNALS: [i32; 4] = [SIGHUP, SIGINT, SIGUSR1, SIGTERM];

/// Whether no service runs as the process. A signal that had its default effect before the first one ran then has it
/// again.
static AT_REST: AtomicBool = AtomicBool::new(true);
static SHARED: Mutex<Shared> = Mutex::new(Shared { running: 0, defaults: Vec::new() });

/// The state that all services that run as the process share; there is rarely more than one.
struct Shared {
    running: usize,
    /// The signals with a handler that checks [`AT_REST`]. It is never removed.
    defaults: Vec<i32>,
}

/// The handlers and their thread, until dropped on the thread that made it.
#[derive(Debug)]
pub(in crate::service) struct SignalThread {
    /// The signals that the process was told to ignore.
    ignored: Vec<i32>,
    leaving: Vec<SigId>,
    mask: Mask,
    begun: Arc<AtomicBool>,
    listener: Option<(Handle, JoinHandle<()>)>,
}

impl SignalThread {
    /// Installs the handlers. Until [`begin`](Self::begin), a signal that asks for a stop ends the process at once,
    /// since nothing has been started.
    pub(in crate::service) fn start(events: Events) -> io::Result<Self> {
        let (found, terminal) = (Found::look(), Terminal::look());
        // A parent that starts us with INT or HUP ignored (nohup, a shell that puts us into the background) means it.
        // TERM is always handled.
        let (ignored, handled) =
            SIGNALS.into_iter().partition::<Vec<_>, _>(|&signal| signal != SIGTERM && found.is_ignored(signal));

        // Blocked until everything is in place: a signal between two of the steps would be lost.
        let mask = Mask::block(&SIGNALS);
        let installed = install(&handled, &found);
        if installed.is_ok() {
            change_running(|running| *running += 1);
        }
        // Before any thread starts, since threads inherit the mask.
        mask.unblock();
        let Installed { delivery, leaving, counted } = installed.inspect_err(|_| mask.restore())?;
        let begun = Arc::new(AtomicBool::new(false));
        // From here on, dropping this undoes everything.
        let mut this = Self { ignored, leaving, mask, begun: begun.clone(), listener: None };

        let handle = delivery.handle();
        let listener = Listener { events, terminal, begun, delivery, counted };
        let thread = thread::Builder::new().name("signals".into()).spawn(move || listener.run())?;
        this.listener = Some((handle, thread));
        Ok(this)
    }

    /// Begins: from now on a signal asks the service to stop, and no longer ends the process.
    pub(in crate::service) fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    /// Returns a log line about the signals that stay ignored.
    pub(in crate::service) fn note(&self) -> Option<String> {
        let names = self.ignored.iter().map(|&signal| signal_name(signal)).collect::<Vec<_>>();
        (!names.is_empty()).then(|| {
            format!("signals ignored since before the start, and left so: {}; TERM stops the service", names.join(", "))
        })
    }
}

impl Drop for SignalThread {
    fn drop(&mut self) {
        self.mask.restore();
        if let Some((handle, thread)) = self.listener.take() {
            handle.close();
            let _ = thread.join();
        }
        for id in self.leaving.drain(..) {
            low_level::unregister(id);
        }
        change_running(|running| *running -= 1);
    }
}

struct Installed {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    leaving: Vec<SigId>,
    counted: Vec<Counted>,
}

fn install(signals: &[i32], found: &Found) -> io::Result<Installed> {
    install_defaults(signals.iter().copied().filter(|&signal| found.is_default(signal)))?;
    let (read, write) = UnixStream::pair()?;
    let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, signals)?;
    let mut installed = Installed { delivery, leaving: Vec::new(), counted: Vec::new() };
    for &signal in signals.iter().filter(|signal| [SIGINT, SIGTERM].contains(signal)) {
        let armed = Arc::new(AtomicBool::new(false));
        installed.leaving.push(flag::register_conditional_shutdown(signal, 128 + signal, armed.clone())?);
        installed.counted.push(Counted { signal, count: Count::default(), armed });
    }
    Ok(installed)
}

fn install_defaults(signals: impl Iterator<Item = i32>) -> io::Result<()> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    for signal in signals {
        // The kernel withholds default effects from a container's first process; doing nothing emulates that.
        if !shared.defaults.contains(&signal) && process::id() != 1 {
            flag::register_conditional_default(signal, &AT_REST)?;
            shared.defaults.push(signal);
        }
    }
    Ok(())
}

fn change_running(change: impl FnOnce(&mut usize)) {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    change(&mut shared.running);
    AT_REST.store(shared.running == 0, Ordering::SeqCst);
}

/// A signal that escalates when it is repeated.
struct Counted {
    signal: i32,
    count: Count,
    /// Whether the handler ends the process.
    armed: Arc<AtomicBool>,
}

/// The thread's state.
struct Listener {
    events: Events,
    terminal: Terminal,
    begun: Arc<AtomicBool>,
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    counted: Vec<Counted>,
}

impl Listener {
    fn run(mut self) {
        let handle = self.delivery.handle();
        while !handle.is_closed() {
            let timeout = self.arm(Instant::now());
            match self.delivery.poll_pending(&mut |pipe| wait(pipe, timeout)) {
                Ok(signals) => signals.into_iter().flatten().for_each(|signal| self.take(signal)),
                // Something has closed our descriptor. No signal can be forwarded any more, but the process can still
                // be ended in an orderly way.
                Err(_) => return self.counted.iter().for_each(|counted| counted.armed.store(true, Ordering::SeqCst)),
            }
        }
    }

    fn take(&mut self, signal: i32) {
        match signal {
            SIGUSR1 => self.events.tell(Message::ShowStatus),
            SIGHUP if self.terminal.is_gone() => self.stop(signal),
            SIGHUP => self.events.tell(Message::Reload),
            _ => {
                let Some(counted) = self.counted.iter_mut().find(|counted| counted.signal == signal) else { return };
                match counted.count.take(Instant::now()) {
                    Wish::Echo => {}
                    Wish::Stop => self.stop(signal),
                    Wish::HardStop => self.events.send(Event::HardStop(signal)),
                    Wish::Leave => low_level::exit(128 + signal),
                }
            }
        }
    }

    fn stop(&self, signal: i32) {
        if !self.begun.load(Ordering::SeqCst) {
            low_level::exit(0);
        }
        self.events.send(Event::ShutdownRequested(Reason::Signal(signal)));
    }

    /// Arms the handlers whose second signal can no longer be an echo; returns the time until the next one.
    fn arm(&self, now: Instant) -> Option<Duration> {
        let due = |counted: &&Counted| !counted.armed.load(Ordering::SeqCst);
        let waits = self.counted.iter().filter(due).filter_map(|counted| {
            let wait = counted.count.armed_at()?.saturating_duration_since(now);
            counted.armed.store(wait.is_zero(), Ordering::SeqCst);
            (!wait.is_zero()).then_some(wait)
        });
        waits.min()
    }
}

/// Waits until the handlers have written to the pipe; returns false if the time is up.
fn wait(pipe: &mut UnixStream, timeout: Option<Duration>) -> io::Result<bool> {
    pipe.set_read_timeout(timeout)?;
    match pipe.read(&mut [0]) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
        Err(error) => Err(error),
    }
}
