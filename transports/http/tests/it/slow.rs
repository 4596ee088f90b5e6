//! Clients that make the server wait: for the rest of what they have begun, or for taking what they are sent.

use std::{
    convert::Infallible,
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use crate::util::{Hosting, PATIENCE, connect, eventually, host, variants, watchdog};
use axum::{
    Router,
    body::{Body, Bytes},
    routing::{get, post},
};
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use interloop::net::Net;
use interloop_http::HttpServer;
use interloop_transport_tests::http2::{
    Client, DATA, HEADERS, Habits, INITIAL_WINDOW, LAST, PREFACE, SETTINGS, WHOLE, block, frame,
};

/// The length of a response at `/whole` and `/pieces`: more than any socket holds.
const LONG: usize = 4 << 20;
/// How long clients may be slow.
const GRACE: &[&str] = &["--http-rate-grace", "400ms"];

/// Counts while it exists.
struct Held(Arc<AtomicUsize>, Bytes);

impl Held {
    fn new(count: &Arc<AtomicUsize>, bytes: Bytes) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count.clone(), bytes)
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Returns a router with long and short responses, which are counted while they are kept, and handlers that read bodies
/// at once, or only now and then.
fn router(held: &Arc<AtomicUsize>) -> Router {
    let text = Bytes::from(vec![b'x'; LONG]);
    let whole = {
        let (held, text) = (held.clone(), text.clone());
        async move || Bytes::from_owner(Held::new(&held, text.clone()))
    };
    let pieces = {
        let held = held.clone();
        async move || {
            let kept = Held::new(&held, Bytes::new());
            let pieces = stream::iter(0..LONG / 1000).map(move |_| {
                let _ = &kept;
                Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1000]))
            });
            Body::from_stream(pieces)
        }
    };
    let some = {
        let text = text.slice(..8 << 10);
        async move || text
    };
    let read = {
        let held = held.clone();
        async move |body: Body| {
            let _kept = Held::new(&held, Bytes::new());
            body.collect().await.map_or_else(|error| error.to_string(), |body| body.to_bytes().len().to_string())
        }
    };
    Router::new()
        .route("/whole", get(whole))
        .route("/pieces", get(pieces))
        .route("/some", get(some))
        .route("/read", post(read))
        .fallback(async || "hi")
}

fn hosting<L: Net>(arguments: &[&str]) -> (Hosting, Arc<AtomicUsize>) {
    let held = Arc::default();
    (host::<L, _>(HttpServer::new(router(&held)), arguments), held)
}

fn is_well(hosting: Hosting) {
    assert_eq!(connect(hosting.port()).get("/").body, "hi");
    hosting.stop();
}

/// Waits until the server has disconnected it.
fn is_gone(hosting: &Hosting, held: &Arc<AtomicUsize>) {
    eventually("nothing of it is kept", || held.load(SeqCst) == 0);
    eventually("it is gone", || hosting.counter("open_connections") == 0);
}

fn shut_windows_keep_nothing<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        for window in [0, 1] {
            let (hosting, held) = hosting::<L>(&[GRACE, arguments].concat());
            let client = Client::connect(hosting.port(), &[(INITIAL_WINDOW, window)], Habits::default());
            for number in 0..50 {
                client.get(4 * number + 1, "/whole");
                client.get(4 * number + 3, "/pieces");
            }
            eventually("all are asked for", || hosting.counter("requests") == 100);
            let seen = client.until("it is told, and closed", |seen| seen.closed);
            assert_eq!(seen.reset.len(), 100, "{seen:?}");
            assert!(!seen.goaways.is_empty(), "{seen:?}");
            is_gone(&hosting, &held);
            assert_eq!(hosting.counter("slow_clients"), 100);
            is_well(hosting);
        }
    }
}

/// hyper holds their ends, and frees them only with the connection.
fn short_answers_that_are_not_taken_end_the_connection<L: Net>() {
    let _watchdog = watchdog();
    let (hosting, held) = hosting::<L>(GRACE);
    let client = Client::connect(hosting.port(), &[(INITIAL_WINDOW, 0)], Habits::default());
    (0..10).for_each(|number| client.get(2 * number + 1, "/"));
    let seen = client.until("it is told, and closed", |seen| seen.closed);
    assert!(!seen.goaways.is_empty(), "{seen:?}");
    is_gone(&hosting, &held);
    is_well(hosting);
}

