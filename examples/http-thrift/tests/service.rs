//! Tests both protocols: a generated client over a socket, a page over HTTP.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use interloop::testing::TestService;
use interloop_fb303::fb303::{FacebookServiceSyncClient, FbStatus, TFacebookServiceSyncClient};
use interloop_thrift::{Address, Wire, connect};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_page_says_what_fb303_does() {
    let args = ["--http-port", "0", "--thrift-port", "0", "--thrift-allow-control"];
    let test = TestService::new(http_thrift::service()).args(args).start();
    let (input, output) = connect(&Address::Tcp(test.tcp("thrift")), Wire::framed(), Some(SOON)).unwrap();
    let mut fb303 = FacebookServiceSyncClient::new(input, output);
    assert_eq!(fb303.get_status().unwrap(), FbStatus::ALIVE);
    let mut page = TcpStream::connect(test.tcp("http")).unwrap();
    page.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    page.read_to_string(&mut response).unwrap();
    assert!(response.ends_with("http-thrift is ALIVE\n"), "{response}");
    fb303.shutdown().unwrap();
    test.join().assert_clean();
}
