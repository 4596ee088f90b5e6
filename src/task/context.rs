//! The surroundings of a task, as it sees them.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

#[cfg(all(feature = "net", unix))]
use std::os::fd::OwnedFd;
#[cfg(feature = "net")]
use std::{io, net::SocketAddr};

use super::incarnation::Incarnation;
#[cfg(feature = "metrics")]
use crate::counters::Histogram;
#[cfg(all(feature = "net", unix))]
use crate::net::WatchFd;
use crate::{
    EventLoop, NoOptions, Remote, Reply, ServiceHandle, Shutdown, Slot,
    channel::{address, local::Local},
    counters::{Counter, Gauge, Meter},
    event_loop::Timers,
    kit::clock::Clock,
    options::{OnReload, OptionCell, OptionChanges},
};
#[cfg(feature = "net")]
use crate::{
    net::Net,
    reactor::{bind::Bound, resolve::resolve, socket_ref::SocketRef, traits::Socket},
    words::address::Address,
};

/// A task's view of its surroundings: its name and options, its loop, its shutdown, its children.
///
/// It is `Clone`, for children and callbacks, and `!Send`, since it belongs to the loop's thread.
pub struct Context<L: EventLoop, O = NoOptions>(Rc<Inner<L, O>>);

struct Inner<L: EventLoop, O> {
    native: Rc<L::Native>,
    options: Rc<O>,
    /// The options in force, and the version of the options that this incarnation began with.
    cell: (Arc<OptionCell>, u64),
    local: Rc<Local>,
    incarnation: Arc<Incarnation>,
    service: ServiceHandle,
}

impl<L: EventLoop, O> Context<L, O> {
    pub(crate) fn new(
        native: Rc<L::Native>,
        options: O,
        cell: (Arc<OptionCell>, u64),
        local: Rc<Local>,
        incarnation: Arc<Incarnation>,
        service: ServiceHandle,
    ) -> Self {
        Self(Rc::new(Inner { native, options: Rc::new(options), cell, local, incarnation, service }))
    }

    /// Returns the same context with other options.
    ///
    /// Use it for a part of a task that has its own options, flattened into the task's.
    ///
    /// ```
    /// # use std::rc::Rc;
    /// # use interloop::{Context, EventLoop, Result, clap};
    /// #[derive(clap::Args, Clone)]
    /// struct Limits {
    ///     #[arg(long, default_value_t = 10)]
    ///     most: usize,
    /// }
    ///
    /// #[derive(clap::Args)]
    /// struct Options {
    ///     #[command(flatten)]
    ///     limits: Limits,
    /// }
    ///
    /// fn most<L: EventLoop>(cx: &Context<L, Limits>) -> usize {
    ///     cx.options().most
    /// }
    ///
    /// async fn run<L: EventLoop>(cx: Context<L, Options>) -> Result {
    ///     assert!(most(&cx.with_options(Rc::new(cx.options().limits.clone()))) > 0);
    ///     Ok(())
    /// }
    /// ```
    pub fn with_options<P>(&self, options: Rc<P>) -> Context<L, P> {
        let Inner { native, cell, local, incarnation, service, .. } = &*self.0;
        let (native, local, incarnation) = (native.clone(), local.clone(), incarnation.clone());
        Context(Rc::new(Inner { native, options, cell: cell.clone(), local, incarnation, service: service.clone() }))
    }

    pub(crate) fn incarnation_itself(&self) -> &Arc<Incarnation> {
        &self.0.incarnation
    }

    /// Returns the task's name.
    pub fn name(&self) -> &str {
        &self.0.incarnation.run.name
    }

    /// Returns the target for this task's log records, `{service}.{task}`: `log::info!(target: cx.target(), "..")`.
    pub fn target(&self) -> &str {
        self.0.incarnation.info.target()
    }

    /// Returns which run of the task this is; the first is 1.
    pub fn incarnation(&self) -> u32 {
        self.0.incarnation.number
    }

    /// Returns the task's parsed options, as they were at the start of this incarnation.
    pub fn options(&self) -> &O {
        &self.0.options
    }

