//! A handle to the service, for any thread.

use std::{
    any::{TypeId, type_name},
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use super::{
    counters::Counters,
    events::{Events, Message},
    status::{BlockedLoop, Phase},
    status_board::{AskedLoop, StatusBoard},
    task_handle::{Offer, TaskHandle},
    watch::{PhaseChanges, Transitions},
};
use crate::{
    Reason, Remote, Reply, Report, Shutdown, State, Status,
    channel::{address::Address, job::Job},
    counters::{Meter, Warning},
    kit::{
        block,
        clock::Clock,
        discard::DISCARD_TIMEOUT,
        sync::{Mutex, lock},
    },
    lifecycle::Event,
    options::Live,
    words::names,
};

/// Controls a service from any thread, before, during and after its run; its calls never block.
///
/// It is `Clone + Send + Sync`.
#[derive(Clone)]
pub struct ServiceHandle(Arc<Inner>);

struct Inner {
    events: Events,
    clock: Clock,
    board: Arc<StatusBoard>,
    shutdown: Shutdown,
    addresses: Mutex<BTreeMap<String, Named>>,
    /// The offered handles, by task.
    offers: Mutex<BTreeMap<String, Vec<Offer>>>,
    live: OnceLock<Live>,
    #[cfg(feature = "logging")]
    logger: OnceLock<crate::logging::Logger>,
}

#[derive(Clone)]
struct Named {
    address: Arc<Address>,
    id: TypeId,
    type_name: &'static str,
}

impl ServiceHandle {
    pub(crate) fn new(name: &str, events: Events, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            events,
            board: StatusBoard::new(name, clock.clone()),
            clock,
            shutdown: Shutdown::new(),
            addresses: Mutex::default(),
            offers: Mutex::default(),
            live: OnceLock::new(),
            #[cfg(feature = "logging")]
            logger: OnceLock::new(),
        }))
    }

    pub(crate) fn board(&self) -> &Arc<StatusBoard> {
        &self.0.board
    }

    pub(crate) fn events(&self) -> &Events {
        &self.0.events
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Returns the service's name.
    pub fn name(&self) -> &str {
        self.0.board.name()
    }

    /// Asks the service to stop, in order and on time.
    ///
    /// The request is latched, even before the start; the first reason wins.
    pub fn request_shutdown(&self, reason: impl Into<Reason>) {
        self.0.events.send(Event::ShutdownRequested(reason.into()));
    }

    /// Returns the signal that the whole service is stopping.
    pub fn shutdown(&self) -> Shutdown {
        self.0.shutdown.clone()
    }

    /// Stops all tasks in order and starts them again; the loops keep running.
    ///
    /// Every task must have been added by [`task_with`](crate::Service::task_with); otherwise this only logs a warning.
    pub fn restart(&self) {
        self.0.events.send(Event::RestartService);
    }

    /// Stops one task, after the tasks that require it, and starts them again.
    ///
    /// They must have been added by [`task_with`](crate::Service::task_with); otherwise this only logs a warning.
    ///
    /// # Errors
    ///
    /// Returns an error if no task of the running service has this name.
    pub fn restart_task(&self, name: &str) -> Result<(), UnknownName> {
        self.0.events.send(Event::RestartTask(self.task(name)?));
        Ok(())
    }

    /// Stops one task, after the tasks that require it. The service continues.
    ///
    /// # Errors
    ///
    /// Returns an error if no task of the running service has this name.
    pub fn stop_task(&self, name: &str) -> Result<(), UnknownName> {
        self.0.events.send(Event::StopTask(self.task(name)?));
        Ok(())
    }

    fn task(&self, name: &str) -> Result<usize, UnknownName> {
        self.0.board.task_rows(|rows| {
            rows.iter().position(|row| &*row.name == name).ok_or_else(|| UnknownName {
                what: format!("task {name}"),
                known: rows.iter().map(|row| row.name.to_string()).collect(),
            })
        })
    }

    /// Returns the present status of the service. A loop that is found blocked is logged, once.
    pub fn status(&self) -> Status {
        self.tell_blocked_loops();
        self.0.board.status()
    }

    /// Returns the loops that are blocked at this moment.
    ///
    /// Each is logged, too, once, while all tasks have started and no stop was requested.
    ///
    /// The loops of an idle service are not watched. A blocked loop is noticed when a caller asks for this, for the
    /// [status](Self::status) or for [heartbeats](Self::heartbeats), and when something is posted to it while it has
    /// not rested: then the service looks a second later.
    pub fn blocked_loops(&self) -> Vec<BlockedLoop> {
        self.tell_blocked_loops()
    }

    fn tell_blocked_loops(&self) -> Vec<BlockedLoop> {
        let blocked = self.0.board.blocked_loops();
        for (id, _) in &blocked {
            self.0.events.tell(Message::LoopIsBusy(*id));
        }
        blocked.into_iter().map(|(_, blocked)| blocked).collect()
    }

    /// Returns all counters, gauges and histograms, to read or to reset.
    pub fn counters(&self) -> Counters {
        Counters::new(self.0.board.clone())
    }

    /// Returns a meter of the whole service, for values that belong to no task.
    pub fn meter(&self) -> Meter {
        Meter::new(self.0.board.registry().clone())
    }

    /// Shows a value of the service in the [status](Self::status).
    pub fn export(&self, name: &str, value: impl fmt::Display) {
        self.0.board.registry().export(name, value.to_string());
    }

    /// Removes an exported value of the service; returns whether it existed.
    pub fn unexport(&self, name: &str) -> bool {
        self.0.board.registry().unexport(name)
    }

    /// Raises a warning of the service, as [`Context::warn`](crate::Context::warn) does for a task.
    pub fn warn(&self, name: &str, text: impl fmt::Display) {
        let text = text.to_string();
        if self.0.board.registry().warn(name, text.clone()) {
            log::warn!(target: self.name(), "{name}: {text}");
        }
    }

    /// Returns all warnings: the service's first, then those of tasks.
    pub fn warnings(&self) -> Vec<Warning> {
        self.0.board.warnings()
    }

    /// Clears a warning by the name that [`Warning`] shows; returns whether it existed.
    ///
    /// The name is `{task}.{name}`, or `{name}` for a warning of the service.
    pub fn clear_warning(&self, name: &str) -> bool {
        self.0.board.clear_warning(name)
    }

    /// Clears all warnings.
    pub fn clear_warnings(&self) {
        self.0.board.clear_warnings();
    }

    /// Whether all tasks are running, and no stop has been requested.
    pub fn is_ready(&self) -> bool {
        self.0.board.is_ready()
    }

    /// Returns the state of a task; `None` if no task has this name.
    ///
    /// Unlike the [status](Self::status), it doesn't read gauges.
    pub fn task_state(&self, task: &str) -> Option<State> {
        self.0.board.task_state(task)
    }

    /// Returns the phase of the whole service.
    pub fn phase(&self) -> Phase {
        self.0.board.phase()
    }

    /// Follows the transitions of all tasks from now on, beginning with the present states.
    pub fn watch(&self) -> Transitions {
        self.0.board.watch()
    }

    /// Follows the phases of the whole service, their deadlines and its reloads, beginning with the present phase.
    ///
    /// It is what a supervisor of the process wants to know.
    pub fn watch_phases(&self) -> PhaseChanges {
        self.0.board.watch_phases()
    }

    /// Waits until all tasks that will start have started; resolves to false if the service stopped before that.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only ends the wait.
    pub fn started(&self) -> impl Future<Output = bool> + Send + 'static {
        self.0.board.started()
    }

    /// Waits until the service has ended. A service that was never started never resolves this.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only ends the wait.
    pub fn ended(&self) -> impl Future<Output = Report> + Send + 'static {
        self.0.board.ended()
    }

    /// Waits as [`started`](Self::started) does, but blocks this thread.
    pub fn wait_started(&self) -> bool {
        block::on(self.started(), None).unwrap_or(false)
    }

    /// Waits as [`wait_started`](Self::wait_started) does, but for at most `timeout`; then it returns false.
    pub fn wait_started_timeout(&self, timeout: Duration) -> bool {
        block::on(self.started(), Some(timeout)).unwrap_or(false)
    }

    /// Requests a heartbeat from each running loop, through its own mailbox.
    ///
    /// A reply resolves as soon as the loop has checked its mailbox. A loop whose only task may block it, as on a
    /// [`Thread`](crate::Thread), isn't asked, unless the task [never blocks](crate::service::TaskSettings::never_blocks).
    pub fn heartbeats(&self) -> Vec<Heartbeat> {
        let loops = self.0.board.asked_loops();
        self.tell_blocked_loops();
        let beat = |asked: AskedLoop| Heartbeat { name: asked.shared.name().clone(), reply: asked.shared.heartbeat() };
        loops.into_iter().map(beat).collect()
    }

    /// Returns the Remote of a slot or of a loop's Native, by name.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none with this name, or it reaches another type; the error names both.
    pub fn remote<T: 'static>(&self, name: &str) -> Result<Remote<T>, UnknownName> {
        let addresses = lock(&self.0.addresses);
        match addresses.get(name) {
            Some(named) if named.id == TypeId::of::<T>() => Ok(Remote::new(named.address.clone())),
            Some(named) => Err(UnknownName {
                what: format!("remote {name} of type {} (it reaches a {})", type_name::<T>(), named.type_name),
                known: Vec::new(),
            }),
            None => Err(UnknownName {
                what: format!("remote {name} of type {}", type_name::<T>()),
                known: addresses.keys().cloned().collect(),
            }),
        }
    }

    /// Returns the addresses that a task has [published](crate::Context::bound); none before it has, and none after it
    /// has ended.
    ///
    /// # Errors
    ///
    /// Returns an error if no task of the running service has this name.
    #[cfg(feature = "net")]
    pub fn addresses(&self, task: &str) -> Result<Vec<crate::words::address::Address>, UnknownName> {
        let id = self.task(task)?;
        Ok(self.0.board.task_rows(|rows| rows[id].info.registry().bound()))
    }

    /// Returns the handle that a task [offers](crate::service::TaskSettings::offers), by the task's name and the
    /// handle's type.
    ///
    /// # Errors
    ///
    /// Returns an error if no task with this name offers one, or it is of another type; the error names both.
    pub fn task_handle<H: TaskHandle>(&self, task: &str) -> Result<H, UnknownName> {
        let (of_task, tasks) = {
            let offers = lock(&self.0.offers);
            (offers.get(task).cloned().unwrap_or_default(), offers.keys().cloned().collect::<Vec<_>>())
        };
        // Outside the lock, since cloning a handle is user code.
        let found = of_task.iter().find(|offer| offer.id() == TypeId::of::<H>());
        found.and_then(Offer::get).ok_or_else(|| {
            let wanted = format!("handle of type {} of task {task}", type_name::<H>());
            let (what, known) = match &*of_task {
                [] => (wanted, tasks.iter().map(|task| format!("one of task {task}")).collect()),
                others => {
                    let others = others.iter().map(Offer::type_name).collect::<Vec<_>>().join(", a ");
                    (format!("{wanted} (it offers a {others})"), Vec::new())
                }
            };
            UnknownName { what, known }
        })
    }

    pub(crate) fn offer(&self, task: &str, offer: Offer) {
        lock(&self.0.offers).entry(task.to_owned()).or_default().push(offer);
    }

    /// Tells the handles of this task that it has ended; without a name, those of all tasks.
    pub(crate) fn end_offers(&self, task: Option<&str>) {
        self.offers_of(task).iter().for_each(Offer::tell_ended);
    }

    /// Returns the handles of this task; without a name, those of all tasks.
    pub(crate) fn offers_of(&self, task: Option<&str>) -> Vec<Offer> {
        let offers = lock(&self.0.offers);
        let wanted = offers.iter().filter(|(name, _)| task.is_none_or(|task| task == *name));
        wanted.flat_map(|(_, offers)| offers.iter().cloned()).collect()
    }

    /// Registers a Remote by name; returns false if the name is taken.
    pub(crate) fn register<T: 'static>(&self, name: &str, address: &Arc<Address>) -> bool {
        let named = Named { address: address.clone(), id: TypeId::of::<T>(), type_name: type_name::<T>() };
        lock(&self.0.addresses).insert(name.to_owned(), named).is_none()
    }

    /// Whether a slot, registered by name, is still unfilled.
    pub(crate) fn has_unfilled_slots(&self) -> bool {
        lock(&self.0.addresses).values().any(|named| named.address.loop_().is_none())
    }

    /// Returns the registered slots that are unfilled although jobs wait there, with the number of jobs.
    pub(crate) fn unfilled_slots(&self) -> Vec<(Arc<str>, usize)> {
        let addresses = lock(&self.0.addresses);
        let unfilled = addresses.values().map(|named| &named.address).filter(|address| address.loop_().is_none());
        let waiting = unfilled.map(|address| (address.name().clone(), address.waiting()));
        waiting.filter(|(_, waiting)| *waiting > 0).collect()
    }

    /// Closes all addresses, since the service has ended or will never start: callers are told that it is stopped.
    /// Returns the jobs that waited for a value on no loop yet.
    pub(crate) fn close_addresses(&self) -> Vec<Job> {
        let addresses = lock(&self.0.addresses).values().map(|named| named.address.clone()).collect::<Vec<_>>();
        let deadline = Instant::now() + DISCARD_TIMEOUT;
        let mut left = Vec::new();
        for address in addresses {
            left.extend(address.close_and_take());
            if let Some(loop_) = address.loop_() {
                loop_.terminate();
                loop_.await_discards(deadline);
            }
        }
        left
    }

    #[cfg(feature = "logging")]
    pub(crate) fn set_logger(&self, logger: crate::logging::Logger) {
        self.0.board.set_lost_lines(logger.lost_lines().clone());
        let _ = self.0.logger.set(logger);
    }

    pub(crate) fn set_live(&self, live: Live) {
        let _ = self.0.live.set(live);
    }

    #[cfg(feature = "logging")]
    pub(crate) fn logger(&self) -> Option<&crate::logging::Logger> {
        self.0.logger.get()
    }

    pub(crate) fn live(&self) -> Option<&Live> {
        self.0.live.get()
    }
}

impl fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceHandle").field("name", &self.name()).field("phase", &self.phase()).finish()
    }
}

/// A heartbeat that was requested from a loop: see [`ServiceHandle::heartbeats`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Heartbeat {
    /// The loop's name.
    pub name: Arc<str>,
    /// Resolves as soon as the loop has checked its mailbox.
    pub reply: Reply<()>,
}

/// The error of a name that doesn't exist, or that has another type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    what: String,
    known: Vec<String>,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {}", self.what)?;
        if !self.known.is_empty() {
            write!(f, "; there is {}", names::listed(self.known.iter().map(String::as_str)))?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownName {}
