//! Clients that make the server wait: streams that may rightly be silent, and other waits.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::util::{Hosting, PATIENCE, eventually, host, watchdog};
use interloop::net::Net;
use interloop_transport_tests::http2::{Client, DATA, Habits, INITIAL_WINDOW, LAST, frame};

/// Returns a message of one field, which is this byte.
fn message(byte: u8) -> Vec<u8> {
    vec![0, 0, 0, 0, 3, 0x0a, 1, byte]
}

fn open(client: &Client, stream: u32, method: &str) {
    client.post(stream, &format!("/test.Echo/{method}"), &[("content-type", "application/grpc"), ("te", "trailers")]);
}

fn connect(hosting: &Hosting, habits: Habits) -> Client {
    Client::connect(hosting.port(), &[], habits)
}

fn a_stream_that_is_silent_between_two_messages_lives<L: Net>() {
    let _watchdog = watchdog();
    let limits = ["--grpc-idle-timeout", "200ms", "--grpc-header-timeout", "1min", "--grpc-ping-interval", "200ms"];
    let hosting = host::<L>(&limits);
    let client = connect(&hosting, Habits::default());
    open(&client, 1, "Chat");
    for (count, pause) in [(1, 1500), (2, 1500), (3, 0)] {
        client.send(&frame(DATA, 0, 1, &message(b'a')));
        let seen = client.until("it is echoed", |seen| seen.data_of(1) == 8 * count || seen.closed);
        assert!(!seen.closed && seen.reset.is_empty(), "{seen:?}");
        thread::sleep(Duration::from_millis(pause));
    }
    // It was pinged, and answered.
    assert!(client.seen().pings >= 5, "{}", client.seen().pings);
    client.send(&frame(DATA, LAST, 1, b""));
    client.until("it ends", |seen| seen.ended == [1]);
    assert_eq!(hosting.running.stop().code, 0);
}

fn a_message_that_has_begun_has_to_end<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(&["--grpc-rate-grace", "400ms"]);
    let client = connect(&hosting, Habits::default());
    for (stream, beginning) in [(1, &b"\0\0"[..]), (3, &b"\0\0\0\x40\0xyz"[..])] {
        open(&client, stream, if stream == 1 { "Chat" } else { "Count" });
        client.send(&frame(DATA, 0, stream, &message(b'a')));
        client.send(&frame(DATA, 0, stream, beginning));
    }
    let begin = Instant::now();
    while client.within(Duration::from_millis(20), |seen| seen.reset.len() == 2).is_none() {
        // A byte now and then doesn't help.
        let _ = client.try_send(&frame(DATA, 0, 3, b"x"));
        assert!(begin.elapsed() < PATIENCE, "{:?}", client.seen());
    }
    drop(client);
    eventually("it is gone", || hosting.counter("open_connections") == 0);
    assert_eq!(hosting.running.stop().code, 0);
}

/// Simulates a client that has vanished, whose system still answers for it.
fn a_client_that_answers_no_pings_is_gone<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(&["--grpc-ping-interval", "1s", "--grpc-ping-timeout", "1s"]);
    for method in ["Chat", "Many"] {
        let client = connect(&hosting, Habits { pong: false, ..Habits::default() });
        open(&client, 1, method);
        let begin = Instant::now();
        let sent = if method == "Chat" { message(b'a') } else { b"\0\0\0\0\x07\x0a\x05never".to_vec() };
        client.send(&frame(DATA, if method == "Chat" { 0 } else { LAST }, 1, &sent));
        client.until("it is closed", |seen| seen.closed);
        assert!(begin.elapsed() > Duration::from_millis(1500), "{:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        eventually("it is gone", || hosting.counter("open_connections") == 0 && hosting.echo.held() == 0);
    }
    assert_eq!(hosting.running.stop().code, 0);
}

fn a_connection_without_calls_is_left_alone<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(&["--grpc-ping-interval", "100ms", "--grpc-ping-timeout", "100ms"]);
    let client = connect(&hosting, Habits { pong: false, ..Habits::default() });
    open(&client, 1, "Say");
    client.send(&frame(DATA, LAST, 1, &message(b'a')));
    client.until("it is answered", |seen| seen.ended == [1]);
    assert!(
        client.within(Duration::from_secs(1), |seen| seen.closed || seen.pings > 0).is_none(),
        "{:?}",
        client.seen()
    );
    // Its next call has the full time again.
    open(&client, 3, "Say");
    client.send(&frame(DATA, LAST, 3, &message(b'a')));
    client.until("it is answered", |seen| seen.ended == [1, 3]);
    drop(client);
    assert_eq!(hosting.running.stop().code, 0);
}

fn a_client_that_takes_nothing_more_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(&["--grpc-rate-grace", "400ms"]);
    for window in [0, 1, 100] {
        let client = Client::connect(hosting.port(), &[(INITIAL_WINDOW, window)], Habits::default());
        open(&client, 1, "Many");
        client.send(&frame(DATA, LAST, 1, b"\0\0\0\0\x09\x0a\x07forever"));
        eventually("the handler is there", || hosting.echo.held() == 1);
        let begin = Instant::now();
        while client.within(Duration::from_millis(20), |seen| !seen.reset.is_empty()).is_none() {
            let _ = client.take(1, 1);
            assert!(begin.elapsed() < PATIENCE, "{:?}", client.seen());
        }
        eventually("the handler is gone", || hosting.echo.held() == 0);
    }
    assert_eq!(hosting.running.stop().code, 0);
}

fn a_silent_stream_does_not_hold_up_the_stop<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(&[]);
    let client = connect(&hosting, Habits::default());
    open(&client, 1, "Chat");
    client.send(&frame(DATA, 0, 1, &message(b'a')));
    client.until("it is echoed", |seen| seen.data_of(1) == 8);
    let begin = Instant::now();
    let report = hosting.running.stop();
    assert_eq!(report.code, 0, "{report}");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}

crate::util::on_each_loop! {
    a_stream_that_is_silent_between_two_messages_lives,
    a_message_that_has_begun_has_to_end,
    a_client_that_answers_no_pings_is_gone,
    a_connection_without_calls_is_left_alone,
    a_client_that_takes_nothing_more_is_cut_off,
    a_silent_stream_does_not_hold_up_the_stop,
}
