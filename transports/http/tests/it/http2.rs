//! HTTP/2 with hyper's own client: what it gets, and how it is drained.

use std::time::{Duration, Instant};

use axum::{Router, body::Bytes, routing::post};
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use interloop::net::Net;
use interloop_http::HttpServer;

use crate::{
    drain::slow,
    serving::panicking,
    util::{Hosting, block_on, hi, host, watchdog},
};

/// Connects a client of HTTP/2, on this thread, for one connection.
async fn h2(hosting: &Hosting) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = tokio::net::TcpStream::connect(hosting.port()).await.expect("it listens");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(Spawn, TokioIo::new(stream)).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    sender
}

#[derive(Clone)]
struct Spawn;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

fn request(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let uri = format!("http://test{path}");
    Request::post(uri).body(Full::new(body.into())).expect("a request")
}

fn http2_is_spoken_to_those_who_know<L: Net>() {
    let _watchdog = watchdog();
    for arguments in crate::util::variants::<L>() {
        let router = Router::new().route("/echo", post(async |body: Bytes| body));
        let hosting = host::<L, _>(HttpServer::new(router), arguments);
        block_on(async {
            let mut client = h2(&hosting).await;
            let mut answers = Vec::new();
            for number in 0..100 {
                answers.push((number, client.send_request(request("/echo", number.to_string()))));
            }
            for (number, answer) in answers {
                let answer = answer.await.expect("an answer");
                assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
                let body = answer.into_body().collect().await.expect("a body").to_bytes();
                assert_eq!(body, number.to_string());
            }
        });
        assert_eq!((hosting.counter("requests"), hosting.counter("connections")), (100, 1));
        hosting.stop();
    }
}

fn a_panic_in_one_http2_stream_leaves_the_others<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(panicking()), &[]);
    block_on(async {
        let mut client = h2(&hosting).await;
        let get = |path: &str| Request::get(format!("http://test{path}")).body(Full::default()).expect("a request");
        let (panicked, rotten) = (client.send_request(get("/panic")), client.send_request(get("/rotten")));
        let fine = client.send_request(get("/"));
        assert_eq!(panicked.await.expect("an answer").status(), 500);
        // Its head may get lost in the reset.
        if let Ok(rotten) = rotten.await {
            assert!(rotten.into_body().collect().await.is_err());
        }
        assert_eq!(fine.await.expect("an answer").status(), 200);
    });
    assert_eq!(hosting.counter("panics"), 2);
    hosting.stop();
}

fn http2_streams_are_finished_and_new_ones_refused<L: Net>() {
    let _watchdog = watchdog();
    let (router, gate) = slow();
    let hosting = host::<L, _>(HttpServer::new(router), &[]);
    block_on(async {
        let stream = tokio::net::TcpStream::connect(hosting.port()).await.expect("it listens");
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.expect("it speaks HTTP/2");
        let connection = tokio::spawn(connection);
        let get =
            |path: &str| Request::get(format!("http://test{path}")).body(Full::<Bytes>::default()).expect("a request");
        let answer = tokio::spawn(client.send_request(get("/slow")));
        while hosting.counter("requests") < 1 {
            tokio::task::yield_now().await;
        }
        hosting.running.request_shutdown("test");
        // The goodbye may take a while; from then on requests fail.
        while client.send_request(get("/")).await.is_ok() {}
        gate.add_permits(1);
        let answer: Response<_> = answer.await.expect("no panic").expect("an answer");
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "slow");
        connection.await.expect("no panic").expect("a clean end");
    });
    assert_eq!(hosting.running.join().code, 0);
}

fn an_idle_http2_connection_is_closed_at_once<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    block_on(async {
        let stream = tokio::net::TcpStream::connect(hosting.port()).await.expect("it listens");
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.expect("it speaks HTTP/2");
        let connection = tokio::spawn(connection);
        let request = Request::get("http://test/").body(Full::<Bytes>::default()).expect("a request");
        assert_eq!(client.send_request(request).await.expect("an answer").status(), 200);
        let begin = Instant::now();
        hosting.running.request_shutdown("test");
        connection.await.expect("no panic").expect("a clean end");
        assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    });
    assert_eq!(hosting.running.join().code, 0);
}

crate::util::on_each_loop! {
    http2_is_spoken_to_those_who_know,
    a_panic_in_one_http2_stream_leaves_the_others,
    http2_streams_are_finished_and_new_ones_refused,
    an_idle_http2_connection_is_closed_at_once,
}
