//! What is no gRPC, and what is no good one.

mod util;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use interloop::net::Net;
use util::{
    Hosting, PATIENCE, eventually,
    frames::{PREFACE, frame, head},
    host, watchdog,
};

fn connect(hosting: &Hosting) -> TcpStream {
    let stream = TcpStream::connect(hosting.port()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    stream
}

/// Goes on: another client is served.
fn still_serves(hosting: &Hosting) {
    let before = hosting.counter("responses{status=\"200\"}");
    let mut stream = connect(hosting);
    let call = [head("/test.Echo/Say", "application/grpc"), frame(0, 1, &[0; 5])].concat();
    stream.write_all(&[PREFACE, &call].concat()).expect("it is open");
    eventually("it is answered", || hosting.counter("responses{status=\"200\"}") > before);
}

fn garbage_and_other_protocols_are_refused<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(&[]);
    let mut garbage = connect(&hosting);
    garbage.write_all(&[0xff; 1000]).expect("it is open");
    // An answer or a reset: an end.
    let _ = garbage.read_to_end(&mut Vec::new());
    let mut old = connect(&hosting);
    old.write_all(b"POST /test.Echo/Say HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it is open");
    let mut answer = String::new();
    old.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
    let mut json = connect(&hosting);
    json.write_all(&[PREFACE, &head("/test.Echo/Say", "application/json")].concat()).expect("it is open");
    eventually("it is refused", || hosting.counter("responses{status=\"415\"}") == 1);
    still_serves(&hosting);
    assert_eq!(hosting.running.stop().code, 0);
}

fn a_length_that_lies_is_a_status<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(&[]);
    for (prefix, status) in [
        // 4 GiB are announced: more than may be.
        (&b"\x00\xff\xff\xff\xffabcde"[..], 11),
        // Half a prefix, and half a message.
        (b"\x00\x00\x00", 13),
        (b"\x00\x00\x00\x00\x0aabc", 13),
    ] {
        let name = format!("calls{{method=\"test.Echo/Say\",status=\"{status}\"}}");
        let counted = || hosting.counter(&name);
        let before = counted();
        let mut stream = connect(&hosting);
        let call = [head("/test.Echo/Say", "application/grpc"), frame(0, 1, prefix)].concat();
        stream.write_all(&[PREFACE, &call].concat()).expect("it is open");
        eventually(&format!("{prefix:?} is answered with {status}"), || counted() > before);
    }
    still_serves(&hosting);
    assert_eq!(hosting.running.stop().code, 0);
}

fn who_leaves_in_the_middle_takes_the_handler_along<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(&[]);
    let never = [head("/test.Echo/Say", "application/grpc"), frame(0, 1, b"\0\0\0\0\x07\x0a\x05never")].concat();
    let forever = [head("/test.Echo/Many", "application/grpc"), frame(0, 1, b"\0\0\0\0\x09\x0a\x07forever")].concat();
    for (call, reset) in [(&never, true), (&never, false), (&forever, true), (&forever, false)] {
        let mut stream = connect(&hosting);
        stream.write_all(&[PREFACE, call].concat()).expect("it is open");
        // The one that streams without end is never read from.
        eventually("the handler is there", || hosting.echo.held() == 1);
        still_serves(&hosting);
        if reset {
            stream.write_all(&frame(3, 0, &8u32.to_be_bytes())).expect("it is open");
        } else {
            stream.shutdown(Shutdown::Both).expect("it is open");
        }
        eventually("the handler is gone", || hosting.echo.held() == 0);
    }
    assert_eq!(hosting.running.stop().code, 0);
}

util::on_each_loop! {
    garbage_and_other_protocols_are_refused,
    a_length_that_lies_is_a_status,
    who_leaves_in_the_middle_takes_the_handler_along,
}
