//! Clients that send what other servers have failed on: unexpected bodies, garbage in chunks, more than was requested,
//! halves of frames.

use std::{
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    routing::{any, get, post},
};
use futures_util::StreamExt;
use http::StatusCode;
use interloop::net::Net;
use interloop_http::HttpServer;

use crate::{
    ends::{Frames, frames},
    util::{Hosting, connect, eventually, host, variants, watchdog},
};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// A stream that sends something now and then for ever, and counts while it exists.
fn endless(held: &Arc<AtomicUsize>) -> Body {
    struct Held(Arc<AtomicUsize>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    held.fetch_add(1, Ordering::SeqCst);
    let held = Held(held.clone());
    let first = futures_util::stream::once(async { Ok::<_, std::io::Error>("first") });
    Body::from_stream(first.chain(futures_util::stream::once(async move {
        let _held = held;
        std::future::pending().await
    })))
}

fn router(held: &Arc<AtomicUsize>) -> Router {
    let held = held.clone();
    let stream = held.clone();
    let unmodified = held.clone();
    Router::new()
        .route("/", get(async || "hi"))
        .route("/length", post(async |body: Bytes| body.len().to_string()))
        .route("/refused", post(async || (StatusCode::UNAUTHORIZED, "no")))
        .route("/204", any(async || (StatusCode::NO_CONTENT, "a body that may not be")))
        .route("/304", any(async || (StatusCode::NOT_MODIFIED, "a body that may not be")))
        .route("/304-stream", any(async move || (StatusCode::NOT_MODIFIED, endless(&unmodified))))
        .route("/stream", get(async move || endless(&stream)))
}

fn hosting<L: Net>(arguments: &[&str]) -> (Hosting, Arc<AtomicUsize>) {
    let held = Arc::default();
    (host::<L, _>(HttpServer::new(router(&held)), arguments), held)
}

fn is_well(hosting: Hosting) {
    assert_eq!(connect(hosting.port()).get("/").body, "hi");
    eventually("all are gone", || hosting.counter("open_connections") == 0);
    let begin = Instant::now();
    hosting.stop();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

fn what_has_no_body_gets_none_and_the_next_answer_is_the_next<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let (hosting, held) = hosting::<L>(arguments);
        for (first, status) in [
            ("HEAD / HTTP/1.1", 200),
            ("HEAD /stream HTTP/1.1", 200),
            ("HEAD /nowhere HTTP/1.1", 404),
            ("GET /204 HTTP/1.1", 204),
            ("POST /204 HTTP/1.1", 204),
            ("GET /304 HTTP/1.1", 304),
            ("GET /304-stream HTTP/1.1", 304),
            ("HEAD /304 HTTP/1.1", 304),
        ] {
            let mut client = connect(hosting.port());
            client.send(format!(
                "{first}\r\nhost: x\r\n\r\n{}",
                GET.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")
            ));
            let said = client.closed_cleanly();
            let (head, rest) = said.split_once("\r\n\r\n").expect("a head");
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{first}: {said}");
            assert!(rest.starts_with("HTTP/1.1 200 ") && rest.ends_with("\r\n\r\nhi"), "{first}: {said}");
        }
        eventually("the streams are dropped", || held.load(Ordering::SeqCst) == 0);
        is_well(hosting);
    }
}

fn chunks_that_are_none_are_refused_at_once<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let (hosting, _) = hosting::<L>(arguments);
        let begin = Instant::now();
        let huge_extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(100_000));
        let many_trailers = format!("0\r\n{}\r\n", "x: y\r\n".repeat(20_000));
        for path in ["/length", "/refused"] {
            for chunks in [
                "zz\r\n",
                "-1\r\n",
                "\r\n",
                "FFFFFFFFFFFFFFFFF\r\n",
                "FFFFFFFFFFFFFFFF\r\n",
                "4\r\nbodyrest\r\n0\r\n\r\n",
                "4\r\nbody\n0\r\n\r\n",
                "4 \r\nbody\r\n0\r\nno trailer\r\n\r\n",
                &huge_extension,
                &many_trailers,
            ] {
                let mut client = connect(hosting.port());
                client.send(format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"));
                // It may be refused before everything is sent.
                let _ = client.try_send(chunks);
                let _ = client.stream().shutdown(Shutdown::Write);
                let said = client.closed();
                assert!(said.matches("HTTP/1.").count() <= 1, "{path}, {chunks:.20}: {said}");
                assert!(!said.contains("HTTP/1.1 200"), "{path}, {chunks:.20}: {said}");
            }
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        is_well(hosting);
    }
}

fn a_request_of_two_lengths_is_one_or_none<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let (hosting, _) = hosting::<L>(arguments);
        let smuggled = GET;
        for fields in [
            "content-length: 4\r\ncontent-length: 5",
            "content-length: 4, 5",
            "content-length: +4",
            "content-length: 4x",
            "content-length: -4",
            "content-length: 99999999999999999999999",
            "content-length: 4\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 4",
            "transfer-encoding: chunked, identity",
            "transfer-encoding: xchunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity",
            "transfer-encoding : chunked",
            "content-length : 4",
            " content-length: 4",
        ] {
            let mut client = connect(hosting.port());
            client.send(format!("POST /length HTTP/1.1\r\nhost: x\r\n{fields}\r\n\r\n0\r\n\r\n{smuggled}"));
            client.stream().shutdown(Shutdown::Write).expect("it is open");
            let said = client.closed();
            let ok = said.matches("HTTP/1.1 200").count();
            assert!(
                ok == 0 || fields.starts_with("content-length: 4\r\nt") || fields.contains("chunked\r\nc"),
                "{fields}: {said}"
            );
        }
        is_well(hosting);
    }
}

