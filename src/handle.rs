//! The service, from any thread.

use std::{
    any::{TypeId, type_name},
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    sync::{Arc, OnceLock},
    task::{Poll, ready},
    time::Duration,
};

use clap::ArgMatches;

use crate::{
    Phase, Reason, Remote, Reply, Report, Shutdown, Status, Watch, block,
    lifecycle::Event,
    remote::Address,
    status::Board,
    supervisor::Events,
    sync::{Mutex, lock},
};

/// Controls a service from any thread: `Clone + Send + Sync`, before, during and after its run. Its calls never block.
#[derive(Clone)]
pub struct ServiceHandle(Arc<Inner>);

struct Inner {
    events: Events,
    board: Arc<Board>,
    shutdown: Shutdown,
    addresses: Mutex<BTreeMap<String, Named>>,
    own_options: OnceLock<ArgMatches>,
}

#[derive(Clone)]
struct Named {
    address: Arc<Address>,
    id: TypeId,
    type_name: &'static str,
}

impl ServiceHandle {
    pub(crate) fn new(name: &str, events: Events) -> Self {
        Self(Arc::new(Inner {
            events,
            board: Board::new(name),
            shutdown: Shutdown::new(),
            addresses: Mutex::default(),
            own_options: OnceLock::new(),
        }))
    }

    pub(crate) fn board(&self) -> &Arc<Board> {
        &self.0.board
    }

    pub(crate) fn events(&self) -> &Events {
        &self.0.events
    }

    /// The service's name.
    pub fn name(&self) -> &str {
        self.0.board.name()
    }

    /// Asks the service to stop: in order, on time. Latched, also before the start; the first reason wins.
    pub fn request_shutdown(&self, reason: impl Into<Reason>) {
        self.0.events.send(Event::ShutdownRequested(reason.into()));
    }

    /// The signal that the service as a whole is stopping.
    pub fn shutdown(&self) -> Shutdown {
        self.0.shutdown.clone()
    }

    /// Stops all tasks in order and starts them anew; the loops go on. Every task must have been added by
    /// [`task_with`](crate::Service::task_with), else nothing happens but a warning.
    pub fn restart(&self) {
        self.0.events.send(Event::RestartService);
    }

    /// Stops one task, after what requires it, and starts them anew. They must have been added by [`task_with`](crate::Service::task_with), else nothing
    /// happens but a warning.
    ///
    /// # Errors
    ///
    /// When no task of the running service has this name.
    pub fn restart_task(&self, name: &str) -> Result<(), UnknownName> {
        self.0.events.send(Event::RestartTask(self.task(name)?));
        Ok(())
    }

    /// Stops one task, after what requires it. The service goes on.
    ///
    /// # Errors
    ///
    /// When no task of the running service has this name.
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

    /// The service at this moment.
    pub fn status(&self) -> Status {
        self.0.board.status()
    }

    /// Whether all tasks run, and no stop has been requested.
    pub fn is_ready(&self) -> bool {
        self.0.board.is_ready()
    }

    /// What the service as a whole is at.
    pub fn phase(&self) -> Phase {
        self.0.board.phase()
    }

    /// Follows the transitions of all tasks from now on, beginning with the present states.
    pub fn watch(&self) -> Watch {
        self.0.board.watch()
    }

    /// Waits until all tasks that will start have started; false if the service stopped before that.
    ///
    /// # Cancel safety
    ///
    /// Dropping it does nothing else.
    pub fn started(&self) -> impl Future<Output = bool> + Send + 'static {
        let board = self.0.board.clone();
        poll_fn(move |cx| Poll::Ready(ready!(board.poll_phase(Phase::Running, cx)) == Phase::Running))
    }

    /// Waits until the service has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping it does nothing else.
    pub fn ended(&self) -> impl Future<Output = Report> + Send + 'static {
        let board = self.0.board.clone();
        poll_fn(move |cx| {
            ready!(board.poll_phase(Phase::Ended, cx));
            match board.report() {
                Some(report) => Poll::Ready(report),
                None => Poll::Pending,
            }
        })
    }

    /// As [`started`](Self::started), blocking this thread; false also after `timeout`.
    pub fn wait_started(&self, timeout: Duration) -> bool {
        block::on(self.started(), Some(timeout)).unwrap_or(false)
    }

    /// Asks each running loop for a sign of life, through its own mailbox. A reply is there as soon as the loop has looked.
    pub fn heartbeats(&self) -> Vec<(Arc<str>, Reply<()>)> {
        let loops = self.0.board.running_loops();
        loops.iter().map(|shared| (shared.name().clone(), shared.heartbeat())).collect()
    }

    /// The Remote of a slot or of a loop's Native, by name.
    ///
    /// # Errors
    ///
    /// When there is none of this name, or it reaches another type; the error names both.
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

    /// Makes a Remote known by name; false if the name is taken.
    pub(crate) fn register<T: 'static>(&self, name: &str, address: &Arc<Address>) -> bool {
        let named = Named { address: address.clone(), id: TypeId::of::<T>(), type_name: type_name::<T>() };
        lock(&self.0.addresses).insert(name.to_owned(), named).is_none()
    }

    pub(crate) fn close_addresses(&self) {
        let addresses = lock(&self.0.addresses).values().map(|named| named.address.clone()).collect::<Vec<_>>();
        addresses.iter().for_each(|address| address.close());
    }

    /// The service's [own options](crate::Service::options), parsed; None before the start, or when they are of another type.
    pub fn options<O: clap::Args>(&self) -> Option<O> {
        self.0.own_options.get().and_then(|matches| O::from_arg_matches(matches).ok())
    }

    pub(crate) fn set_own_options(&self, matches: ArgMatches) {
        let _ = self.0.own_options.set(matches);
    }
}

impl fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceHandle").field("name", &self.name()).field("phase", &self.phase()).finish()
    }
}

/// There is nothing of this name, or of this type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    what: String,
    known: Vec<String>,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {}", self.what)?;
        if !self.known.is_empty() {
            write!(f, "; there is {}", self.known.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownName {}
