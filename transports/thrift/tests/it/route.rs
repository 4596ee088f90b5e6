//! Thrift over HTTP, as a route of an HTTP server.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
};

use crate::util::{
    Handler, PATIENCE,
    calc::{CalculatorSyncProcessor, EchoSyncProcessor},
    watchdog,
};
use interloop::{Running, Service, net::Net};
use interloop_http::HttpServer;
use interloop_thrift::{Multiplexed, ThriftRoute};

/// The system's Python: another one in the path has other packages.
const PYTHON: &str = "/usr/bin/python3";

/// Serves both services, for calls of up to a million bytes.
fn host<L: Net>(handler: &Handler) -> (Running, SocketAddr) {
    let calculator = CalculatorSyncProcessor::new(handler.clone());
    let echo = EchoSyncProcessor::new(handler.clone());
    let services = Multiplexed::new().default_service("Calculator", calculator).service("Echo", echo);
    let server = HttpServer::new(ThriftRoute::new(services).max_message_size(1_000_000));
    let addresses = server.addresses();
    let mut service = Service::new("test");
    service.task_on::<L>("http", server);
    let running = service.start().expect("the configuration works");
    assert!(addresses.wait_timeout(PATIENCE).is_some());
    (running, addresses.tcp().expect("it listens on TCP"))
}

fn stop(running: Running) {
    let report = running.stop();
    assert_eq!(report.code, 0, "{report}");
}

fn a_client_of_another_language_calls_over_http<L: Net>() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().expect("a folder");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut compiler = Command::new("thrift");
    compiler.args(["--gen", "py", "-out"]).arg(folder.path()).arg(tests.join("it/idl/calc.thrift"));
    assert!(compiler.status().expect("the compiler is there: scripts/setup").success());
    let handler = Handler::default();
    let (running, address) = host::<L>(&handler);
    let client = Command::new(PYTHON)
        .arg(tests.join("http_client.py"))
        .arg(address.port().to_string())
        .env("PYTHONPATH", folder.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("there is a python3");
    let said = String::from_utf8_lossy(&client.stdout);
    assert!(client.status.success(), "{said}{}", String::from_utf8_lossy(&client.stderr));
    assert_eq!(said.lines().count(), 2, "{said}");
    assert_eq!(handler.notes.lock().expect("no panic").len(), 2);
    stop(running);
}

/// Returns the head and the body of the response to this.
fn asked(address: SocketAddr, method: &str, kind: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    let length = body.len();
    let head = format!(
        "{method} / HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).expect("it takes it");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers and closes");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("there is a head");
    (String::from_utf8_lossy(&answer[..end]).into_owned(), answer[end + 4..].to_vec())
}

fn what_is_no_call_is_refused<L: Net>() {
    let _watchdog = watchdog();
    let (running, address) = host::<L>(&Handler::default());
    // `ping`, in the binary protocol.
    let ping = b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x07\0";
    let status = |method: &str, kind: &str, body: &[u8]| {
        let (head, _) = asked(address, method, kind, body);
        head.split(' ').nth(1).expect("there is a status").to_owned()
    };
    let thrift = "application/x-thrift";
    let (head, body) = asked(address, "POST", "application/x-thrift; charset=utf-8", ping);
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: application/x-thrift"), "{head}");
    assert_eq!(body, b"\x80\x01\0\x02\0\0\0\x04ping\0\0\0\x07\0");
    assert_eq!(status("GET", thrift, b""), "405");
    // As a page of another site could.
    assert_eq!(status("POST", "text/plain", ping), "415");
    assert_eq!(status("POST", thrift, b""), "400");
    assert_eq!(status("POST", thrift, b"hello"), "400");
    assert_eq!(status("POST", thrift, &ping[..ping.len() - 1]), "400");
    assert_eq!(status("POST", thrift, &[&ping[..], b"\0"].concat()), "400");
    // An answer.
    assert_eq!(status("POST", thrift, &body), "400");
    assert_eq!(status("POST", thrift, &vec![0; 1_000_001]), "413");
    // A string of 2 GiB in a few bytes, whose protocol is known.
    let (head, body) =
        asked(address, "POST", thrift, b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x07\x0b\0\x01\x7f\xff\xff\xff");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.starts_with(b"\x80\x01\0\x03\0\0\0\x04ping"), "{head} {body:?}");
    stop(running);
}

crate::util::on_each_loop! {
    a_client_of_another_language_calls_over_http,
    what_is_no_call_is_refused,
}
