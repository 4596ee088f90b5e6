//! The server: a task that listens, hands connections out, and serves them to their end.

mod from_fn;

use std::{cell::Cell, fmt, future::poll_fn, sync::Arc, task::Context as Poller, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use interloop::{Context, Result, Task, net::Net, options::OptionDefaults};
use interloop_listen::{Addresses, Ends, Listen, Permit, Permits, Place, Spare};
use tower_service::Service;

pub use self::from_fn::FromFn;
#[cfg(feature = "tls")]
use crate::secure;
use crate::{
    accepting::Accepting,
    body::{Body, BoxError},
    connection,
    counts::Counts,
    cut_off::CutOff,
    net::{self, Host},
    options::{HttpOptions, LEAST_HEADER_SIZE},
    peer::{Peer, PeerExtensions},
    settings::Settings,
    shared::Server,
    timers::{Clock, Timers},
};

/// An HTTP server: a task that serves any tower service, such as an axum `Router`. It speaks HTTP/1.1 and, with the
/// feature `http2`, HTTP/2, unencrypted or, with the feature `tls`, over TLS.
///
/// It runs on any loop with sockets. On tokio it uses tokio's sockets directly, and the workers, if there are any,
/// serve. On all other loops handlers run on the loop's thread, and a handler that blocks it blocks everything there. A
/// connection that such a handler upgrades works on that thread alone; on other threads each operation returns an
/// error.
///
/// It is ready when it listens, and logs `server started on 127.0.0.1:8000` for each address. When asked to stop, it
/// stops listening, lets open requests finish and closes idle connections at once. A connection with an incomplete
/// request gets one second; a connection whose client takes nothing of its response, or is silent on a gRPC stream,
/// gets five. The server ends when the last connection has ended, or when its stop timeout cancels it. Shortly before
/// that it cuts off everything that waits for a client: only handlers are cancelled. From the moment that the service
/// is asked to stop, which includes the drain delay, each response over HTTP/1.1 has `Connection: close`, and
/// connections of HTTP/2 get `GOAWAY`.
///
/// Each request carries [`interloop::Shutdown`] as an extension, which tells handlers of long-lived responses
/// (server-sent events, WebSockets) when to end; with [`with_peers`](Self::with_peers) also its [`Peer`]. A handler's
/// panic is logged, counted and answered with 500, and has no other effect.
///
/// A client that closes its half of the connection gets the responses to all its requests; a handler that is at work
/// then has the idle timeout to complete its response. When a client resets its connection, its handlers are dropped. A
/// ping detects a client of HTTP/2 that has closed its connection rather than its half. (On Linux; elsewhere a client
/// of HTTP/1 that closes its half counts as gone.) A handler may respond before it has read the request's body: the
/// client gets the response even if it sends all of the body first, up to 64 MiB in 10 s.
///
/// The values set in code are defaults: the options `--{task}-host`, `--{task}-port` ... take precedence. Counters:
/// `requests`, `responses` by `status`, `connections`, `times_full`, `slow_clients`, `panics`, `received_bytes`, `sent_bytes`, and
/// with TLS `tls_handshakes`, `tls_handshake_failures`; gauges: `open_connections`; histogram: `request_duration`
/// (feature `metrics`), from a request's head to the end of its response, in seconds. Exported: `address`.
///
/// With the feature `tracing` each request is a span, `request`, in which its handler and the body of its response run.
///
/// An axum `Router` allocates less per request after [`with_state(())`], which `axum::serve` calls itself.
///
/// [`with_state(())`]: https://docs.rs/axum/latest/axum/struct.Router.html#a-note-about-performance
///
/// axum's extractors have [a limit of their own](https://docs.rs/axum/latest/axum/extract/struct.DefaultBodyLimit.html)
/// of 2 MB: to allow more, raise both.
///
/// ```no_run
/// use axum::{Extension, Router, routing::get};
/// use interloop::{Service, Shutdown};
/// use interloop_http::HttpServer;
/// use interloop_tokio::Tokio;
///
/// async fn wait(Extension(shutdown): Extension<Shutdown>) -> &'static str {
///     shutdown.requested().await;
///     "that's it\n"
/// }
///
/// let mut service = Service::new("patient");
/// service.task_on::<Tokio>("http", HttpServer::new(Router::new().route("/wait", get(wait))).port(8000));
/// service.run();
/// ```
pub struct HttpServer<S> {
    service: S,
    listen: Listen,
    pub(crate) code: HttpOptions,
    peers: PeerExtensions,
    addresses: Addresses,
}

impl<S> HttpServer<S> {
    /// Serves this service: an axum `Router`, or any tower service from [`Request<Body>`](Body) to a response.
    ///
    /// It listens on 127.0.0.1, on any free port, unless told otherwise. [`from_fn`](HttpServer::from_fn) serves a
    /// service that must be built first.
    pub fn new(service: S) -> Self {
        Self {
            service,
            listen: Listen::new(),
            code: HttpOptions::default(),
            peers: PeerExtensions::default(),
            addresses: Addresses::default(),
        }
    }

    /// Sets how it listens. Several calls are merged: hosts and listeners are added, and all else overrides earlier
    /// values. A `TcpListener` or a `UnixListener` of std works, too: see
    /// [`Listen`](Listen#sockets-that-are-bound-already).
    ///
    /// ```
    /// # use interloop_http::HttpServer;
    /// # let router = axum::Router::<()>::new();
    /// use interloop_http::Listen;
    ///
    /// let server = HttpServer::new(router).listen(Listen::port(8000).unix("/run/hello.sock").unix_group("www"));
    /// ```
    #[must_use]
    pub fn listen(mut self, listen: impl Into<Listen>) -> Self {
        self.listen.merge(listen.into());
        self
    }

    interloop_listen::listen_setters!();

    /// Sets the maximum length of a request's head, in bytes: 64 KiB by default, 8 KiB at least. Longer ones are
    /// answered with 431.
    #[must_use]
    pub fn max_header_size(mut self, bytes: usize) -> Self {
        self.code.max_header_size = Some(bytes.max(LEAST_HEADER_SIZE));
        self
    }

    /// Sets the maximum length of a request's body, in bytes: 2 MiB by default. Longer ones are answered with 413.
    #[must_use]
    pub fn max_body_size(mut self, bytes: usize) -> Self {
        self.code.max_body_size = Some(bytes);
        self
    }

    /// Sets how long a connection may be idle between two requests: 60 s by default, zero is no limit. It also bounds
    /// how far a client may fall behind the [minimum rate](Listen::min_rate). It is exact to a quarter of the time.
    #[must_use]
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.code.idle_timeout = Some(time);
        self
    }

    /// Sets how long a client may take to send the head of a request, for the first one from the start of the
    /// connection: 15 s by default, zero is no limit.
    #[must_use]
    pub fn header_timeout(mut self, time: Duration) -> Self {
        self.code.header_timeout = Some(time);
        self
    }

    /// Sets when HTTP/2 clients are pinged: a client that has requests open gets a ping after `interval` of silence,
    /// and its connection is closed if it leaves the ping unanswered for `timeout`: 60 s and 20 s by default. An
    /// interval of zero is never. Connections without open requests are left alone.
    #[cfg(feature = "http2")]
    #[must_use]
    pub fn ping(self, interval: Duration, timeout: Duration) -> Self {
        self.ping_interval(interval).ping_timeout(timeout)
    }

    /// Sets the silence after which an HTTP/2 client that has requests open gets a ping: 60 s by default, zero is
    /// never.
    #[cfg(feature = "http2")]
    #[must_use]
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.code.ping_interval = Some(interval);
        self
    }

    /// Sets how long an HTTP/2 client may leave a [ping](Self::ping_interval) unanswered before its connection is
    /// closed: 20 s by default.
    #[cfg(feature = "http2")]
    #[must_use]
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.code.ping_timeout = Some(timeout);
        self
    }

    /// Sets how many requests an HTTP/2 connection may have open at once: 200 by default, 1 at least. The client is
    /// told the limit, and further requests wait there.
    #[cfg(feature = "http2")]
    #[must_use]
    pub fn max_streams(mut self, requests: u32) -> Self {
        self.code.max_streams = Some(requests);
        self
    }

    /// Makes each request carry a second extension, the [`Peer`] that it comes from.
    #[must_use]
    pub fn with_peers(self) -> Self {
        self.with_peers_as(Some)
    }

    /// Works as [`with_peers`](Self::with_peers), with an extension of the caller's own, which is created for each
    /// request; None inserts nothing. With axum's `ConnectInfo` it replaces `into_make_service_with_connect_info`:
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::{Router, extract::ConnectInfo, routing::get};
    /// use interloop_http::HttpServer;
    ///
    /// let from = async |ConnectInfo(from): ConnectInfo<SocketAddr>| from.to_string();
    /// let router: Router = Router::new().route("/", get(from));
    /// let server = HttpServer::new(router).with_peers_as(|peer| peer.address().map(ConnectInfo));
    /// ```
    ///
    /// A client of a Unix socket (`--http-unix`) has no address, so the extractor `ConnectInfo` answers it with 500:
    /// handlers for both kinds of clients take an `Option<Extension<ConnectInfo<SocketAddr>>>`. `make` may be called on any thread; a panic in it counts as the
    /// handler's.
    #[must_use]
    pub fn with_peers_as<T: Clone + Send + Sync + 'static>(
        mut self,
        make: impl Fn(Peer) -> Option<T> + Send + Sync + 'static,
    ) -> Self {
        self.peers.add(make);
        self
    }

    /// Returns the addresses it listens on, known once it does. They are usable from any thread; call this before the
    /// server is given to the service.
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Makes these the server's [`addresses`](Self::addresses): for a server that is recreated for each incarnation.
    ///
    /// ```
    /// # use interloop::Service;
    /// # use interloop_http::{Addresses, HttpServer};
    /// # let router = axum::Router::<()>::new();
    /// # let mut service = Service::new("hello");
    /// let addresses = Addresses::new();
    /// let announced = addresses.clone();
    /// service.task_with::<interloop::Thread>("http", move || HttpServer::new(router.clone()).announce_to(announced.clone()));
    /// ```
    #[must_use]
    pub fn announce_to(mut self, addresses: Addresses) -> Self {
        self.addresses = addresses;
        self
    }

    /// Serves another service as a part of another task, whose options [contain](interloop::clap::Args) those of the
    /// server: the equivalent of `run`, for transports that are built on this one. The service is created on the loop's
    /// thread, once, with the server's [`Timers`].
    ///
    /// # Errors
    ///
    /// Returns an error if it can't listen, or the loop can't take its sockets.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the server; its connections are children of the task.
    pub async fn serve_with<L, O, T, B>(
        &self,
        cx: &Context<L, O>,
        options: &HttpOptions,
        service: impl FnOnce(&Timers) -> T,
    ) -> Result
    where
        L: Net,
        O: 'static,
        T: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        T::Future: Send,
        T::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let settings = Settings::new(options, &self.code, &self.listen, &self.peers)?;
        serve(cx, settings, service, &self.addresses).await
    }

    /// Returns what [`Task::defaults`] of such a task must contain: the values that the code has set for these options.
    pub fn defaults(&self) -> OptionDefaults {
        self.listen.defaults(cfg!(feature = "tls")).and(self.code.defaults())
    }

    /// Checks the TLS files that these options or the code name, for [`Task::check`] of such a task.
    ///
    /// # Errors
    ///
    /// Returns what is wrong.
    pub fn check(&self, options: &HttpOptions) -> Result {
        #[cfg(feature = "tls")]
        return self.listen.check_tls(&options.tls);
        #[cfg(not(feature = "tls"))]
        {
            let _ = options;
            self.listen.check_without_tls()
        }
    }
}

