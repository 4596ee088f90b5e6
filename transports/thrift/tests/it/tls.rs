//! Calls over TLS.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::util::{
    Handler, Hosting, PATIENCE, both,
    calc::{CalculatorSyncClient, EchoSyncClient, TCalculatorSyncClient, TEchoSyncClient, Work},
    calculator, eventually, host, watchdog, wires,
};
use interloop::{Context, Result, Service, Thread, net::Net, task_fn};
use interloop_thrift::{Listen, ThriftClient, TlsConnector, Wire, connect_with_tls};
use interloop_transport_tests::certificates::{Ca, Secure, rest, say, shown, tcp};
use rustls::{HandshakeKind, ServerConnection, StreamOwned};
use thrift::protocol::TMultiplexedOutputProtocol;

/// A framed, binary call of `ping`, and its answer.
const PING: &[u8] = b"\0\0\0\x11\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x01\0";
const PONG: &[u8] = b"\0\0\0\x11\x80\x01\0\x02\0\0\0\x04ping\0\0\0\x01\0";

/// Creates a CA that has signed a certificate, and a server with that.
fn secure<L: Net>(handler: &Handler, arguments: &[&str]) -> (Ca, Hosting) {
    let ca = Ca::new("the CA");
    ca.sign("server");
    let hosting = host::<L>(both(handler).tls(ca.path("server.pem"), ca.path("server.key")), arguments);
    (ca, hosting)
}

fn ping(stream: &mut Secure) {
    stream.write_all(PING).expect("it is open");
    let mut answer = [0; PONG.len()];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, PONG);
}

fn apaches_python_client_calls_over_tls<L: Net>() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().expect("a folder");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let generated = Command::new("thrift")
        .args(["--gen", "py", "-out"])
        .arg(folder.path())
        .arg(tests.join("it/idl/calc.thrift"))
        .status()
        .expect("the compiler is there: scripts/setup");
    assert!(generated.success());
    let handler = Handler::default();
    let (ca, hosting) = secure::<L>(&handler, &[]);
    let client = Command::new("/usr/bin/python3")
        .args(["-W", "ignore::DeprecationWarning"])
        .arg(tests.join("client.py"))
        .arg(hosting.port().port().to_string())
        .arg(ca.path("ca.pem"))
        .env("PYTHONPATH", folder.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .expect("there is a python3");
    let said = String::from_utf8_lossy(&client.stdout);
    assert!(client.status.success(), "{said}{}", String::from_utf8_lossy(&client.stderr));
    assert_eq!(said.lines().count(), 4, "{said}");
    assert_eq!((hosting.counter("tls_handshakes"), hosting.counter("tls_handshake_failures")), (4, 0));
    hosting.stop();
}

fn calls_in_one_piece_are_all_answered<L: Net>() {
    let _watchdog = watchdog();
    let (ca, hosting) = secure::<L>(&Handler::default(), &[]);
    let mut stream = ca.connect(hosting.port());
    stream.write_all(&PING.repeat(5000)).expect("it is open");
    let mut answers = vec![0; 5000 * PONG.len()];
    stream.read_exact(&mut answers).expect("5000 answers");
    assert!(answers == PONG.repeat(5000));
    hosting.stop();
}

fn what_is_no_handshake_is_closed_and_others_are_served<L: Net>() {
    let _watchdog = watchdog();
    let (ca, hosting) = secure::<L>(&Handler::default(), &["--thrift-tls-handshake-timeout", "0"]);
    let hello = ca.hello();
    let (silent, half) = (tcp(hosting.port()), say(hosting.port(), &hello[..100]));
    eventually("both are in", || hosting.counter("open_connections") == 2);
    assert_eq!(rest(say(hosting.port(), PING)).first(), Some(&0x15), "an alert");
    ping(&mut ca.connect(hosting.port()));
    drop((silent, half));
    eventually("all are counted", || hosting.counter("tls_handshake_failures") == 3);
    hosting.stop();

    let (ca, hosting) = secure::<L>(&Handler::default(), &["--thrift-tls-handshake-timeout", "20ms"]);
    let hello = ca.hello();
    let (silent, half) = (tcp(hosting.port()), say(hosting.port(), &hello[..100]));
    assert_eq!((rest(silent), rest(half)), (Vec::new(), Vec::new()));
    eventually("both are counted", || hosting.counter("tls_handshake_failures") == 2);
    hosting.stop();
}

