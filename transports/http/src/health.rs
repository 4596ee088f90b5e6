//! Health checks, on an address of their own.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as Poller, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use interloop::{
    Context, Error, Result, Service, ServiceHandle, State, Task, clap,
    net::Net,
    options::{OptionDefaults, duration},
    service::{BlockedLoop, Heartbeat, Phase, TaskSettings},
};
use interloop_listen::{Addresses, Listen, ListenOptions};

#[cfg(feature = "metrics")]
use crate::metrics_text::Text;
use crate::{
    body::Body,
    hosts::{Hosts, Refused, allowed_host},
    options::HttpOptions,
    peer::PeerExtensions,
    server,
    settings::Settings,
    timers::{Timer, Timers},
};

/// How long a loop may take to answer a heartbeat.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// Adds the task `health`: a [`Health`] on a loop of its own, also named `health`, so that no busy loop can keep it
/// from answering. The loop is a [`Thread`](interloop::Thread), or tokio where threads have no sockets. The task is
/// [`first`](TaskSettings::first) to start and [`last`](TaskSettings::last) to stop, so it answers from before the
/// others start until they have ended.
///
/// ```
/// use interloop::Service;
///
/// let mut service = Service::new("hello");
/// interloop_http::health(&mut service).set("port", 8001);
/// ```
#[cfg(any(target_os = "linux", feature = "tokio"))]
pub fn health(service: &mut Service) -> &mut TaskSettings {
    #[cfg(target_os = "linux")]
    use interloop::Thread as Own;
    #[cfg(not(target_os = "linux"))]
    use interloop_tokio::Tokio as Own;
    add::<Own>(service)
}

#[cfg(any(target_os = "linux", feature = "tokio"))]
fn add<L: Net>(service: &mut Service) -> &mut TaskSettings {
    service.event_loop("health", L::default());
    service.task_on::<L>("health", Health::new()).on("health").first().last()
}

/// Health checks for a supervisor of the process. The task runs on any loop with sockets, best on one of its own, and
/// [`last`](TaskSettings::last) to stop: see [`health()`].
///
/// * `/livez`: 200 if every loop answers a heartbeat through its own mailbox within 5 s (a thread whose only task may
///   block it isn't [asked](ServiceHandle::heartbeats)); 503 names those that don't,
///   and what [blocks](interloop::service::BlockedLoop) them, if that is known. This is also logged, once.
/// * `/readyz`: 200 if all tasks run and no stop was requested; 503 names those that don't run.
/// * `/startupz`: 200 once startup is complete.
/// * `/metrics` (feature `metrics`): all [counters](interloop::counters::Counters) of the service, in Prometheus' text
///   format, or as OpenMetrics if the client prefers that (`Accept`).
/// * `/status` (feature `status`): the service's [`Status`](interloop::Status) as JSON.
///
/// The first three answer everybody. The others reveal details of the service, so they answer only requests for a known
/// host: an IP address, `localhost`, the machine's own names, the hosts it listens on, and those that are
/// [allowed](Self::allow_host). A page of another site whose name points here can therefore not read them (DNS
/// rebinding). A request without a host, and any over a Unix socket, is answered too; others get a 421.
///
/// Nothing runs between two requests.
#[derive(Debug)]
pub struct Health {
    listen: Listen,
    addresses: Addresses,
    heartbeat_timeout: Duration,
    allow_host: Vec<String>,
}

impl Health {
    /// Creates one that listens on 127.0.0.1, on any free port, unless told otherwise.
    pub fn new() -> Self {
        Self {
            listen: Listen::new(),
            addresses: Addresses::default(),
            heartbeat_timeout: HEARTBEAT_TIMEOUT,
            allow_host: Vec::new(),
        }
    }

    /// Sets how it listens. Several calls are merged: hosts and listeners are added, and all else overrides earlier
    /// values. A `TcpListener` or a `UnixListener` of std works, too: see
    /// [`Listen`](Listen#sockets-that-are-bound-already).
    #[must_use]
    pub fn listen(mut self, listen: impl Into<Listen>) -> Self {
        self.listen.merge(listen.into());
        self
    }

    interloop_listen::listen_setters!();

