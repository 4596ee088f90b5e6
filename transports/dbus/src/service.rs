//! The service on the bus: a task that owns a name, and answers its calls to their end.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{
    StreamExt,
    future::{LocalBoxFuture, select},
};
use interloop::{Context, Error, Result, Task, counters::Gauge, net::Net, options::OptionDefaults};
use zbus::{
    Connection, ObjectPath,
    connection::Builder,
    fdo::{DBusProxy, RequestNameFlags, RequestNameReply},
    names::WellKnownName,
    object_server::Interface,
};

use crate::{
    DbusHandle, DbusOptions,
    bus::{Bus, CONNECT_TIMEOUT, build, within},
    control::{Control, SERVICE_PATH, tell_transitions},
    interface::{CallCounts, CallPermits, Guarded},
    jobs::Jobs,
    permit::Permit,
    runtime::LoopRuntime,
    sparts::Sparts,
};

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// How long the bus may take to say goodbye; half of what is left for the stop at most.
const FAREWELL: Duration = Duration::from_secs(5);
const MAX_CALLS: usize = 1024;

type AddObject = Box<dyn Fn(Builder<'static>, &CallCounts) -> Builder<'static> + Send>;
type OnConnect = Box<dyn Fn(Connection) -> LocalBoxFuture<'static, Result> + Send>;

/// What a [`DbusService`] does when its name is taken away, or its bus is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// It fails, and with it, unless it has a restart policy, the service.
    #[default]
    Stop,
    /// It waits, and tries again: for the name as soon as it is free; for the bus after 100 ms, doubling to 10 s.
    Wait,
}

/// A name on a bus, with objects: a task for any loop with sockets. Handlers are called on the loop's thread, where
/// they must not block; zbus has no threads.
///
/// It is ready when it has its name, or is in the queue for it. When asked to stop, it releases the name, answers the
/// calls that have come, and leaves the bus.
pub struct DbusService {
    name: String,
    bus: Bus,
    replace: bool,
    queue: bool,
    lost: Lost,
    objects: Vec<AddObject>,
    on_connect: Vec<OnConnect>,
    has_control: bool,
    action: Option<Arc<str>>,
    max_calls: usize,
    connect_timeout: Duration,
    has_sparts: bool,
    sparts_name: Option<String>,
    handle: DbusHandle,
}

