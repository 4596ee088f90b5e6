//! Clients that finish, that vanish, and that are still sending when they get the response.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    routing::{get, post},
};
use futures_util::StreamExt;
use http::StatusCode;
use interloop::{State as TaskState, net::Net};
use interloop_http::{Address, HttpServer};
use rustix::net::sockopt;
use tokio::sync::Semaphore;

use crate::util::{self, Client, Hosting, connect, eventually, hi, host, watchdog};

/// Makes tests on tokio, used directly, and on three loops with the core's sockets or their own.
macro_rules! on_four_loops {
    ($($test:ident,)+) => {
        interloop_transport_tests::on_loops! {
            {
                on_tokio: interloop_tokio::Tokio,
                on_thread: interloop::Thread,
                on_glib: interloop_glib::Glib,
                on_smol: interloop_smol::Smol
            }
            { $($test,)+ }
        }
    };
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Handlers that work until they are released.
#[derive(Clone)]
struct Work {
    at_work: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

struct AtWork(Arc<AtomicUsize>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Work {
    fn new() -> Self {
        Self { at_work: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    fn begin(&self) -> AtWork {
        self.at_work.fetch_add(1, Ordering::SeqCst);
        AtWork(self.at_work.clone())
    }

    fn count(&self) -> usize {
        self.at_work.load(Ordering::SeqCst)
    }

    async fn pass(self) -> &'static str {
        let _at_work = self.begin();
        self.gate.acquire().await.expect("it is never closed").forget();
        "slow"
    }

    /// Returns a router: `/slow` responds once a permit is there, and reads nothing of a body; `/stream` sends one
    /// piece and then nothing more; `/` responds at once.
    fn router(&self) -> Router {
        let slow = async |State(work): State<Work>| work.pass().await;
        let stream = async |State(work): State<Work>| {
            let at_work = work.begin();
            let first = futures_util::stream::once(async { Ok::<_, std::io::Error>("data: first\n\n") });
            let silent = futures_util::stream::once(async move {
                let _at_work = at_work;
                std::future::pending().await
            });
            Body::from_stream(first.chain(silent))
        };
        let router = Router::new().route("/slow", get(slow).post(slow)).route("/stream", get(stream));
        router.route("/", get(async || "hi")).with_state(self.clone())
    }
}

fn finish(client: &Client<TcpStream>) {
    client.stream().shutdown(Shutdown::Write).expect("it is open");
}

fn reset(client: Client<TcpStream>) {
    sockopt::set_socket_linger(client.stream(), Some(Duration::ZERO)).expect("it is a socket");
}

fn hosted<L: Net>(work: &Work, arguments: &[&str]) -> Hosting {
    host::<L, _>(HttpServer::new(work.router()), arguments)
}

fn a_client_that_finishes_behind_its_requests_is_answered<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let hosting = host::<L, _>(HttpServer::new(hi()), arguments);
        let post = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody";
        for (asked, answers) in [(GET, 1), (&GET.repeat(20), 20), (post, 1), ("GET / HTTP/1.0\r\n\r\n", 1)] {
            for round in 0..20 {
                let mut client = connect(hosting.port());
                client.send(asked);
                finish(&client);
                let said = client.closed_cleanly();
                assert_eq!(said.matches("HTTP/1.").count(), answers, "round {round} of {asked}: {said}");
                assert!(said.ends_with("hi"), "round {round} of {asked}: {said}");
            }
        }
        eventually("all are gone", || hosting.counter("open_connections") == 0);
        hosting.stop();
    }
}

fn a_client_that_has_finished_is_answered_by_a_handler_that_takes_its_time<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let work = Work::new();
        let hosting = hosted::<L>(&work, arguments);
        let mut client = connect(hosting.port());
        client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2));
        finish(&client);
        for _ in 0..2 {
            eventually("it is at work", || work.count() == 1);
            work.gate.add_permits(1);
            assert_eq!(client.receive().body, "slow");
        }
        assert_eq!(client.closed_cleanly(), "");
        hosting.stop();
    }
}

