//! What a task sees of its surroundings.

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

/// What a task sees of its surroundings: its name and options, its loop, its shutdown, its children. `Clone`, for
/// children and callbacks; `!Send`, since it belongs to the loop's thread.
pub struct Context<L: EventLoop, O = NoOptions>(Rc<Inner<L, O>>);

struct Inner<L: EventLoop, O> {
    native: Rc<L::Native>,
    options: Rc<O>,
    /// The options in force, and the version of those that this incarnation began with.
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

    /// The same surroundings, with other options: for the part of a task that has options of its own, which the task's
    /// flatten.
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

    /// The task's name.
    pub fn name(&self) -> &str {
        &self.0.incarnation.run.name
    }

    /// The target for this task's log records, `{service}.{task}`: `log::info!(target: cx.target(), "..")`.
    pub fn target(&self) -> &str {
        self.0.incarnation.info.target()
    }

    /// Which run of the task this is: 1 is the first.
    pub fn incarnation(&self) -> u32 {
        self.0.incarnation.number
    }

    /// Its options, parsed; those of the incarnation's start.
    pub fn options(&self) -> &O {
        &self.0.options
    }

    /// Brings the options anew whenever they are [set](crate::options::Options::set) or
    /// [reloaded](ServiceHandle::reload) while the task runs. A task that doesn't listen gets them at its next
    /// incarnation.
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
    ///     cx.spawn_local(async move {
    ///         loop {
    ///             println!("it is {} now", changes.next().await.word);
    ///         }
    ///     }).detach();
    ///     Ok(cx.until_shutdown().await)
    /// }
    /// ```
    pub fn option_changes(&self) -> OptionChanges<O>
    where
        O: clap::FromArgMatches,
    {
        let (cell, version) = &self.0.cell;
        OptionChanges::new(cell.clone(), *version)
    }

    /// Reads something again with each [reload](ServiceHandle::reload), such as a file that an option names, for as
    /// long as what it returns is kept. `read` is called first; where it and all else of the reload is right, `apply`
    /// gets what it has read, else the reload is refused with its error, and all stays as it was. Both are called on
    /// the thread that reloads, which is not the loop's.
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

    /// What this kind of loop shows: tokio's `Handle`, `glib::MainContext` ...
    pub fn native(&self) -> &L::Native {
        &self.0.native
    }

    /// The service, from any thread.
    pub fn service(&self) -> &ServiceHandle {
        &self.0.service
    }

    /// The time, by the service's clock: the system's, unless a test has put a fake in its place (feature `testing`).
    /// [Deadlines](Shutdown::deadline) are by this clock.
    pub fn now(&self) -> Instant {
        self.0.service.clock().now()
    }

    /// Says that the task is ready: what requires it may start. Saying it again does nothing.
    pub fn ready(&self) {
        self.0.incarnation.ready();
    }

    /// The signal that this task is asked to stop.
    pub fn shutdown(&self) -> Shutdown {
        self.0.incarnation.shutdown.clone()
    }