fn the_last_response_reaches_a_client_that_goes_on<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let (hosting, _) = hosting::<L>(arguments);
        for last in [
            "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "POST /length HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nab",
        ] {
            for _ in 0..5 {
                let mut client = connect(hosting.port());
                client.send(last);
                // More than the sockets hold, without reading the response.
                for _ in 0..128 {
                    client.send([b'x'; 64 << 10]);
                }
                assert_eq!(client.receive().status, 200, "{last}");
                assert_eq!(client.closed_cleanly(), "");
            }
        }
        is_well(hosting);
    }
}

fn who_expects_to_be_asked_and_does_not_wait_is_answered_in_order<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let (hosting, _) = hosting::<L>(arguments);
        let expecting = |version: &str, path: &str| {
            format!("POST {path} HTTP/{version}\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\nbody")
        };
        for _ in 0..5 {
            let mut client = connect(hosting.port());
            client.send(expecting("1.1", "/length") + GET);
            let mut got = client.receive();
            if got.status == 100 {
                got = client.receive();
            }
            assert_eq!((got.status, got.body.as_str()), (200, "4"));
            assert_eq!(client.receive().body, "hi");
            // Nothing is asked of HTTP/1.0.
            let mut client = connect(hosting.port());
            client.send(expecting("1.0", "/length"));
            assert_eq!(client.receive().body, "4");
        }
        is_well(hosting);
    }
}

fn early_answers_over_http2_use_up_no_window<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let (hosting, _) = hosting::<L>(arguments);
        let mut client = Frames::connect(&hosting);
        // Together more than the connection's window, within each stream's.
        for stream in (1..400).step_by(2) {
            client.send(&frames::request(stream, "/refused", true));
            client.send(&frames::frame(frames::DATA, 0, stream, &[b'x'; 16_000]));
            assert_eq!(client.until(frames::HEADERS).stream, stream);
        }
        client.send(&frames::request(401, "/length", true));
        client.send(&frames::frame(frames::DATA, 1, 401, &[b'x'; 16_000]));
        loop {
            let data = client.until(frames::DATA);
            if data.stream == 401 {
                break assert_eq!(data.payload, b"16000");
            }
        }
        drop(client);
        is_well(hosting);
    }
}

fn a_stream_of_http2_that_is_reset_ends_its_handler<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let (hosting, held) = hosting::<L>(arguments);
        let mut client = Frames::connect(&hosting);
        for stream in [1, 3, 5] {
            client.send(&frames::request(stream, "/stream", false));
            client.until(frames::DATA);
            assert_eq!(held.load(Ordering::SeqCst), 1);
            client.send(&frames::frame(frames::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            eventually("it is dropped", || held.load(Ordering::SeqCst) == 0);
        }
        // A client that says goodbye still gets the responses to its requests.
        client.send(&frames::request(7, "/", false));
        client.send(&frames::frame(frames::GOAWAY, 0, 0, &[0; 8]));
        loop {
            let data = client.until(frames::DATA);
            if data.stream == 7 && !data.payload.is_empty() {
                break assert_eq!(data.payload, b"hi");
            }
        }
        drop(client);
        is_well(hosting);
    }
}

/// A head whose end never comes, and a piece of a frame: before the first request, and after one.
fn half_a_frame_of_http2_keeps_no_place<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let arguments = [
            &["--http-header-timeout", "200ms", "--http-idle-timeout", "300ms", "--http-rate-grace", "300ms"],
            *arguments,
        ]
        .concat();
        let (hosting, held) = hosting::<L>(&arguments);
        let mut clients = Vec::new();
        for asked_before in [false, true] {
            for half in [
                frames::frame(frames::HEADERS, 0, 3, b"\x82\x86"),
                frames::request(3, "/", false)[..12].to_vec(),
                b"\0\0".to_vec(),
            ] {
                let mut client = Frames::connect(&hosting);
                if asked_before {
                    client.send(&frames::request(1, "/", false));
                    assert_eq!(client.until(frames::DATA).payload, b"hi");
                }
                client.send(&half);
                clients.push(client);
            }
        }
        let begin = Instant::now();
        eventually("all are gone", || hosting.counter("open_connections") == 0);
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
        // A stream that is rightly quiet holds up nothing else.
        let mut client = Frames::connect(&hosting);
        client.send(&frames::request(1, "/stream", false));
        client.until(frames::DATA);
        client.send(&frames::frame(frames::HEADERS, 0, 3, b"\x82\x86"));
        assert_eq!(held.load(Ordering::SeqCst), 1);
        drop(client);
        drop(clients);
        eventually("it is dropped", || held.load(Ordering::SeqCst) == 0);
        is_well(hosting);
    }
}

interloop_transport_tests::on_loops! {
    { on_tokio: interloop_tokio::Tokio, on_thread: interloop::Thread, on_glib: interloop_glib::Glib }
    {
        what_has_no_body_gets_none_and_the_next_answer_is_the_next,
        chunks_that_are_none_are_refused_at_once,
        a_request_of_two_lengths_is_one_or_none,
        the_last_response_reaches_a_client_that_goes_on,
        who_expects_to_be_asked_and_does_not_wait_is_answered_in_order,
        early_answers_over_http2_use_up_no_window,
        a_stream_of_http2_that_is_reset_ends_its_handler,
        half_a_frame_of_http2_keeps_no_place,
    }
}
