//! A server that is built without the feature `http2`.

use interloop::net::Net;
use interloop_http::HttpServer;

use crate::util::{connect, hi, host, service, watchdog};

/// The preface of HTTP/2, and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn a_client_that_speaks_http2_is_closed<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L, _>(HttpServer::new(hi()), &["--http-header-timeout", "1min"]);
    let mut client = connect(hosting.port());
    client.send(PREFACE);
    client.closed();
    assert_eq!(hosting.counter("requests"), 0);
    assert_eq!(connect(hosting.port()).get("/").body, "hi");
    hosting.stop();
}

fn its_options_are_unknown<L: Net>() {
    let _watchdog = watchdog();
    for option in ["--http-max-streams=3", "--http-ping-interval=1s", "--http-ping-timeout=1s"] {
        let (service, _) = service::<L, _>(HttpServer::new(hi()), &[option]);
        let error = service.start().expect_err("it has no such option").to_string();
        assert!(error.contains(option.split_once('=').expect("it has a value").0), "{error}");
    }
}

crate::util::on_each_loop! {
    a_client_that_speaks_http2_is_closed,
    its_options_are_unknown,
}