    /// Sets how long a loop may take to answer a heartbeat: 5 s by default.
    #[must_use]
    pub fn heartbeat_timeout(mut self, time: Duration) -> Self {
        self.heartbeat_timeout = time;
        self
    }

    /// Reveals details also in answers to requests for this host name, in addition to others that were named:
    /// `metrics.example.org`, all names below `*.example.org`, or any host, `*`.
    #[must_use]
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.allow_host.push(host.into());
        self
    }

    /// Returns the addresses it listens on, known once it does.
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

/// The options of [`Health`], each prefixed with the task's name: `--health-port`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct HealthOptions {
    #[command(flatten)]
    listen: ListenOptions,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: interloop_listen::TlsOptions,

    /// Reveal details of the service also in answers to requests for one of these hosts: a name, *.example.org, or *;
    /// addresses, localhost and the machine's own names are always included
    #[arg(long, value_name = "HOST", value_delimiter = ',', value_parser = allowed_host)]
    allow_host: Vec<String>,

    /// How long a loop may take to answer a heartbeat (default: 5s)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    heartbeat_timeout: Option<Duration>,
}

impl<L: Net> Task<L> for Health {
    type Options = HealthOptions;

    async fn run(&mut self, cx: Context<L, HealthOptions>) -> Result {
        let own = cx.options().clone();
        let options = HttpOptions {
            listen: own.listen,
            #[cfg(feature = "tls")]
            tls: own.tls,
            ..HttpOptions::default()
        };
        let mut settings = Settings::new(&options, &HttpOptions::default(), &self.listen, &PeerExtensions::of_peers())?;
        let allowed = if own.allow_host.is_empty() { &self.allow_host } else { &own.allow_host };
        let hosts = Hosts::new(allowed.iter().chain(&settings.place.hosts).map(String::as_str));
        settings.with_spare = true;
        let timeout = own.heartbeat_timeout.unwrap_or(self.heartbeat_timeout);
        let (service, task, target) = (cx.service().clone(), cx.name().to_owned(), cx.target().to_owned());
        let checks = |timers: &Timers| {
            let refused = AtomicBool::new(false);
            Checks(Arc::new(Inner { service, task, target, timeout, timers: timers.clone(), hosts, refused }))
        };
        server::serve(&cx, settings, checks, &self.addresses).await
    }

    fn defaults(&self) -> OptionDefaults {
        let defaults = self
            .listen
            .defaults(cfg!(feature = "tls"))
            .with_duration("heartbeat-timeout", Some(self.heartbeat_timeout));
        self.allow_host.iter().fold(defaults, |defaults, host| defaults.with("allow-host", host))
    }

    fn check(&self, options: &HealthOptions) -> Result {
        for host in &self.allow_host {
            allowed_host(host).map_err(|why| Error::new(format!("{host:?} can't be allowed: {why}")))?;
        }
        #[cfg(feature = "tls")]
        return self.listen.check_tls(&options.tls);
        #[cfg(not(feature = "tls"))]
        {
            let _ = options;
            self.listen.check_without_tls()
        }
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.addresses.set_ended();
    }
}

/// The checks as a tower service.
#[derive(Clone)]
struct Checks(Arc<Inner>);

struct Inner {
    service: ServiceHandle,
    task: String,
    target: String,
    timeout: Duration,
    timers: Timers,
    hosts: Hosts,
    /// Whether a request for an unknown host has been logged: once is enough.
    refused: AtomicBool,
}

impl tower_service::Service<Request<Body>> for Checks {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Poller<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.0.clone();
        Box::pin(async move { Ok(this.answer(&request).await) })
    }
}

/// The pages. All but the probes reveal details of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Live,
    Ready,
    Started,
    #[cfg(feature = "metrics")]
    Metrics,
    #[cfg(feature = "status")]
    Status,
}

const PAGES: &[(&str, Page)] = &[
    ("/livez", Page::Live),
    ("/readyz", Page::Ready),
    ("/startupz", Page::Started),
    #[cfg(feature = "metrics")]
    ("/metrics", Page::Metrics),
    #[cfg(feature = "status")]
    ("/status", Page::Status),
];

