//! The limits of a client, in size and in time.

use std::{
    convert::Infallible,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::util::{Handler, PATIENCE, connect, eventually, hi, host, watchdog};
use axum::{
    Router,
    body::Bytes,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use interloop::net::Net;
use interloop_http::{Body, HttpServer};

/// Returns a router that responds with the length of any body.
fn length() -> Router {
    let length = async |body: Bytes| body.len().to_string();
    Router::new().route("/", post(length)).layer(DefaultBodyLimit::disable())
}

fn posted(length: usize, sent: usize) -> String {
    format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{}", "x".repeat(sent))
}

fn chunked(chunks: &[usize]) -> String {
    let chunks = chunks.iter().map(|&size| format!("{size:x}\r\n{}\r\n", "x".repeat(size))).collect::<String>();
    format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
}

fn a_head_that_is_too_long_is_a_431<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &["--http-max-header-size", "8KiB"]);
    let head = |size| format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(size));
    let mut client = connect(hosting.port());
    client.send(head(7 << 10));
    assert_eq!(client.receive().status, 200);
    let mut client = connect(hosting.port());
    client.send(head(9 << 10));
    assert_eq!(client.receive().status, 431);
    hosting.stop();
}

fn a_body_that_says_it_is_too_long_is_a_413<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(length()), &["--http-max-body-size", "1000"]);
    let mut client = connect(hosting.port());
    client.send(posted(1000, 1000));
    assert_eq!(client.receive().body, "1000");
    // It isn't even waited for.
    client.send(posted(1001, 0));
    let got = client.receive();
    assert_eq!(got.status, 413);
    assert!(got.head.contains("connection: close"), "{}", got.head);
    assert_eq!(client.closed(), "");
    hosting.stop();
}

fn a_client_that_goes_on_sending_gets_its_413_all_the_same<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(length()), &["--http-max-body-size", "1000"]);
    // More than the sockets hold: a reset would hit the client in the middle of it.
    let mut client = connect(hosting.port());
    client.send(posted(8 << 20, 8 << 20));
    assert_eq!(client.receive().status, 413);
    hosting.stop();
}

fn a_client_that_never_ends_sending_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(length()), &["--http-max-body-size", "1000"]);
    let mut client = connect(hosting.port());
    client.send(posted(usize::MAX >> 1, 0));
    assert_eq!(client.receive().status, 413);
    while client.try_send([b'x'; 1 << 16]).is_ok() {}
    eventually("it is gone", || hosting.counter("open_connections") == 0);
    hosting.stop();
}

fn a_body_that_turns_out_too_long_is_a_413<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(length()).max_body_size(1000), &[]);
    let mut client = connect(hosting.port());
    client.send(chunked(&[600, 400]));
    assert_eq!(client.receive().body, "1000");
    client.send(chunked(&[600, 401]));
    let got = client.receive();
    assert_eq!(got.status, 413);
    assert_eq!(client.closed(), "");
    hosting.stop();
}

fn it_is_a_413_whatever_the_handler_makes_of_it<L: Net>() {
    let _watchdog = watchdog();
    let forgiving = Handler(async |request: Request<Body>| {
        let read = request.into_body().collect().await;
        Response::new(Full::from(if read.is_ok() { "read" } else { "never mind" }))
    });
    let hosting = host::<L, _>(HttpServer::new(forgiving).max_body_size(1000), &[]);
    let mut client = connect(hosting.port());
    client.send(chunked(&[1000]));
    assert_eq!(client.receive().body, "read");
    client.send(chunked(&[1001]));
    assert_eq!(client.receive().status, 413);
    hosting.stop();
}

fn a_connection_that_stands_idle_is_closed<L: Net>() {
    let _watchdog = watchdog();
    let hosting =
        host::<L, _>(HttpServer::new(hi()), &["--http-idle-timeout", "200ms", "--http-header-timeout", "1min"]);
    let mut client = connect(hosting.port());
    // At first the longer limit counts.
    eventually("it is accepted", || hosting.counter("open_connections") == 1);
    assert_eq!(client.get("/").body, "hi");
    assert_eq!(client.get("/").body, "hi");
    let idle = Instant::now();
    assert_eq!(client.closed(), "");
    let idle = idle.elapsed();
    assert!(idle >= Duration::from_millis(150) && idle < Duration::from_secs(10), "{idle:?}");
    eventually("it is gone", || hosting.counter("open_connections") == 0);
    hosting.stop();
}

fn a_request_in_progress_is_not_idle<L: Net>() {
    let _watchdog = watchdog();
    let slow = Handler(async |_: Request<Body>| {
        let (over, wait) = tokio::sync::oneshot::channel();
        // Ten times the limit, independent of any loop's timers.
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            over.send(())
        });
        wait.await.expect("the thread sends");
        Response::new(Full::from("at last"))
    });
    let hosting = host::<L, _>(HttpServer::new(slow).idle_timeout(Duration::from_millis(50)), &[]);
    let mut client = connect(hosting.port());
    assert_eq!(client.get("/").body, "at last");
    assert_eq!(client.closed(), "");
    hosting.stop();
}

fn a_client_that_says_nothing_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &["--http-header-timeout", "200ms", "--http-idle-timeout", "0"]);
    let client = connect(hosting.port());
    let begin = Instant::now();
    assert_eq!(client.closed(), "");
    assert!(begin.elapsed() >= Duration::from_millis(150), "{:?}", begin.elapsed());
    hosting.stop();
}