impl DbusService {
    /// Creates one that will own this name: `org.example.Name`. It is on the session bus, unless told otherwise.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            bus: Bus::Session,
            replace: false,
            queue: false,
            lost: Lost::Stop,
            objects: Vec::new(),
            on_connect: Vec::new(),
            has_control: true,
            action: None,
            max_calls: MAX_CALLS,
            connect_timeout: CONNECT_TIMEOUT,
            has_sparts: false,
            sparts_name: None,
            handle: DbusHandle::default(),
        }
    }

    /// Puts an interface, made with zbus's macro, at a path. It is recreated for each connection: state that must live
    /// longer needs an `Arc`. A panic of its methods and properties is answered with an error, and counted.
    ///
    /// zbus's `ObjectServer::interface` doesn't find it by its type. A `SignalEmitter` sends signals; methods can
    /// receive one, and it can be created from a connection and the path.
    ///
    /// # Panics
    ///
    /// Panics if the path is invalid.
    #[must_use]
    pub fn at<I: Interface>(mut self, path: impl Into<String>, make: impl Fn() -> I + Send + 'static) -> Self {
        let path = path.into();
        let path = ObjectPath::try_from(path.clone()).unwrap_or_else(|error| panic!("object path {path}: {error}"));
        self.objects
            .push(Box::new(move |builder, counts| builder.serve_at(path.clone(), Guarded::new(make(), counts))));
        self
    }

    /// Runs this with each connection, on the loop, until the connection ends: to listen to signals, to call others. An
    /// error is logged.
    #[must_use]
    pub fn on_connect<F>(mut self, run: impl Fn(Connection) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result> + 'static,
    {
        self.on_connect.push(Box::new(move |connection| Box::pin(run(connection))));
        self
    }

    /// Sets the bus; the session bus by default.
    #[must_use]
    pub fn bus(mut self, bus: Bus) -> Self {
        self.bus = bus;
        self
    }

    /// Uses the system bus instead of the session's: short for [`bus`](Self::bus).
    #[must_use]
    pub fn system_bus(self) -> Self {
        self.bus(Bus::System)
    }

    /// Uses the bus at this address, `unix:path=/run/my-bus`: short for [`bus`](Self::bus).
    #[must_use]
    pub fn address(self, address: impl Into<String>) -> Self {
        self.bus(Bus::Address(address.into()))
    }

    /// Takes the name from an owner that allows that, and allows others to take it.
    #[must_use]
    pub fn replace(mut self, replace: bool) -> Self {
        self.replace = replace;
        self
    }

    /// Waits for the name if it is taken; otherwise the start fails.
    #[must_use]
    pub fn queue(mut self, queue: bool) -> Self {
        self.queue = queue;
        self
    }

    /// Sets what to do when the name is taken away, or the bus is gone.
    #[must_use]
    pub fn when_lost(mut self, lost: Lost) -> Self {
        self.lost = lost;
        self
    }

    /// Sets whether the object `org.interloop.Service` exists, at [`SERVICE_PATH`]: it does by default.
    #[must_use]
    pub fn service_object(mut self, is_there: bool) -> Self {
        self.has_control = is_there;
        self
    }

    /// Asks polkit whether callers that are neither root nor the service's own user may do this action; root and the
    /// service's own user may call `SetOption`, `Shutdown` and `Restart` in any case. Without this, other callers are
    /// refused. Somebody is asked for a password only if the caller's message allows that (`busctl call
    /// --allow-interactive-authorization`, which is its default).
    ///
    /// polkit is asked on the service's own bus, which must be the system bus. A file in `/usr/share/polkit-1/actions`
    /// describes the action; unless the service runs as root, it must have the annotation
    /// `org.freedesktop.policykit.owner`: `unix-user:NAME`. If polkit isn't there, or doesn't answer within 5 s, or 2
    /// min if it asks somebody, the caller is refused, and the log says why, once.
    #[must_use]
    pub fn polkit(mut self, action: impl Into<String>) -> Self {
        self.action = Some(action.into().into());
        self
    }

    /// Sets how many calls are answered at once; each caller gets at most a quarter of that. Further calls are refused
    /// with `LimitsExceeded`, and counted. 1024 by default. Calls that wait for an object's `&mut self` count too.
    #[must_use]
    pub fn max_calls(mut self, calls: usize) -> Self {
        self.max_calls = calls;
        self
    }

    /// Sets how long a bus may take to let the service in and to answer its first questions, before it gives up; 25 s
    /// by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Adds the objects that clients of Python's sparts call, with all members of their interfaces. `/{service}/sparts`
    /// has `org.sparts.Service`, `/{service}/fb303` has `com.facebook.fb303.Service` and `org.sparts.FB303Service`.
    /// Characters that are invalid in a path become `_`: `my-service` is at `/my_service/sparts`.
    ///
    /// Everybody on the bus may read. Methods that change the service need the same permission as in
    /// `org.interloop.Service`: its own user, root, and callers that [`polkit`](Self::polkit) permits.
    #[must_use]
    pub fn sparts_objects(mut self) -> Self {
        self.has_sparts = true;
        self
    }

    /// Adds the same objects, at paths with this name instead of the service's: `MyService`, the name of the class in
    /// Python.
    #[must_use]
    pub fn sparts_objects_as(mut self, name: impl Into<String>) -> Self {
        self.sparts_name = Some(name.into());
        self.sparts_objects()
    }

    /// Returns a handle to its connection, for any thread; call this before it is given to the service.
    pub fn handle(&self) -> DbusHandle {
        self.handle.clone()
    }

    /// Makes this its [`handle`](Self::handle): for one that is recreated for each incarnation.
    #[must_use]
    pub fn show_to(mut self, handle: DbusHandle) -> Self {
        self.handle = handle;
        self
    }

    /// Applies the options, which take precedence over the code.
    fn configure(&mut self, options: &DbusOptions) {
        if let Some(name) = &options.bus_name {
            self.name.clone_from(name);
        }
        // If the address is the code's own, the option for the system bus takes precedence over it.
        let is_ours = |address: &String| matches!(&self.bus, Bus::Address(ours) if ours == address);
        if let Some(address) = options.address.as_ref().filter(|address| !(options.system_bus && is_ours(address))) {
            self.bus = Bus::Address(address.clone());
        } else if options.system_bus {
            self.bus = Bus::System;
        }
        self.replace |= options.replace;
        self.queue |= options.queue;
        self.max_calls = options.max_calls.unwrap_or(self.max_calls);
        self.connect_timeout = options.connect_timeout.unwrap_or(self.connect_timeout);
    }
}

impl<L: Net> Task<L> for DbusService {
    type Options = DbusOptions;

    fn defaults(&self) -> OptionDefaults {
        let mut defaults = OptionDefaults::new()
            .with("bus-name", &self.name)
            .with("max-calls", self.max_calls)
            .with_duration("connect-timeout", Some(self.connect_timeout));
        for (option, is_set) in
            [("replace", self.replace), ("queue", self.queue), ("system-bus", matches!(self.bus, Bus::System))]
        {
            if is_set {
                defaults = defaults.with(option, true);
            }
        }
        match &self.bus {
            Bus::Address(address) => defaults.with("address", address),
            _ => defaults,
        }
    }