fn a_handler_is_dropped_when_its_client_is_reset<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let work = Work::new();
        let hosting = hosted::<L>(&work, arguments);
        let slow = "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
        // Also if unread bytes precede the reset: a request that waits for its turn, a body.
        let body = format!("POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{}", "x".repeat(500_000));
        let stream = "GET /stream HTTP/1.1\r\nhost: x\r\n\r\n";
        for asked in [slow, &slow.repeat(100), &body, stream] {
            for finished in [false, true] {
                let mut client = connect(hosting.port());
                client.send(asked);
                if finished {
                    finish(&client);
                }
                eventually("it is at work", || work.count() == 1);
                let begin = Instant::now();
                reset(client);
                eventually("it is dropped", || work.count() == 0);
                assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
            }
        }
        eventually("all are gone", || hosting.counter("open_connections") == 0);
        hosting.stop();
    }
}

fn a_quiet_handler_of_a_client_that_has_finished_has_the_idle_time<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let arguments = [&["--http-idle-timeout", "400ms"], *arguments].concat();
        let work = Work::new();
        let hosting = hosted::<L>(&work, &arguments);
        for path in ["/slow", "/stream"] {
            let mut client = connect(hosting.port());
            client.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"));
            eventually("it is at work", || work.count() == 1);
            // As long as it hasn't finished, it may take any time.
            thread::sleep(Duration::from_millis(600));
            assert_eq!(work.count(), 1);
            let begin = Instant::now();
            finish(&client);
            eventually("it is dropped", || work.count() == 0);
            let took = begin.elapsed();
            assert!(took > Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
        }
        hosting.stop();
    }
}

fn a_tab_that_is_closed_ends_its_stream<L: Net>() {
    let _watchdog = watchdog();
    let work = Work::new();
    let hosting = hosted::<L>(&work, &["--http-idle-timeout", "300ms"]);
    let mut client = connect(hosting.port());
    client.send("GET /stream HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(client.receive().status, 200);
    assert_eq!(work.count(), 1);
    drop(client);
    eventually("it is dropped", || work.count() == 0);
    eventually("it is gone", || hosting.counter("open_connections") == 0);
    hosting.stop();
}

fn a_body_that_is_cut_off_is_an_error_at_once<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let router = Router::new().route("/", post(async |body: Bytes| body.len().to_string()));
        let hosting = host::<L, _>(HttpServer::new(router), arguments);
        let chunked = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n";
        for cut in ["POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nbody", chunked] {
            let mut client = connect(hosting.port());
            client.send(cut);
            finish(&client);
            let begin = Instant::now();
            let said = client.closed();
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 "), "{said}");
            assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        }
        hosting.stop();
    }
}

/// Waits for this on a thread without a loop.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a thread's own");
    runtime.block_on(future)
}

fn a_body_that_is_cut_off_over_http2_is_an_error_at_once<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        // Also in a handler that reads it on a thread of its own, and in one that has read part of it.
        let piecewise = async |body: Body| {
            let mut pieces = body.into_data_stream();
            let first = pieces.next().await.expect("a piece").expect("it is whole");
            let (send, rest) = tokio::sync::oneshot::channel();
            thread::spawn(move || send.send(block_on(pieces.collect::<Vec<_>>())));
            let rest = rest.await.expect("it ends");
            let failed = rest.last().is_some_and(Result::is_err);
            format!("{} and {} more, failed: {failed}", first.len(), rest.len())
        };
        let router = Router::new().route("/", post(async |body: Bytes| body.len().to_string()));
        let hosting = host::<L, _>(HttpServer::new(router.route("/piecewise", post(piecewise))), arguments);
        for (path, answer) in [("/", "Failed to buffer"), ("/piecewise", "4 and 1 more, failed: true")] {
            let mut client = Frames::connect(&hosting);
            client.send(&frames::request(1, path, true));
            client.send(&frames::frame(frames::DATA, 0, 1, b"body"));
            client.0.shutdown(Shutdown::Write).expect("it is open");
            let begin = Instant::now();
            let said = client.rest();
            assert!(said.starts_with(answer), "{said}");
            assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
        }
        eventually("all are gone", || hosting.counter("open_connections") == 0);
        hosting.stop();
    }
}