fn a_window_that_opens_by_a_byte_now_and_then_is_a_shut_one<L: Net>() {
    let _watchdog = watchdog();
    let (hosting, held) = hosting::<L>(GRACE);
    for paths in [&["/whole"][..], &["/some"], &["/pieces", "/some", "/whole"]] {
        let client = Client::connect(hosting.port(), &[(INITIAL_WINDOW, 0)], Habits::default());
        let streams = (1..).step_by(2).zip(paths).map(|(stream, path)| (client.get(stream, path), stream).1);
        let streams = streams.collect::<Vec<u32>>();
        let begin = Instant::now();
        // At most a tenth of the minimum rate.
        while client.within(Duration::from_millis(20), |seen| seen.closed).is_none() {
            let _ = streams.iter().try_for_each(|stream| client.take(*stream, 1));
            assert!(begin.elapsed() < PATIENCE, "{:?}", client.seen());
        }
        is_gone(&hosting, &held);
    }
    is_well(hosting);
}

fn a_window_that_opens_and_shuts_is_taken_for_what_comes_of_it<L: Net>() {
    let _watchdog = watchdog();
    let (hosting, held) = hosting::<L>(GRACE);
    // Four times the minimum rate: it takes four times as long as a client may be slow, and stays connected.
    let client = Client::connect(hosting.port(), &[(INITIAL_WINDOW, 0)], Habits::default());
    client.get(1, "/some");
    let begin = Instant::now();
    while client.within(Duration::from_millis(100), |seen| seen.ended == [1]).is_none() {
        client.take(1, 500).expect("it is open");
    }
    assert!(begin.elapsed() > Duration::from_millis(1200), "{:?}", begin.elapsed());
    // A fast beginning is worth nothing later.
    client.get(3, "/whole");
    client.take(3, 60_000).expect("it is open");
    let seen = client.until("it is reset", |seen| !seen.reset.is_empty());
    assert_eq!((seen.data_of(3), seen.reset[0].0), (57_343, 3), "{seen:?}");
    drop(client);
    is_gone(&hosting, &held);
    is_well(hosting);
}

fn a_connection_whose_own_window_is_shut_keeps_nothing<L: Net>() {
    let _watchdog = watchdog();
    let (hosting, held) = hosting::<L>(GRACE);
    let client = Client::connect(hosting.port(), &[(INITIAL_WINDOW, 1 << 30)], Habits::default());
    (0..20).for_each(|number| client.get(2 * number + 1, "/whole"));
    let seen = client.until("it is closed", |seen| seen.closed);
    assert_eq!(seen.data.values().sum::<usize>(), 65_535);
    is_gone(&hosting, &held);
    is_well(hosting);
}

fn one_that_is_shut_beside_many_that_are_busy_goes_alone<L: Net>() {
    let _watchdog = watchdog();
    let (hosting, held) = hosting::<L>(GRACE);
    let client = Client::connect(hosting.port(), &[(INITIAL_WINDOW, 0)], Habits { credit: true, ..Habits::default() });
    client.take(0, 1 << 30).expect("it is open");
    client.get(1, "/whole");
    let (mut next, mut ended) = (3, 0);
    let mut ask = || {
        client.get(next, "/some");
        client.take(next, 1 << 20).expect("it is open");
        next += 2;
    };
    (0..99).for_each(|_| ask());
    // As soon as one has ended, another one begins.
    while client.seen().reset.is_empty() {
        let seen = client.until("some go on", |seen| seen.ended.len() > ended || !seen.reset.is_empty());
        (ended..seen.ended.len()).for_each(|_| ask());
        ended = seen.ended.len();
    }
    let asked = (next - 3) / 2;
    let seen = client.until("all others end", |seen| seen.ended.len() == asked as usize);
    assert_eq!(seen.reset.iter().map(|reset| reset.0).collect::<Vec<_>>(), [1]);
    assert!(seen.goaways.is_empty() && !seen.closed, "{seen:?}");
    eventually("nothing of it is kept", || held.load(SeqCst) == 0);
    assert_eq!(hosting.counter("slow_clients"), 1);
    drop(client);
    is_well(hosting);
}

fn they_do_not_keep_others_out<L: Net>() {
    let _watchdog = watchdog();
    let (hosting, _) = hosting::<L>(&[GRACE, &["--http-max-connections", "2"]].concat());
    let clients = [0, 1].map(|window| {
        let client = Client::connect(hosting.port(), &[(INITIAL_WINDOW, window)], Habits::default());
        client.get(1, "/whole");
        client.get(3, "/");
        client
    });
    eventually("both are in", || hosting.counter("requests") == 4);
    assert_eq!(connect(hosting.port()).get("/").body, "hi");
    drop(clients);
    hosting.stop();
}