    async fn run(&mut self, cx: Context<L, DbusOptions>) -> Result {
        self.configure(cx.options());
        let name = WellKnownName::try_from(self.name.clone())?;
        let meter = cx.meter().namespace("interloop_dbus");
        for (name, help) in [
            ("calls", "Calls of methods, and settings of properties."),
            ("panics", "Panics of handlers."),
            ("refused", "Calls that were refused, since too many were being answered."),
            ("connections", "Connections to the bus."),
            ("bus_losses", "Connections to the bus that were lost."),
            ("name_losses", "How often the name was taken away."),
            ("name_owned", "1 while the name is ours."),
        ] {
            meter.describe(name, "", help);
        }
        let service = cx.service().clone();
        let session = Session {
            service: self,
            sparts: self.has_sparts.then(|| Sparts::new(service, self.sparts_name.as_deref())),
            name,
            calls: CallCounts {
                calls: meter.counter("calls"),
                panics: meter.counter("panics"),
                refused: meter.counter("refused"),
                target: cx.target().into(),
                permits: CallPermits::new(self.max_calls),
            },
            owned: meter.gauge("name_owned"),
            cx: &cx,
        };
        let (connections, losses) = (meter.counter("connections"), meter.counter("bus_losses"));

        cx.starting("it connects to the bus");
        let (mut is_first, mut backoff) = (true, FIRST_BACKOFF);
        loop {
            let open = within(&cx, self.connect_timeout, session.open());
            let Some(opened) = cx.run_until_shutdown(open).await else { return Ok(()) };
            let why = match opened {
                Ok(open) => {
                    connections.add(1);
                    cx.clear_warning("bus");
                    (is_first, backoff) = (false, FIRST_BACKOFF);
                    match session.serve(open).await? {
                        End::Asked => return Ok(()),
                        End::BusGone => {
                            losses.add(1);
                            Error::new("the bus is gone")
                        }
                    }
                }
                Err(error) => error,
            };
            if is_first || self.lost == Lost::Stop {
                return Err(why);
            }
            cx.warn("bus", &why);
            if cx.run_until_shutdown(cx.sleep(backoff)).await.is_none() {
                return Ok(());
            }
            backoff = (backoff * 2).min(LAST_BACKOFF);
        }
    }
}

impl fmt::Debug for DbusService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DbusService").field("name", &self.name).field("bus", &self.bus).finish_non_exhaustive()
    }
}

enum End {
    Asked,
    BusGone,
}

enum News {
    Stop,
    BusGone,
    Acquired,
    Lost,
}

struct Open {
    connection: Connection,
    jobs: Arc<Jobs>,
    bus: DBusProxy<'static>,
    news: futures_util::stream::LocalBoxStream<'static, News>,
}

/// The state that all connections of an incarnation share.
struct Session<'a, L: Net> {
    service: &'a DbusService,
    sparts: Option<Sparts>,
    name: WellKnownName<'static>,
    calls: CallCounts,
    owned: Gauge,
    cx: &'a Context<L, DbusOptions>,
}

