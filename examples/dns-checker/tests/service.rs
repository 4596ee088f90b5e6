//! Runs the service on a fake clock, with an address for a name, which needs no resolver.

use std::time::Duration;

use interloop::testing::TestService;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn it_looks_every_minute() {
    let mut test = TestService::new(dns_checker::service()).args(["--dns-host", "127.0.0.9"]);
    let clock = test.fake_clock();
    let test = test.start();
    clock.settle();
    assert_eq!(test.counter("dns.iterations"), 1);
    clock.advance(60 * MINUTE);
    assert_eq!((test.counter("dns.iterations"), test.counter("dns.addresses_seen")), (61, 61));
    test.stop().assert_clean();
}

#[test]
fn how_often_is_an_option() {
    let mut test = TestService::new(dns_checker::service()).args(["--dns-host", "127.0.0.9", "--dns-interval", "1h"]);
    let clock = test.fake_clock();
    let test = test.start();
    clock.advance(60 * MINUTE);
    assert_eq!(test.counter("dns.iterations"), 2);
    test.stop().assert_clean();
}
