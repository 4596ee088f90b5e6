//! The server: a task, over that of HTTP.

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

/// A gRPC server: a task that serves what tonic generates, over HTTP/2, in the clear or, with the feature `tls`, over
/// TLS, on any loop with sockets.
///
/// Calls are routed by the name of their service. One that there is not is answered with `UNIMPLEMENTED`, a handler's
/// panic with `INTERNAL`, and nothing else comes of it. A call's deadline (`grpc-timeout`) is kept by the loop's own
/// timers: past it the handler, or the stream that it returned, is dropped, and the client gets `DEADLINE_EXCEEDED`.
/// Where the client gives up, they are dropped too. What is no gRPC is answered by HTTP's means: 415, 405, 505.
///
/// Asked to stop, it says so to its clients (GOAWAY), lets open calls finish, and ends when the last one has, or when
/// its stop timeout cancels it. Each request carries [`interloop::Shutdown`] as an extension, by which long streams
/// learn that it is time to end.
///
/// What is set here are defaults: the options `--{task}-host`, `--{task}-port` ... go before. Counters and gauges:
/// those of [`HttpServer`], and `calls`, `call_duration`, `unknown_methods`, as the docs of the crate tell.
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
    /// A server without services.
    ///
    /// It listens on 127.0.0.1, on any free port, unless it is told otherwise.
    pub fn new() -> Self {
        // HTTP has no word for a call that is too long: calls have limits of their own.
        let http = HttpServer::new(()).max_body_size(usize::MAX);
        Self { http, routes: Routes::default(), with_health: false, max_body_size: None, described: None }
    }

    /// Serves this too: a server that tonic has generated, intercepted by choice. Of two with the same name, the last
    /// one counts.
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
    /// [ready](interloop::ServiceHandle::is_ready), a task's name when that task runs. `Watch` tells changes, and ends
    /// when this task is asked to stop.
    #[must_use]
    pub fn with_health(mut self) -> Self {
        self.with_health = true;
        self
    }

    /// Answers reflection, `grpc.reflection.v1` and `v1alpha`: grpcurl and its like call the services without having
    /// their `.proto` files. Listed is what is served; described is what these sets tell of, serialized
    /// `FileDescriptorSet`s: what `file_descriptor_set_path` of tonic-prost-build writes, or `protoc --include_imports
    /// --descriptor_set_out`. Those of health and of reflection itself are there. A second call adds to the first.
    ///
    /// A set that can't be read, or lacks what one of its files imports, is an error before anything starts.
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

    /// Listens so: what is said there is added to what was said before, and goes before it. A `TcpListener` or a
    /// `UnixListener` of std will do, too: see [`Listen`](Listen#sockets-that-are-bound-already).
    #[must_use]
    pub fn listen(self, listen: impl Into<Listen>) -> Self {
        self.http(|http| http.listen(listen))
    }

    interloop_listen::listen_setters!();

    /// How long all messages of one call may be together, in bytes, as they are sent: any length by default, since a
    /// stream needs no end. A call that has more ends with `RESOURCE_EXHAUSTED`.
    ///
    /// How long one message may be, compressed and not, is set at the generated server, by `max_decoding_message_size`:
    /// 4 MiB by default. tonic ends calls with longer ones with `OUT_OF_RANGE`, and with `RESOURCE_EXHAUSTED` where it
    /// was compressed.
    #[must_use]
    pub fn max_body_size(mut self, bytes: usize) -> Self {
        self.max_body_size = Some(bytes);
        self
    }

    /// How long a connection may stand idle between two calls: 60 s by default, zero is for ever.
    #[must_use]
    pub fn idle_timeout(self, time: Duration) -> Self {
        self.http(|http| http.idle_timeout(time))
    }

    /// A client that has calls open gets a ping after `interval` of silence, and its connection is closed when it
    /// leaves that unanswered for `timeout`: 60 s and 20 s by default. An interval of zero is never. Connections
    /// without open calls are left alone.
    #[must_use]
    pub fn ping(self, interval: Duration, timeout: Duration) -> Self {
        self.http(|http| http.ping(interval, timeout))
    }

    /// After how long a silence a client that has calls open gets a ping: 60 s by default, zero is never.
    #[must_use]
    pub fn ping_interval(self, interval: Duration) -> Self {
        self.http(|http| http.ping_interval(interval))
    }

    /// How long a client may leave a [ping](Self::ping_interval) unanswered before its connection is closed: 20 s by
    /// default.
    #[must_use]
    pub fn ping_timeout(self, timeout: Duration) -> Self {
        self.http(|http| http.ping_timeout(timeout))
    }

    /// How long the metadata of a call may be, in bytes: 64 KiB by default, 8 KiB at least.
    #[must_use]
    pub fn max_header_size(self, bytes: usize) -> Self {
        self.http(|http| http.max_header_size(bytes))
    }

    /// How long a client may take to send the metadata of a call, counted for the first one from the start of the
    /// connection: 15 s by default, zero is for ever.
    #[must_use]
    pub fn header_timeout(self, time: Duration) -> Self {
        self.http(|http| http.header_timeout(time))
    }

    /// How many calls a connection may have open at once: 200 by default, 1 at least. Further ones wait at the client,
    /// which is told how many there may be.
    #[must_use]
    pub fn max_streams(self, calls: u32) -> Self {
        self.http(|http| http.max_streams(calls))
    }

    /// Lets each request carry a second extension, the [`Peer`](interloop_http::Peer) that it comes from.
    #[must_use]
    pub fn with_peers(self) -> Self {
        self.http(HttpServer::with_peers)
    }

    /// Where it listens, known once it does: for any thread, to be asked for before the server is given to the service.
    pub fn addresses(&self) -> Addresses {
        self.http.addresses()
    }

    /// Makes these the server's [`addresses`](Self::addresses): for a server that is made anew for each incarnation.
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
