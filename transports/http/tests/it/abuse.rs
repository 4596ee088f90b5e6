//! Clients that flood, leave in the middle, or send what they should not, while others are served, and the server
//! stops.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, Instant},
};

use crate::util::{Hosting, PATIENCE, connect, eventually, hi, host, variants, watchdog};
use interloop::net::Net;
use interloop_http::HttpServer;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Sends requests without waiting for their answers, which are read and thrown away, until the connection is closed.
fn flood(stream: &TcpStream) {
    let (mut reader, mut writer) = (stream, stream);
    std::thread::scope(|scope| {
        scope.spawn(move || while reader.read(&mut [0; 1 << 16]).is_ok_and(|length| length > 0) {});
        let requests = GET.repeat(1000);
        while writer.write_all(requests.as_bytes()).is_ok() {}
        let _ = writer.shutdown(Shutdown::Both);
    });
}

/// Checks that others are served, and the server stops normally.
fn is_well(hosting: Hosting) {
    assert_eq!(connect(hosting.port()).get("/").body, "hi");
    let begin = Instant::now();
    hosting.stop();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

fn a_flood_does_not_hold_up_the_stop<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let hosting = host::<L, _>(HttpServer::new(hi()), arguments);
        let floods = [(); 3].map(|()| TcpStream::connect(hosting.port()).expect("it listens"));
        std::thread::scope(|scope| {
            for stream in &floods {
                scope.spawn(|| flood(stream));
            }
            eventually("it is flooded", || hosting.counter("requests") > 1000);
            is_well(hosting);
        });
    }
}

fn a_reset_in_the_middle_does_no_harm<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    let post = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf";
    for cut in [&GET[..10], GET, post] {
        let mut stream = TcpStream::connect(hosting.port()).expect("it listens");
        stream.write_all(cut.as_bytes()).expect("it is open");
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("it is a socket");
    }
    eventually("all have come", || hosting.counter("connections") == 3);
    eventually("all are gone", || hosting.counter("open_connections") == 0);
    is_well(hosting);
}

/// Returns the 99th percentile of the requests' latency.
fn p99(hosting: &Hosting) -> Duration {
    let mut client = connect(hosting.port());
    let mut times = (0..300)
        .map(|_| {
            let begin = Instant::now();
            assert_eq!(client.get("/").body, "hi");
            begin.elapsed()
        })
        .collect::<Vec<_>>();
    times.sort();
    times[times.len() * 99 / 100]
}

fn others_are_served_in_time_whatever_the_rest_does<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    let undisturbed = p99(&hosting);
    let over = AtomicBool::new(false);
    // One only connects, one stays within its head, one takes none of its answers.
    let (_silent, mut within, mut greedy) = (connect(hosting.port()), connect(hosting.port()), connect(hosting.port()));
    within.send(&GET[..10]);
    greedy.send(GET.repeat(1000));
    let flooding = TcpStream::connect(hosting.port()).expect("it listens");
    let disturbed = std::thread::scope(|scope| {
        scope.spawn(|| flood(&flooding));
        scope.spawn(|| {
            while !over.load(Relaxed) {
                let mut garbage = connect(hosting.port());
                garbage.send("\x16\x03\x01 garbage\r\n\r\n");
                garbage.closed();
            }
        });
        eventually("it is disturbed", || hosting.counter("requests") > 2000 && hosting.counter("connections") > 10);
        let disturbed = p99(&hosting);
        over.store(true, Relaxed);
        let _ = flooding.shutdown(Shutdown::Both);
        disturbed
    });
    // Generous: the machine may be busy with more than this, and a stall is no matter of milliseconds.
    assert!(disturbed < 20 * undisturbed + Duration::from_millis(500), "{disturbed:?} instead of {undisturbed:?}");
    is_well(hosting);
}

/// Opens this many connections, and leaves them alone until nobody wants them any more.
const CONNECT: &str = "
import socket, sys
held = []
for _ in range(int(sys.argv[2])):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].connect(sys.argv[1])
sys.stdin.read()
";