fn they_do_not_hold_up_the_stop<L: Net>() {
    let _watchdog = watchdog();
    for stop in ["10s", "1s"] {
        let (hosting, _) = hosting::<L>(&["--shutdown-timeout", stop]);
        let port = hosting.port();
        let shut = Client::connect(port, &[(INITIAL_WINDOW, 0)], Habits::default());
        ["/whole", "/pieces", "/"].iter().zip([1, 3, 5]).for_each(|(path, stream)| shut.get(stream, path));
        let half = Client::connect(port, &[], Habits::default());
        half.post(1, "/read", &[]);
        half.send(&frame(DATA, 0, 1, b"half"));
        let mut old = connect(port);
        old.send("POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf");
        let mut within = connect(port);
        within.send("POST /read HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n5");
        eventually("all are asked for", || hosting.counter("requests") == 6);
        let begin = Instant::now();
        // Its code is 0: a delay that clients cause is no failure.
        hosting.stop();
        let limit = if stop == "10s" { Duration::from_secs(8) } else { Duration::from_secs(3) };
        assert!(begin.elapsed() < limit, "{:?}", begin.elapsed());
    }
}

fn a_body_that_is_begun_and_never_ended_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    let (hosting, held) = hosting::<L>(GRACE);
    let client = Client::connect(hosting.port(), &[], Habits::default());
    client.post(1, "/read", &[]);
    client.post(3, "/read", &[("content-length", "100")]);
    client.send(&frame(DATA, 0, 3, b"half"));
    // It would hold the connection, and is well within its time.
    client.post(5, "/read", &[]);
    let ended = thread::scope(|scope| {
        let client = &client;
        let trickle = scope.spawn(move || {
            while client.within(Duration::from_millis(50), |seen| seen.reset.len() == 2).is_none() {
                client.send(&frame(DATA, 0, 5, &[b'x'; 200]));
            }
            client.send(&frame(DATA, LAST, 5, b"end"));
        });
        trickle.join().expect("no panic");
        client.until("the other is answered", |seen| seen.ended == [5])
    });
    let mut reset = ended.reset.iter().map(|reset| reset.0).collect::<Vec<_>>();
    reset.sort_unstable();
    assert_eq!(reset, [1, 3]);
    assert!(ended.goaways.is_empty(), "{ended:?}");
    for body in ["content-length: 100\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let mut client = connect(hosting.port());
        client.send(format!("POST /read HTTP/1.1\r\nhost: x\r\n{body}"));
        assert_eq!(client.closed(), "");
    }
    drop(client);
    is_gone(&hosting, &held);
    is_well(hosting);
}

fn a_body_that_trickles_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    let (hosting, held) = hosting::<L>(GRACE);
    // The same for a body, for the bytes between its chunks, and for those after it.
    let length = "content-length: 1000000\r\n\r\n";
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    for (head, piece) in [
        (length.to_owned(), "x"),
        (chunked.to_owned(), "1\r\nx\r\n"),
        (format!("{chunked}4;"), "x"),
        (format!("{chunked}0\r\nx-after: "), "x"),
    ] {
        let mut client = connect(hosting.port());
        client.send(format!("POST /read HTTP/1.1\r\nhost: x\r\n{head}"));
        let begin = Instant::now();
        while client.try_send(piece).is_ok() {
            assert!(begin.elapsed() < PATIENCE, "{head}");
            thread::sleep(Duration::from_millis(20));
        }
    }
    let client = Client::connect(hosting.port(), &[], Habits::default());
    client.post(1, "/read", &[]);
    client.post(3, "/read", &[]);
    let begin = Instant::now();
    while client.within(Duration::from_millis(20), |seen| seen.reset.len() == 2).is_none() {
        let _ = client.try_send(&[frame(DATA, 0, 1, b"x"), frame(DATA, 0, 3, b"")].concat());
        assert!(begin.elapsed() < PATIENCE, "{:?}", client.seen());
    }
    drop(client);
    is_gone(&hosting, &held);
    is_well(hosting);
}

