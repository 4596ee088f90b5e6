//! Clients that send what they should not, or not enough, or too slowly, or take nothing.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::util::{
    Handler, Hosting,
    calc::{TCalculatorSyncClient, Work},
    calculator, closed, eventually, host, watchdog, wires,
};
use interloop::net::{Address, Net};
use interloop_thrift::{Protocol, Wire};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thrift::{
    ApplicationError, ApplicationErrorKind,
    protocol::{
        TBinaryInputProtocol, TBinaryOutputProtocol, TCompactInputProtocol, TCompactOutputProtocol, TInputProtocol,
        TMessageIdentifier, TMessageType, TOutputProtocol,
    },
};

const BOTH: [Protocol; 2] = [Protocol::Binary, Protocol::Compact];

/// Returns the beginning of a call, up to its arguments, followed by these bytes.
fn call(protocol: Protocol, method: &str, arguments: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    {
        let mut to: Box<dyn TOutputProtocol + '_> = match protocol {
            Protocol::Binary => Box::new(TBinaryOutputProtocol::new(&mut bytes, true)),
            Protocol::Compact => Box::new(TCompactOutputProtocol::new(&mut bytes)),
            _ => unreachable!("there are two"),
        };
        to.write_message_begin(&TMessageIdentifier::new(method, TMessageType::Call, 9)).expect("memory takes all");
    }
    bytes.extend_from_slice(arguments);
    bytes
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes()[..], message].concat()
}

/// Returns the exception that came before the end.
fn refused(stream: &TcpStream, protocol: Protocol, is_framed: bool) -> (TMessageIdentifier, ApplicationError) {
    let bytes = closed(stream);
    let bytes = if is_framed {
        let (length, rest) = bytes.split_first_chunk().unwrap_or_else(|| panic!("no frame: {bytes:?}"));
        assert_eq!(u32::from_be_bytes(*length) as usize, rest.len());
        rest
    } else {
        &bytes
    };
    let mut from: Box<dyn TInputProtocol + '_> = match protocol {
        Protocol::Binary => Box::new(TBinaryInputProtocol::new(bytes, true)),
        Protocol::Compact => Box::new(TCompactInputProtocol::new(bytes)),
        _ => unreachable!("there are two"),
    };
    let begin = from.read_message_begin().expect("an answer");
    assert_eq!(begin.message_type, TMessageType::Exception);
    (begin, thrift::Error::read_application_error_from_in_protocol(&mut *from).expect("an exception"))
}

/// Checks that others are served, and the server stops normally.
fn is_well(hosting: Hosting, bad: u64) {
    hosting.calculator(Wire::framed()).ping().expect("others are served");
    eventually("all are counted", || hosting.counter("bad_messages") == bad);
    let begin = Instant::now();
    hosting.stop();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

fn what_breaks_a_limit_is_a_protocol_error<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &["--thrift-max-string-size", "1MiB"]);
    let nested = |open: &[u8]| open.repeat(10_000);
    let binary: [&[u8]; 6] = [
        b"\x0b\0\x01\xff\xff\xff\xff",         // a string of -1
        b"\x0b\0\x01\x7f\xff\xff\xff",         // of 2 GiB
        b"\x0f\0\x01\x0c\x7f\xff\xff\xff",     // a list of so many structs
        b"\x0f\0\x01\x0c\xff\xff\xff\xff",     // of -1
        b"\x0d\0\x01\x08\x08\x7f\xff\xff\xff", // a map
        &nested(b"\x0c\0\x01"),
    ];
    let compact: [&[u8]; 5] = [
        b"\x18\xff\xff\xff\xff\x0f", // a string of 4 GiB
        b"\x18\xff\xff\xff\xff\x07", // of 2 GiB
        b"\x19\xfc\xff\xff\xff\xff\x07",
        b"\x1b\xff\xff\xff\xff\x07\x55",
        &nested(b"\x1c"),
    ];
    let mut bad = 0;
    for (protocol, all) in [(Protocol::Binary, &binary[..]), (Protocol::Compact, &compact)] {
        for arguments in all {
            for is_framed in [true, false] {
                let mut stream = hosting.raw();
                let message = call(protocol, "act", arguments);
                let message = if is_framed { framed(&message) } else { message };
                stream.write_all(&message).expect("it is open");
                let (begin, error) = refused(&stream, protocol, is_framed);
                assert_eq!((&*begin.name, begin.sequence_number), ("act", 9));
                assert_eq!(error.kind, ApplicationErrorKind::ProtocolError, "{error:?}");
                bad += 1;
            }
        }
    }
    is_well(hosting, bad);
}

