//! WebSockets, with a client in another language and by bytes.

use std::{
    future::pending,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::util::{Hosting, PATIENCE, eventually, host, variants, watchdog};
use axum::{Router, response::Response, routing::get};
use interloop::net::Net;
use interloop_http::{HttpServer, WebSocketUpgrade};

/// The system's Python: another one in the path has other packages.
const PYTHON: &str = "/usr/bin/python3";

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.protocols(&["older", "old", "new"]).origins(&["https://here.example"]);
    upgrade.on_upgrade(async |mut socket| {
        while let Some(message) = socket.next().await {
            assert_ne!(message, "panic".into(), "as it was told");
            if message == "end".into() {
                return;
            }
            if message == "close".into() {
                socket.sender().close(4321, "as you like").expect("a code for applications");
            }
            let _ = socket.send(message).await;
        }
    })
}

/// Sends as much as it can.
async fn pour(upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.ping(Duration::from_millis(200), Duration::from_millis(200)).queue(2);
    upgrade.on_upgrade(async |socket| while socket.send("x".repeat(100_000)).await.is_ok() {})
}

/// Waits for a peer that may be gone.
async fn quiet(upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.ping(Duration::from_millis(100), Duration::from_millis(100));
    upgrade.on_upgrade(async |mut socket| while socket.next().await.is_some() {})
}

/// Sends at once more than its peer can take in time.
async fn burst(upgrade: WebSocketUpgrade) -> Response {
    upgrade.queue(BURST).on_upgrade(async |mut socket| {
        for _ in 0..BURST {
            socket.sender().try_send("x".repeat(PIECE)).expect("there is room");
        }
        while socket.next().await.is_some() {}
    })
}

/// Reads nothing, and never ends.
async fn deaf(upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.ping(Duration::from_millis(100), Duration::from_millis(100));
    upgrade.on_upgrade(async |_socket| pending().await)
}

/// Sends the codes that it may not close with.
async fn codes(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |socket| {
        let all = [0, 1, 999, 1004, 1005, 1006, 1014, 1015, 1016, 2999, 5000, u16::MAX];
        let refused =
            all.iter().filter(|code| socket.sender().close(**code, "").is_err_and(|error| error.code() == **code));
        let refused = refused.map(ToString::to_string).collect::<Vec<_>>().join(" ");
        socket.send(refused).await.expect("it is open still");
        socket.sender().close(4999, "the last one").expect("a code for applications");
    })
}

const BURST: usize = 30;
const PIECE: usize = 300_000;

fn hosting<L: Net>(arguments: &[&str]) -> Hosting {
    let router = Router::new().route("/echo", get(echo)).route("/pour", get(pour)).route("/quiet", get(quiet));
    let router = router.route("/burst", get(burst)).route("/deaf", get(deaf)).route("/codes", get(codes));
    host::<L, _>(HttpServer::new(router), arguments)
}

fn connect(hosting: &Hosting, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(hosting.port()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    let key = "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{key}\r\nsec-websocket-version: 13\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it is open");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head);
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    stream
}

/// A frame with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).expect("it is short"), 0, 0, 0, 0];
    frame.extend(payload);
    frame
}

/// Reads a short frame.
fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    let mut payload = vec![0; usize::from(head[1])];
    stream.read_exact(&mut payload).expect("a frame");
    (head[0], payload)
}

fn a_client_of_another_language_is_served<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let hosting = hosting::<L>(arguments);
        let mut client = Command::new(PYTHON)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client.py"))
            .arg(hosting.port().port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a python3");
        let mut lines = BufReader::new(client.stdout.take().expect("it is piped")).lines();
        let mut said = Vec::new();
        while said.last().is_none_or(|line| line != "stop") {
            match lines.next() {
                Some(line) => said.push(line.expect("text")),
                None => break,
            }
        }
        let panics = hosting.counter("panics");
        hosting.stop();
        said.extend(lines.map_while(Result::ok));
        assert!(client.wait().expect("it is our child").success(), "{said:?}");
        assert_eq!((said.join(" "), panics), ("echoed 1009 403 stop 1001".to_owned(), 1));
    }
}