/// Sends calls, and says goodbye right after them, or only closes its half.
fn a_client_that_has_said_goodbye_is_answered<L: Net>() {
    let _watchdog = watchdog();
    for arguments in [&[][..], &["--thrift-workers", "1"]] {
        let (ca, hosting) = secure::<L>(&Handler::default(), arguments);
        for round in 0..50 {
            for (goodbye, calls) in [(true, 1), (false, 1), (true, 3)] {
                let mut client = ca.connect(hosting.port());
                client.write_all(&PING.repeat(calls)).expect("it is open");
                if goodbye {
                    client.conn.send_close_notify();
                }
                client.flush().expect("it is open");
                if !goodbye {
                    client.sock.shutdown(Shutdown::Write).expect("it is open");
                }
                let mut answers = Vec::new();
                // Without a goodbye from the client there need be none from the server.
                let read = client.read_to_end(&mut answers);
                assert!(read.is_ok() || !goodbye, "round {round}: {read:?}");
                assert_eq!(answers, PONG.repeat(calls), "round {round}, goodbye: {goodbye}");
            }
        }
        eventually("all are gone", || hosting.counter("open_connections") == 0);
        hosting.stop();
    }
}

fn a_reload_reads_the_certificate_again<L: Net>() {
    let _watchdog = watchdog();
    let (ca, hosting) = secure::<L>(&Handler::default(), &[]);
    let mut open = ca.connect(hosting.port());
    ping(&mut open);
    let old = shown(&open);
    ca.sign("server");
    hosting.running.reload().expect("it is right");
    let mut fresh = ca.connect(hosting.port());
    assert_eq!((shown(&fresh) == old, shown(&fresh) == ca.certificate("server")), (false, true));
    ping(&mut fresh);
    ping(&mut open);
    hosting.stop();
}

fn a_stop_answers_what_has_come_and_says_goodbye<L: Net>() {
    let _watchdog = watchdog();
    let handler = Handler::default();
    let (ca, hosting) = secure::<L>(&handler, &["--thrift-workers", "1"]);
    let mut idle = ca.connect(hosting.port());
    ping(&mut idle);
    let mut busy = ca.connect(hosting.port());
    // The first is in progress, and the server has the later ones already.
    let act = b"\0\0\0\x1c\x80\x01\0\x01\0\0\0\x03act\0\0\0\x01\x0b\0\x01\0\0\0\x05block\0";
    busy.write_all(&[act, PING, PING].concat()).expect("it is open");
    eventually("it is at it", || handler.gate.waiting() == 1);
    let begin = Instant::now();
    hosting.running.request_shutdown("test");
    // An end without a goodbye would be an error: `UnexpectedEof`.
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).expect("the server says goodbye");
    assert_eq!(rest, b"");
    thread::scope(|scope| {
        let answers = scope.spawn(move || {
            let mut answers = Vec::new();
            busy.read_to_end(&mut answers).expect("the server says goodbye");
            answers
        });
        handler.gate.open();
        let answers = answers.join().expect("no panic");
        assert!(answers.ends_with(&[PONG, PONG].concat()), "{answers:?}");
    });
    hosting.stop();
    assert!(begin.elapsed() < Duration::from_secs(8), "it was not the stop's timeout that ended it");
}

/// Runs this as a task of a service of its own.
fn client<L: Net>(run: impl AsyncFnOnce(Context<L>) -> Result + Send + 'static) {
    let mut service = Service::new("client");
    service.task("client", task_fn::<L>(run));
    let report = service.start().expect("the configuration works").join();
    assert_eq!(report.code, 0, "{report}");
}

