//! A service with one server in it, a client that writes and reads bytes, and a watchdog.

// Each test file uses a part of this.
#![allow(dead_code, unreachable_pub, unused_imports, unused_macros)]

use std::{
    convert::Infallible,
    future::Future,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    pin::Pin,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use interloop::{Running, Service, net::Net};
use interloop_http::{Address, Addresses, Body, HttpServer};
pub use interloop_transport_tests::{PATIENCE, eventually, variants, watchdog};

pub type Answer = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send>>;

/// A tower service from a closure, for tests that need no router.
#[derive(Clone)]
pub struct Handler<F>(pub F);

impl<F, R> tower_service::Service<Request<Body>> for Handler<F>
where
    F: Fn(Request<Body>) -> R + Clone,
    R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let response = (self.0)(request);
        Box::pin(async move { Ok(response.await) })
    }
}

/// Responds to everything with "hi".
pub fn hi() -> axum::Router {
    axum::Router::new().fallback(async || "hi")
}

/// A running service whose task `http` listens at these addresses.
pub struct Hosting {
    pub running: Running,
    pub addresses: Vec<Address>,
}

impl Hosting {
    pub fn port(&self) -> SocketAddr {
        self.addresses.iter().find_map(Address::tcp).expect("it listens on a port")
    }

    /// Asks the service to stop and waits for its end.
    pub fn stop(self) {
        let report = self.running.stop();
        assert_eq!(report.code, 0, "{report}");
    }

    pub fn counter(&self, name: &str) -> u64 {
        let status = self.running.status();
        let task = status.tasks.iter().find(|task| task.name == "http").expect("it is there");
        task.counters.get(name).copied().unwrap_or_else(|| task.gauges[name] as u64)
    }
}

pub fn service<L: Net, S>(server: HttpServer<S>, arguments: &[&str]) -> (Service, Addresses)
where
    HttpServer<S>: interloop::Task<L>,
{
    let addresses = server.addresses();
    let mut service = Service::new("test");
    service.task_on::<L>("http", server);
    service.arguments(arguments);
    (service, addresses)
}

pub fn host<L: Net, S>(server: HttpServer<S>, arguments: &[&str]) -> Hosting
where
    HttpServer<S>: interloop::Task<L>,
{
    let (service, addresses) = service::<L, S>(server, arguments);
    let running = service.start().expect("the configuration works");
    let addresses = addresses.wait_timeout(PATIENCE).expect("it listens");
    Hosting { running, addresses }
}

/// Starts a server that can't start, and returns the reason.
pub fn failure<L: Net, S>(server: HttpServer<S>, arguments: &[&str]) -> String
where
    HttpServer<S>: interloop::Task<L>,
{
    let (service, addresses) = service::<L, S>(server, arguments);
    let report = service.start().expect("the configuration works").join();
    assert_eq!(report.code, 1, "{report}");
    assert_eq!(addresses.wait_timeout(PATIENCE), None);
    let cause = report.tasks[0].cause.as_ref().expect("a task that failed has a cause").to_string();
    assert_eq!(cause.lines().count(), 1, "{cause}");
    cause
}

/// Makes a test of each of these on tokio, which the server uses directly, and on a loop with the core's sockets.
macro_rules! on_each_loop {
    ($($test:ident,)+) => {
        interloop_transport_tests::on_loops! {
            {
                on_tokio: interloop_tokio::Tokio,
                on_thread: interloop::Thread
            }
            { $($test,)+ }
        }
    };
}
pub(crate) use on_each_loop;

/// The parts of a response.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// A connection, by hand.
pub struct Client<S> {
    stream: S,
    read: Vec<u8>,
}

pub fn connect(address: SocketAddr) -> Client<TcpStream> {
    let stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    Client::new(stream)
}

impl<S: Read + Write> Client<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub fn stream(&self) -> &S {
        &self.stream
    }

    pub fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).expect("the connection is open");
    }

    pub fn try_send(&mut self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(text.as_ref())
    }

    pub fn get(&mut self, path: &str) -> Got {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
        self.receive()
    }

    /// Reads one response, with a content-length or without a body.
    pub fn receive(&mut self) -> Got {
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let rest = self.read.split_off(end + 4);
                break String::from_utf8(std::mem::replace(&mut self.read, rest)).expect("a head is ASCII");
            }
            assert!(self.fill() > 0, "closed within a head: {:?}", String::from_utf8_lossy(&self.read));
        };
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().expect("a number"));
        while self.read.len() < length {
            assert!(self.fill() > 0, "closed within a body");
        }
        let rest = self.read.split_off(length);
        let body = String::from_utf8(std::mem::replace(&mut self.read, rest)).expect("text");
        Got { status, head, body }
    }

    fn fill(&mut self) -> usize {
        let mut bytes = [0; 4096];
        let read = self.stream.read(&mut bytes).expect("the connection is not reset");
        self.read.extend_from_slice(&bytes[..read]);
        read
    }

    /// Waits until the server has announced the end, over TLS too, and returns what came before.
    pub fn closed_cleanly(mut self) -> String {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("the server says goodbye");
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Waits until the server has closed the connection, and returns what came before.
    pub fn closed(mut self) -> String {
        let mut rest = Vec::new();
        let end = self.stream.read_to_end(&mut rest);
        assert!(
            !end.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock),
            "still open: {:?}",
            String::from_utf8_lossy(&rest)
        );
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// Runs a future in a runtime for hyper's client.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}
