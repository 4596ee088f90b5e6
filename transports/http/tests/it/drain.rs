//! How a server stops.

use std::{
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::util::{PATIENCE, connect, eventually, hi, host, watchdog};
use axum::{Extension, Router, body::Body, routing::get};
use interloop::{Shutdown, State, net::Net};
use interloop_http::HttpServer;
use tokio::sync::Semaphore;

/// Returns a router whose `/slow` responds once a permit is there.
pub(crate) fn slow() -> (Router, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let passes = gate.clone();
    let slow = async move || {
        passes.acquire().await.expect("it is never closed").forget();
        "slow"
    };
    (Router::new().route("/slow", get(slow)).route("/", get(async || "hi")), gate)
}

const SLOW: &str = "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";

fn an_open_request_is_finished_and_its_connection_closed<L: Net>() {
    let _watchdog = watchdog();
    for arguments in crate::util::variants::<L>() {
        let (router, gate) = slow();
        let hosting = host::<L, _>(HttpServer::new(router), arguments);
        let port = hosting.port();
        let mut client = connect(port);
        client.send(SLOW);
        eventually("the request is there", || hosting.counter("requests") == 1);
        hosting.running.request_shutdown("test");
        eventually("it listens no more", || TcpStream::connect(port).is_err());
        gate.add_permits(1);
        let got = client.receive();
        assert_eq!((got.status, got.body.as_str()), (200, "slow"));
        assert!(got.head.contains("connection: close"), "{}", got.head);
        assert_eq!(client.closed(), "");
        let report = hosting.running.join();
        assert_eq!((report.code, report.tasks[0].state), (0, State::Stopped));
    }
}

fn idle_connections_are_closed_at_once<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    let mut used = connect(hosting.port());
    assert_eq!(used.get("/").body, "hi");
    let unused = connect(hosting.port());
    eventually("both are in", || hosting.counter("open_connections") == 2);
    let begin = Instant::now();
    hosting.stop();
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    assert_eq!((used.closed(), unused.closed()), (String::new(), String::new()));
}

fn what_was_sent_before_the_stop_is_answered<L: Net>() {
    let _watchdog = watchdog();
    for round in 0..20 {
        let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
        let clients = (0..10).map(|_| {
            let mut client = connect(hosting.port());
            client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
            client
        });
        let clients = clients.collect::<Vec<_>>();
        hosting.running.request_shutdown("test");
        for mut client in clients {
            assert_eq!(client.receive().body, "hi", "round {round}");
        }
        assert_eq!(hosting.running.join().code, 0);
    }
}

fn a_client_that_stops_in_the_middle_of_a_head_does_not_hold_it_up<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &[]);
    let mut client = connect(hosting.port());
    assert_eq!(client.get("/").body, "hi");
    client.send("GET / HTTP/1.1\r\nho");
    let begin = Instant::now();
    hosting.stop();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

fn a_long_response_ends_itself_by_the_shutdown<L: Net>() {
    let _watchdog = watchdog();
    async fn until(Extension(shutdown): Extension<Shutdown>) -> Body {
        // Pending until the shutdown, like server-sent events.
        let stream = futures_util::stream::once(async move {
            shutdown.requested().await;
            Ok::<_, std::io::Error>("bye")
        });
        Body::from_stream(stream)
    }
    let hosting = host::<L, _>(HttpServer::new(Router::new().route("/", get(until))), &[]);
    let mut client = connect(hosting.port());
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(client.receive().status, 200);
    hosting.stop();
    assert_eq!(client.closed(), "3\r\nbye\r\n0\r\n\r\n");
}

fn past_the_deadline_open_requests_are_dropped<L: Net>() {
    let _watchdog = watchdog();
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    for http2 in [false, cfg!(feature = "http2")] {
        let dropped = Arc::new(AtomicBool::new(false));
        let held = dropped.clone();
        let never = async move || {
            let _held = Dropped(held);
            std::future::pending::<()>().await;
        };
        let server = HttpServer::new(Router::new().route("/", get(never)));
        let addresses = server.addresses();
        let mut service = interloop::Service::new("test");
        service.task_on::<L>("http", server).stop_timeout(Duration::from_millis(50));
        let running = service.start().expect("the configuration works");
        assert!(running.wait_started_timeout(PATIENCE));
        let port = addresses.tcp().expect("it listens");
        let requests = || running.status().tasks[0].counters["requests"];
        let mut client = connect(port);
        if http2 {
            // The preface, empty settings, and GET / by the static table.
            client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00");
            client.send(b"\x00\x00\x06\x01\x05\x00\x00\x00\x01\x82\x84\x86\x41\x01x");
        } else {
            client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        }
        eventually("the request is there", || requests() == 1);
        let report = running.stop();
        assert_eq!((report.code, report.tasks[0].state), (124, State::Cancelled), "{report}");
        assert!(dropped.load(Ordering::SeqCst));
        client.closed();
    }
}

crate::util::on_each_loop! {
    past_the_deadline_open_requests_are_dropped,
    an_open_request_is_finished_and_its_connection_closed,
    idle_connections_are_closed_at_once,
    what_was_sent_before_the_stop_is_answered,
    a_client_that_stops_in_the_middle_of_a_head_does_not_hold_it_up,
    a_long_response_ends_itself_by_the_shutdown,
}
