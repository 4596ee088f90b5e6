//! Options have methods with their names, which do the same.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::util::{
    Hosting, PATIENCE,
    frames::{PREFACE, head},
    host_set, watchdog,
};
use interloop::net::Net;
use interloop_grpc::{GrpcOptions, GrpcServer, Listen};
use interloop_transport_tests::every_option_has_a_method;

const TIME: Duration = Duration::from_millis(50);
/// Less than any default.
const EARLY: Duration = Duration::from_secs(12);

#[test]
fn a_server_has_a_method_for_each_of_its_options() {
    const TLS: &[&str] = &["tls-cert", "tls-key", "tls-client-ca", "tls-handshake-timeout", "tls-max-handshakes"];
    every_option_has_a_method!(
        GrpcOptions, GrpcServer::new();
        host("a"), port(1), unix("/x"), unix_mode(0o600), unix_group("g"), max_connections(1), tcp_keepalive(TIME),
        listen(Listen::new().inherited("i")),
        min_rate(1), rate_grace(TIME), max_header_size(9999), max_body_size(1), idle_timeout(TIME),
        header_timeout(TIME), max_streams(1), ping_interval(TIME), ping_timeout(TIME);
        if cfg!(feature = "tls") { TLS } else { &[] }
    );
}

/// Sends this; returns what comes until the server closes the connection, and how long that takes.
fn until_closed(hosting: &Hosting, said: &[u8]) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(hosting.port()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    stream.write_all(said).expect("it is open");
    let mut heard = Vec::new();
    if let Err(error) = stream.read_to_end(&mut heard) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it is not closed: {error}");
    }
    (heard, begun.elapsed())
}

fn they_do_what_the_options_do<L: Net>() {
    let _watchdog = watchdog();
    // A client that sends nothing.
    let hosting = host_set::<L>(&[], |server| server.header_timeout(TIME));
    let (_, took) = until_closed(&hosting, b"");
    assert!(took < EARLY, "{took:?}");
    assert_eq!(hosting.running.stop().code, 0);
    // A client with a call that leaves its ping unanswered.
    let hosting = host_set::<L>(&[], |server| server.ping_interval(TIME).ping_timeout(TIME));
    let (_, took) = until_closed(&hosting, &[PREFACE, &head("/test.Echo/Say", "application/grpc")].concat());
    assert!(took < EARLY, "{took:?}");
    assert_eq!(hosting.running.stop().code, 0);
    // A head that is too long, before anybody checks its request.
    let hosting = host_set::<L>(&[], |server| server.max_header_size(8 << 10));
    let long = format!("POST /x HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n", "x".repeat(20 << 10));
    let (heard, _) = until_closed(&hosting, long.as_bytes());
    assert!(heard.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&heard));
    assert_eq!(hosting.running.stop().code, 0);
}

crate::util::on_each_loop! {
    they_do_what_the_options_do,
}