fn what_is_no_thrift_is_closed<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &[]);
    let garbage: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\xff\xff\xff\xff",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", // TLS
        b"\0\0\0\x05hello",
        b"\0\0\0\0",
        b"\x81\x01\0\x01",
        &[0xff; 100_000],
    ];
    for bytes in garbage {
        let mut stream = hosting.raw();
        stream.write_all(bytes).expect("it is open");
        assert_eq!(closed(&stream), b"", "{:?}", &bytes[..bytes.len().min(20)]);
    }
    is_well(hosting, garbage.len() as u64);
}

fn a_wrong_version_kind_or_size_is_a_protocol_error<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &["--thrift-max-frame-size", "64KiB"]);
    let binary = call(Protocol::Binary, "ping", b"\0");
    let compact = call(Protocol::Compact, "ping", b"\0");
    let changed = |bytes: &[u8], at: usize, byte: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = byte;
        bytes
    };
    let mut bad = 0;
    for (protocol, bytes) in [
        (Protocol::Binary, changed(&binary, 1, 2)),      // another version
        (Protocol::Binary, changed(&binary, 3, 9)),      // no kind of message
        (Protocol::Binary, changed(&binary, 3, 2)),      // an answer
        (Protocol::Compact, changed(&compact, 1, 0x22)), // another version
        (Protocol::Compact, changed(&compact, 1, 0x41)), // an answer
        (Protocol::Binary, call(Protocol::Binary, "ping", b"\x07\0\x01")), // no type
        (Protocol::Compact, call(Protocol::Compact, "ping", b"\x1e")),
    ] {
        for is_framed in [true, false] {
            let mut stream = hosting.raw();
            stream.write_all(&if is_framed { framed(&bytes) } else { bytes.clone() }).expect("it is open");
            assert_eq!(refused(&stream, protocol, is_framed).1.kind, ApplicationErrorKind::ProtocolError);
            bad += 1;
        }
    }
    for protocol in BOTH {
        // A frame that is too long, too short, or has more in it.
        let whole = framed(&call(protocol, "ping", b"\0"));
        let long = [&(65_u32 << 10).to_be_bytes()[..], &whole[4..]].concat();
        let short = framed(&call(protocol, "ping", b""));
        let more = framed(&call(protocol, "ping", b"\0rest"));
        for bytes in [long, short, more] {
            let mut stream = hosting.raw();
            stream.write_all(&bytes).expect("it is open");
            assert_eq!(refused(&stream, protocol, true).1.kind, ApplicationErrorKind::ProtocolError);
            bad += 1;
        }
        // Unframed, and without an end: true, true, true ...
        let field = if protocol == Protocol::Binary { &b"\x02\0\x01\x01"[..] } else { b"\x11" };
        let mut stream = hosting.raw();
        stream.write_all(&call(protocol, "ping", &field.repeat(70_000))).expect("the rest is read away");
        assert_eq!(refused(&stream, protocol, false).1.kind, ApplicationErrorKind::ProtocolError);
        bad += 1;
    }
    is_well(hosting, bad);
}

