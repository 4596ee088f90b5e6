//! The example http-thrift: fb303 over sockets and over HTTP, of one service.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use interloop_e2e::{Example, SOON, get, watched};
use interloop_fb303::fb303::{FacebookServiceSyncClient, FbStatus, TFacebookServiceSyncClient};
use interloop_thrift::{Address, Wire, connect};

/// Returns the answer to a call without arguments, in the binary protocol.
fn posted(address: SocketAddr, method: &str) -> Vec<u8> {
    let length = method.len() as u8;
    let call = [&b"\x80\x01\0\x01\0\0\0"[..], &[length], method.as_bytes(), b"\0\0\0\x01\0"].concat();
    let head = format!(
        "POST /thrift HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/x-thrift\r\ncontent-length: {}\r\n\r\n",
        call.len()
    );
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("it is a socket");
    stream.write_all(&[head.into_bytes(), call].concat()).expect("it takes it");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers and closes");
    answer
}

#[test]
fn one_service_is_answered_over_sockets_and_over_http() {
    watched(|| {
        let arguments = ["--http-port", "0", "--thrift-port", "0", "--thrift-allow-control"];
        let mut example = Example::start("http-thrift", &arguments);
        let (http, thrift) = (example.address("http"), example.address("thrift"));
        let (input, output) = connect(&Address::Tcp(thrift), Wire::framed(), Some(SOON)).expect("it listens");
        let mut client = FacebookServiceSyncClient::new(input, output);
        assert_eq!(client.get_name().expect("an answer"), "http-thrift");
        assert!(get(http, "/").body.starts_with("http-thrift is "));
        let answer = posted(http, "getName");
        assert!(answer.ends_with(b"\0\0\0\x0bhttp-thrift\0"), "{}", String::from_utf8_lossy(&answer));
        // Over HTTP it is read-only.
        posted(http, "shutdown");
        let status = client.get_status().expect("an answer");
        assert!([FbStatus::STARTING, FbStatus::ALIVE].contains(&status), "{status:?}");
        client.shutdown().expect("it is sent");
        drop(client);
        assert_eq!(example.wait(), 0);
        let log = example.whole_log();
        assert!(log.contains("shutdown was called, in vain") && log.contains("asked to by fb303"), "{log}");
    });
}
