//! Runs the service with its tasks on several loops. One fake clock controls all of them: lines are filed when the test
//! says so.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use interloop::testing::TestService;

/// Sends a line to the TCP server, and returns the answer.
fn say(door: &mut BufReader<TcpStream>, line: &str) -> String {
    door.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    door.read_line(&mut answer).unwrap();
    answer
}

#[test]
fn what_is_said_is_filed_at_the_next_tick_on_any_loops() {
    for (files, lines) in
        [("tokio", "tokio"), ("glib", "smol"), ("thread", "mio"), ("compio", "async-std"), ("mio", "calloop")]
    {
        let args = ["--files-loop", files, "--lines-loop", lines, "--http-port", "0", "--lines-port", "0"];
        let mut test = TestService::new(migrate::service()).args(args);
        let clock = test.fake_clock();
        let test = test.start();
        let mut door = BufReader::new(TcpStream::connect(test.tcp("lines")).unwrap());
        // The first tick is at once.
        clock.settle();
        assert_eq!(say(&mut door, "anna was here"), "heard\n");
        assert_eq!(say(&mut door, "?"), "0 lines\n");
        clock.advance(Duration::from_millis(100));
        assert_eq!(say(&mut door, "?"), "1 lines\n");
        test.stop().assert_clean();
    }
}