fn a_client_of_a_unix_socket_may_finish_or_go<L: Net>() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().expect("a folder");
    let work = Work::new();
    let server = HttpServer::new(work.router()).unix(folder.path().join("socket"));
    let hosting = host::<L, _>(server, &[]);
    let Address::Unix(path) = &hosting.addresses[0] else { panic!("it is a Unix socket") };
    for _ in 0..20 {
        let mut client = UnixStream::connect(path).expect("it listens");
        client.write_all(GET.as_bytes()).expect("it is open");
        client.shutdown(Shutdown::Write).expect("it is open");
        let mut said = String::new();
        client.read_to_string(&mut said).expect("it is answered");
        assert!(said.ends_with("hi"), "{said}");
    }
    // On a Unix socket it shows that there is nobody to answer.
    let mut client = UnixStream::connect(path).expect("it listens");
    client.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").expect("it is open");
    eventually("it is at work", || work.count() == 1);
    drop(client);
    eventually("it is dropped", || work.count() == 0);
    hosting.stop();
}

/// Responds before it has read the body, as a refusal does.
fn refusing() -> Router {
    let refuse = async || (StatusCode::UNAUTHORIZED, "no");
    Router::new().route("/", get(async || "hi")).route("/refused", post(refuse))
}

fn posted(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
}

fn an_early_response_reaches_a_client_that_sends_all_before_it_reads<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let hosting = host::<L, _>(HttpServer::new(refusing()).max_body_size(100 << 20), arguments);
        // 401 by the handler, 404, 405; more than the sockets hold.
        for (path, status) in [("/refused", 401), ("/nowhere", 404), ("/", 405)] {
            for round in 0..3 {
                let mut client = connect(hosting.port());
                client.send(posted(path, 8 << 20));
                for _ in 0..128 {
                    client.send([b'x'; 64 << 10]);
                }
                let got = client.receive();
                assert_eq!(got.status, status, "round {round}");
                assert!(got.head.contains("connection: close"), "{}", got.head);
                assert_eq!(client.closed_cleanly(), "");
            }
        }
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(64 << 10));
        let mut client = connect(hosting.port());
        client.send("POST /refused HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
        for _ in 0..128 {
            client.send(&chunk);
        }
        client.send("0\r\n\r\n");
        assert_eq!(client.receive().status, 401);
        // So does an invalid request.
        let mut client = connect(hosting.port());
        client.send("no request\r\n\r\n");
        for _ in 0..128 {
            client.send([b'x'; 64 << 10]);
        }
        assert_eq!(client.receive().status, 400);
        eventually("all are gone", || hosting.counter("open_connections") == 0);
        hosting.stop();
    }
}

fn a_connection_goes_on_behind_a_small_body_that_nobody_read<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let hosting = host::<L, _>(HttpServer::new(refusing()), arguments);
        let mut client = connect(hosting.port());
        for _ in 0..3 {
            client.send(posted("/refused", 200_000));
            let got = client.receive();
            assert_eq!(got.status, 401);
            assert!(!got.head.contains("connection: close"), "{}", got.head);
            client.send([b'x'; 200_000]);
            assert_eq!(client.get("/").body, "hi");
            let chunk = format!("2710\r\n{}\r\n", "x".repeat(10_000)).repeat(10);
            client.send(format!(
                "POST /refused HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
            ));
            assert_eq!(client.receive().status, 401);
            assert_eq!(client.get("/").body, "hi");
        }
        hosting.stop();
    }
}

fn a_client_that_expects_to_be_asked_for_its_body_is_told_that_it_is_not_wanted<L: Net>() {
    let _watchdog = watchdog();
    let router = refusing().route("/echo", post(async |body: Bytes| body));
    let hosting = host::<L, _>(HttpServer::new(router), &[]);
    let expecting = |path| posted(path, 4).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    let mut client = connect(hosting.port());
    client.send(expecting("/echo"));
    assert_eq!(client.receive().status, 100);
    client.send("body");
    assert_eq!(client.receive().body, "body");
    client.send(expecting("/refused"));
    let got = client.receive();
    assert_eq!(got.status, 401);
    assert!(got.head.contains("connection: close"), "{}", got.head);
    assert_eq!(client.closed_cleanly(), "");
    hosting.stop();
}

