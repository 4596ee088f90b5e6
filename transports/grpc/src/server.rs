//! The server: a task on top of the HTTP server.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use http::{Request, Response};
use interloop::{Context, Result, Task, net::Net, options::OptionDefaults};
use interloop_http::{Addresses, HttpServer, Listen};
use tonic::{body::Body, server::NamedService};
use tower_service::Service;

use crate::{
    call::Calls,
    counts::Counts,
    health,
    options::GrpcOptions,
    reflection::{self, FileSets, Reflection},
    routes::Routes,
};

/// A gRPC server: a task that serves tonic's generated services over HTTP/2, unencrypted or, with the feature `tls`,
/// over TLS, on any loop with sockets.
///
/// Calls are routed by the name of their service. A call to an unknown service is answered with `UNIMPLEMENTED`, and a
/// handler's panic with `INTERNAL`, without any other effect. The loop's own timers enforce a call's deadline
/// (`grpc-timeout`): past it the handler, or the stream that it returned, is dropped, and the client gets
/// `DEADLINE_EXCEEDED`. If the client gives up, they are dropped too. A request that isn't gRPC is answered by an HTTP
/// status: 415, 405, 505.
///
/// When asked to stop, it tells its clients (GOAWAY), lets open calls finish, and ends when the last one has ended, or
/// when its stop timeout cancels it. Each request carries [`interloop::Shutdown`] as an extension, which tells long
/// streams when to end.
///
/// The values set in code are defaults: the options `--{task}-host`, `--{task}-port` ... take precedence. Counters and
/// gauges: those of [`HttpServer`], and `calls`, `call_duration`, `unknown_methods`, which the crate docs describe.
///
/// ```no_run
/// use interloop::{Service, Thread};
/// use interloop_grpc::GrpcServer;
///
/// let mut service = Service::new("checked");
/// service.task_on::<Thread>("grpc", GrpcServer::new().with_health());
/// service.run();
/// ```
pub struct GrpcServer {
    http: HttpServer<()>,
    routes: Routes,
    with_health: bool,
    max_body_size: Option<usize>,
    /// None without reflection.
    described: Option<FileSets>,
}

impl GrpcServer {
    /// Creates a server without services.
    ///
    /// It listens on 127.0.0.1, on any free port, unless told otherwise.
    pub fn new() -> Self {
        // HTTP can't express that a call is too long: calls have limits of their own.
        let http = HttpServer::new(()).max_body_size(usize::MAX);
        Self { http, routes: Routes::default(), with_health: false, max_body_size: None, described: None }
    }