fn a_client_of_our_own_keeps_its_connection<L: Net>() {
    let _watchdog = watchdog();
    let (ca, hosting) = secure::<Thread>(&Handler::default(), &[]);
    let (address, tls) = (hosting.port(), TlsConnector::new(ca.path("ca.pem")).expect("it is a CA"));
    client::<L>(async move |cx| {
        for wire in wires() {
            let client = ThriftClient::with_tls(&cx, address, wire, &tls, "localhost");
            let calculator = client.calls_of("Calculator", CalculatorSyncClient::new);
            let echo = client.calls_of("Echo", EchoSyncClient::new);
            for left in 0..10 {
                let work = Work::new(left, 22, None, "a comment".to_owned());
                assert_eq!(calculator.call(|calculator| calculator.calculate(work.clone())).await?, left + 22);
            }
            let bytes = vec![7; 3_000_000];
            assert!(echo.call(|echo| echo.bytes(bytes.clone())).await? == bytes);
        }
        Ok(())
    });
    assert_eq!((hosting.counter("connections"), hosting.counter("tls_handshakes")), (4, 4));
    hosting.stop();
}

#[test]
fn a_thread_that_may_block_calls_over_tls() {
    let _watchdog = watchdog();
    let (ca, hosting) = secure::<Thread>(&Handler::default(), &[]);
    let tls = TlsConnector::new(ca.path("ca.pem")).expect("it is a CA");
    let open = |name| wires().map(|wire| connect_with_tls(hosting.address(), wire, Some(PATIENCE), &tls, name));
    for halves in open("127.0.0.1") {
        let (input, output) = halves.expect("they trust each other");
        let mut echo = EchoSyncClient::new(input, TMultiplexedOutputProtocol::new("Echo", output));
        for length in [1, 3_000_000, 0] {
            assert!(echo.bytes(vec![7; length]).expect("an answer") == vec![7; length]);
        }
    }
    assert_eq!((hosting.counter("connections"), hosting.counter("tls_handshakes")), (4, 4));
    for halves in open("example.org") {
        let why = halves.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(why.contains("not valid for name"), "{why}");
    }
    // A silent server is not waited for.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = mute.local_addr().expect("it is bound").into();
    let time = Some(Duration::from_millis(100));
    let late = connect_with_tls(&address, Wire::framed(), time, &tls, "localhost").err();
    assert_eq!(late.map(|error| error.kind()), Some(std::io::ErrorKind::TimedOut));
    hosting.stop();
}

fn a_client_connects_anew_where_the_server_has_said_goodbye<L: Net>() {
    let _watchdog = watchdog();
    let ca = Ca::new("the CA");
    ca.sign("server");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (address, tls) = (listener.local_addr().expect("it is bound"), TlsConnector::new(ca.path("ca.pem")));
    let (tls, (closed, hears)) = (tls.expect("it is a CA"), mpsc::channel());
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                let mut stream = ca.server("server", listener.accept().expect("a client comes").0);
                let mut call = [0; PING.len()];
                stream.read_exact(&mut call).expect("it calls");
                assert_eq!(call, PING);
                stream.write_all(PONG).expect("it waits for that");
                stream.conn.send_close_notify();
                stream.flush().expect("it takes that too");
                drop(stream);
                closed.send(()).expect("the client is at it");
            }
        });
        client::<L>(async move |cx| {
            let client = ThriftClient::with_tls(&cx, address, Wire::framed(), &tls, "127.0.0.1");
            let calculator = client.calls(CalculatorSyncClient::new);
            for _ in 0..3 {
                calculator.call(|calculator| calculator.ping()).await?;
                // The loop doesn't notice before the next call.
                hears.recv_timeout(PATIENCE).expect("the server closes it");
            }
            Ok(())
        });
    });
}