fn a_client_that_sends_for_ever_what_nobody_wants_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(refusing()).max_body_size(usize::MAX >> 1), &[]);
    let mut sends = connect(hosting.port());
    sends.send(posted("/refused", usize::MAX >> 1));
    let mut trickles = connect(hosting.port());
    trickles.send(posted("/refused", usize::MAX >> 1));
    let mut silent = connect(hosting.port());
    silent.send(posted("/refused", usize::MAX >> 1));
    for client in [&mut sends, &mut trickles, &mut silent] {
        assert_eq!(client.receive().status, 401);
    }
    while sends.try_send([b'x'; 64 << 10]).is_ok() {}
    let (over, wait) = mpsc::channel::<()>();
    let trickle = thread::spawn(move || {
        while wait.recv_timeout(Duration::from_millis(100)).is_err() && trickles.try_send("x").is_ok() {}
    });
    eventually("they are gone", || hosting.counter("open_connections") == 0);
    let _ = over.send(());
    trickle.join().expect("it trickles");
    drop(silent);
    hosting.stop();
}

/// HTTP/2, by hand.
pub(crate) mod frames {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;

    pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = &(payload.len() as u32).to_be_bytes()[1..];
        [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    pub(crate) fn hello() -> Vec<u8> {
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, b"")].concat()
    }

    /// Returns a request's head: `GET` or `POST` of a path, over HTTP, to the host `x`.
    pub(crate) fn request(stream: u32, path: &str, with_body: bool) -> Vec<u8> {
        let method = if with_body { 0x83 } else { 0x82 };
        let path = [&[0x04, path.len() as u8][..], path.as_bytes()].concat();
        let fields = [&[method, 0x86][..], &path, b"\x41\x01x"].concat();
        frame(HEADERS, if with_body { 4 } else { 5 }, stream, &fields)
    }
}

/// A client of HTTP/2, which reads frame after frame.
pub(crate) struct Frames(pub(crate) TcpStream);

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frames {
    pub(crate) fn connect(hosting: &Hosting) -> Self {
        let stream = TcpStream::connect(hosting.port()).expect("it listens");
        stream.set_read_timeout(Some(util::PATIENCE)).expect("it is a socket");
        let mut this = Self(stream);
        this.send(&frames::hello());
        this
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the connection is open");
    }

    /// Returns None at the end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        match self.0.read(&mut head[..1]).expect("the connection is not reset, nor silent") {
            0 => return None,
            _ => self.0.read_exact(&mut head[1..]).expect("a whole frame"),
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).expect("a whole frame");
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Returns the next frame of this kind; earlier ones are skipped, except pings, which are answered.
    pub(crate) fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().unwrap_or_else(|| panic!("the connection ended before a frame of kind {kind}"));
            if frame.kind == kind {
                return frame;
            }
            if frame.kind == frames::PING && frame.flags == 0 {
                self.send(&frames::frame(frames::PING, 1, 0, &frame.payload));
            }
        }
    }

    /// Returns the bodies of everything that comes until the end.
    pub(crate) fn rest(mut self) -> String {
        let mut bodies = Vec::new();
        while let Some(frame) = self.next() {
            if frame.kind == frames::DATA {
                bodies.extend(frame.payload);
            }
        }
        String::from_utf8(bodies).expect("text")
    }
}

fn what_was_asked_over_http2_before_the_client_finished_is_answered<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let work = Work::new();
        let hosting = hosted::<L>(&work, arguments);
        for _ in 0..20 {
            let mut client = Frames::connect(&hosting);
            let requests = [1, 3, 5].map(|stream| frames::request(stream, "/", false)).concat();
            client.send(&requests);
            client.0.shutdown(Shutdown::Write).expect("it is open");
            assert_eq!(client.rest(), "hihihi");
        }
        // A client that breaks the connection waits for nothing.
        let mut client = Frames::connect(&hosting);
        client.send(&frames::request(1, "/slow", false));
        eventually("it is at work", || work.count() == 1);
        sockopt::set_socket_linger(&client.0, Some(Duration::ZERO)).expect("it is a socket");
        drop(client);
        eventually("it is dropped", || work.count() == 0);
        eventually("all are gone", || hosting.counter("open_connections") == 0);
        hosting.stop();
    }
}

