//! Options have methods with their names, which do the same.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::util::{PATIENCE, client};
use interloop::{
    Service, Thread,
    testing::{RunningTest, TestService},
};
use interloop_fb303::{Fb303Options, Fb303Server, Listen, fb303::TFacebookServiceSyncClient};
use interloop_thrift::Wire;
use interloop_transport_tests::every_option_has_a_method;

const TIME: Duration = Duration::from_millis(50);

#[test]
fn the_server_has_a_method_for_each_of_its_options() {
    const TLS: &[&str] = &["tls-cert", "tls-key", "tls-client-ca", "tls-handshake-timeout", "tls-max-handshakes"];
    every_option_has_a_method!(
        Fb303Options, Fb303Server::new();
        host("a"), port(1), unix("/x"), unix_mode(0o600), unix_group("g"), max_connections(1), tcp_keepalive(TIME),
        listen(Listen::new().inherited("i")),
        min_rate(1), rate_grace(TIME), workers(1), max_frame_size(1), max_string_size(1), max_container_size(1),
        max_nesting(1), idle_timeout(TIME), read_timeout(TIME), allow_control();
        if cfg!(feature = "tls") { TLS } else { &[] }
    );
}

fn host(server: Fb303Server) -> (RunningTest, SocketAddr) {
    let mut service = Service::new("shop");
    service.task_on::<Thread>("fb303", server);
    let test = TestService::new(service).start();
    let address = test.tcp("fb303");
    (test, address)
}

/// Sends this: the connection is closed, long before any default would close it.
fn is_closed(address: SocketAddr, said: &[u8]) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    stream.write_all(said).expect("it is open");
    if let Err(error) = stream.read_to_end(&mut Vec::new()) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it is not closed: {error}");
    }
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
}

#[test]
fn the_methods_do_what_the_options_do() {
    let (test, address) = host(Fb303Server::new().idle_timeout(TIME));
    is_closed(address, b"");
    test.stop().assert_clean();
    let (test, address) = host(Fb303Server::new().read_timeout(TIME));
    is_closed(address, &[0, 0]);
    test.stop().assert_clean();
    let (test, address) = host(Fb303Server::new().max_frame_size(100));
    is_closed(address, &[0, 0, 1, 0, 0x80, 1]);
    test.stop().assert_clean();
    let (test, address) = host(Fb303Server::new().max_string_size(20).workers(3));
    let mut client = client(address, Wire::framed());
    let mut why = |name: String| match client.get_counter(name) {
        Err(thrift::Error::Application(error)) => error.message,
        other => format!("{other:?}"),
    };
    assert_eq!(why("x".repeat(20)), format!("no counter {}", "x".repeat(20)));
    let refused = why("x".repeat(21));
    assert!(!refused.contains("no counter"), "{refused}");
    let workers = || {
        let threads = std::fs::read_dir("/proc/self/task").expect("Linux").flatten();
        let names = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
        names.filter(|name| name.starts_with("fb303-")).count()
    };
    // A thread names itself as its first deed.
    let begun = Instant::now();
    while workers() != 3 {
        assert!(begun.elapsed() < PATIENCE, "{} of 3 workers", workers());
        std::thread::yield_now();
    }
    drop(client);
    test.stop().assert_clean();
}
