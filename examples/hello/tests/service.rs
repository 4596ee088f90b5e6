//! Runs the service in the test's process, on any free port.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use interloop::testing::TestService;

#[test]
fn it_says_hello() {
    let test = TestService::new(hello::service()).args(["--http-port", "0"]).start();
    let mut client = TcpStream::connect(test.tcp("http")).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    client.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("Hello, world"), "{response}");
    assert_eq!(test.counter("http.requests"), 1);
    test.stop().assert_clean();
}