fn ten_thousand_connections_that_say_nothing_do_not_keep_others_out<L: Net>() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s");
    // They may stay for as long as the test needs.
    let server = HttpServer::new(hi()).unix(&path).host("127.0.0.1").header_timeout(Duration::ZERO);
    let hosting = host::<L, _>(server, &[]);
    let undisturbed = p99(&hosting);
    // As many as the system allows, if it doesn't allow ten thousand.
    let most = getrlimit(Resource::Nofile).maximum;
    let count = most.map_or(10_000, |most| most.saturating_sub(200).min(10_000));
    setrlimit(Resource::Nofile, Rlimit { current: Some(count + 200), maximum: most }).expect("the limit allows it");
    // A process of its own has the other ends.
    let mut connections = Command::new("python3")
        .args(["-c", CONNECT, &path.to_string_lossy(), &count.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .expect("there is a Python");
    // The previous one was the first.
    eventually("all are in", || hosting.counter("connections") == 1 + count);
    let disturbed = p99(&hosting);
    assert!(disturbed < 20 * undisturbed + Duration::from_millis(500), "{disturbed:?} instead of {undisturbed:?}");
    drop(connections.stdin.take());
    assert!(connections.wait().expect("it is a child").success());
    eventually("all are gone", || hosting.counter("open_connections") == 0);
    is_well(hosting);
}

/// Such a client counts as gone: its requests may be answered, in order, or not.
fn a_client_that_closes_its_half_does_no_harm<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    let post = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody";
    for ask in [GET, &GET.repeat(3), post] {
        let mut client = connect(hosting.port());
        client.send(ask);
        client.stream().shutdown(Shutdown::Write).expect("it is open");
        let answers = client.closed();
        assert!(answers.is_empty() || answers.starts_with("HTTP/1.1 200 ") && answers.ends_with("hi"), "{answers}");
    }
    // Neither does a client that was in the middle of a request.
    for cut in 1..GET.len() {
        let mut client = connect(hosting.port());
        client.send(&GET[..cut]);
        client.stream().shutdown(Shutdown::Write).expect("it is open");
        assert_eq!(client.closed(), "");
    }
    eventually("all are gone", || hosting.counter("open_connections") == 0);
    is_well(hosting);
}

fn a_handler_that_blocks_is_left_behind_at_the_deadline<L: Net>() {
    let _watchdog = watchdog();
    let (gate, closed) = mpsc::channel::<()>();
    let (closed, begun) = (Arc::new(Mutex::new(closed)), Arc::new(AtomicBool::new(false)));
    let says = begun.clone();
    let block = async move || {
        says.store(true, Relaxed);
        let _ = closed.lock().expect("no panic").recv();
        "free"
    };
    let router = axum::Router::new().route("/block", axum::routing::get(block));
    let server = HttpServer::new(router);
    let addresses = server.addresses();
    let mut service = interloop::Service::new("test");
    service.task_on::<L>("http", server).stop_timeout(Duration::from_millis(50));
    let running = service.start().expect("the configuration works");
    let addresses = addresses.wait_timeout(PATIENCE).expect("it listens");
    let mut client = connect(addresses[0].tcp().expect("it is a port"));
    client.send("GET /block HTTP/1.1\r\nhost: x\r\n\r\n");
    eventually("it is at it", || begun.load(Relaxed));
    let begin = Instant::now();
    let report = running.stop();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(report.code, 124, "{report}");
    drop(gate);
}

crate::util::on_each_loop! {
    ten_thousand_connections_that_say_nothing_do_not_keep_others_out,
    a_client_that_closes_its_half_does_no_harm,
    a_handler_that_blocks_is_left_behind_at_the_deadline,
    a_flood_does_not_hold_up_the_stop,
    a_reset_in_the_middle_does_no_harm,
    others_are_served_in_time_whatever_the_rest_does,
}