fn who_breaks_the_protocol_is_told_so<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let hosting = hosting::<L>(arguments);
        let huge = [0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        for (bytes, code) in [
            (b"\x81\x05hello".to_vec(), 1002_u16), // without a mask
            (frame(0x83, b"?"), 1002),             // no such kind
            (frame(0xc1, b"?"), 1002),             // reserved bits
            (frame(0x80, b"?"), 1002),             // the rest of nothing
            (frame(0x09, b"?"), 1002),             // a ping in pieces
            (frame(0x81, b"\xff\xfe"), 1007),
            (huge.to_vec(), 1009),
        ] {
            let mut stream = connect(&hosting, "/echo");
            stream.write_all(&bytes).expect("it is open");
            let (kind, payload) = read_frame(&mut stream);
            assert_eq!((kind, &payload[..2]), (0x88, &code.to_be_bytes()[..]), "{bytes:?}");
            stream.shutdown(Shutdown::Write).expect("it is open");
            assert_eq!(stream.read(&mut [0]).expect("it ends in order"), 0);
        }
        eventually("none is open", || {
            hosting.counter("open_websockets") == 0 && hosting.counter("open_connections") == 0
        });
        hosting.stop();
    }
}

fn pieces_and_single_bytes_are_put_together<L: Net>() {
    let _watchdog = watchdog();
    let hosting = hosting::<L>(&[]);
    let mut stream = connect(&hosting, "/echo");
    stream.set_nodelay(true).expect("it is a socket");
    let pieces = [frame(0x01, b"one "), frame(0x89, b"?"), frame(0x00, b"two "), frame(0x80, b"three")];
    for byte in pieces.concat() {
        stream.write_all(&[byte]).expect("it is open");
    }
    assert_eq!(read_frame(&mut stream), (0x8a, b"?".to_vec()));
    assert_eq!(read_frame(&mut stream), (0x81, b"one two three".to_vec()));
    assert_eq!((hosting.counter("messages_received"), hosting.counter("messages_sent")), (1, 1));
    // It asks to close, and is answered with its own code.
    stream.write_all(&frame(0x88, &4000_u16.to_be_bytes())).expect("it is open");
    assert_eq!(read_frame(&mut stream), (0x88, 4000_u16.to_be_bytes().to_vec()));
    assert_eq!(stream.read(&mut [0]).expect("it ends in order"), 0);
    hosting.stop();
}

fn who_is_gone_or_silent_or_takes_nothing_is_dropped<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let hosting = hosting::<L>(arguments);
        // It gets only pings, and answers none.
        let mut silent = connect(&hosting, "/quiet");
        let mut rest = Vec::new();
        silent.read_to_end(&mut rest).expect("it is closed");
        assert_eq!(rest, [0x89, 0]);
        let full = connect(&hosting, "/pour");
        eventually("both are given up", || hosting.counter("lost_websockets") == 2);
        // No close frame, in the middle of a message.
        let mut gone = connect(&hosting, "/echo");
        gone.write_all(&[0x81, 0x85, 0]).expect("it is open");
        drop(gone);
        eventually("none is open", || {
            hosting.counter("open_websockets") == 0 && hosting.counter("open_connections") == 0
        });
        drop(full);
        hosting.stop();
    }
}

fn at_the_stop_who_does_not_answer_is_left<L: Net>() {
    let _watchdog = watchdog();
    let hosting = hosting::<L>(&[]);
    let mut stream = connect(&hosting, "/echo");
    stream.write_all(&frame(0x81, b"hi")).expect("it is open");
    assert_eq!(read_frame(&mut stream), (0x81, b"hi".to_vec()));
    hosting.stop();
    let (kind, payload) = read_frame(&mut stream);
    assert_eq!((kind, &payload[..2]), (0x88, &1001_u16.to_be_bytes()[..]));
}

fn a_flood_keeps_neither_others_waiting_nor_the_stop<L: Net>() {
    let _watchdog = watchdog();
    let hosting = hosting::<L>(&[]);
    let floods: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = connect(&hosting, "/echo");
            // Unsolicited pongs: they need no answer.
            let pongs = frame(0x8a, b"").repeat(10_000);
            thread::spawn(move || while stream.write_all(&pongs).is_ok() {})
        })
        .collect();
    let mut stream = connect(&hosting, "/echo");
    for _ in 0..20 {
        stream.write_all(&frame(0x81, b"hi")).expect("it is open");
        assert_eq!(read_frame(&mut stream), (0x81, b"hi".to_vec()));
    }
    // In order: nobody is cancelled at the deadline.
    hosting.stop();
    floods.into_iter().for_each(|flood| flood.join().expect("it only writes"));
}