fn arguments_of_other_types_are_refused_and_the_connection_goes_on<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &[]);
    let mut stream = hosting.raw();
    // A number that would be a string of 2 GiB, if it were a string; nothing, where a value is required.
    for arguments in [&b"\x0a\0\x01\x7f\xff\xff\xff\0\0\0\0\0"[..], b"\0"] {
        stream.write_all(&framed(&call(Protocol::Binary, "act", arguments))).expect("it is open");
        let mut length = [0; 4];
        stream.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer[..4], [0x80, 1, 0, 3], "an exception");
    }
    assert_eq!(hosting.counter(r#"errors{method="act"}"#), 2);
    is_well(hosting, 0);
}

fn a_message_that_is_cut_short_is_dropped<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &[]);
    for protocol in BOTH {
        let whole = call(protocol, "act", b"\0");
        for message in [framed(&whole), whole] {
            for cut in 1..message.len() {
                let mut stream = hosting.raw();
                stream.write_all(&message[..cut]).expect("it is open");
                stream.shutdown(Shutdown::Write).expect("it is open");
                assert_eq!(closed(&stream), b"", "{protocol:?} at {cut}");
            }
        }
    }
    is_well(hosting, 0);
}

fn a_client_that_closes_its_half_gets_its_answer<L: Net>() {
    let _watchdog = watchdog();
    for arguments in [&[][..], &["--thrift-workers", "1"]] {
        let hosting = host::<L>(calculator(&Handler::default()), arguments);
        for (protocol, calls) in BOTH.into_iter().flat_map(|protocol| [(protocol, 1), (protocol, 3)]) {
            for round in 0..50 {
                let mut stream = hosting.raw();
                stream.write_all(&framed(&call(protocol, "ping", b"\0")).repeat(calls)).expect("it is open");
                stream.shutdown(Shutdown::Write).expect("it is open");
                let answers = closed(&stream);
                assert!(
                    answers.len() > 10 * calls && answers.len().is_multiple_of(calls),
                    "round {round}: {answers:?}"
                );
            }
        }
        is_well(hosting, 0);
    }
}

fn so_does_one_of_a_unix_socket<L: Net>() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().expect("there is room");
    let hosting = host::<L>(calculator(&Handler::default()).unix(folder.path().join("socket")), &[]);
    let Address::Unix(path) = hosting.address() else { panic!("it is a Unix socket") };
    for round in 0..50 {
        let mut stream = UnixStream::connect(path).expect("it listens");
        stream.write_all(&framed(&call(Protocol::Binary, "ping", b"\0"))).expect("it is open");
        stream.shutdown(Shutdown::Write).expect("it is open");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it is answered");
        assert!(answer.len() > 10, "round {round}: {answer:?}");
    }
    hosting.stop();
}

fn a_reset_in_the_middle_does_no_harm<L: Net>() {
    let _watchdog = watchdog();
    let handler = Handler::default();
    let hosting = host::<L>(calculator(&handler), &["--thrift-workers", "2"]);
    let reset = |stream: TcpStream| {
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("it is a socket");
    };
    for protocol in BOTH {
        let mut stream = hosting.raw();
        stream.write_all(&framed(&call(protocol, "act", b""))[..8]).expect("it is open");
        reset(stream);
    }
    // While a handler is busy: it answers after the client has left.
    let mut stream = hosting.raw();
    let block = call(Protocol::Binary, "act", b"\x0b\0\x01\0\0\0\x05block\0");
    stream.write_all(&framed(&block)).expect("it is open");
    eventually("it is at it", || handler.gate.waiting() == 1);
    reset(stream);
    hosting.calculator(Wire::buffered()).ping().expect("others are served");
    handler.gate.open();
    eventually("all are gone", || hosting.counter("open_connections") == 0);
    assert_eq!(hosting.counter(r#"calls{method="act"}"#), 1);
    is_well(hosting, 0);
}

fn a_message_that_comes_drop_by_drop_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &["--thrift-read-timeout", "300ms"]);
    for wire in wires() {
        // After a first call, and with others served between the drops.
        let mut other = hosting.calculator(wire);
        let mut stream = hosting.raw();
        stream.write_all(&framed(&call(Protocol::Binary, "ping", b"\0"))).expect("it is open");
        let mut answer = [0; 21];
        stream.read_exact(&mut answer).expect("an answer");
        let begin = Instant::now();
        let drops = framed(&call(Protocol::Binary, &"x".repeat(100_000), b""));
        for drop in drops {
            if stream.write_all(&[drop]).is_err() {
                break;
            }
            other.ping().expect("others are served");
            // The drops: without a pause it would be a flood.
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    }
    is_well(hosting, 0);
}

fn a_connection_that_stands_idle_is_closed<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &["--thrift-idle-timeout", "200ms"]);
    let (unused, used) = (hosting.raw(), hosting.raw());
    (&used).write_all(&framed(&call(Protocol::Binary, "ping", b"\0"))).expect("it is open");
    let begin = Instant::now();
    assert_eq!(closed(&unused), b"");
    assert!(!closed(&used).is_empty());
    assert!(begin.elapsed() >= Duration::from_millis(150), "{:?}", begin.elapsed());
    is_well(hosting, 0);
}

