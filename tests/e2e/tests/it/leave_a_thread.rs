//! The steps of `examples/leave-a-thread`: to a client, and to a person at the window, each is the same program.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use interloop_e2e::{Display, Example, SOON, Signal, binary, watched};

fn start(display: &Display, step: &str) -> (Example, TcpStream) {
    let example = Example::run(&mut display.command(binary(step)));
    let line = example.said("listening on");
    let address = line.rsplit(' ').next().expect("a line has words");
    let client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(SOON)).expect("a time");
    (example, client)
}

fn say(client: &mut TcpStream, line: &str) -> String {
    writeln!(client, "{line}").expect("it is connected");
    let mut answer = String::new();
    BufReader::new(client).read_line(&mut answer).expect("an answer");
    answer
}

fn works(step: &str) {
    watched(|| {
        let display = Display::start();
        let (mut example, mut client) = start(&display, step);
        let window = display.window("leave-a-thread");
        assert_eq!(say(&mut client, "one"), "1\n");
        let black = vec![0; 640 * 400 * 3];
        let one = display.changed_below(0, &black);
        assert_eq!(say(&mut client, "and two"), "2\n");
        display.changed_below(0, &one);
        display.close(&window);
        assert_eq!(example.wait(), 0);
    });
}

#[test]
fn made_by_hand_it_works() {
    works("leave-1-by-hand");
}

#[test]
fn with_a_remote_it_works() {
    works("leave-2-remote");
}

#[test]
fn with_a_service_it_works() {
    works("leave-3-service");
}

#[test]
fn with_tasks_it_works() {
    works("leave-4-tasks");
}

#[test]
fn with_tasks_it_stops_in_order_when_it_is_asked_to() {
    watched(|| {
        let display = Display::start();
        let (mut example, mut client) = start(&display, "leave-4-tasks");
        assert_eq!(say(&mut client, "one"), "1\n");
        example.signal(Signal::TERM);
        assert_eq!(example.wait(), 0);
    });
}