#[test]
fn a_server_is_looked_at_with_each_connection() {
    let _watchdog = watchdog();
    let ca = Ca::new("the CA");
    ca.sign("server");
    ca.sign("client");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").into();
    // It offers its sessions, as most servers do.
    let config = ca.server_config("server");
    let trusting = TlsConnector::new(ca.path("ca.pem")).expect("it is a CA");
    let known = TlsConnector::with_certificate(ca.path("ca.pem"), ca.path("client.pem"), ca.path("client.key"));
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..4 {
                let connection = ServerConnection::new(config.clone()).expect("the configuration works");
                let mut stream = StreamOwned::new(connection, listener.accept().expect("a client comes").0);
                let mut call = [0; PING.len()];
                stream.read_exact(&mut call).expect("it calls");
                stream.write_all(PONG).expect("it waits for that");
                assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Full));
            }
        });
        for tls in [trusting, known.expect("they belong together")] {
            for _ in 0..2 {
                let halves = connect_with_tls(&address, Wire::framed(), Some(PATIENCE), &tls, "localhost");
                let (input, output) = halves.expect("they trust each other");
                CalculatorSyncClient::new(input, output).ping().expect("an answer");
            }
        }
    });
}

fn neither_end_talks_to_strangers<L: Net>() {
    let _watchdog = watchdog();
    let (ca, stranger) = (Ca::new("the CA"), Ca::new("another CA"));
    for ca in [&ca, &stranger] {
        ca.sign("server");
        ca.sign("client");
    }
    let listen = Listen::new().tls(ca.path("server.pem"), ca.path("server.key")).tls_client_ca(ca.path("ca.pem"));
    let hosting = host::<Thread>(calculator(&Handler::default()).listen(listen), &[]);
    let address = hosting.port();
    let by = |trusts: &Ca, of: &Ca| {
        let (cert, key) = (of.path("client.pem"), of.path("client.key"));
        TlsConnector::with_certificate(trusts.path("ca.pem"), cert, key).expect("they belong together")
    };
    let right = by(&ca, &ca);
    let others = [
        (by(&stranger, &ca), "localhost", "UnknownIssuer"),
        (right.clone(), "example.org", "not valid for name"),
        (right.clone(), "no host name", "no host name is no host name"),
    ];
    // A server that refuses may say so only when the client is done: then the call fails.
    let refused = [by(&ca, &stranger), TlsConnector::new(ca.path("ca.pem")).expect("it is a CA")];
    client::<L>(async move |cx| {
        let call = async |tls: &TlsConnector, name: &str| {
            let client = ThriftClient::with_tls(&cx, address, Wire::framed(), tls, name);
            let calls = client.calls(CalculatorSyncClient::new).timeout(Duration::from_secs(3));
            calls.call(|calculator| calculator.ping()).await
        };
        // They try again until their time is up: all at once.
        let calls = others.iter().map(|(tls, name, _)| call(tls, name));
        for (called, (.., why)) in futures_util::future::join_all(calls).await.into_iter().zip(&others) {
            match called {
                Err(thrift::Error::Transport(error)) => assert!(error.message.contains(why), "{}", error.message),
                other => panic!("{other:?}"),
            }
        }
        for tls in &refused {
            call(tls, "localhost").await.expect_err("they are strangers");
        }
        let client = ThriftClient::with_tls(&cx, address, Wire::framed(), &right, "localhost");
        client.calls(CalculatorSyncClient::new).call(|calculator| calculator.ping()).await?;
        Ok(())
    });
    assert_eq!(hosting.counter("tls_handshakes"), 1);
    hosting.stop();
}

crate::util::on_each_loop! {
    a_client_of_our_own_keeps_its_connection,
    a_client_connects_anew_where_the_server_has_said_goodbye,
    neither_end_talks_to_strangers,
    apaches_python_client_calls_over_tls,
    calls_in_one_piece_are_all_answered,
    what_is_no_handshake_is_closed_and_others_are_served,
    a_reload_reads_the_certificate_again,
    a_stop_answers_what_has_come_and_says_goodbye,
    a_client_that_has_said_goodbye_is_answered,
}

#[test]
fn what_can_not_work_is_one_line_and_78() {
    let _watchdog = watchdog();
    let mut service = Service::new("test");
    service.task_on::<Thread>("thrift", calculator(&Handler::default()));
    service.arguments(["--thrift-tls-cert", "/none.pem", "--thrift-tls-key", "/none.key"]);
    let error = service.start().expect_err("it can't work");
    let why = "test: task thrift: can't read /none.pem: No such file or directory (os error 2)";
    assert_eq!((error.code(), error.to_string().as_str()), (78, why));
}