fn a_client_that_takes_nothing_is_cut_off<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &["--thrift-idle-timeout", "300ms"]);
    let mut greedy = hosting.raw();
    // More than the sockets hold.
    let long = call(Protocol::Binary, "act", b"\x0b\0\x01\0\0\0\x04long\0");
    greedy.write_all(&framed(&long)).expect("it is open");
    eventually("it has been called", || hosting.counter(r#"calls{method="act"}"#) == 1);
    for wire in wires() {
        hosting.calculator(wire).ping().expect("others are served");
    }
    eventually("it is gone", || hosting.counter("open_connections") == 0);
    drop(greedy);
    is_well(hosting, 0);
}

fn a_client_that_takes_nothing_does_not_hold_up_the_stop<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &[]);
    let mut greedy = hosting.raw();
    let long = call(Protocol::Compact, "act", b"\x18\x04long\0");
    greedy.write_all(&long).expect("it is open");
    eventually("it has been called", || hosting.counter(r#"calls{method="act"}"#) == 1);
    is_well(hosting, 0);
}

fn names_that_there_are_not_are_answered_and_count_together<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(crate::util::both(&Handler::default()), &[]);
    let odd =
        ["", ":", "::", ":ping", "Echo:", "Calculator:Calculator:ping", "Nobody:ping", "PING", "ping\0", "a\nb\"}"];
    let long = "x".repeat(100_000);
    let mut count = 0;
    for protocol in BOTH {
        let mut stream = hosting.raw();
        for name in odd.into_iter().chain([&*long]) {
            stream.write_all(&framed(&call(protocol, name, b"\0"))).expect("it is open");
            let mut length = [0; 4];
            stream.read_exact(&mut length).expect("an answer");
            let mut answer = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut answer).expect("an answer");
            count += 1;
        }
        // No text at all.
        let mut named = call(protocol, "??", b"\0");
        let at = named.windows(2).position(|two| two == b"??").expect("it is named so");
        named[at..at + 2].copy_from_slice(b"\xff\xfe");
        stream.write_all(&framed(&named)).expect("it is open");
        stream.read_exact(&mut [0; 4]).expect("an answer");
    }
    assert_eq!(hosting.counter("unknown_methods"), count);
    is_well(hosting, 0);
}

/// Opens this many connections, and leaves them alone until nobody wants them any more.
const CONNECT: &str = "
import socket, sys
held = []
for _ in range(int(sys.argv[2])):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].connect(sys.argv[1])
sys.stdin.read()
";

