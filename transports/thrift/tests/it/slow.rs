//! Clients that make the server wait: for the rest of a call, or for taking an answer.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::util::{Handler, Hosting, PATIENCE, calculator, eventually, host, watchdog};
use interloop::net::Net;
use rustix::net::sockopt::set_socket_recv_buffer_size;

/// A framed call of `act("long")`, whose answer is longer than the sockets hold.
const LONG: &[u8] = b"\0\0\0\x1b\x80\x01\0\x01\0\0\0\x03act\0\0\0\x09\x0b\0\x01\0\0\0\x04long\0";
const GRACE: &[&str] = &["--thrift-rate-grace", "400ms"];

fn ask_for_long(hosting: &Hosting) -> TcpStream {
    let mut stream = TcpStream::connect(hosting.port()).expect("it listens");
    set_socket_recv_buffer_size(&stream, 4 << 10).expect("it is a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    stream.write_all(LONG).expect("it is open");
    stream
}

/// Sends a byte every so often, until the server disconnects it.
fn dribble(hosting: &Hosting, mut byte: impl FnMut() -> bool) {
    let begin = Instant::now();
    while hosting.counter("open_connections") > 0 {
        assert!(begin.elapsed() < PATIENCE, "it is still there");
        byte();
        thread::sleep(Duration::from_millis(20));
    }
}

fn an_answer_that_is_taken_by_the_byte_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), GRACE);
    let mut stream = ask_for_long(&hosting);
    eventually("it is called", || hosting.counter(r#"calls{method="act"}"#) == 1);
    dribble(&hosting, || stream.read(&mut [0; 1]).is_ok());
    assert_eq!(hosting.counter("slow_clients"), 1);
    hosting.stop();
}

fn a_call_that_comes_by_the_byte_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    // Longer than the time limit for a whole call.
    let hosting = host::<L>(calculator(&Handler::default()), GRACE);
    // A frame, and an unframed call: the name is there, and the beginning of a long argument.
    let call = b"\x80\x01\0\x01\0\0\0\x03act\0\0\0\x09\x0b\0\x01\0\0\x80\0";
    for beginning in [[&b"\0\x01\0\0"[..], call].concat(), call.to_vec()] {
        let mut stream = TcpStream::connect(hosting.port()).expect("it listens");
        stream.write_all(&beginning).expect("it is open");
        eventually("it is in", || hosting.counter("open_connections") == 1);
        dribble(&hosting, || stream.write_all(b"x").is_ok());
    }
    assert_eq!(hosting.counter("slow_clients"), 2);
    hosting.stop();
}

fn a_client_that_takes_a_long_answer_at_its_own_pace_gets_all_of_it<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), GRACE);
    let mut stream = ask_for_long(&hosting);
    set_socket_recv_buffer_size(&stream, 1 << 20).expect("it is a socket");
    let (begin, mut length, mut piece) = (Instant::now(), 0, vec![0; 4 << 20]);
    while length < 64 << 20 {
        let most = ((64 << 20) - length).min(piece.len());
        stream.read_exact(&mut piece[..most]).expect("it comes");
        length += most;
        // Its pace.
        thread::sleep(Duration::from_millis(80));
    }
    assert!(begin.elapsed() > Duration::from_secs(1), "{:?}", begin.elapsed());
    hosting.stop();
}

/// However fast it takes it: a delay that clients cause is no failure.
fn a_client_that_takes_a_bit_now_and_then_does_not_hold_up_the_stop<L: Net>() {
    let _watchdog = watchdog();
    for (every, stop) in [(200, "10s"), (5, "2s")] {
        let hosting = host::<L>(calculator(&Handler::default()), &["--shutdown-timeout", stop]);
        let mut stream = ask_for_long(&hosting);
        eventually("it is called", || hosting.counter(r#"calls{method="act"}"#) == 1);
        let over = Arc::new(AtomicBool::new(false));
        let slow = {
            let over = over.clone();
            thread::spawn(move || {
                // It may take a long time to read what its system has received already.
                while !over.load(Relaxed) && stream.read(&mut [0; 100]).is_ok_and(|length| length > 0) {
                    thread::sleep(Duration::from_millis(every));
                }
            })
        };
        let begin = Instant::now();
        hosting.stop();
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        over.store(true, Relaxed);
        slow.join().expect("no panic");
    }
}

crate::util::on_each_loop! {
    an_answer_that_is_taken_by_the_byte_is_cut_off,
    a_call_that_comes_by_the_byte_is_cut_off,
    a_client_that_takes_a_long_answer_at_its_own_pace_gets_all_of_it,
    a_client_that_takes_a_bit_now_and_then_does_not_hold_up_the_stop,
}