    /// Adds a service: a server that tonic has generated, with an interceptor if wanted. If two have the same name, the
    /// last one is used.
    #[must_use]
    pub fn add_service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes.add(S::NAME, service);
        self
    }

    /// Answers health checks, `grpc.health.v1.Health`: `""` is serving when the service is
    /// [ready](interloop::ServiceHandle::is_ready), and a task's name when that task runs. `Watch` reports changes, and
    /// ends when this task is asked to stop.
    #[must_use]
    pub fn with_health(mut self) -> Self {
        self.with_health = true;
        self
    }

    /// Answers reflection, `grpc.reflection.v1` and `v1alpha`: grpcurl and similar tools call the services without
    /// their `.proto` files. The list contains the services that are served; their descriptions come from these sets,
    /// serialized `FileDescriptorSet`s, which `file_descriptor_set_path` of tonic-prost-build writes, or `protoc
    /// --include_imports --descriptor_set_out`. Those of health and of reflection itself are included. A second call
    /// adds to the first.
    ///
    /// If a set can't be read, or lacks an import of one of its files, this is an error before anything starts.
    ///
    /// ```no_run
    /// # use interloop_grpc::GrpcServer;
    /// # const TALLY: &[u8] = &[];
    /// // const TALLY: &[u8] = tonic::include_file_descriptor_set!("tally");
    /// let server = GrpcServer::new().with_health().with_reflection([TALLY]);
    /// ```
    #[must_use]
    pub fn with_reflection<S: AsRef<[u8]>>(mut self, sets: impl IntoIterator<Item = S>) -> Self {
        let described = self.described.get_or_insert_default();
        sets.into_iter().for_each(|set| described.add(set.as_ref()));
        self
    }

    fn http(mut self, set: impl FnOnce(HttpServer<()>) -> HttpServer<()>) -> Self {
        self.http = set(self.http);
        self
    }

    /// Sets how it listens. Several calls are merged: hosts and listeners are added, and all else overrides earlier
    /// values. A `TcpListener` or a `UnixListener` of std works, too: see
    /// [`Listen`](Listen#sockets-that-are-bound-already).
    #[must_use]
    pub fn listen(self, listen: impl Into<Listen>) -> Self {
        self.http(|http| http.listen(listen))
    }

    interloop_listen::listen_setters!();

    /// Sets the maximum length of all messages of one call together, in bytes, as they are sent: no limit by default,
    /// since a stream may go on for ever. A call that exceeds it ends with `RESOURCE_EXHAUSTED`.
    ///
    /// The maximum length of one message, compressed and uncompressed, is set on the generated server, with
    /// `max_decoding_message_size`: 4 MiB by default. tonic ends calls with longer messages with `OUT_OF_RANGE`, or
    /// with `RESOURCE_EXHAUSTED` if the message was compressed.
    #[must_use]
    pub fn max_body_size(mut self, bytes: usize) -> Self {
        self.max_body_size = Some(bytes);
        self
    }

    /// Sets how long a connection may be idle between two calls: 60 s by default, zero is no limit.
    #[must_use]
    pub fn idle_timeout(self, time: Duration) -> Self {
        self.http(|http| http.idle_timeout(time))
    }

    /// Sets when clients are pinged: a client that has calls open gets a ping after `interval` of silence, and its
    /// connection is closed if it leaves the ping unanswered for `timeout`: 60 s and 20 s by default. An interval of
    /// zero is never. Connections without open calls are left alone.
    #[must_use]
    pub fn ping(self, interval: Duration, timeout: Duration) -> Self {
        self.http(|http| http.ping(interval, timeout))
    }

    /// Sets the silence after which a client that has calls open gets a ping: 60 s by default, zero is never.
    #[must_use]
    pub fn ping_interval(self, interval: Duration) -> Self {
        self.http(|http| http.ping_interval(interval))
    }

    /// Sets how long a client may leave a [ping](Self::ping_interval) unanswered before its connection is closed: 20 s
    /// by default.
    #[must_use]
    pub fn ping_timeout(self, timeout: Duration) -> Self {
        self.http(|http| http.ping_timeout(timeout))
    }

    /// Sets the maximum length of a call's metadata, in bytes: 64 KiB by default, 8 KiB at least.
    #[must_use]
    pub fn max_header_size(self, bytes: usize) -> Self {
        self.http(|http| http.max_header_size(bytes))
    }

    /// Sets how long a client may take to send the metadata of a call, for the first one from the start of the
    /// connection: 15 s by default, zero is no limit.
    #[must_use]
    pub fn header_timeout(self, time: Duration) -> Self {
        self.http(|http| http.header_timeout(time))
    }

    /// Sets how many calls a connection may have open at once: 200 by default, 1 at least. The client is told the
    /// limit, and further calls wait there.
    #[must_use]
    pub fn max_streams(self, calls: u32) -> Self {
        self.http(|http| http.max_streams(calls))
    }

    /// Makes each request carry a second extension, the [`Peer`](interloop_http::Peer) that it comes from.
    #[must_use]
    pub fn with_peers(self) -> Self {
        self.http(HttpServer::with_peers)
    }

    /// Returns the addresses it listens on, known once it does. They are usable from any thread; call this before the
    /// server is given to the service.
    pub fn addresses(&self) -> Addresses {
        self.http.addresses()
    }

    /// Makes these the server's [`addresses`](Self::addresses): for a server that is recreated for each incarnation.
    #[must_use]
    pub fn announce_to(self, addresses: Addresses) -> Self {
        self.http(|http| http.announce_to(addresses))
    }
}

impl<L: Net> Task<L> for GrpcServer {
    type Options = GrpcOptions;

    fn defaults(&self) -> OptionDefaults {
        self.http.defaults().without("max-body-size").with_some("max-body-size", self.max_body_size)
    }

    async fn run(&mut self, cx: Context<L, GrpcOptions>) -> Result {
        let mut routes = self.routes.clone();
        if self.with_health {
            let health = health::server(cx.service().clone(), cx.shutdown());
            routes.add("grpc.health.v1.Health", health);
        }
        if let Some(sets) = &self.described {
            let names = routes.names().chain(reflection::NAMES);
            let reflection = Reflection::new(sets, names, cx.shutdown())?;
            for name in reflection.undescribed() {
                log::warn!(target: cx.target(), "reflection has no file that describes {name}");
            }
            for name in reflection::NAMES {
                routes.add(name, reflection.clone());
            }
        }
        let counts = Arc::new(Counts::new(&cx));
        let mut options = cx.options().http.clone();
        let limit = options.take_max_body_size().or(self.max_body_size).unwrap_or(usize::MAX);
        self.http.serve_with(&cx, &options, |timers| Calls::new(routes, timers.clone(), counts, limit)).await
    }

    fn check(&self, options: &GrpcOptions) -> Result {
        self.described.as_ref().map_or(Ok(()), FileSets::check)?;
        self.http.check(&options.http)
    }
}

impl Default for GrpcServer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for GrpcServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcServer").field("http", &self.http).field("routes", &self.routes).finish_non_exhaustive()
    }
}
