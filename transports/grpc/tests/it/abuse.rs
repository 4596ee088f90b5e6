//! Requests that are no gRPC, or malformed gRPC.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::util::{
    Hosting, PATIENCE, eventually,
    frames::{LAST, PREFACE, Raw, frame, head},
    host, watchdog,
};
use interloop::net::Net;

fn connect(hosting: &Hosting) -> TcpStream {
    let stream = TcpStream::connect(hosting.port()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    stream
}

/// Checks that it goes on: another client is served.
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
    // An answer or a reset: either is an end.
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
        // 4 GiB are announced: more than allowed.
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

/// Sends messages of these lengths until the call has a status, and returns it: gRPC's, from the trailers.
fn status_after(hosting: &Hosting, path: &str, messages: &[usize]) -> u64 {
    let count = |status: u64| hosting.counter(&format!("calls{{method=\"{path}\",status=\"{status}\"}}"));
    let before = (0..17).map(count).collect::<Vec<_>>();
    let mut client = Raw::connect(hosting.port());
    client.open(1, &format!("/{path}"));
    let message = |length: &usize| [&[0][..], &(*length as u32).to_be_bytes(), &vec![0; *length]].concat();
    let bytes = messages.iter().flat_map(message).collect::<Vec<_>>();
    for piece in bytes.chunks(16_000) {
        client.send(1, 0, piece);
    }
    client.send(1, LAST, b"");
    let changed = || (0..17).find(|status| count(*status) > before[*status as usize]);
    eventually("the call has ended", || changed().is_some());
    changed().expect("it has a status")
}

fn a_call_has_no_more_than_its_limit<L: Net>() {
    let _watchdog = watchdog();
    const EXHAUSTED: u64 = 8;
    let hosting = host::<L>(&["--grpc-max-body-size", "40000"]);
    // Zeros are no message, which gives another status: they were read.
    for (messages, status) in [(&[30_000][..], 13), (&[39_995], 13), (&[39_996], EXHAUSTED), (&[50_000], EXHAUSTED)] {
        assert_eq!(status_after(&hosting, "test.Echo/Say", messages), status, "{messages:?}");
    }
    // Empty messages take five bytes each.
    assert_eq!(status_after(&hosting, "test.Echo/Count", &[0; 8_000]), 0);
    assert_eq!(status_after(&hosting, "test.Echo/Count", &[0; 8_001]), EXHAUSTED);
    assert_eq!(status_after(&hosting, "test.Echo/Chat", &[0; 8_001]), EXHAUSTED);
    still_serves(&hosting);
    assert_eq!(hosting.running.stop().code, 0);
    // The option takes precedence over the code, and without either there is no limit.
    for (arguments, set, status) in
        [(&[][..], 1000, EXHAUSTED), (&["--grpc-max-body-size", "1MiB"], 1000, 13), (&[], usize::MAX, 13)]
    {
        let hosting = crate::util::host_set::<L>(arguments, |server| server.max_body_size(set));
        assert_eq!(status_after(&hosting, "test.Echo/Say", &[30_000]), status, "{arguments:?}");
        assert_eq!(hosting.running.stop().code, 0);
    }
}

fn what_is_compressed_is_refused_before_it_is_looked_at<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(&[]);
    let mut stream = connect(&hosting);
    let bomb = [&b"\x01\x00\x00\x00\x14"[..], &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], &[0; 10]].concat();
    let call = [head("/test.Echo/Say", "application/grpc"), frame(0, 1, &bomb)].concat();
    stream.write_all(&[PREFACE, &call].concat()).expect("it is open");
    eventually("it is refused", || hosting.counter("calls{method=\"test.Echo/Say\",status=\"13\"}") == 1);
    assert_eq!(hosting.running.stop().code, 0);
}

fn another_method_than_post_is_told_which<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(&[]);
    for method in ["GET", "HEAD", "OPTIONS", "PUT"] {
        let mut curl = std::process::Command::new("curl");
        curl.args([
            "-sS",
            "--max-time",
            "20",
            "--noproxy",
            "*",
            "--http2-prior-knowledge",
            "-D",
            "-",
            "-o",
            "/dev/null",
        ]);
        match method {
            "HEAD" => curl.arg("--head"),
            method => curl.args(["-X", method]),
        };
        let ran = curl.arg(format!("http://{}/test.Echo/Say", hosting.port())).output().expect("it is installed");
        let head = String::from_utf8_lossy(&ran.stdout).to_lowercase();
        assert!(head.starts_with("http/2 405") && head.contains("\r\nallow: post\r\n"), "{method}: {head}");
    }
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

