//! A service with one server in it, its handlers, and a watchdog.

// Each test file uses a part of this.
#![allow(dead_code, unreachable_pub, unused_imports, unused_macros)]

pub mod frames;

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use http::{Request as HttpRequest, Response as HttpResponse};
use interloop::{Running, Service, net::Net};
use interloop_grpc::{Address, GrpcServer};
pub use interloop_transport_tests::{PATIENCE, eventually, variants, watchdog};
use tokio::sync::Semaphore;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    server::{ClientStreamingService, Grpc, NamedService, ServerStreamingService, StreamingService, UnaryService},
};
use tonic_prost::ProstCodec;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Messages = Pin<Box<dyn Stream<Item = Result<Vec<u8>, Status>> + Send>>;

/// `test.Echo`, as tonic would generate it: its messages are `google.protobuf.BytesValue`.
#[derive(Clone)]
pub struct Echo {
    held: Arc<AtomicUsize>,
    waiting: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

/// Counts while it exists.
struct Held(Arc<AtomicUsize>);

impl Held {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Echo {
    fn new() -> Self {
        Self { held: Arc::default(), waiting: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    /// Opens the gate for those that wait there.
    pub fn open(&self) {
        self.gate.close();
    }

    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Returns how many handlers and endless streams exist.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

struct Say(Echo);
struct Many(Echo);
struct Count;
struct Chat;

impl UnaryService<Vec<u8>> for Say {
    type Response = Vec<u8>;
    type Future = Boxed<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        let echo = self.0.clone();
        Box::pin(async move {
            let word = request.metadata().get("x-word").cloned();
            let text = request.into_inner();
            match &*text {
                b"panic" => panic!("as it was told"),
                b"never" => {
                    let _held = Held::new(&echo.held);
                    std::future::pending::<()>().await;
                }
                b"gate" => {
                    let _waiting = Held::new(&echo.waiting);
                    drop(echo.gate.acquire().await);
                }
                _ => {}
            }
            let mut response = Response::new(text);
            if let Some(word) = word {
                response.metadata_mut().insert("x-word", word);
            }
            Ok(response)
        })
    }
}

impl ServerStreamingService<Vec<u8>> for Many {
    type Response = Vec<u8>;
    type ResponseStream = Messages;
    type Future = Boxed<Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        let text = request.into_inner();
        let held = Held::new(&self.0.held);
        let messages: Messages = match &*text {
            b"panic" => Box::pin(stream::poll_fn(|_| panic!("as it was told"))),
            b"never" => Box::pin(stream::once(async move {
                let _held = held;
                std::future::pending().await
            })),
            b"forever" => Box::pin(stream::repeat_with(move || {
                let _held = &held;
                Ok(b"x".to_vec())
            })),
            _ => Box::pin(stream::iter(text).map(|byte| Ok(vec![byte]))),
        };
        Box::pin(async { Ok(Response::new(messages)) })
    }
}

impl ClientStreamingService<Vec<u8>> for Count {
    type Response = Vec<u8>;
    type Future = Boxed<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        Box::pin(async {
            let mut messages = request.into_inner();
            let mut count = 0;
            while messages.message().await?.is_some() {
                count += 1;
            }
            Ok(Response::new(count.to_string().into_bytes()))
        })
    }
}

impl StreamingService<Vec<u8>> for Chat {
    type Response = Vec<u8>;
    type ResponseStream = Messages;
    type Future = Boxed<Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        Box::pin(async { Ok(Response::new(Box::pin(request.into_inner()) as Messages)) })
    }
}

impl tower_service::Service<HttpRequest<Body>> for Echo {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<HttpResponse<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Vec<u8>, Vec<u8>>::default())
                .apply_max_message_size_config(Some(16 << 20), None);
            Ok(match request.uri().path() {
                "/test.Echo/Say" => grpc.unary(Say(echo), request).await,
                "/test.Echo/Many" => grpc.server_streaming(Many(echo), request).await,
                "/test.Echo/Count" => grpc.client_streaming(Count, request).await,
                "/test.Echo/Chat" => grpc.streaming(Chat, request).await,
                _ => Status::unimplemented("there is no such method").into_http(),
            })
        })
    }
}

/// A running service with a server in it.
pub struct Hosting {
    pub running: Running,
    pub addresses: Vec<Address>,
    pub echo: Echo,
}

impl Hosting {
    pub fn port(&self) -> SocketAddr {
        self.addresses[0].tcp().expect("it listens on TCP")
    }

    /// Returns a counter as the status shows it.
    pub fn counter(&self, name: &str) -> u64 {
        let status = self.running.status();
        let task = status.tasks.iter().find(|task| task.name == "grpc").expect("it is there");
        let gauge = || task.gauges.get(name).map(|gauge| *gauge as u64);
        task.counters.get(name).copied().or_else(gauge).unwrap_or(0)
    }
}

pub fn host<L: Net>(arguments: &[&str]) -> Hosting {
    host_set::<L>(arguments, |server| server)
}

/// Starts one with further settings on the server.
pub fn host_set<L: Net>(arguments: &[&str], set: impl FnOnce(GrpcServer) -> GrpcServer) -> Hosting {
    let echo = Echo::new();
    let server = set(GrpcServer::new().add_service(echo.clone()).with_health());
    let addresses = server.addresses();
    let mut service = Service::new("test");
    service.task_on::<L>("grpc", server);
    service.arguments(arguments);
    let running = service.start().expect("the configuration works");
    let addresses = addresses.wait_timeout(PATIENCE).expect("it listens");
    assert!(running.wait_started_timeout(PATIENCE));
    Hosting { running, addresses, echo }
}

/// Makes a test of each of these on loops of all kinds: with sockets of their own, and with the core's.
macro_rules! on_each_loop {
    ($($test:ident,)+) => {
        interloop_transport_tests::on_loops! {
            {
                on_thread: interloop::Thread,
                on_tokio: interloop_tokio::Tokio,
                on_glib: interloop_glib::Glib
            }
            { $($test,)+ }
        }
    };
}
pub(crate) use on_each_loop;