fn what_is_no_handshake_is_refused<L: Net>() {
    let _watchdog = watchdog();
    let hosting = hosting::<L>(&[]);
    let mut client = crate::util::connect(hosting.port());
    let got = client.get("/echo");
    assert!(got.status == 426 && got.head.contains("upgrade: websocket"), "{got:?}");
    let upgrade = "GET /echo HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
    client.send(format!("{upgrade}sec-websocket-version: 8\r\n\r\n"));
    let got = client.receive();
    assert!(got.status == 426 && got.head.contains("sec-websocket-version: 13"), "{got:?}");
    let start = "GET /echo HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (what, rest) in [
        ("a short key", "host: x\r\nsec-websocket-key: x\r\n\r\n".to_owned()),
        ("no key", "host: x\r\n\r\n".to_owned()),
        ("a key that is no base64", "host: x\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25j*Q==\r\n\r\n".to_owned()),
        ("a key of 18 bytes", "host: x\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQAA\r\n\r\n".to_owned()),
        ("two keys", format!("host: x\r\n{key}{key}\r\n")),
        ("no host", format!("{key}\r\n")),
        ("a body", format!("host: x\r\n{key}content-length: 5\r\n\r\nhello")),
        ("a body in chunks", format!("host: x\r\n{key}transfer-encoding: chunked\r\n\r\n0\r\n\r\n")),
    ] {
        let mut client = crate::util::connect(hosting.port());
        client.send(format!("{start}{rest}"));
        assert_eq!(client.receive().status, 400, "{what}");
    }
    // An empty body is no body.
    let mut client = crate::util::connect(hosting.port());
    client.send(format!("{start}host: x\r\n{key}content-length: 0\r\n\r\n"));
    assert_eq!(client.receive().status, 101);
    hosting.stop();
}

fn what_is_said_before_a_close_goes_out<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let hosting = hosting::<L>(arguments);
        let texts: Vec<_> = (0..21).map(|number| format!("text {number}")).collect();
        let all =
            |end: &[u8]| [texts.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect(), end.to_vec()].concat();
        let close = frame(0x88, &[&1000_u16.to_be_bytes()[..], b"bye"].concat());
        // The peer closes, also without a code; it breaks the protocol; it ends its half after that.
        for (end, code) in [(close, Some(1000_u16)), (frame(0x88, b""), None), (frame(0x83, b"?"), Some(1002))] {
            let mut stream = connect(&hosting, "/echo");
            stream.write_all(&all(&end)).expect("it is open");
            for text in &texts {
                assert_eq!(read_frame(&mut stream), (0x81, text.clone().into_bytes()));
            }
            let (kind, payload) = read_frame(&mut stream);
            let said = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            assert_eq!((kind, said), (0x88, code));
        }
        eventually("none is open", || hosting.counter("open_connections") == 0);
        hosting.stop();
    }
}

fn what_is_said_before_an_end_without_a_close_goes_out<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let hosting = hosting::<L>(arguments);
        let texts: Vec<_> = (b'0'..=b'9').map(|digit| frame(0x81, &[digit])).collect();
        for _ in 0..20 {
            let mut stream = connect(&hosting, "/echo");
            stream.write_all(&texts.concat()).expect("it is open");
            stream.shutdown(Shutdown::Write).expect("it is open");
            for digit in b'0'..=b'9' {
                assert_eq!(read_frame(&mut stream), (0x81, vec![digit]));
            }
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("it is closed");
            assert_eq!(rest, b"");
        }
        // A handler that reads nothing has the time of a close.
        let deaf = connect(&hosting, "/deaf");
        deaf.shutdown(Shutdown::Write).expect("it is open");
        let begin = Instant::now();
        eventually("all are gone", || hosting.counter("open_connections") == 0);
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        hosting.stop();
    }
}

