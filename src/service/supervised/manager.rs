//! The thread that tells the manager.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use futures_core::Stream;
use log::Level;
use rustix::time::{ClockId, clock_gettime};

use super::{
    notify::{Kind, Notifier, Trouble},
    ready_fd::{AGAIN, Claimed, ReadyFd},
    status_line::status_line,
    surroundings::Surroundings,
    watchdog::Watchdog,
};
use crate::{
    ServiceHandle,
    kit::{block, panics::catch},
    service::{Phase, PhaseChange, PhaseChanges, Transitions, prepare::Prepared, supervisor::outside::Outside},
};

/// How often a status that changes all the time is told.
const PAUSE: Duration = Duration::from_millis(100);
/// How often to look for what no event tells: slots that stay unfilled.
const LOOK: Duration = Duration::from_secs(5);
/// How much longer than its deadline a phase may take: what is late is cancelled, and then left behind.
const MARGIN: Duration = Duration::from_secs(5);

/// The thread that tells the manager, if there is one.
#[derive(Debug)]
pub(in crate::service) struct Supervised(Option<JoinHandle<()>>);

impl Supervised {
    /// Starts the thread, if there is anybody to tell.
    pub(in crate::service) fn begin(ready_fd: ReadyFd, prepared: &Prepared) -> Result<Self, String> {
        let (handle, outside) = (prepared.supervisor.handle().clone(), prepared.supervisor.outside().clone());
        let (ready, complaint) = ready_fd.get()?;
        let Surroundings { socket, watchdog, complaints, .. } = Surroundings::look();
        let warn = |line: String| outside.log(Level::Warn, handle.name(), || line);
        complaints.into_iter().chain(complaint).for_each(warn);
        let notifier = socket.and_then(|socket| {
            Notifier::new(socket).map_err(|error| warn(format!("NOTIFY_SOCKET: there is no socket: {error}"))).ok()
        });
        if notifier.is_none() && ready.is_none() {
            return Ok(Self(None));
        }
        let watchdog = watchdog.map(|time| Watchdog::new(handle.clone(), time));
        let manager = Manager::new(handle.clone(), outside.clone(), notifier, ready, watchdog);
        let run = move || {
            // A log line of this thread must not wait for room.
            #[cfg(feature = "logging")]
            crate::logging::never_wait();
            if let Err(panic) = catch(|| manager.run()) {
                outside
                    .log(Level::Error, handle.name(), || format!("what tells the service manager panicked: {panic}"));
            }
        };
        let thread = thread::Builder::new().name("supervised".into()).spawn(run);
        let thread = thread.map_err(|error| format!("can't start the thread that tells the manager: {error}"))?;
        Ok(Self(Some(thread)))
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // It waits for nothing but the end of the service, and that has come.
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

struct Manager {
    handle: ServiceHandle,
    outside: Outside,
    notifier: Option<Notifier>,
    watchdog: Option<Watchdog>,
    /// Whether the status may name loops that are late.
    was_late: bool,
    /// The descriptor, until it was told.
    ready: Option<Claimed>,
    told_full: bool,
    /// When to write to it, once the service is ready.
    ready_due: Option<Instant>,
    changes: PhaseChanges,
    transitions: Transitions,
    phase: Phase,
    /// How many reloads run.
    reloads: usize,
    /// Why the last reload was refused.
    not_reloaded: Option<Arc<str>>,
    /// The status as it was told, and when.
    told: (String, Instant),
    /// When to look whether the status is another one.
    look_due: Option<Instant>,
}

/// What the thread is woken by.
enum News {
    Change(PhaseChange),
    Transition,
    End,
}

impl Manager {
    fn new(
        handle: ServiceHandle,
        outside: Outside,
        notifier: Option<Notifier>,
        ready: Option<Claimed>,
        watchdog: Option<Watchdog>,
    ) -> Self {
        let now = Instant::now();
        Self {
            changes: handle.watch_phases(),
            transitions: handle.watch(),
            phase: handle.phase(),
            handle,
            outside,
            notifier,
            watchdog,
            was_late: false,
            ready,
            told_full: false,
            ready_due: None,
            reloads: 0,
            not_reloaded: None,
            told: (String::new(), now),
            look_due: None,
        }
    }

    fn run(mut self) {
        loop {
            let wait = self.next_due().map(|due| due.saturating_duration_since(Instant::now()));
            match block::on(poll_fn(|cx| self.poll(cx)), wait) {
                Some(News::Change(change)) => self.take(change),
                Some(News::Transition) => self.look_within(PAUSE),
                Some(News::End) => return,
                None => {}
            }
            self.do_due();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        match Pin::new(&mut self.changes).poll_next(cx) {
            Poll::Ready(Some(change)) => return Poll::Ready(News::Change(change)),
            Poll::Ready(None) => return Poll::Ready(News::End),
            Poll::Pending => {}
        }
        let mut news = Poll::Pending;
        // After the end the phases end, too.
        while let Poll::Ready(Some(_)) = Pin::new(&mut self.transitions).poll_next(cx) {
            news = Poll::Ready(News::Transition);
        }
        news
    }

    fn next_due(&self) -> Option<Instant> {
        let again = self.notifier.as_ref().and_then(Notifier::again);
        let watchdog = self.watchdog.as_ref().and_then(Watchdog::due);
        again.into_iter().chain(self.look_due).chain(self.ready_due).chain(watchdog).min()
    }

    fn do_due(&mut self) {
        let now = Instant::now();
        let is_due = |due: &mut Instant| *due <= now;
        if let Some(watchdog) = &mut self.watchdog
            && watchdog.due().is_some_and(|due| due <= now)
        {
            let look = watchdog.look(self.phase == Phase::Stopping);
            if look.is_alive {
                self.send(Kind::SignOfLife, "WATCHDOG=1".to_owned());
            }
            look.lines.into_iter().for_each(|line| self.warn(|| line));
            if !look.is_alive || std::mem::replace(&mut self.was_late, false) {
                self.was_late = !look.is_alive;
                self.look();
            }
        }
        if self.look_due.take_if(is_due).is_some() {
            self.look();
        }
        if self.ready_due.take_if(is_due).is_some() {
            self.write_ready();
        }
        if let Some(notifier) = &mut self.notifier
            && notifier.again().is_some_and(|again| again <= now)
        {
            let trouble = notifier.flush();
            self.tell_trouble(trouble);
        }
    }

    fn take(&mut self, change: PhaseChange) {
        match change {
            PhaseChange::Entered(phase) => self.enter(phase),
            PhaseChange::Deadline(deadline) if matches!(self.phase, Phase::Starting | Phase::Stopping) => {
                let time = deadline.saturating_duration_since(Instant::now()).saturating_add(MARGIN);
                let text = format!("EXTEND_TIMEOUT_USEC={}", time.as_micros().min(u128::from(u64::MAX)));
                self.send(Kind::Deadline, text);
            }
            PhaseChange::Deadline(_) => {}
            PhaseChange::ReloadBegun => {
                self.reloads += 1;
                if self.phase == Phase::Running {
                    let now = clock_gettime(ClockId::Monotonic);
                    let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
                    self.send_with_status("RELOADING=1", &format!("MONOTONIC_USEC={micros}\n"));
                }
            }
            PhaseChange::ReloadEnded { error } => {
                self.reloads = self.reloads.saturating_sub(1);
                self.not_reloaded = error;
                match self.phase {
                    Phase::Running if self.reloads == 0 => self.send_with_status("READY=1", ""),
                    _ => self.look_within(PAUSE),
                }
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        match phase {
            Phase::New | Phase::Ended => {}
            Phase::Starting => self.look_within(Duration::ZERO),
            Phase::Running => {
                if let Some(watchdog) = &mut self.watchdog {
                    watchdog.begin();
                }
                self.send_with_status("READY=1", "");
                self.write_ready();
                if self.handle.has_unfilled_slots() {
                    self.look_within(LOOK);
                }
            }
            Phase::Stopping => self.send_with_status("STOPPING=1", ""),
        }
    }

    /// Looks at the status soon, but no earlier than [`PAUSE`] after it was told.
    fn look_within(&mut self, time: Duration) {
        let now = Instant::now();
        let due = if self.told.0.is_empty() { now + time } else { (now + time).min((self.told.1 + PAUSE).max(now)) };
        self.look_due = Some(self.look_due.map_or(due, |before| before.min(due)));
    }

    /// Tells the status, if it is another one.
    fn look(&mut self) {
        let status = self.status();
        if status != self.told.0 && self.reloads == 0 {
            self.send(Kind::Status, format!("STATUS={status}"));
            self.told = (status, Instant::now());
        }
        // No event tells that a slot is still unfilled after a while, or not any more.
        let unfilled = || !self.handle.unfilled_slots().is_empty();
        if self.phase == Phase::Starting || self.phase == Phase::Running && unfilled() {
            self.look_due = Some(Instant::now() + LOOK);
        }
    }

    fn status(&self) -> String {
        let late = self.watchdog.as_ref().and_then(Watchdog::status);
        status_line(&self.handle, self.not_reloaded.as_deref(), late)
    }

    /// Tells of an event, with the status in the same message.
    fn send_with_status(&mut self, event: &str, more: &str) {
        let status = if event == "RELOADING=1" { "reloading".to_owned() } else { self.status() };
        self.send(Kind::Event, format!("{event}\n{more}STATUS={status}"));
        self.told = (status, Instant::now());
    }

    fn send(&mut self, kind: Kind, text: String) {
        if let Some(notifier) = &mut self.notifier {
            let trouble = notifier.send(kind, text);
            self.tell_trouble(trouble);
        }
    }

    fn tell_trouble(&self, trouble: Option<Trouble>) {
        match trouble {
            None => {}
            Some(Trouble::Begins(why)) => self.warn(|| format!("NOTIFY_SOCKET: {why}")),
            Some(Trouble::Ends) => {
                self.outside.log(Level::Info, self.handle.name(), || "NOTIFY_SOCKET: it is heard again".to_owned());
            }
        }
    }

    /// Writes the line of readiness, and closes the descriptor.
    fn write_ready(&mut self) {
        let Some(mut ready) = self.ready.take() else { return };
        match ready.tell() {
            Ok(true) => {}
            Ok(false) => {
                // A reader that takes nothing now may do so later.
                if !std::mem::replace(&mut self.told_full, true) {
                    self.warn(|| format!("{}: it is full: the line waits", ready.name()));
                }
                self.ready = Some(ready);
                self.ready_due = Some(Instant::now() + AGAIN);
            }
            Err(why) => self.warn(|| why),
        }
    }

    fn warn(&self, line: impl FnOnce() -> String) {
        self.outside.log(Level::Warn, self.handle.name(), line);
    }
}