fn a_quiet_stream_of_http2_has_the_idle_time_once_its_client_has_finished<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let work = Work::new();
        let arguments = [&["--http-idle-timeout", "400ms"], *arguments].concat();
        let hosting = hosted::<L>(&work, &arguments);
        let mut client = Frames::connect(&hosting);
        client.send(&frames::request(1, "/stream", false));
        client.until(frames::DATA);
        let begin = Instant::now();
        client.0.shutdown(Shutdown::Write).expect("it is open");
        eventually("it is dropped", || work.count() == 0);
        let took = begin.elapsed();
        assert!(took > Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
        eventually("it is gone", || hosting.counter("open_connections") == 0);
        hosting.stop();
    }
}

fn a_client_of_http2_that_has_finished_is_answered_by_a_handler_that_takes_its_time<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let work = Work::new();
        let arguments = [&["--http-ping-interval", "200ms", "--http-ping-timeout", "200ms"], *arguments].concat();
        let hosting = hosted::<L>(&work, &arguments);
        let mut client = Frames::connect(&hosting);
        client.send(&[frames::request(1, "/slow", false), frames::request(3, "/slow", false)].concat());
        client.0.shutdown(Shutdown::Write).expect("it is open");
        eventually("both are at work", || work.count() == 2);
        // It can't answer pings, either.
        thread::sleep(Duration::from_millis(1500));
        work.gate.add_permits(2);
        assert_eq!(client.rest(), "slowslow");
        hosting.stop();
    }
}

fn a_client_of_http2_that_has_closed_its_connection_is_gone<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let work = Work::new();
        let hosting = hosted::<L>(&work, arguments);
        for path in ["/slow", "/stream"] {
            for at_once in [false, true] {
                let mut client = Frames::connect(&hosting);
                // Everything is read: an end with unread bytes would be a reset.
                while client.until(frames::SETTINGS).flags == 0 {}
                client.send(&frames::request(1, path, false));
                if !at_once {
                    eventually("it is at work", || work.count() == 1);
                    if path == "/stream" {
                        client.until(frames::DATA);
                    }
                }
                let begin = Instant::now();
                drop(client);
                eventually("it is dropped", || work.count() == 0 && hosting.counter("open_connections") == 0);
                assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
            }
        }
        hosting.stop();
    }
}

fn an_early_response_over_http2_comes_before_the_stream_is_given_up<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(refusing()), &[]);
    let mut client = Frames::connect(&hosting);
    for stream in [1, 3, 5] {
        client.send(&frames::request(stream, "/refused", true));
        client.send(&frames::frame(frames::DATA, 0, stream, &[b'x'; 10_000]));
        let head = client.until(frames::HEADERS);
        assert_eq!((head.stream, client.until(frames::DATA).payload.as_slice()), (stream, &b"no"[..]));
        let reset = client.until(frames::RST_STREAM);
        assert_eq!((reset.stream, reset.payload.as_slice()), (stream, &[0; 4][..]), "no error");
        // Bytes on the way do no harm.
        client.send(&frames::frame(frames::DATA, 1, stream, &[b'x'; 10_000]));
    }
    client.send(&frames::request(7, "/", false));
    assert_eq!(client.until(frames::DATA).payload, b"hi");
    hosting.stop();
}

fn a_connection_of_http2_that_asks_for_nothing_is_told_that_it_ends<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let arguments = [&["--http-header-timeout", "200ms", "--http-idle-timeout", "200ms"], *arguments].concat();
        let hosting = host::<L, _>(HttpServer::new(hi()), &arguments);
        for asked_before in [false, true] {
            let mut client = Frames::connect(&hosting);
            if asked_before {
                client.send(&frames::request(1, "/", false));
                assert_eq!(client.until(frames::DATA).payload, b"hi");
            }
            let goaway = client.until(frames::GOAWAY);
            assert_eq!(goaway.payload[4..8], [0; 4], "no error");
            // Requests on the way are answered: the first GOAWAY allows for them.
            client.send(&frames::request(3, "/", false));
            assert_eq!(client.until(frames::DATA).payload, b"hi");
            client.until(frames::GOAWAY);
            drop(client);
        }
        eventually("all are gone", || hosting.counter("open_connections") == 0);
        hosting.stop();
    }
}