impl Inner {
    async fn answer(&self, request: &Request<Body>) -> Response<Full<Bytes>> {
        let Some((_, page)) = PAGES.iter().find(|(path, _)| *path == request.uri().path()) else {
            let paths = PAGES.iter().map(|(path, _)| *path).collect::<Vec<_>>();
            return text(StatusCode::NOT_FOUND, &format!("there is {}", paths.join(", ")));
        };
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        if !matches!(page, Page::Live | Page::Ready | Page::Started)
            && let Err(refused) = self.hosts.check(request)
        {
            return self.refuse(&refused);
        }
        match page {
            Page::Live => verdict(self.not_alive().await),
            Page::Ready => verdict(self.not_ready()),
            Page::Started => verdict(self.not_started()),
            #[cfg(feature = "metrics")]
            Page::Metrics => {
                let (text, counters) = (Text::wanted(request.headers()), self.service.counters());
                let body = match text {
                    Text::Prometheus => counters.prometheus(),
                    Text::OpenMetrics => counters.openmetrics(),
                };
                let mut response = response(StatusCode::OK, text.kind(), body.into());
                response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
                response
            }
            #[cfg(feature = "status")]
            Page::Status => match serde_json::to_vec(&self.service.status()) {
                Ok(json) => response(StatusCode::OK, "application/json", json.into()),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            },
        }
    }

    fn refuse(&self, refused: &Refused) -> Response<Full<Bytes>> {
        let Refused::Unknown(host) = refused else { return text(StatusCode::BAD_REQUEST, &refused.to_string()) };
        let why = format!("{refused}: --{}-allow-host {host}", self.task);
        if !self.refused.swap(true, Ordering::Relaxed) {
            log::warn!(target: &self.target, "a request was refused: {why}");
        }
        text(StatusCode::MISDIRECTED_REQUEST, &why)
    }

    /// Returns which loops did not answer in time.
    async fn not_alive(&self) -> Option<String> {
        let mut asked = self.service.heartbeats();
        let mut late = Timer::new(&self.timers);
        late.set(self.timeout);
        std::future::poll_fn(|cx| {
            // A loop that has ended meanwhile isn't stuck.
            asked.retain_mut(|beat| Pin::new(&mut beat.reply).poll(cx).is_pending());
            if asked.is_empty() { Poll::Ready(()) } else { late.poll(cx) }
        })
        .await;
        let mut why = vec![match asked.len() {
            0 => return None,
            1 => format!("loop {} has not answered for {} s", names(&asked), self.timeout.as_secs_f64()),
            _ => format!("loops {} have not answered for {} s", names(&asked), self.timeout.as_secs_f64()),
        }];
        let is_late = |blocked: &BlockedLoop| asked.iter().any(|beat| *beat.name == *blocked.name);
        let blocked = self.service.blocked_loops().into_iter().filter(is_late);
        why.extend(blocked.map(|blocked| blocked.to_string()));
        Some(why.join("\n"))
    }

    fn not_ready(&self) -> Option<String> {
        if self.service.is_ready() {
            return None;
        }
        let status = self.service.status();
        let mut why = vec![match &status.reason {
            Some(reason) => format!("{} ({reason})", status.phase),
            None => status.phase.to_string(),
        }];
        let idle = status.tasks.iter().filter(|task| task.state != State::Running);
        why.extend(idle.map(|task| format!("task {} is {}", task.name, task.state)));
        Some(why.join("\n"))
    }

    fn not_started(&self) -> Option<String> {
        let phase = self.service.phase();
        (phase < Phase::Running).then(|| phase.to_string())
    }
}

fn names(asked: &[Heartbeat]) -> String {
    asked.iter().map(|beat| &*beat.name).collect::<Vec<_>>().join(", ")
}

fn verdict(problem: Option<String>) -> Response<Full<Bytes>> {
    match problem {
        None => text(StatusCode::OK, "ok"),
        Some(problem) => text(StatusCode::SERVICE_UNAVAILABLE, &problem),
    }
}

fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", format!("{line}\n").into())
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checks").field("service", &self.0.service.name()).finish_non_exhaustive()
    }
}