    /// Returns a stream of the options as they are [set](crate::options::Options::set) or
    /// [reloaded](ServiceHandle::reload) while the task runs.
    ///
    /// A task that doesn't listen gets the new options at its next incarnation.
    ///
    /// ```
    /// # use interloop::{Context, EventLoop, Result, clap};
    /// #[derive(clap::Args)]
    /// struct Options {
    ///     #[arg(long, default_value = "hello")]
    ///     word: String,
    /// }
    ///
    /// async fn run<L: EventLoop>(cx: Context<L, Options>) -> Result {
    ///     let mut changes = cx.option_changes();
    ///     cx.ready();
    ///     while let Some(options) = cx.run_until_shutdown(changes.next()).await {
    ///         println!("it is {} now", options.word);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn option_changes(&self) -> OptionChanges<O>
    where
        O: clap::FromArgMatches,
    {
        let (cell, version) = &self.0.cell;
        OptionChanges::new(cell.clone(), *version)
    }

    /// Rereads something, such as a file that an option names, at each [reload](ServiceHandle::reload).
    ///
    /// At a reload, `read` is called first. If it and the rest of the reload succeed, `apply` gets the value that it
    /// returned; otherwise the reload is refused with its error and nothing changes. Both are called on the thread that
    /// reloads, which is not the loop's. This lasts until the returned value is dropped.
    ///
    /// ```
    /// # use interloop::{Context, EventLoop, Result};
    /// use std::sync::{Arc, Mutex};
    ///
    /// async fn run<L: EventLoop>(cx: Context<L>) -> Result {
    ///     let read = || Ok(std::fs::read_to_string("/etc/greetings")?);
    ///     let greetings = Arc::new(Mutex::new(read()?));
    ///     let shared = greetings.clone();
    ///     let _reads = cx.on_reload(read, move |new| *shared.lock().unwrap() = new);
    ///     Ok(cx.until_shutdown().await)
    /// }
    /// ```
    pub fn on_reload<T: 'static>(
        &self,
        read: impl Fn() -> crate::Result<T> + Send + Sync + 'static,
        apply: impl Fn(T) + Send + Sync + 'static,
    ) -> OnReload {
        OnReload::new(self.0.cell.0.clone(), read, apply)
    }

    /// Returns the loop's native handle: tokio's `Handle`, `glib::MainContext` ...
    pub fn native(&self) -> &L::Native {
        &self.0.native
    }

    /// Returns the service's handle, which is usable from any thread.
    pub fn service(&self) -> &ServiceHandle {
        &self.0.service
    }

    /// Returns the time by the service's clock: the system's, unless a test has replaced it with a fake (feature
    /// `testing`).
    ///
    /// [Deadlines](Shutdown::deadline) are by this clock.
    pub fn now(&self) -> Instant {
        self.0.service.clock().now()
    }

    /// Says what the start is doing, in a few words, until the next call: a start that takes long is logged with them.
    ///
    /// ```
    /// # use interloop::{Thread, task_fn};
    /// let task = task_fn::<Thread>(async |cx| {
    ///     cx.starting("it reads the index");
    ///     // ... and if that takes long: "task search is not ready after 5 s: it reads the index"
    ///     Ok(cx.until_shutdown().await)
    /// });
    /// # drop(task);
    /// ```
    pub fn starting(&self, what: impl fmt::Display) {
        self.0.incarnation.info.set_starting(Some(what.to_string()));
    }

    /// Declares the task ready, so that tasks that require it may start. Further calls have no effect.
    pub fn ready(&self) {
        self.0.incarnation.ready();
    }

    /// Returns the signal that asks this task to stop.
    pub fn shutdown(&self) -> Shutdown {
        self.0.incarnation.shutdown.clone()
    }

    /// Declares the task [`ready`](Self::ready), then waits until it is asked to stop.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the signal is latched.
    pub fn until_shutdown(&self) -> impl Future<Output = ()> + Send + 'static {
        self.ready();
        self.0.incarnation.shutdown.requested()
    }

    /// Returns the future's output, or `None` as soon as the task is asked to stop: the future is dropped then.
    ///
    /// If both have happened, the stop wins. A loop that works until the stop is short by this:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use interloop::{Context, Result, event_loop::Timers};
    /// async fn run<L: Timers>(cx: Context<L>) -> Result {
    ///     cx.ready();
    ///     let mut hours = cx.interval(Duration::from_secs(3600));
    ///     while cx.run_until_shutdown(hours.tick()).await.is_some() {
    ///         log::info!(target: cx.target(), "it strikes the hour");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping this future drops the one in it. What was lost by that, or by the stop, is for that future to say.
    pub fn run_until_shutdown<F: Future>(&self, future: F) -> impl Future<Output = Option<F::Output>> {
        let requested = self.shutdown().requested();
        async move {
            let (mut requested, mut future) = (pin!(requested), pin!(future));
            poll_fn(|cx| match requested.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => future.as_mut().poll(cx).map(Some),
            })
            .await
        }
    }

    /// Returns a Remote by which other threads reach this value, which stays on this thread.
    ///
    /// The value is dropped, on this thread, when the task ends; to keep it longer, keep an `Rc` of your own inside.
    pub fn share<T: 'static>(&self, value: T) -> Remote<T> {
        let address = address::Address::at(self.name(), &self.0.incarnation.loop_);
        // A fresh address, bound to this loop, can only be closed, by the end of the loop.
        if self.0.local.put(&address, Rc::new(value), self.0.incarnation.span.get()).is_err() {
            address.close();
        }
        self.0.incarnation.owns(address.clone(), false, &self.0.local);
        Remote::new(address)
    }

    /// Puts a value into its slot, where its Remotes reach it from now on, beginning with the calls that wait.
    ///
    /// The value is dropped, on this thread, when the task has ended and all other owners of the `Rc` are gone.
    ///
    /// # Panics
    ///
    /// Panics if the slot is already filled, or was filled on another loop before.
    pub fn fill<T: 'static>(&self, slot: Slot<T>, value: T) -> Rc<T> {
        let value = Rc::new(value);
        let address = slot.address();
        if let Err(why) = self.0.local.put(address, value.clone(), self.0.incarnation.span.get()) {
            panic!("slot {} can't be filled by task {}: {why}", address.name(), self.name());
        }
        self.0.incarnation.owns(address.clone(), true, &self.0.local);
        value
    }

    /// Runs a child on this thread; the [`Reply`] resolves with its output.
    ///
    /// The child is cancelled, and awaited, when the task ends; its panic fails the task.
    pub fn spawn_local<F>(&self, future: F) -> Reply<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.0.incarnation.spawn_local(&self.0.local, future)
    }

    /// Runs a child as [`spawn_local`](Self::spawn_local) does, but on the workers of a runtime that has some.
    pub fn spawn<F>(&self, future: F) -> Reply<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.incarnation.spawn(&self.0.local, future)
    }

    /// Returns the task's counter with this name, the same one through all incarnations.
    ///
    /// It appears in the [status](ServiceHandle::status), and as `{task}.{name}` in the service's
    /// [counters](ServiceHandle::counters).
    ///
    /// # Panics
    ///
    /// Panics if a gauge or a histogram has this name.
    pub fn counter(&self, name: &str) -> Counter {
        self.meter().counter(name)
    }

    /// Returns a gauge, a number that goes up and down, by name, as [`counter`](Self::counter) does.
    ///
    /// # Panics
    ///
    /// Panics if a counter, a histogram or a gauge with a callback has this name.
    pub fn gauge(&self, name: &str) -> Gauge {
        self.meter().gauge(name)
    }

    /// Registers a gauge whose callback is called at each read until the task ends.
    ///
    /// The callback runs on a thread of the service: see [`Meter::gauge_from`](crate::counters::Meter::gauge_from).
    ///
    /// # Panics
    ///
    /// Panics if a counter or a histogram has this name.
    ///
    /// When a counter or samples have this name.
    pub fn gauge_from(&self, name: &str, ask: impl Fn() -> f64 + Send + Sync + 'static) {
        self.meter().gauge_from(name, ask);
    }

    /// Returns a histogram, for durations and the like, by name, as [`counter`](Self::counter) does.
    ///
    /// It has the average, minimum, maximum and percentiles over each of these windows.
    ///
    /// # Panics
    ///
    /// Panics if a counter or a gauge has this name, or a window is shorter than a microsecond.
    #[cfg(feature = "metrics")]
    pub fn histogram(&self, name: &str, windows: &[Duration]) -> Histogram {
        self.meter().histogram(name, windows)
    }

    /// Returns a meter, which makes counters, gauges and histograms with labels on any thread.
    pub fn meter(&self) -> Meter {
        Meter::new(self.0.incarnation.info.registry().clone())
    }

    /// Shows a value in the [status](ServiceHandle::status), such as a bound address.
    pub fn export(&self, name: &str, value: impl fmt::Display) {
        self.0.incarnation.info.registry().export(name, value.to_string());
    }

    /// Removes an exported value; returns whether it existed.
    pub fn unexport(&self, name: &str) -> bool {
        self.0.incarnation.info.registry().unexport(name)
    }

    /// Raises a warning that needs somebody's attention, until it is [cleared](Self::clear_warning).
    ///
    /// It is logged when it is new, and appears in the [status](ServiceHandle::status), even after the task has ended.
    /// A warning with the same name is replaced.
    pub fn warn(&self, name: &str, text: impl fmt::Display) {
        let text = text.to_string();
        if self.0.incarnation.info.registry().warn(name, text.clone()) {
            log::warn!(target: self.target(), "{name}: {text}");
        }
    }

    /// Clears a warning; returns whether it existed.
    pub fn clear_warning(&self, name: &str) -> bool {
        self.0.incarnation.info.registry().clear_warning(name)
    }

    /// Returns the value, and clears the warning `name`; an error is [raised](Self::warn) as that warning instead.
    ///
    /// It is for work that is tried again and again, where a failure must be seen and the task goes on.
    ///
    /// ```
    /// # use interloop::{Context, EventLoop};
    /// fn forecast<L: EventLoop>(cx: &Context<L>) -> Option<String> {
    ///     cx.ok_or_warn("forecast", std::fs::read_to_string("/run/forecast"))
    /// }
    /// ```
    pub fn ok_or_warn<T, E: fmt::Display>(&self, name: &str, result: std::result::Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => {
                self.clear_warning(name);
                Some(value)
            }
            Err(error) => {
                self.warn(name, error);
                None
            }
        }
    }
}

