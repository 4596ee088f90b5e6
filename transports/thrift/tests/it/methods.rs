//! Options have methods with their names.

use std::time::Duration;

use interloop_thrift::{Listen, ThriftOptions, ThriftServer};
use interloop_transport_tests::every_option_has_a_method;
use thrift::{
    protocol::{TInputProtocol, TOutputProtocol},
    server::TProcessor,
};

const TIME: Duration = Duration::from_secs(1);

struct Nothing;

impl TProcessor for Nothing {
    fn process(&self, _: &mut dyn TInputProtocol, _: &mut dyn TOutputProtocol) -> thrift::Result<()> {
        Ok(())
    }
}

#[test]
fn a_server_has_a_method_for_each_of_its_options() {
    const TLS: &[&str] = &["tls-cert", "tls-key", "tls-client-ca", "tls-handshake-timeout", "tls-max-handshakes"];
    every_option_has_a_method!(
        ThriftOptions, ThriftServer::new(Nothing);
        host("a"), port(1), unix("/x"), unix_mode(0o600), unix_group("g"), max_connections(1), tcp_keepalive(TIME),
        listen(Listen::new().inherited("i")),
        min_rate(1), rate_grace(TIME), workers(1), max_frame_size(1), max_string_size(1), max_container_size(1),
        max_nesting(1), idle_timeout(TIME), read_timeout(TIME);
        if cfg!(feature = "tls") { TLS } else { &[] }
    );
}