/// Here the handler causes the wait.
fn a_body_may_take_its_time_when_the_handler_does<L: Net>() {
    let _watchdog = watchdog();
    // At its own pace; the second one asks briefly, finds nothing, and then does something else.
    let slow = async |mut body: Body| {
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame.map_or(0, |frame| frame.data_ref().map_or(0, Bytes::len));
            rest(Duration::from_millis(300)).await;
        }
        length.to_string()
    };
    let busy = async |mut body: Body| {
        let mut length = 0;
        loop {
            let polled = std::future::poll_fn(|cx| {
                let polled = std::pin::Pin::new(&mut body);
                std::task::Poll::Ready(http_body::Body::poll_frame(polled, cx))
            });
            match polled.await {
                std::task::Poll::Ready(Some(frame)) => {
                    length += frame.map_or(0, |frame| frame.data_ref().map_or(0, Bytes::len))
                }
                std::task::Poll::Ready(None) => return length.to_string(),
                std::task::Poll::Pending => {}
            }
            rest(Duration::from_millis(600)).await;
        }
    };
    let router = Router::new().route("/slow", post(slow)).route("/busy", post(busy));
    let hosting = host::<L, _>(HttpServer::new(router), &["--http-rate-grace", "200ms"]);
    for path in ["/slow", "/busy"] {
        let mut client = connect(hosting.port());
        client.send(format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"));
        if path == "/busy" {
            // It has asked once, in vain.
            thread::sleep(Duration::from_millis(500));
        }
        client.send("1\r\na\r\n".repeat(4) + "0\r\n\r\n");
        assert_eq!(client.receive().body, "4", "{path}");
        let client = Client::connect(hosting.port(), &[], Habits::default());
        client.post(1, path, &[]);
        if path == "/busy" {
            thread::sleep(Duration::from_millis(500));
        }
        (0..4).for_each(|_| client.send(&frame(DATA, 0, 1, b"a")));
        client.send(&frame(DATA, LAST, 1, b""));
        let seen = client.until("it is answered", |seen| seen.ended == [1] || !seen.reset.is_empty());
        assert_eq!(seen.reset, [], "{path}");
    }
    hosting.stop();
}

/// Waits without any loop's timers.
async fn rest(time: Duration) {
    let (over, wait) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        thread::sleep(time);
        over.send(())
    });
    wait.await.expect("the thread sends");
}

fn an_answer_that_is_taken_by_the_byte_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    let (hosting, held) = hosting::<L>(GRACE);
    for path in ["/whole", "/pieces"] {
        let mut stream = TcpStream::connect(hosting.port()).expect("it listens");
        rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4 << 10).expect("it is a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).expect("it is open");
        eventually("it is asked for", || held.load(SeqCst) == 1);
        let begin = Instant::now();
        while held.load(SeqCst) == 1 {
            assert!(begin.elapsed() < PATIENCE, "{path}");
            let _ = stream.read(&mut [0; 1]);
            thread::sleep(Duration::from_millis(20));
        }
        drop(stream);
    }
    is_gone(&hosting, &held);
    is_well(hosting);
}

fn a_client_with_as_many_requests_as_it_may_have_is_told_of<L: Net>() {
    let _watchdog = watchdog();
    let (hosting, held) = hosting::<L>(&["--http-max-streams", "3"]);
    let client = Client::connect(hosting.port(), &[], Habits::default());
    let seen = client.until("it says how many there may be", |seen| seen.most_streams.is_some());
    assert_eq!(seen.most_streams, Some(3));
    // A client that ignores this gets refusals beyond the limit.
    (0..4).for_each(|number| client.post(2 * number + 1, "/read", &[]));
    let seen = client.until("one is refused", |seen| !seen.reset.is_empty());
    assert_eq!(seen.reset, [(7, 7)]);
    eventually("the others are at it", || held.load(SeqCst) == 3);
    client.send(&frame(DATA, LAST, 1, b"end"));
    client.until("one is answered", |seen| seen.ended == [1]);
    client.post(9, "/read", &[]);
    client.send(&frame(DATA, LAST, 9, b"end"));
    client.until("there is room for one more", |seen| seen.ended == [1, 9]);
    drop(client);
    is_gone(&hosting, &held);
    is_well(hosting);
}

