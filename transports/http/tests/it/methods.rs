//! Options have methods with their names.

use std::time::Duration;

use interloop_http::{Health, HealthOptions, HttpOptions, HttpServer, Listen};
use interloop_transport_tests::every_option_has_a_method;

const TIME: Duration = Duration::from_secs(1);

/// The options of TLS; the first two are set together, with `tls`.
const TLS: &[&str] = &["tls-cert", "tls-key", "tls-client-ca", "tls-handshake-timeout", "tls-max-handshakes"];

fn tls() -> &'static [&'static str] {
    if cfg!(feature = "tls") { TLS } else { &[] }
}

#[test]
fn a_server_has_a_method_for_each_of_its_options() {
    every_option_has_a_method!(
        HttpOptions, HttpServer::new(());
        host("a"), port(1), unix("/x"), unix_mode(0o600), unix_group("g"), max_connections(1), tcp_keepalive(TIME),
        listen(Listen::new().inherited("i")),
        min_rate(1), rate_grace(TIME), max_header_size(9999), max_body_size(1), idle_timeout(TIME),
        header_timeout(TIME), max_streams(1), ping_interval(TIME), ping_timeout(TIME);
        tls()
    );
}

#[test]
fn health_checks_have_a_method_for_each_of_their_options() {
    every_option_has_a_method!(
        HealthOptions, Health::new();
        host("a"), port(1), unix("/x"), unix_mode(0o600), unix_group("g"), max_connections(1), tcp_keepalive(TIME),
        listen(Listen::new().inherited("i")),
        min_rate(1), rate_grace(TIME), allow_host("*"), heartbeat_timeout(TIME);
        tls()
    );
}

#[cfg(feature = "tls")]
#[test]
fn and_those_of_tls() {
    let server = HttpServer::new(()).tls("/c", "/k").tls_client_ca("/ca");
    drop(server.tls_handshake_timeout(TIME).tls_max_handshakes(1));
    drop(Health::new().tls("/c", "/k").tls_client_ca("/ca").tls_handshake_timeout(TIME).tls_max_handshakes(1));
}