fn ten_thousand_connections_that_say_nothing_do_not_keep_others_out<L: Net>() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s");
    let hosting = host::<L>(calculator(&Handler::default()).unix(&path), &[]);
    assert_eq!(hosting.address(), &Address::Unix(path.clone()));
    let undisturbed = p99(&hosting);
    // As many as the system allows, if it doesn't allow ten thousand.
    let most = getrlimit(Resource::Nofile).maximum;
    let count = most.map_or(10_000, |most| most.saturating_sub(200).min(10_000));
    setrlimit(Resource::Nofile, Rlimit { current: Some(count + 200), maximum: most }).expect("the limit allows it");
    // A process of its own has the other ends.
    let mut connections = Command::new("python3")
        .args(["-c", CONNECT, &path.to_string_lossy(), &count.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .expect("there is a Python");
    // The previous one was the first.
    eventually("all are in", || hosting.counter("connections") == 1 + count);
    let disturbed = p99(&hosting);
    assert!(disturbed < 20 * undisturbed + Duration::from_millis(500), "{disturbed:?} instead of {undisturbed:?}");
    for wire in wires() {
        hosting.calculator(wire).ping().expect("others are served");
    }
    drop(connections.stdin.take());
    assert!(connections.wait().expect("it is a child").success());
    eventually("all are gone", || hosting.counter("open_connections") == 0);
    is_well(hosting, 0);
}

fn connections_beyond_the_limit_wait_for_their_turn<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &["--thrift-max-connections", "2"]);
    let (mut first, mut second) = (hosting.calculator(Wire::framed()), hosting.calculator(Wire::buffered()));
    first.ping().expect("an answer");
    second.ping().expect("an answer");
    let mut third = hosting.raw();
    third.write_all(&framed(&call(Protocol::Binary, "ping", b"\0"))).expect("it is open");
    // The first is served again and again, the third is not even accepted.
    for _ in 0..100 {
        first.ping().expect("an answer");
    }
    assert_eq!((hosting.counter("connections"), hosting.counter("open_connections")), (2, 2));
    drop(second);
    third.read_exact(&mut [0; 4]).expect("an answer");
    drop((first, third));
    is_well(hosting, 0);
}