fn what_comes_with_the_handshake_is_heard<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let hosting = hosting::<L>(arguments);
        let key = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
        let head = format!("GET /echo HTTP/1.1\r\nhost: x\r\n{key}\r\nsec-websocket-version: 13\r\n\r\n");
        for (end, finishes) in [(frame(0x88, b"\x03\xe8"), false), (frame(0x88, b"\x03\xe8"), true), (Vec::new(), true)]
        {
            let mut stream = TcpStream::connect(hosting.port()).expect("it listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
            let frames = [frame(0x81, b"early"), frame(0x89, b"ping"), end].concat();
            stream.write_all(&[head.as_bytes(), &frames].concat()).expect("it is open");
            if finishes {
                stream.shutdown(Shutdown::Write).expect("it is open");
            }
            let mut said = Vec::new();
            stream.read_to_end(&mut said).expect("it is closed");
            let end = said.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
            let said = &said[end..];
            assert!(said.windows(7).any(|bytes| bytes == b"\x81\x05early"), "{:?}", said.escape_ascii().to_string());
        }
        hosting.stop();
    }
}

fn what_is_said_before_the_stop_goes_out<L: Net>() {
    let _watchdog = watchdog();
    let hosting = hosting::<L>(&[]);
    let mut stream = connect(&hosting, "/burst");
    eventually("it is being sent", || hosting.counter("messages_sent") > 0);
    hosting.running.request_shutdown("test");
    for _ in 0..BURST {
        let mut head = [0; 10];
        stream.read_exact(&mut head).expect("a frame");
        assert_eq!(head[..2], [0x81, 127]);
        assert_eq!(u64::from_be_bytes(head[2..].try_into().expect("eight bytes")), PIECE as u64);
        stream.read_exact(&mut vec![0; PIECE]).expect("all of it");
    }
    let (kind, payload) = read_frame(&mut stream);
    assert_eq!((kind, &payload[..2]), (0x88, &1001_u16.to_be_bytes()[..]));
    hosting.stop();
}

fn a_handler_that_goes_on_keeps_neither_a_place_nor_the_stop<L: Net>() {
    let _watchdog = watchdog();
    let workers = variants::<L>();
    for arguments in workers {
        // One has gone, one answers no ping, one is there at the stop.
        let hosting = hosting::<L>(&[*arguments, &["--http-max-connections", "1"]].concat());
        drop(connect(&hosting, "/deaf"));
        let mut silent = connect(&hosting, "/deaf");
        silent.read_to_end(&mut Vec::new()).expect("it is closed");
        let mut last = connect(&hosting, "/deaf");
        eventually("they go on", || hosting.counter("websocket_handlers") == 3);
        let begun = Instant::now();
        let answers = thread::spawn(move || while !matches!(last.read(&mut [0; 64]), Ok(0) | Err(_)) {});
        hosting.stop();
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        answers.join().expect("it only reads");
    }
}

fn a_handler_that_goes_on_has_the_idle_time<L: Net>() {
    let _watchdog = watchdog();
    let hosting = hosting::<L>(&["--http-idle-timeout", "300ms"]);
    drop(connect(&hosting, "/deaf"));
    eventually("it was there", || {
        hosting.counter("websocket_handlers") == 1 && hosting.counter("open_connections") == 0
    });
    eventually("it is dropped", || hosting.counter("websocket_handlers") == 0);
    hosting.stop();
}

fn codes_that_no_close_frame_may_have_are_refused<L: Net>() {
    let _watchdog = watchdog();
    let hosting = hosting::<L>(&[]);
    let mut stream = connect(&hosting, "/codes");
    let (_, refused) = read_frame(&mut stream);
    assert_eq!(String::from_utf8_lossy(&refused), "0 1 999 1004 1005 1006 1014 1015 1016 2999 5000 65535");
    let (kind, payload) = read_frame(&mut stream);
    assert_eq!((kind, &payload[..2]), (0x88, &4999_u16.to_be_bytes()[..]));
    hosting.stop();
}

crate::util::on_each_loop! {
    what_is_said_before_a_close_goes_out,
    what_is_said_before_an_end_without_a_close_goes_out,
    what_comes_with_the_handshake_is_heard,
    what_is_said_before_the_stop_goes_out,
    a_handler_that_goes_on_keeps_neither_a_place_nor_the_stop,
    a_handler_that_goes_on_has_the_idle_time,
    codes_that_no_close_frame_may_have_are_refused,
    a_client_of_another_language_is_served,
    who_breaks_the_protocol_is_told_so,
    pieces_and_single_bytes_are_put_together,
    who_is_gone_or_silent_or_takes_nothing_is_dropped,
    at_the_stop_who_does_not_answer_is_left,
    a_flood_keeps_neither_others_waiting_nor_the_stop,
    what_is_no_handshake_is_refused,
}
