//! What handlers and clients get, and what is counted.

use std::{
    io::Write,
    net::{Shutdown as Half, TcpStream},
};

use crate::util::{Handler, block_on, connect, eventually, hi, host, watchdog};
use axum::{Extension, Router, body::Bytes, routing::get};
use http::Request;
use http_body_util::{BodyExt, Empty, Full};
use interloop::{Shutdown, net::Net};
use interloop_http::{HttpServer, Peer};
use interloop_tokio::Tokio;

fn several_requests_share_a_connection<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    let mut client = connect(hosting.port());
    for _ in 0..3 {
        let got = client.get("/");
        assert_eq!((got.status, got.body.as_str()), (200, "hi"));
    }
    // Pipelined.
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!((client.receive().body, client.receive().body), ("hi".into(), "hi".into()));
    assert_eq!(hosting.counter("connections"), 1);
    assert_eq!(hosting.counter("requests"), 5);
    hosting.stop();
}

fn requests_and_connections_are_counted<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    let (mut first, mut second) = (connect(hosting.port()), connect(hosting.port()));
    first.get("/");
    second.get("/");
    second.get("/");
    assert_eq!(
        (hosting.counter("requests"), hosting.counter("connections"), hosting.counter("open_connections")),
        (3, 2, 2)
    );
    drop(first);
    eventually("the closed connection is no longer open", || hosting.counter("open_connections") == 1);
    drop(second);
    eventually("no connection is open", || hosting.counter("open_connections") == 0);
    hosting.stop();
}

#[test]
fn connections_run_on_the_workers_of_a_multi_thread_runtime() {
    let _watchdog = watchdog();
    let name = async || std::thread::current().name().unwrap_or_default().to_owned();
    for (arguments, thread) in [(&[][..], "tokio"), (&["--tokio-worker-threads", "1"], "tokio-worker")] {
        let hosting = host::<Tokio, _>(HttpServer::new(Router::new().route("/", get(name))), arguments);
        assert_eq!(connect(hosting.port()).get("/").body, thread);
        hosting.stop();
    }
}

fn a_request_carries_its_peer_and_the_shutdown<L: Net>() {
    let _watchdog = watchdog();
    async fn who(Extension(peer): Extension<Peer>, Extension(shutdown): Extension<Shutdown>) -> String {
        format!("{peer} {}", shutdown.is_requested())
    }
    let hosting = host::<L, _>(HttpServer::new(Router::new().route("/", get(who))).with_peers(), &[]);
    let mut client = connect(hosting.port());
    let own = client.stream().local_addr().expect("it is connected");
    assert_eq!(client.get("/").body, format!("{own} false"));
    hosting.stop();
}

fn a_service_without_a_router_is_served_too<L: Net>() {
    let _watchdog = watchdog();
    let echo = Handler(async |request: Request<interloop_http::Body>| {
        let path = request.uri().path().to_owned();
        http::Response::new(Full::from(path))
    });
    let hosting = host::<L, _>(HttpServer::new(echo), &[]);
    assert_eq!(connect(hosting.port()).get("/some/where").body, "/some/where");
    hosting.stop();
}

async fn panic_at_once() -> &'static str {
    panic!("the handler's own fault");
}

/// Panics in the middle of its only frame.
struct Rotten;

impl http_body::Body for Rotten {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        panic!("a rotten body")
    }
}

pub(crate) fn panicking() -> Router {
    let rotten = async || http::Response::new(axum::body::Body::new(Rotten));
    Router::new().route("/", get(async || "hi")).route("/panic", get(panic_at_once)).route("/rotten", get(rotten))
}

fn a_panic_in_a_handler_is_a_500_and_nothing_else<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(panicking()), &[]);
    let mut client = connect(hosting.port());
    assert_eq!(client.get("/panic").status, 500);
    // Even on the same connection.
    assert_eq!(client.get("/").body, "hi");
    assert_eq!(hosting.counter("panics"), 1);
    assert!(hosting.running.is_ready());
    hosting.stop();
}

fn a_panic_in_a_responses_body_ends_that_response<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(panicking()), &[]);
    let mut client = connect(hosting.port());
    client.send("GET /rotten HTTP/1.1\r\nhost: x\r\n\r\n");
    client.closed();
    assert_eq!(hosting.counter("panics"), 1);
    assert_eq!(connect(hosting.port()).get("/").body, "hi");
    hosting.stop();
}

fn a_service_that_fails_is_a_500<L: Net>() {
    let _watchdog = watchdog();
    #[derive(Clone)]
    struct Failing;
    impl tower_service::Service<Request<interloop_http::Body>> for Failing {
        type Response = http::Response<Empty<Bytes>>;
        type Error = std::io::Error;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
            std::task::Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<interloop_http::Body>) -> Self::Future {
            std::future::ready(Err(std::io::Error::other("no database")))
        }
    }
    let hosting = host::<L, _>(HttpServer::new(Failing), &[]);
    assert_eq!(connect(hosting.port()).get("/").status, 500);
    hosting.stop();
}

fn clients_that_speak_no_http_or_go_away_do_no_harm<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    let mut stream = TcpStream::connect(hosting.port()).expect("it listens");
    stream.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n").expect("it is open");
    let answer = crate::util::Client::new(stream).closed();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let stream = TcpStream::connect(hosting.port()).expect("it listens");
    stream.shutdown(Half::Both).expect("it is open");
    drop(stream);
    let mut half = connect(hosting.port());
    half.send("GET / HT");
    drop(half);
    assert_eq!(connect(hosting.port()).get("/").body, "hi");
    eventually("they are gone", || hosting.counter("open_connections") == 0);
    hosting.stop();
}

fn ten_thousand_requests_leave_nothing_open<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let mut client = connect(hosting.port());
                (0..1000).for_each(|_| assert_eq!(client.get("/").status, 200));
            });
        }
    });
    assert_eq!(hosting.counter("requests"), 10_000);
    eventually("no connection is open", || hosting.counter("open_connections") == 0);
    hosting.stop();
}

#[test]
fn a_body_can_be_made_for_tests() {
    let body = block_on(interloop_http::Body::from("text").collect()).expect("it can't fail").to_bytes();
    assert_eq!(body, "text");
}

crate::util::on_each_loop! {
    several_requests_share_a_connection,
    requests_and_connections_are_counted,
    a_request_carries_its_peer_and_the_shutdown,
    a_service_without_a_router_is_served_too,
    a_panic_in_a_handler_is_a_500_and_nothing_else,
    a_panic_in_a_responses_body_ends_that_response,
    a_service_that_fails_is_a_500,
    clients_that_speak_no_http_or_go_away_do_no_harm,
    ten_thousand_requests_leave_nothing_open,
}