fn a_flood_of_calls_leaves_room_for_others<L: Net>() {
    let _watchdog = watchdog();
    let hosting = host::<L>(calculator(&Handler::default()), &[]);
    let flood = hosting.raw();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let calls = framed(&call(Protocol::Binary, "ping", b"\0")).repeat(1000);
        let over = &over;
        let (mut writer, mut reader) = (&flood, &flood);
        scope.spawn(move || {
            while !over.load(std::sync::atomic::Ordering::Relaxed) && writer.write_all(&calls).is_ok() {}
            let _ = writer.shutdown(Shutdown::Both);
        });
        scope.spawn(move || while reader.read(&mut [0; 1 << 16]).is_ok_and(|length| length > 0) {});
        let mut other = hosting.calculator(Wire::framed());
        for number in 0..100 {
            assert_eq!(other.calculate(Work::new(number, 1, None, None)).expect("an answer"), number + 1);
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    is_well(hosting, 0);
}

/// Sends a call that needs no answer, over and over, until the connection is closed.
fn flood(mut stream: &TcpStream) {
    let mut oneway = call(Protocol::Binary, "ping", b"\0");
    oneway[3] = 4;
    let calls = framed(&oneway).repeat(1000);
    while stream.write_all(&calls).is_ok() {}
}

fn a_flood_does_not_hold_up_the_stop<L: Net>() {
    let _watchdog = watchdog();
    for arguments in [&[][..], &["--thrift-workers", "1"]] {
        let hosting = host::<L>(calculator(&Handler::default()), arguments);
        let floods = [hosting.raw(), hosting.raw(), hosting.raw()];
        std::thread::scope(|scope| {
            for stream in &floods {
                scope.spawn(|| flood(stream));
            }
            eventually("it is flooded", || hosting.counter(r#"calls{method="ping"}"#) > 1000);
            is_well(hosting, 0);
        });
    }
}

/// Returns the 99th percentile of the calls' latency.
fn p99(hosting: &Hosting) -> Duration {
    let mut calculator = hosting.calculator(Wire::framed());
    let mut times = (0..300)
        .map(|_| {
            let begin = Instant::now();
            calculator.ping().expect("others are served");
            begin.elapsed()
        })
        .collect::<Vec<_>>();
    times.sort();
    times[times.len() * 99 / 100]
}

fn others_are_served_in_time_whatever_the_rest_does<L: Net>() {
    let _watchdog = watchdog();
    let handler = Handler::default();
    let hosting = host::<L>(calculator(&handler), &["--thrift-workers", "4"]);
    let undisturbed = p99(&hosting);
    let act = |what: &str| {
        let length = (what.len() as u32).to_be_bytes();
        framed(&call(Protocol::Binary, "act", &[b"\x0b\0\x01", &length[..], what.as_bytes(), b"\0"].concat()))
    };
    // A handler that blocks, a client that takes nothing, one that stays in the middle of a call, one that only
    // connects.
    let (blocking, greedy, within, silent) = (hosting.raw(), hosting.raw(), hosting.raw(), hosting.raw());
    (&blocking).write_all(&act("block")).expect("it is open");
    (&greedy).write_all(&act("long")).expect("it is open");
    (&within).write_all(&act("")[..9]).expect("it is open");
    eventually("two are at it", || handler.gate.waiting() == 1 && hosting.counter("sent_bytes") > 100_000);
    let (flooding, panicking, port) = (hosting.raw(), hosting.raw(), hosting.port());
    let over = std::sync::atomic::AtomicBool::new(false);
    let goes_on = || !over.load(std::sync::atomic::Ordering::Relaxed);
    let (disturbed, garbage) = std::thread::scope(|scope| {
        scope.spawn(|| flood(&flooding));
        scope.spawn(|| {
            // It first reveals that it has an answer.
            let mut what = "more";
            while goes_on() && (&panicking).write_all(&act(what)).is_ok() {
                what = "panic";
                let mut length = [0; 4];
                (&panicking).read_exact(&mut length).expect("an answer");
                let mut answer = vec![0; u32::from_be_bytes(length) as usize];
                (&panicking).read_exact(&mut answer).expect("an answer");
            }
        });
        let garbage = scope.spawn(|| {
            let mut count = 0;
            while goes_on() {
                let mut stream = TcpStream::connect(port).expect("somebody listens");
                stream.write_all(b"garbage").expect("it is open");
                closed(&stream);
                count += 1;
            }
            count
        });
        eventually("it is disturbed", || hosting.counter("bad_messages") > 0 && hosting.counter("panics") > 0);
        let disturbed = p99(&hosting);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let _ = flooding.shutdown(Shutdown::Both);
        (disturbed, garbage.join().expect("no panic"))
    });
    // Generous: the machine may be busy with more than this, and a stall is no matter of milliseconds.
    assert!(disturbed < 20 * undisturbed + Duration::from_millis(500), "{disturbed:?} instead of {undisturbed:?}");
    handler.gate.open();
    drop((blocking, greedy, within, silent));
    is_well(hosting, garbage);
}

crate::util::on_each_loop! {
    a_flood_does_not_hold_up_the_stop,
    others_are_served_in_time_whatever_the_rest_does,
    names_that_there_are_not_are_answered_and_count_together,
    what_breaks_a_limit_is_a_protocol_error,
    what_is_no_thrift_is_closed,
    a_wrong_version_kind_or_size_is_a_protocol_error,
    arguments_of_other_types_are_refused_and_the_connection_goes_on,
    a_message_that_is_cut_short_is_dropped,
    a_client_that_closes_its_half_gets_its_answer,
    so_does_one_of_a_unix_socket,
    a_reset_in_the_middle_does_no_harm,
    a_message_that_comes_drop_by_drop_is_cut_off,
    a_connection_that_stands_idle_is_closed,
    a_client_that_takes_nothing_is_cut_off,
    a_client_that_takes_nothing_does_not_hold_up_the_stop,
    ten_thousand_connections_that_say_nothing_do_not_keep_others_out,
    connections_beyond_the_limit_wait_for_their_turn,
    a_flood_of_calls_leaves_room_for_others,
}