impl<L, S, B> Task<L> for HttpServer<S>
where
    L: Net,
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Options = HttpOptions;

    async fn run(&mut self, cx: Context<L, HttpOptions>) -> Result {
        let service = self.service.clone();
        self.serve_with(&cx, cx.options(), |_| service).await
    }

    fn defaults(&self) -> OptionDefaults {
        self.defaults()
    }

    fn check(&self, options: &HttpOptions) -> Result {
        self.check(options)
    }
}

impl<S> Drop for HttpServer<S> {
    fn drop(&mut self) {
        // It may never have been started.
        self.addresses.set_ended();
    }
}

impl<S> fmt::Debug for HttpServer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer").field("listen", &self.listen).field("code", &self.code).finish_non_exhaustive()
    }
}

/// Listens and serves, for a task's whole life. The service is created once its timers exist.
pub(crate) async fn serve<L, O, S, B>(
    cx: &Context<L, O>,
    settings: Settings,
    service: impl FnOnce(&Timers) -> S,
    addresses: &Addresses,
) -> Result
where
    L: Net,
    O: 'static,
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    #[cfg(feature = "tokio")]
    if let Some(cx) = (cx as &dyn std::any::Any).downcast_ref::<Context<interloop_tokio::Tokio, O>>() {
        return serve_at(&net::Direct(cx), settings, service, addresses).await;
    }
    serve_at(&net::Neutral::new(cx), settings, service, addresses).await
}