    /// Says [`ready`](Self::ready), then waits until the task is asked to stop.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped: the signal is latched.
    pub fn until_shutdown(&self) -> impl Future<Output = ()> + Send + 'static {
        self.ready();
        self.0.incarnation.shutdown.requested()
    }

    /// Gives other threads a way to this value, which stays here. It is dropped, on this thread, when the task ends; to
    /// keep it longer, keep an `Rc` of your own inside.
    pub fn share<T: 'static>(&self, value: T) -> Remote<T> {
        let address = address::Address::at(self.name(), &self.0.incarnation.loop_);
        // A fresh address, bound to this loop: it can only be closed, by the end of the loop.
        if self.0.local.put(&address, Rc::new(value), self.0.incarnation.span.get()).is_err() {
            address.close();
        }
        self.0.incarnation.owns(address.clone(), false, &self.0.local);
        Remote::new(address)
    }

    /// Puts a value into its slot: from now on its Remotes reach it, beginning with what waits there. It is dropped, on
    /// this thread, when the task and all other owners of the `Rc` are gone.
    ///
    /// # Panics
    ///
    /// When the slot is filled already, or was filled on another loop before.
    pub fn fill<T: 'static>(&self, slot: Slot<T>, value: T) -> Rc<T> {
        let value = Rc::new(value);
        let address = slot.address();
        if let Err(why) = self.0.local.put(address, value.clone(), self.0.incarnation.span.get()) {
            panic!("slot {} can't be filled by task {}: {why}", address.name(), self.name());
        }
        self.0.incarnation.owns(address.clone(), true, &self.0.local);
        value
    }

    /// Runs a child on this thread: it is cancelled, and awaited, when the task ends; its panic fails the task. The
    /// [`Reply`] brings what it returns.
    pub fn spawn_local<F>(&self, future: F) -> Reply<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.0.incarnation.spawn_local(&self.0.local, future)
    }

    /// As [`spawn_local`](Self::spawn_local), on the workers of a runtime that has some.
    pub fn spawn<F>(&self, future: F) -> Reply<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.incarnation.spawn(&self.0.local, future)
    }

    /// A counter of the task's, by name; the same one for the same name, through all incarnations. It shows in the
    /// [status](ServiceHandle::status), and as `{task}.{name}` in the service's [counters](ServiceHandle::counters).
    ///
    /// # Panics
    ///
    /// When a gauge or samples have this name.
    pub fn counter(&self, name: &str) -> Counter {
        self.meter().counter(name)
    }

    /// A number that goes up and down, by name, as [`counter`](Self::counter).
    ///
    /// # Panics
    ///
    /// When a counter or samples have this name, or a gauge that is asked.
    pub fn gauge(&self, name: &str) -> Gauge {
        self.meter().gauge(name)
    }

    /// A gauge that is asked for its number whenever somebody reads it, until the task ends: on a thread of the
    /// service's own, see [`Meter::gauge_from`](crate::counters::Meter::gauge_from).
    ///
    /// # Panics
    ///
    /// When a counter or samples have this name.
    pub fn gauge_from(&self, name: &str, ask: impl Fn() -> f64 + Send + Sync + 'static) {
        self.meter().gauge_from(name, ask);
    }

    /// Histogram, such as durations, by name, as [`counter`](Self::counter): with their average, minimum, maximum and
    /// percentiles over these windows.
    ///
    /// # Panics
    ///
    /// When a counter or a gauge has this name, or a window is shorter than a microsecond.
    #[cfg(feature = "metrics")]
    pub fn histogram(&self, name: &str, windows: &[Duration]) -> Histogram {
        self.meter().histogram(name, windows)
    }

    /// Makes counters, gauges and samples with labels; for any thread.
    pub fn meter(&self) -> Meter {
        Meter::new(self.0.incarnation.info.registry().clone())
    }

    /// Shows a value in the [status](ServiceHandle::status), such as an address that was bound.
    pub fn export(&self, name: &str, value: impl fmt::Display) {
        self.0.incarnation.info.registry().export(name, value.to_string());
    }

    /// Takes an exported value back; says whether it was there.
    pub fn unexport(&self, name: &str) -> bool {
        self.0.incarnation.info.registry().unexport(name)
    }

    /// Says that something needs somebody's attention: logged when it is news, and shown in the
    /// [status](ServiceHandle::status), also when the task has ended, until it is [cleared](Self::clear_warning). A
    /// text of the same name is replaced.
    pub fn warn(&self, name: &str, text: impl fmt::Display) {
        let text = text.to_string();
        if self.0.incarnation.info.registry().warn(name, text.clone()) {
            log::warn!(target: self.target(), "{name}: {text}");
        }
    }

    /// It needs no attention any more; says whether it did.
    pub fn clear_warning(&self, name: &str) -> bool {
        self.0.incarnation.info.registry().clear_warning(name)
    }
}