impl<L: Timers, O> Context<L, O> {
    /// Waits for this long by the loop's own timers, or by a test's fake clock.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only cancels the wait.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        self.0.service.clock().sleep(duration, |duration| L::sleep(&self.0.native, duration))
    }

    /// Returns an interval that ticks every `period`, first after one period or [at once](Interval::at_once).
    ///
    /// It ticks by the clock, so the ticks don't drift.
    ///
    /// # Panics
    ///
    /// Panics if `period` is zero.
    pub fn interval(&self, period: Duration) -> Interval<L> {
        assert!(!period.is_zero(), "the period of an interval must not be zero");
        let (native, clock) = (self.0.native.clone(), self.0.service.clock().clone());
        Interval { next: clock.now() + period, native, clock, period }
    }

    /// Returns the future's output, or drops the future if it takes longer than this.
    ///
    /// # Errors
    ///
    /// Returns [`Elapsed`] if the time is up.
    pub fn timeout<F: Future>(
        &self,
        duration: Duration,
        future: F,
    ) -> impl Future<Output = std::result::Result<F::Output, Elapsed>> {
        let sleep = self.sleep(duration);
        async move {
            let mut future = pin!(future);
            let mut sleep = pin!(sleep);
            poll_fn(|cx| match future.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Ok(output)),
                Poll::Pending => sleep.as_mut().poll(cx).map(|()| Err(Elapsed(duration))),
            })
            .await
        }
    }
}