async fn serve_at<H, S, B>(
    host: &H,
    settings: Settings,
    service: impl FnOnce(&Timers) -> S,
    addresses: &Addresses,
) -> Result
where
    H: Host,
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let cx = host.cx();
    // Also when this future is dropped.
    let _announced = addresses.until_dropped();
    let mut clock = Clock::new(host.alarm()?);
    let ends = Ends::new(cx)?;
    let service = service(&clock.timers);
    let server = Arc::new(Server {
        target: cx.target().to_owned(),
        shutdown: cx.shutdown(),
        draining: cx.service().shutdown(),
        limits: settings.limits,
        peers: settings.peers,
        timers: clock.timers.clone(),
        ends: ends.handle(),
        counts: Counts::new(cx),
        #[cfg(feature = "websocket")]
        handlers: handlers(cx),
        cut_off: CutOff::default(),
        #[cfg(feature = "http2")]
        has_told: std::sync::atomic::AtomicBool::new(false),
    });
    let permits = Permits::new(settings.place.connections, server.counts.open_connections.clone())
        .tell_full(cx.target(), server.counts.times_full.clone());
    #[cfg(feature = "tls")]
    let tls = secure::open(cx, settings.tls.as_ref())?;
    // Opened before anybody knows the addresses.
    let spare = settings.with_spare.then(Spare::new).transpose()?;
    let listeners = listen(host, &settings.place, addresses).await?;
    let mut accepting = Accepting { host, listeners, permits, spare, lent: Cell::new(false) };
    let serve = |stream: H::Stream, peer: Peer, permit: Permit| {
        server.counts.connections.add(1);
        #[cfg(feature = "tls")]
        if let Some(tls) = &tls {
            host.spawn(secure::serve(tls.acceptor(), stream, peer, server.clone(), permit, service.clone()));
            return;
        }
        host.spawn(connection::serve(stream, peer, server.clone(), permit, service.clone()));
    };
    let mut beside = |poller: &mut Poller<'_>| {
        clock.poll(poller)?;
        ends.poll(poller)
    };

    accepting.until_the_stop(&mut beside, &serve).await?;
    let permits = accepting.close(serve);
    poll_fn(|poller| {
        beside(poller)?;
        #[cfg(feature = "websocket")]
        if server.handlers.poll_empty(poller).is_pending() {
            return std::task::Poll::Pending;
        }
        permits.poll_empty(poller).map(Ok)
    })
    .await
}

#[cfg(feature = "websocket")]
fn handlers<L: interloop::EventLoop, O: 'static>(cx: &Context<L, O>) -> Permits {
    let gauge = cx.meter().namespace("interloop_http").gauge("websocket_handlers");
    // Handlers that an earlier incarnation left running are gone.
    gauge.set(0.0);
    Permits::new(usize::MAX, gauge)
}

async fn listen<H: Host>(host: &H, place: &Place, addresses: &Addresses) -> Result<Vec<H::Listener>> {
    let cx = host.cx();
    let bound = interloop_listen::bind(cx, place).await?;
    let mut listeners = Vec::with_capacity(bound.len());
    let mut known = Vec::with_capacity(bound.len());
    for (socket, address) in bound {
        listeners.push(host.listen(socket)?);
        known.push(address);
    }
    addresses.announce(cx, known);
    Ok(listeners)
}
