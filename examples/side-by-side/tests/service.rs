//! Runs the service in the test's process: a board on glib, called by HTTP on tokio. glib's own timer ticks in real
//! time.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
};

use interloop::testing::TestService;

/// Returns the body of the answer.
fn ask(server: SocketAddr, head: &str, body: &str) -> String {
    let mut client = TcpStream::connect(server).unwrap();
    let length = body.len();
    write!(client, "{head} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    body.to_owned()
}

#[test]
fn what_is_said_stands_on_the_board() {
    let test = TestService::new(side_by_side::service()).args(["--http-port", "0"]).start();
    let server = test.tcp("http");
    assert_eq!(ask(server, "POST /say", "hello"), r#"{"number":1}"#);
    assert!(ask(server, "GET /board", "").contains(r#""messages":[{"number":1,"text":"hello"}]"#));
    test.wait_for_counter("http.requests", 2);
    test.stop().assert_clean();
}

#[test]
fn the_picture_of_its_graph_shows_what_graph_prints() {
    let said = Command::new(env!("CARGO_BIN_EXE_side-by-side")).arg("--graph").output().unwrap().stdout;
    let said = String::from_utf8(said).unwrap().replace('>', "&gt;");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/graph.svg");
    let picture = std::fs::read_to_string(file).unwrap();
    let facts = picture.split_once("<desc>\n").and_then(|(_, rest)| rest.split_once("\n</desc>"));
    let (facts, _) = facts.expect("a description of what it shows");
    assert_eq!(facts, said.trim_end(), "`scripts/pictures graph` draws it anew");
}