impl<L: Net> Session<'_, L> {
    /// Connects, and asks for the name.
    async fn open(&self) -> Result<Open> {
        let mut builder = self.service.bus.builder();
        let jobs = Arc::<Jobs>::default();
        let permit = {
            let (action, target) = (self.service.action.clone(), self.calls.target.clone());
            Arc::new(Permit::new(action, LoopRuntime::new(jobs.clone()), self.cx.shutdown(), target))
        };
        if self.service.has_control {
            let control = Control { service: self.cx.service().clone(), permit: permit.clone() };
            builder = builder.serve_at(SERVICE_PATH, Guarded::new(control, &self.calls));
        }
        if let Some(sparts) = &self.sparts {
            builder = sparts.serve(builder, &self.calls, &permit);
        }
        for add in &self.service.objects {
            builder = add(builder, &self.calls);
        }
        let (connection, driving) = build(self.cx, builder, jobs.clone()).await?;
        let bus = DBusProxy::new(&connection).await?;
        let closed = connection.clone();
        // Listen before asking.
        let (ours, own) = (self.name.clone(), self.name.clone());
        let lost = bus.receive_name_lost().await?.filter_map(move |signal| {
            let is_ours = signal.args().is_ok_and(|args| args.name.as_str() == ours.as_str());
            std::future::ready(is_ours.then_some(News::Lost))
        });
        let acquired = bus.receive_name_acquired().await?.filter_map(move |signal| {
            let is_ours = signal.args().is_ok_and(|args| args.name.as_str() == own.as_str());
            std::future::ready(is_ours.then_some(News::Acquired))
        });
        let closed = futures_util::stream::once(async move {
            closed.closed().await;
            News::BusGone
        });
        let news = futures_util::stream::select(futures_util::stream::select(lost, acquired), closed).boxed_local();

        self.owned.set(0.0);
        let (replace, queue) = (self.service.replace, self.service.queue);
        match bus.request_name(self.name.clone(), flags(replace, queue)).await? {
            RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner => {
                self.is_owner();
                if self.service.lost == Lost::Wait && !queue {
                    // After another request the bus remembers that it may put this connection into the queue if the
                    // name is taken.
                    bus.request_name(self.name.clone(), flags(replace, true)).await?;
                }
            }
            RequestNameReply::InQueue => self.is_queued(),
            RequestNameReply::Exists => {
                let task = self.cx.name();
                return Err(Error::new(format!(
                    "the name {} is taken (--{task}-replace would take it, --{task}-queue wait for it)",
                    self.name
                )));
            }
        }
        driving.keep();
        Ok(Open { connection, jobs, bus, news })
    }

    fn is_owner(&self) {
        self.owned.set(1.0);
        self.cx.clear_warning("name");
        log::info!(target: self.cx.target(), "is {} on the bus", self.name);
    }

    fn is_queued(&self) {
        self.owned.set(0.0);
        self.cx.warn("name", format_args!("{} is another's; in the queue for it", self.name));
    }

    /// Serves until the stop, or the connection's end.
    async fn serve(&self, open: Open) -> Result<End> {
        let Open { connection, jobs, bus, mut news } = open;
        let shown = self.service.handle.show(&connection);
        self.cx.ready();
        let mut children = Vec::new();
        if self.service.has_control {
            let tell = tell_transitions(self.cx.service().clone(), connection.clone());
            children.push(self.cx.spawn_local(tell).cancel_on_drop());
        }
        for run in &self.service.on_connect {
            let (run, target) = (run(connection.clone()), self.cx.target().to_owned());
            let run = async move {
                if let Err(error) = run.await {
                    log::error!(target: &target, "on the bus: {error}");
                }
            };
            children.push(self.cx.spawn_local(run).cancel_on_drop());
        }

        let losses = self.cx.meter().namespace("interloop_dbus").counter("name_losses");
        let end = loop {
            let next = self.cx.run_until_shutdown(news.next()).await;
            match next.map_or(News::Stop, |news| news.unwrap_or(News::BusGone)) {
                News::Stop => break Ok(End::Asked),
                News::BusGone => break Ok(End::BusGone),
                News::Acquired => self.is_owner(),
                News::Lost => {
                    losses.add(1);
                    if self.service.lost == Lost::Stop {
                        break Err(Error::new(format!("the name {} was taken by another", self.name)));
                    }
                    self.is_queued();
                }
            }
        };
        // A stream that nobody reads any more would hold up everything after it.
        drop(news);
        if !matches!(end, Ok(End::BusGone)) {
            let gone = connection.clone();
            // If the bus goes meanwhile, so do the callers that wait for an answer.
            select(pin!(async move { gone.closed().await }), pin!(self.leave(&connection, &bus, &jobs))).await;
        }
        drop((children, shown, bus));
        self.owned.set(0.0);
        let _ = connection.close().await;
        end
    }

    /// Releases the name, and answers the calls that have come.
    async fn leave(&self, connection: &Connection, bus: &DBusProxy<'_>, jobs: &Jobs) {
        let farewell = async {
            if let Err(error) = bus.release_name(self.name.clone()).await {
                log::debug!(target: self.cx.target(), "{} is not released: {error}", self.name);
            }
            // The bus keeps the order: when this returns, all calls sent to the name have begun.
            if let Some(own) = connection.unique_name() {
                let _ = connection.call_method(Some(own), "/", Some("org.freedesktop.DBus.Peer"), "Ping", &()).await;
            }
        };
        let deadline = self.cx.shutdown().deadline();
        let rest = deadline.map(|deadline| deadline.saturating_duration_since(self.cx.now()) / 2);
        let limit = rest.map_or(FAREWELL, |rest| rest.min(FAREWELL));
        if self.cx.timeout(limit, farewell).await.is_err() {
            // Nobody would get an answer either.
            log::warn!(target: self.cx.target(), "the bus has said nothing for {limit:?}: leaving without a word");
            return;
        }
        jobs.seal();
        poll_fn(|poller| jobs.poll_settled(poller)).await;
    }
}

fn flags(replace: bool, queue: bool) -> RequestNameFlags {
    let mut flags = RequestNameFlags::empty();
    flags.set(RequestNameFlags::ALLOW_REPLACEMENT, replace);
    flags.set(RequestNameFlags::REPLACE_EXISTING, replace);
    flags.set(RequestNameFlags::DO_NOT_QUEUE, !queue);
    flags
}