#[cfg(feature = "net")]
impl<L: EventLoop, O> Context<L, O> {
    /// Returns the addresses of a host with this port.
    ///
    /// The host is a name or an address; an IPv6 address may be in brackets. A name is looked up by the system's
    /// resolver on a separate thread; an address needs none.
    ///
    /// # Errors
    ///
    /// Returns the system's error, such as an unknown name, or a thread that can't be started.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future discards the answer; the thread ends when the system's resolver returns.
    pub fn resolve(
        &self,
        host: impl Into<String>,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static {
        resolve(host.into(), port)
    }

    /// Returns the listening sockets that a service manager, or the process's parent, has passed for this task.
    ///
    /// Each call returns duplicates, so each incarnation of the task goes on with the same sockets, and clients that
    /// connect in between wait. The sockets don't block, are closed at exec, and stay open until the service has ended.
    /// [`Inherited`](crate::net::Inherited) says which sockets are a task's.
    ///
    /// # Errors
    ///
    /// Returns the system's error: there may be no descriptor left.
    pub fn inherited(&self) -> io::Result<Vec<Bound>> {
        self.0.incarnation.info.inherited()
    }

    /// Publishes an address that the task listens on, until the task ends.
    ///
    /// [`ServiceHandle::addresses`] returns it, and the [status](ServiceHandle::status) shows it as the exported value
    /// `address`. Call this before [`ready`](Self::ready), once for each address.
    pub fn bound(&self, address: impl Into<Address>) {
        self.0.incarnation.info.registry().add_bound(address.into());
    }
}

/// Methods for sockets: see [`net`](crate::net). All of them stay on this thread.
#[cfg(feature = "net")]
impl<L: Net, O> Context<L, O> {
    /// Returns a listener that accepts connections from a listening socket.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub fn listen(&self, socket: Bound) -> io::Result<L::Listener> {
        L::listener(&self.0.native, socket)
    }