/// Returns whether the system probes the server's end of this client's connection.
fn is_probed(client: &TcpStream) -> bool {
    let (server, client) =
        (client.peer_addr().expect("it is open").port(), client.local_addr().expect("it is open").port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("this is Linux");
    table.lines().any(|line| {
        let fields = line.split_whitespace().collect::<Vec<_>>();
        let has = |field: usize, port: u16| fields[field].ends_with(&format!(":{port:04X}"));
        // The timer that is set: 2 is keep-alive.
        fields.len() > 5 && has(1, server) && has(2, client) && fields[5].starts_with("02:")
    })
}

/// Connects, sends a request, and, once it is told, disappears without notifying the other end. Requires root.
const VANISH: &str = "
import socket, sys
client = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
client.sendall(bytes.fromhex(sys.argv[2]))
sys.stdin.readline()
client.setsockopt(socket.IPPROTO_TCP, 19, 1)
";

fn a_client_that_vanishes_is_noticed<L: Net>() {
    let _watchdog = watchdog();
    let held: Arc<AtomicUsize> = Arc::default();
    let never = {
        let held = held.clone();
        async move || {
            let _kept = Held::new(&held, Bytes::new());
            std::future::pending::<()>().await;
        }
    };
    let router = Router::new().route("/never", get(never)).fallback(async || "hi");
    for arguments in
        [&[][..], &["--http-tcp-keepalive", "1s", "--http-ping-interval", "1s", "--http-ping-timeout", "1s"]]
    {
        let hosting = host::<L, _>(HttpServer::new(router.clone()), arguments);
        let mut client = connect(hosting.port());
        assert_eq!(client.get("/").body, "hi");
        eventually("it is probed", || is_probed(client.stream()));
        drop(client);
        if !arguments.is_empty() && rustix::process::geteuid().is_root() {
            let never = frame(HEADERS, LAST | WHOLE, 1, &block("GET", "/never", &[]));
            let http2 = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &never].concat();
            for ask in [&b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n"[..], &http2] {
                let hex = ask.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                let mut client = Command::new("python3")
                    .args(["-c", VANISH, &hosting.port().port().to_string(), &hex])
                    .stdin(Stdio::piped())
                    .spawn()
                    .expect("there is a Python");
                eventually("the handler is there", || held.load(SeqCst) == 1);
                drop(client.stdin.take());
                assert!(client.wait().expect("it is a child").success());
                let begin = Instant::now();
                eventually("the handler is gone", || held.load(SeqCst) == 0);
                assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
            }
        }
        hosting.stop();
    }
}

/// What must stay connected, and what must not, with all default limits.
#[test]
fn by_default_a_byte_a_second_is_too_little_and_a_chunk_each_ten_seconds_is_read() {
    let _watchdog = watchdog();
    let slow = async |mut body: Body| {
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame.map_or(0, |frame| frame.data_ref().map_or(0, Bytes::len));
            rest(Duration::from_secs(10)).await;
        }
        length.to_string()
    };
    let held = Arc::default();
    let hosting = host::<interloop::Thread, _>(HttpServer::new(router(&held).route("/slow", post(slow))), &[]);
    let port = hosting.port();
    let trickle = |send: &mut dyn FnMut() -> bool| {
        let begin = Instant::now();
        while send() {
            assert!(begin.elapsed() < Duration::from_secs(40));
            thread::sleep(Duration::from_secs(1));
        }
        assert!(begin.elapsed() > Duration::from_secs(15), "{:?}", begin.elapsed());
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = connect(port);
            client.stream().set_read_timeout(Some(3 * PATIENCE)).expect("it is a socket");
            let chunks = "1\r\na\r\n".repeat(3);
            client.send("POST /slow HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
            for chunk in [&chunks[..12], &chunks[12..], "0\r\n\r\n"] {
                client.send(chunk);
                // Between two reads, and no longer than the handler rests.
                thread::sleep(Duration::from_secs(8));
            }
            assert_eq!(client.receive().body, "3");
        });
        scope.spawn(|| {
            let mut client = connect(port);
            client.send("POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n");
            trickle(&mut || client.try_send("x").is_ok());
        });
        scope.spawn(|| {
            let client = Client::connect(port, &[(INITIAL_WINDOW, 0)], Habits::default());
            client.get(1, "/whole");
            trickle(&mut || client.take(1, 1).is_ok() && client.seen().reset.is_empty());
        });
    });
    hosting.stop();
}

interloop_transport_tests::on_loops! {
    {
        on_tokio: interloop_tokio::Tokio,
        on_thread: interloop::Thread,
        on_glib: interloop_glib::Glib
    }
    {
        shut_windows_keep_nothing,
        short_answers_that_are_not_taken_end_the_connection,
        a_window_that_opens_by_a_byte_now_and_then_is_a_shut_one,
        a_window_that_opens_and_shuts_is_taken_for_what_comes_of_it,
        a_connection_whose_own_window_is_shut_keeps_nothing,
        one_that_is_shut_beside_many_that_are_busy_goes_alone,
        they_do_not_keep_others_out,
        they_do_not_hold_up_the_stop,
        a_body_that_is_begun_and_never_ended_is_cut_off,
        a_body_that_trickles_is_cut_off,
        a_body_may_take_its_time_when_the_handler_does,
        an_answer_that_is_taken_by_the_byte_is_cut_off,
        a_client_that_vanishes_is_noticed,
        a_client_with_as_many_requests_as_it_may_have_is_told_of,
    }
}
