//! Tests the service on the loop, as any user of a custom loop can.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use interloop::testing::TestService;

#[test]
fn it_echoes_and_is_alive() {
    let mut test = TestService::new(custom_loop::echo::service());
    let clock = test.fake_clock();
    let test = test.start();
    let mut client = TcpStream::connect(test.tcp("echo")).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    assert_eq!(test.counter("echo.served"), 1);
    clock.advance(Duration::from_secs(60));
    assert_eq!(test.counter("alive.iterations"), 6);
    test.stop().assert_clean();
}