impl<L: Timers, O> Context<L, O> {
    /// Waits for this long, by the loop's own timers (in a test with a fake clock: by that).
    ///
    /// # Cancel safety
    ///
    /// Dropping it does nothing else.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        self.0.service.clock().sleep(duration, |duration| L::sleep(&self.0.native, duration))
    }

    /// Ticks every `period`, the first time after one: by the clock, so that the ticks don't drift.
    ///
    /// # Panics
    ///
    /// When `period` is zero.
    pub fn interval(&self, period: Duration) -> Interval<L> {
        assert!(!period.is_zero(), "the period of an interval must not be zero");
        let (native, clock) = (self.0.native.clone(), self.0.service.clock().clone());
        Interval { next: clock.now() + period, native, clock, period }
    }

    /// The future's output, unless it takes longer than this: then it is dropped.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] when the time is up.
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
    /// The addresses of a host, by name or address (an IPv6 one may stand in brackets), with this port. The system's
    /// resolver is asked on a thread of its own, which an address doesn't need.
    ///
    /// # Errors
    ///
    /// The system's: the name is unknown, say; or there can be no thread.
    ///
    /// # Cancel safety
    ///
    /// Dropping it forgets the answer; the thread ends when the system's resolver does.
    pub fn resolve(
        &self,
        host: impl Into<String>,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static {
        resolve(host.into(), port)
    }

    /// Says that the task listens here, until it ends: [`ServiceHandle::addresses`] tells, and the
    /// [status](ServiceHandle::status) shows it as the exported value `address`. To be said before
    /// [`ready`](Self::ready), once for each address.
    pub fn bound(&self, address: impl Into<Address>) {
        self.0.incarnation.info.registry().add_bound(address.into());
    }
}

/// Sockets: see [`net`](crate::net). All of it stays on this thread.
#[cfg(feature = "net")]
impl<L: Net, O> Context<L, O> {
    /// Takes connections from a socket that listens.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn listen(&self, socket: Bound) -> io::Result<L::Listener> {
        L::listener(&self.0.native, socket)
    }

    /// Connects to an address: TCP, without delay, or a Unix socket.
    ///
    /// # Errors
    ///
    /// The system's: nobody listens there, say.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the socket.
    pub fn connect(&self, address: impl Into<Address>) -> impl Future<Output = io::Result<L::Stream>> + 'static {
        L::connect(&self.0.native, address.into())
    }

    /// Takes a connected socket of std into the loop.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn stream(&self, socket: impl Into<Socket>) -> io::Result<L::Stream> {
        L::stream(&self.0.native, socket.into())
    }

    /// The socket of a connection: to look into it, or to set what the system offers. To read or write by it is to go
    /// behind the loop's back.
    pub fn socket<'a>(&self, stream: &'a L::Stream) -> SocketRef<'a> {
        L::socket(stream)
    }
}

/// Descriptors: see [`WatchFd`]. All of it stays on this thread.
#[cfg(all(feature = "net", unix))]
impl<L: WatchFd, O> Context<L, O> {
    /// Watches the readiness of any descriptor that the system can watch, which should be nonblocking.
    ///
    /// # Errors
    ///
    /// The system's: regular files can't be watched, say.
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

/// Ticks by the clock: made by [`Context::interval`].
pub struct Interval<L: EventLoop> {
    native: Rc<L::Native>,
    clock: Clock,
    period: Duration,
    next: Instant,
}

impl<L: Timers> Interval<L> {
    /// Waits for the next tick. Says how many ticks were missed since the one before, because the caller, or the loop,
    /// was late; they are skipped, and the next one is on the same grid of times.
    ///
    /// # Cancel safety
    ///
    /// A tick that was dropped is waited for again by the next call.
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

/// A [timeout](Context::timeout) was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not done within {}", crate::words::state::Seconds(self.0))
    }
}

impl std::error::Error for Elapsed {}
