//! Runs the service in the test's process, and asks something that is answered during the stop.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use interloop::{State, testing::TestService};

#[test]
fn each_task_stops_after_those_that_require_it() {
    let test = TestService::new(stop_in_order::service()).args(["--http-port", "0", "--health-port", "0"]).start();
    let mut steps = test.handle().watch();
    let mut client = TcpStream::connect(test.tcp("http")).unwrap();
    client.write_all(b"GET /slow HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    test.wait_for_counter("http.requests", 1);
    let report = test.stop();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done\n"), "{answer}");

    let mut asked = Vec::new();
    while let Some(step) = steps.wait() {
        if step.to == State::Stopping {
            asked.push(step.task.to_string());
        }
    }
    asked[1..3].sort();
    assert_eq!(asked, ["http", "board", "mail", "store", "health"]);
    report.assert_code(124);
    assert_eq!(report.state_of("mail"), State::Cancelled);
    assert_eq!(report.state_of("board"), State::Stopped);
}
