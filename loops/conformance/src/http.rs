//! HTTP on the loop's sockets: a server of interloop-http on the loop, and clients that write and read bytes.

mod client;
mod http2;
mod server;

use std::{
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use interloop::net::Net;

use self::{client::text, server::host};
use crate::{Subject, scene::watchdog};

/// Returns a head as a client sends it.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: conformance\r\n\r\n")
}

/// Checks that one connection serves request after request: each is answered, and the connection stays.
pub fn a_kept_connection_serves_request_after_request<L: Net>(subject: &Subject<L>) {
    let _watchdog = watchdog();
    let hosting = host(subject);
    let mut client = hosting.connect();
    for round in 0..20 {
        client.send(get("/hello"));
        let answer = client.receive(&format!("request {round} of a kept connection"));
        assert!(answer.is_ok(), "request {round} of a kept connection is answered by {}", answer.head);
        assert!(answer.body == b"hello\n", "request {round} of a kept connection gets the body {}", text(&answer.body));
    }
    drop(client);
    hosting.stop();
}

/// Checks that many requests in one write are answered one after the other, each with its own answer.
pub fn pipelined_requests_are_answered_in_order<L: Net>(subject: &Subject<L>) {
    const REQUESTS: usize = 50;
    let _watchdog = watchdog();
    let hosting = host(subject);
    let mut client = hosting.connect();
    let requests = (0..REQUESTS).map(|number| {
        let body = number.to_string();
        format!("POST /echo HTTP/1.1\r\nhost: conformance\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    });
    client.send(requests.collect::<String>());
    for number in 0..REQUESTS {
        let answer = client.receive(&format!("pipelined request {number}"));
        let expected = number.to_string();
        let body = text(&answer.body);
        assert!(body == expected, "pipelined request {number} gets the answer {body}");
    }
    drop(client);
    hosting.stop();
}

/// Checks a body of unknown length: it goes to the server in chunks of all sizes while it comes back in others, 1 MiB,
/// each byte in its place.
pub fn a_chunked_body_comes_and_goes_whole<L: Net>(subject: &Subject<L>) {
    const LENGTH: usize = 1 << 20;
    let _watchdog = watchdog();
    let hosting = host(subject);
    let mut client = hosting.connect();
    let body: Vec<u8> = (0..LENGTH).map(|place| (place ^ (place >> 8) ^ (place >> 16)) as u8).collect();
    let mut chunked = b"POST /echo HTTP/1.1\r\nhost: conformance\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let (mut rest, mut sizes) = (&body[..], [1, 10, 1_000, 60_000].into_iter().cycle());
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(1).min(rest.len());
        let (chunk, others) = rest.split_at(size);
        chunked.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
        rest = others;
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    // The answer comes while the request is still being sent: a client that only wrote would block.
    let sending = client.send_from_thread(chunked);
    let answer = client.receive("a chunked body");
    assert!(answer.is_ok(), "a chunked body is answered by {}", answer.head);
    let wrong = body.iter().zip(&answer.body).position(|(sent, got)| sent != got);
    assert!(wrong.is_none(), "a chunked body comes back with a wrong byte at {wrong:?}");
    assert!(answer.body.len() == LENGTH, "of a chunked body of {LENGTH} bytes {} come back", answer.body.len());
    let sent = sending.join().expect("no panic");
    assert!(sent.is_ok(), "a chunked body is not taken: {sent:?}");
    drop(client);
    hosting.stop();
}

/// Checks a client that knows of HTTP/2 beforehand and sends eight bodies at once in one connection. Together they are
/// 2 MiB, more than the flow control lets through at once; each comes back. The client runs on the loop too.
pub fn streams_of_http2_share_a_connection<L: Net>(subject: &Subject<L>) {
    let _watchdog = watchdog();
    http2::share_a_connection(subject);
}

/// Checks the stop of a server: it answers the requests that it has begun, says that the connection closes, and closes
/// it, as it does idle connections. New clients are refused.
pub fn a_request_in_flight_is_answered_at_a_stop<L: Net>(subject: &Subject<L>) {
    let _watchdog = watchdog();
    let hosting = host(subject);
    let (mut waiting, mut idle) = (hosting.connect(), hosting.connect());
    idle.send(get("/hello"));
    idle.receive("a request before the stop");
    waiting.send(get("/until-the-stop"));
    hosting.wait_until_begun();
    hosting.running.request_shutdown("the check");
    let answer = waiting.receive("a request in flight at the stop");
    assert!(answer.body == b"stopped\n", "a request in flight at the stop gets the body {}", text(&answer.body));
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains("connection: close"), "the last answer does not say that the connection closes: {head}");
    waiting.expect_end("a connection at the stop");
    idle.expect_end("an idle connection at the stop");
    let (address, patience) = (hosting.address, hosting.patience);
    hosting.stop();
    assert!(is_refused(address, patience), "a server that has stopped still takes connections");
}

/// A moment may pass until the system has closed what the loop has closed.
fn is_refused(address: std::net::SocketAddr, patience: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if TcpStream::connect(address).is_err() {
            return true;
        }
        thread::yield_now();
    }
    false
}

/// Checks that the same router answers in the same bytes on every loop: status line, headers except the date, body, and
/// where the chunks begin.
pub fn an_answer_has_the_same_bytes_on_every_loop<L: Net>(subject: &Subject<L>) {
    const EXPECTED: &str = "HTTP/1.1 200 OK\r\n\
        content-type: text/plain\r\n\
        content-length: 6\r\n\
        \r\n\
        hello\n\
        HTTP/1.1 200 OK\r\n\
        content-type: text/plain\r\n\
        transfer-encoding: chunked\r\n\
        \r\n\
        4\r\none\n\r\n\
        4\r\ntwo\n\r\n\
        6\r\nthree\n\r\n\
        0\r\n\r\n\
        HTTP/1.1 404 Not Found\r\n\
        connection: close\r\n\
        content-length: 0\r\n\
        \r\n";
    let _watchdog = watchdog();
    let hosting = host(subject);
    let mut client = hosting.connect();
    client.send(get("/hello") + &get("/parts"));
    client.send("GET /nothing HTTP/1.1\r\nhost: conformance\r\nconnection: close\r\n\r\n");
    let answered = client.receive_to_end("three requests, the last with connection: close,");
    let answered = String::from_utf8_lossy(&answered);
    let answered: String = answered.split_inclusive('\n').filter(|line| !line.starts_with("date: ")).collect();
    let place = answered.bytes().zip(EXPECTED.bytes()).position(|(got, expected)| got != expected);
    let place = place.unwrap_or(answered.len().min(EXPECTED.len()));
    assert!(answered == EXPECTED, "the answer has other bytes, the first at {place}: {answered:?}");
    hosting.stop();
}
