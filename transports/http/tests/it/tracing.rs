//! The feature `tracing`: one span per request.

use crate::util::{connect, eventually, host, on_each_loop, variants, watchdog};
use axum::{
    Router,
    body::Body as AnyBody,
    extract::Path,
    routing::{get, post},
};
use bytes::Bytes;
use http_body_util::StreamBody;
use interloop::net::Net;
use interloop_http::HttpServer;
use interloop_test_spans::Spans;
use tracing::info;

on_each_loop! {
    a_handler_and_its_body_run_in_the_span_of_the_request,
    the_span_of_a_handler_that_panics_ends_with_its_500,
}

/// Returns how the span of a request is shown, while it has no status.
fn request(method: &str, path: &str) -> String {
    format!(r#"request server="test.http" method={method} path="{path}""#)
}

fn a_handler_and_its_body_run_in_the_span_of_the_request<L: Net>() {
    let _over = watchdog();
    let heard = Spans::get();
    for (variant, arguments) in variants::<L>().iter().enumerate() {
        let name = format!("{}-{variant}", L::NAME);
        let say = |what: &'static str| move |name: &str| info!("{what} {name}");
        let (handler, body) = (say("handler"), say("body"));
        let greet = async move |Path(name): Path<String>| {
            handler(&name);
            let mut last = false;
            // It ends at the second poll.
            let frames = futures_util::stream::poll_fn(move |_| {
                body(&name);
                let frame = (!std::mem::replace(&mut last, true)).then(|| http_body::Frame::data(Bytes::from("hi")));
                std::task::Poll::Ready(frame.map(Ok::<_, std::io::Error>))
            });
            AnyBody::new(StreamBody::new(frames))
        };
        let hosting = host::<L, _>(HttpServer::new(Router::new().route("/greet/{name}", get(greet))), arguments);
        let mut client = connect(hosting.port());
        client.send(format!("GET /greet/{name}?secret=1 HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"));
        assert!(client.closed().ends_with("2\r\nhi\r\n0\r\n\r\n"));
        let span = request("GET", &format!("/greet/{name}"));
        assert_eq!(heard.path(&format!("handler {name}")), span);
        let answered = span + " status=200";
        assert_eq!(heard.paths(&format!("body {name}")), [answered.clone(), answered.clone()]);
        hosting.stop();
        assert_eq!(heard.closed(&answered), 1);
    }
}

fn the_span_of_a_handler_that_panics_ends_with_its_500<L: Net>() {
    let _over = watchdog();
    let heard = Spans::get();
    for (variant, arguments) in variants::<L>().iter().enumerate() {
        let path = format!("/panic-{}-{variant}", L::NAME);
        let router = Router::new().route(&path, post(async || if true { panic!("oh") } else { "never" }));
        let hosting = host::<L, _>(HttpServer::new(router.clone().route("/", get(async || "hi"))), arguments);
        let mut client = connect(hosting.port());
        client.send(format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n"));
        assert_eq!(client.receive().status, 500);
        assert_eq!(client.get("/").status, 200);
        let span = request("POST", &path) + " status=500";
        eventually("it is closed", || heard.closed(&span) == 1);
        hosting.stop();
    }
}
