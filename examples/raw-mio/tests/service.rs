//! Runs the service in the test's process: a client calls the server, a `Remote` reads its counts, and a fake clock
//! triggers the report.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use interloop::testing::TestService;
use raw_mio::shout::Shout;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn what_is_said_is_shouted_back_and_counted() {
    let mut service = raw_mio::service();
    let shouts = service.remote_to::<Shout>();
    let mut test = TestService::new(service);
    let clock = test.fake_clock();
    let test = test.start();
    let address = shouts.call(|counts| counts.address).wait_timeout(SOON).unwrap();
    let mut client = BufReader::new(TcpStream::connect(address).unwrap());
    client.get_mut().write_all(b"hello\n").unwrap();
    let mut answer = String::new();
    client.read_line(&mut answer).unwrap();
    assert_eq!(answer, "HELLO\n");
    assert_eq!(shouts.call(|counts| counts.lines.get()).wait_timeout(SOON), Ok(1));
    clock.advance(Duration::from_secs(10));
    assert_eq!(test.counter("report.iterations"), 1);
    test.stop().assert_clean();
}