    /// Connects to an address by TCP with `TCP_NODELAY`, or by a Unix socket.
    ///
    /// # Errors
    ///
    /// Returns the system's error, such as a refused connection.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket.
    pub fn connect(&self, address: impl Into<Address>) -> impl Future<Output = io::Result<L::Stream>> + 'static {
        L::connect(&self.0.native, address.into())
    }

    /// Registers a connected socket of std with the loop.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub fn stream(&self, socket: impl Into<Socket>) -> io::Result<L::Stream> {
        L::stream(&self.0.native, socket.into())
    }

    /// Returns a connection's socket, to inspect it or to set socket options.
    ///
    /// Don't read or write through it: that bypasses the loop.
    pub fn socket<'a>(&self, stream: &'a L::Stream) -> SocketRef<'a> {
        L::socket(stream)
    }
}

/// Methods for descriptors: see [`WatchFd`]. All of them stay on this thread.
#[cfg(all(feature = "net", unix))]
impl<L: WatchFd, O> Context<L, O> {
    /// Watches the readiness of any descriptor that the system can watch; it should be nonblocking.
    ///
    /// # Errors
    ///
    /// Returns the system's error: regular files can't be watched, for instance.
    pub fn watch(&self, fd: impl Into<OwnedFd>) -> io::Result<L::Watch> {
        L::watch(&self.0.native, fd.into())
    }
}

impl<L: EventLoop, O> Clone for Context<L, O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<L: EventLoop, O> fmt::Debug for Context<L, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("task", &self.name()).field("incarnation", &self.incarnation()).finish()
    }
}

/// Ticks by the clock; [`Context::interval`] returns it.
pub struct Interval<L: EventLoop> {
    native: Rc<L::Native>,
    clock: Clock,
    period: Duration,
    next: Instant,
}

impl<L: Timers> Interval<L> {
    /// Moves the next tick to now; the others follow from there.
    #[must_use]
    pub fn at_once(self) -> Self {
        Self { next: self.clock.now(), ..self }
    }

    /// Waits for the next tick and returns how many ticks were missed since the previous one.
    ///
    /// Ticks are missed if the caller or the loop is late; they are skipped, and the schedule doesn't drift.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the next call waits for the same tick.
    pub async fn tick(&mut self) -> u64 {
        let rest = self.next.saturating_duration_since(self.clock.now());
        if !rest.is_zero() {
            self.clock.sleep(rest, |rest| L::sleep(&self.native, rest)).await;
        }
        let late = self.clock.now().saturating_duration_since(self.next);
        let missed = (late.as_nanos() / self.period.as_nanos()).min(u128::from(u32::MAX)) as u32;
        self.next += self.period.saturating_mul(missed).saturating_add(self.period);
        u64::from(missed)
    }
}

impl<L: EventLoop> fmt::Debug for Interval<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interval").field("period", &self.period).finish_non_exhaustive()
    }
}

/// The error of a [timeout](Context::timeout) whose time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not done within {}", crate::words::state::Seconds(self.0))
    }
}

impl std::error::Error for Elapsed {}