fn a_head_that_comes_drop_by_drop_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &["--http-header-timeout", "300ms", "--http-idle-timeout", "0"]);
    // As the first request, and as a later one.
    for before in [0, 1] {
        let mut client = connect(hosting.port());
        for _ in 0..before {
            assert_eq!(client.get("/").body, "hi");
        }
        let begin = Instant::now();
        while client.try_send("x").is_ok() {
            // The drops: without a pause it would be a flood.
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    }
    hosting.stop();
}

fn without_time_limits_a_connection_may_wait<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &["--http-header-timeout", "0", "--http-idle-timeout", "0"]);
    let mut client = connect(hosting.port());
    // The fault would be that it is closed, which takes no time if the limit is zero.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(client.get("/").body, "hi");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(client.get("/").body, "hi");
    hosting.stop();
}

fn a_body_that_stops_coming_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(length()), &["--http-idle-timeout", "200ms"]);
    let mut client = connect(hosting.port());
    client.send(posted(1000, 10));
    assert_eq!(client.closed(), "");
    assert_eq!(hosting.counter("requests"), 1);
    eventually("it is gone", || hosting.counter("open_connections") == 0);
    hosting.stop();
}

fn connections_beyond_the_limit_wait_for_their_turn<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &["--http-max-connections", "2"]);
    let (mut first, mut second) = (connect(hosting.port()), connect(hosting.port()));
    assert_eq!((first.get("/").body, second.get("/").body), ("hi".into(), "hi".into()));
    let mut third = connect(hosting.port());
    third.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    // The first is served again and again, the third is not even accepted.
    for _ in 0..100 {
        assert_eq!(first.get("/").body, "hi");
    }
    assert_eq!((hosting.counter("connections"), hosting.counter("open_connections")), (2, 2));
    drop(second);
    assert_eq!(third.receive().body, "hi");
    assert_eq!(hosting.counter("connections"), 3);
    hosting.stop();
}

/// More than the sockets hold.
const LONG: usize = 16 << 20;

/// Returns a router with `/whole` in one piece, which the connection has at once, and `/pieces`.
fn long() -> Router {
    let pieces = || stream::iter((0..16).map(|_| Ok::<_, Infallible>(Bytes::from(vec![b'x'; LONG / 16]))));
    let whole = get(async || Bytes::from(vec![b'x'; LONG]));
    let pieces = get(async move || axum::body::Body::from_stream(pieces()));
    Router::new().route("/whole", whole).route("/pieces", pieces).fallback(async || "hi")
}

/// Connects with a small buffer, so that reads are soon noticed.
fn asking(port: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(port).expect("it listens");
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 32 << 10).expect("it is a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it is open");
    stream
}

/// Returns how much comes until the end, with a pause after each piece.
fn read_slowly(mut stream: TcpStream) -> usize {
    let (mut piece, mut length) = (vec![0; LONG / 64], 0);
    loop {
        let mut filled = 0;
        while filled < piece.len() {
            match stream.read(&mut piece[filled..]) {
                Ok(0) | Err(_) => return length,
                Ok(read) => (filled, length) = (filled + read, length + read),
            }
        }
        // The pace of this client.
        std::thread::sleep(Duration::from_millis(40));
    }
}

fn a_client_that_takes_nothing_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(long()), &["--http-idle-timeout", "300ms"]);
    for (path, count) in [("/whole", 1), ("/pieces", 2)] {
        let greedy = asking(hosting.port(), path);
        eventually("it has been asked", || hosting.counter("requests") == count);
        eventually("it is gone", || hosting.counter("open_connections") == 0);
        assert!(read_slowly(greedy) < LONG);
    }
    assert_eq!(connect(hosting.port()).get("/").body, "hi");
    hosting.stop();
}

fn a_client_that_takes_its_time_gets_all_of_it<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(long()), &["--http-idle-timeout", "500ms"]);
    for path in ["/whole", "/pieces"] {
        let begin = Instant::now();
        assert!(read_slowly(asking(hosting.port(), path)) > LONG, "{path}");
        assert!(begin.elapsed() > Duration::from_secs(2), "{:?}", begin.elapsed());
    }
    hosting.stop();
}

fn at_the_stop_one_gets_all_of_it_who_takes_it<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(long()), &[]);
    let [greedy, slow] = [(); 2].map(|()| ["/whole", "/pieces"].map(|path| asking(hosting.port(), path)));
    eventually("all are asked for", || hosting.counter("requests") == 4);
    let slow = slow.map(|stream| std::thread::spawn(move || read_slowly(stream)));
    hosting.stop();
    for slow in slow {
        assert!(slow.join().expect("no panic") > LONG);
    }
    for greedy in greedy {
        assert!(read_slowly(greedy) < LONG);
    }
}

crate::util::on_each_loop! {
    a_client_that_takes_nothing_is_cut_off,
    a_client_that_takes_its_time_gets_all_of_it,
    at_the_stop_one_gets_all_of_it_who_takes_it,
    a_head_that_is_too_long_is_a_431,
    a_body_that_says_it_is_too_long_is_a_413,
    a_client_that_goes_on_sending_gets_its_413_all_the_same,
    a_client_that_never_ends_sending_is_cut_off,
    a_body_that_turns_out_too_long_is_a_413,
    it_is_a_413_whatever_the_handler_makes_of_it,
    a_connection_that_stands_idle_is_closed,
    a_request_in_progress_is_not_idle,
    a_client_that_says_nothing_is_cut_off,
    a_head_that_comes_drop_by_drop_is_cut_off,
    without_time_limits_a_connection_may_wait,
    a_body_that_stops_coming_is_cut_off,
    connections_beyond_the_limit_wait_for_their_turn,
}