/// Returns the 99th percentile of the calls' latency.
fn p99(hosting: &Hosting) -> Duration {
    let mut client = Raw::connect(hosting.port());
    let mut times = (0..300)
        .map(|number| {
            let (stream, begin) = (2 * number + 1, Instant::now());
            client.open(stream, "/test.Echo/Say");
            client.send(stream, LAST, &[0; 5]);
            client.until(|frame| frame.stream == stream && frame.flags & LAST != 0);
            begin.elapsed()
        })
        .collect::<Vec<_>>();
    times.sort();
    times[times.len() * 99 / 100]
}

fn others_are_served_in_time_whatever_the_rest_does<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(&[]);
    let undisturbed = p99(&hosting);
    // One only connects, one stays within its head, one takes nothing of a stream without end, for which it has opened
    // its window.
    let (_silent, mut within, mut greedy) = (connect(&hosting), connect(&hosting), connect(&hosting));
    within.write_all(&PREFACE[..20]).expect("it is open");
    greedy.write_all(&forever()).expect("it is open");
    let over = AtomicBool::new(false);
    let disturbed = thread::scope(|scope| {
        // Handlers that panic, and garbage.
        scope.spawn(|| {
            let panic =
                [head("/test.Echo/Say", "application/grpc"), frame(0, 1, b"\0\0\0\0\x07\x0a\x05panic")].concat();
            while !over.load(Relaxed) {
                for bytes in [&[PREFACE, &panic].concat()[..], &[0xff; 1000]] {
                    let mut stream = connect(&hosting);
                    stream.write_all(bytes).expect("it is open");
                    let _ = stream.read(&mut [0; 100]);
                }
            }
        });
        eventually("it is disturbed", || hosting.counter("panics") > 3 && hosting.echo.held() == 1);
        let disturbed = p99(&hosting);
        over.store(true, Relaxed);
        disturbed
    });
    // Generous: the machine may be busy with more than this, and a stall is no matter of milliseconds.
    assert!(disturbed < 20 * undisturbed + Duration::from_millis(500), "{disturbed:?} instead of {undisturbed:?}");
    drop(greedy);
    let begin = Instant::now();
    assert_eq!(hosting.running.stop().code, 0);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// Returns a call whose answers have no end, by a client with a window of 2 GiB.
fn forever() -> Vec<u8> {
    let room = 0x7fff_0000_u32.to_be_bytes();
    let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4].into_iter().chain(room);
    let window = [0, 0, 4, 8, 0, 0, 0, 0, 0].into_iter().chain(room);
    let call = [head("/test.Echo/Many", "application/grpc"), frame(0, 1, b"\0\0\0\0\x09\x0a\x07forever")].concat();
    PREFACE[..24].iter().copied().chain(settings).chain(window).chain(call).collect()
}

fn who_takes_nothing_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(&["--grpc-idle-timeout", "300ms"]);
    let mut greedy = connect(&hosting);
    greedy.write_all(&forever()).expect("it is open");
    eventually("the handler is there", || hosting.echo.held() == 1);
    still_serves(&hosting);
    eventually("the handler is gone", || hosting.echo.held() == 0);
    assert!(hosting.counter("sent_bytes") < 64 << 20, "{}", hosting.counter("sent_bytes"));
    assert_eq!(hosting.running.stop().code, 0);
}

fn who_sends_half_or_resets_or_goes_drop_by_drop_harms_nobody<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(&["--grpc-header-timeout", "300ms"]);
    let call = [head("/test.Echo/Say", "application/grpc"), frame(0, 1, &[0; 5])].concat();
    let whole = [PREFACE, &call].concat();
    for cut in 0..whole.len() {
        let mut stream = connect(&hosting);
        stream.write_all(&whole[..cut]).expect("it is open");
        match cut % 3 {
            0 => stream.shutdown(Shutdown::Write).expect("it is open"),
            1 => rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("it is a socket"),
            _ => {}
        }
    }
    let mut drops = connect(&hosting);
    for byte in &PREFACE[..20] {
        if drops.write_all(&[*byte]).is_err() {
            break;
        }
        // The drops: without a pause it would be a flood.
        thread::sleep(Duration::from_millis(50));
    }
    let mut rest = Vec::new();
    let _ = drops.read_to_end(&mut rest);
    eventually("all are gone", || hosting.counter("open_connections") == 0);
    still_serves(&hosting);
    assert_eq!(hosting.running.stop().code, 0);
}

crate::util::on_each_loop! {
    others_are_served_in_time_whatever_the_rest_does,
    who_takes_nothing_is_cut_off,
    who_sends_half_or_resets_or_goes_drop_by_drop_harms_nobody,
    garbage_and_other_protocols_are_refused,
    a_length_that_lies_is_a_status,
    a_call_has_no_more_than_its_limit,
    what_is_compressed_is_refused_before_it_is_looked_at,
    another_method_than_post_is_told_which,
    who_leaves_in_the_middle_takes_the_handler_along,
}