/// Asks the service to stop as a supervisor does, with a drain delay, and waits until it has noticed.
fn drain(hosting: &Hosting) {
    hosting.running.request_shutdown(interloop::Reason::Signal(15));
    eventually("it drains", || hosting.running.shutdown().is_requested());
}

fn a_drain_says_so_by_each_response_and_loses_no_request<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let arguments = [&["--drain-delay", "1s"], *arguments].concat();
        let hosting = host::<L, _>(HttpServer::new(hi()), &arguments);
        let mut used = connect(hosting.port());
        let got = used.get("/");
        assert!(!got.head.contains("connection: close"), "{}", got.head);
        let unused = connect(hosting.port());
        eventually("both are in", || hosting.counter("open_connections") == 2);
        drain(&hosting);
        // They stay open until they have had a response; new ones are accepted.
        let late = connect(hosting.port());
        for mut client in [used, unused, late] {
            let got = client.get("/");
            assert_eq!(got.body, "hi");
            assert!(got.head.contains("connection: close"), "{}", got.head);
            assert_eq!(client.closed_cleanly(), "");
        }
        assert_eq!(hosting.running.join().code, 0);
    }
}

fn a_drain_sends_connections_of_http2_away_and_loses_no_request<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let arguments = [&["--drain-delay", "5s"], *arguments].concat();
        let hosting = host::<L, _>(HttpServer::new(hi()), &arguments);
        let mut used = Frames::connect(&hosting);
        used.send(&frames::request(1, "/", false));
        assert_eq!(used.until(frames::DATA).payload, b"hi");
        let mut unused = Frames::connect(&hosting);
        unused.until(frames::SETTINGS);
        drain(&hosting);
        used.until(frames::GOAWAY);
        assert_eq!(hosting.running.task_state("http"), Some(TaskState::Running), "the delay is not over");
        // Requests on the way are answered, as is the first request of a connection that has had none.
        used.send(&frames::request(3, "/", false));
        unused.send(&frames::request(1, "/", false));
        for mut client in [used, unused] {
            assert_eq!(client.until(frames::DATA).payload, b"hi");
            client.until(frames::GOAWAY);
            assert_eq!(client.rest(), "");
        }
        assert_eq!(hosting.running.join().code, 0);
    }
}

on_four_loops! {
    what_was_asked_over_http2_before_the_client_finished_is_answered,
    a_quiet_stream_of_http2_has_the_idle_time_once_its_client_has_finished,
    a_client_of_http2_that_has_finished_is_answered_by_a_handler_that_takes_its_time,
    a_client_of_http2_that_has_closed_its_connection_is_gone,
    an_early_response_over_http2_comes_before_the_stream_is_given_up,
    a_connection_of_http2_that_asks_for_nothing_is_told_that_it_ends,
    a_drain_says_so_by_each_response_and_loses_no_request,
    a_drain_sends_connections_of_http2_away_and_loses_no_request,
    a_client_that_finishes_behind_its_requests_is_answered,
    a_client_that_has_finished_is_answered_by_a_handler_that_takes_its_time,
    a_handler_is_dropped_when_its_client_is_reset,
    a_quiet_handler_of_a_client_that_has_finished_has_the_idle_time,
    a_tab_that_is_closed_ends_its_stream,
    a_body_that_is_cut_off_is_an_error_at_once,
    a_body_that_is_cut_off_over_http2_is_an_error_at_once,
    a_client_of_a_unix_socket_may_finish_or_go,
    an_early_response_reaches_a_client_that_sends_all_before_it_reads,
    a_connection_goes_on_behind_a_small_body_that_nobody_read,
    a_client_that_expects_to_be_asked_for_its_body_is_told_that_it_is_not_wanted,
    a_client_that_sends_for_ever_what_nobody_wants_is_cut_off,
}
