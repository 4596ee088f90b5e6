//! The crate's clients over HTTP, on loops and on threads, with its own server and with Apache's in Python.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::util::{
    Handler, Hosting, PATIENCE, application,
    calc::{
        CalculatorSyncClient, CalculatorSyncProcessor, EchoSyncClient, EchoSyncProcessor, NoResult, Operation,
        TCalculatorSyncClient, TEchoSyncClient, Work,
    },
    watchdog,
};
use interloop::{Context, Result, Service, Thread, net::Net, task_fn};
use interloop_http::HttpServer;
use interloop_thrift::{
    Address, Calls, Input, Multiplexed, Output, Protocol, ThriftClient, ThriftRoute, Wire, connect,
};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use thrift::{ApplicationErrorKind, TransportErrorKind, protocol::TMultiplexedOutputProtocol};

/// The system's Python: another one in the path has other packages.
const PYTHON: &str = "/usr/bin/python3";

type Calculator<L> = Calls<L, CalculatorSyncClient<Input, Output>>;

/// The answer to `ping`, in the binary protocol.
const PONG: &[u8] = b"\x80\x01\0\x02\0\0\0\x04ping\0\0\0\x01\0";

fn route(handler: &Handler) -> HttpServer<ThriftRoute> {
    let calculator = CalculatorSyncProcessor::new(handler.clone());
    let echo = EchoSyncProcessor::new(handler.clone());
    let services = Multiplexed::new().default_service("Calculator", calculator).service("Echo", echo);
    HttpServer::new(ThriftRoute::new(services)).max_body_size(16 << 20)
}

/// Starts a server on a thread of its own, whatever the client's loop.
fn host(server: HttpServer<ThriftRoute>, arguments: &[&str]) -> Hosting {
    let addresses = server.addresses();
    let mut service = Service::new("test");
    service.task_on::<Thread>("thrift", server);
    service.arguments(arguments);
    let running = service.start().expect("the configuration works");
    Hosting { running, addresses: addresses.wait_timeout(PATIENCE).expect("it listens") }
}

/// Runs this as a task of a service of its own.
fn client<L: Net>(run: impl AsyncFnOnce(Context<L>) -> Result + Send + 'static) {
    let mut service = Service::new("client");
    service.task("client", task_fn::<L>(run));
    let report = service.start().expect("the configuration works").join();
    assert_eq!(report.code, 0, "{report}");
}

fn calculator<L: Net>(cx: &Context<L>, address: impl Into<Address>, wire: Wire) -> Calculator<L> {
    ThriftClient::new(cx, address, wire).calls(CalculatorSyncClient::new)
}

fn blocking(address: &Address, wire: Wire, timeout: Duration) -> CalculatorSyncClient<Input, Output> {
    let (input, output) = connect(address, wire, Some(timeout)).expect("it listens");
    CalculatorSyncClient::new(input, output)
}

fn wires() -> [Wire; 2] {
    [Protocol::Binary, Protocol::Compact].map(|protocol| Wire::http("/any/path?is=right").protocol(protocol))
}

#[track_caller]
fn transport<T: std::fmt::Debug>(result: thrift::Result<T>) -> thrift::TransportError {
    match result {
        Err(thrift::Error::Transport(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn calls_bring_results_exceptions_and_errors<L: Net>() {
    let _watchdog = watchdog();
    let handler = Handler::default();
    let hosting = host(route(&handler), &[]);
    let address = hosting.address().clone();
    client::<L>(async move |cx| {
        for wire in wires() {
            let client = ThriftClient::new(&cx, address.clone(), wire);
            let calculator = client.calls_of("Calculator", CalculatorSyncClient::new);
            let echo = client.calls_of("Echo", EchoSyncClient::new);
            let work = Work::new(20, 22, None, "a comment".to_owned());
            assert_eq!(calculator.call(|calculator| calculator.calculate(work.clone())).await?, 42);
            let bytes = vec![7; 300_000];
            assert!(echo.call(|echo| echo.bytes(bytes.clone())).await? == bytes);
            let divide = Work::new(1, 0, Operation::DIVIDE, None);
            match calculator.call(|calculator| calculator.calculate(divide.clone())).await {
                Err(thrift::Error::User(error)) => assert!(error.is::<NoResult>()),
                other => panic!("{other:?}"),
            }
            let panicked = calculator.call(|calculator| calculator.act("panic".to_owned())).await;
            assert_eq!(application(panicked).kind, ApplicationErrorKind::InternalError);
            let unnamed = client.calls(CalculatorSyncClient::new);
            unnamed.call(|calculator| calculator.note("oneway".to_owned())).await?;
            let notes = unnamed.call(|calculator| calculator.notes()).await?;
            assert_eq!(notes.last().map(|note| &**note), Some("oneway"));
        }
        Ok(())
    });
    assert_eq!(hosting.counter("connections"), 2, "all calls of a client go over one connection");
    assert_eq!(*handler.notes.lock().expect("no panic"), ["oneway"; 2]);
    hosting.stop();
}

#[test]
fn a_thread_that_may_block_has_results_exceptions_and_errors() {
    let _watchdog = watchdog();
    let handler = Handler::default();
    let folder = tempfile::tempdir().expect("a folder");
    let hosting = host(route(&handler).unix(folder.path().join("s")).host("127.0.0.1"), &[]);
    let addresses = &hosting.addresses;
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    for (address, wire) in addresses.iter().flat_map(|address| wires().map(|wire| (address, wire))) {
        let mut calculator = blocking(address, wire.clone(), PATIENCE);
        assert_eq!(calculator.calculate(Work::new(20, 22, None, None)).expect("an answer"), 42);
        let divide = calculator.calculate(Work::new(1, 0, Operation::DIVIDE, None));
        assert!(matches!(&divide, Err(thrift::Error::User(error)) if error.is::<NoResult>()), "{divide:?}");
        assert_eq!(application(calculator.act("panic".to_owned())).kind, ApplicationErrorKind::InternalError);
        calculator.note("oneway".to_owned()).expect("it is taken");
        assert_eq!(calculator.notes().expect("an answer").last().map(|note| &**note), Some("oneway"));
        let (input, output) = connect(address, wire, None).expect("it listens");
        let mut echo = EchoSyncClient::new(input, TMultiplexedOutputProtocol::new("Echo", output));
        for length in [0, 3_000_000, 1] {
            assert!(echo.bytes(vec![7; length]).expect("an answer") == vec![7; length]);
        }
    }
    assert_eq!(hosting.counter("connections"), 8, "all calls of a client go over one connection");
    hosting.stop();
}

/// Apache's server, which is killed when this is dropped.
struct PythonServer {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl PythonServer {
    fn new(protocol: &str, version: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let mut compiler = Command::new("thrift");
        compiler.args(["--gen", "py", "-out"]).arg(folder.path()).arg(tests.join("it/idl/calc.thrift"));
        assert!(compiler.status().expect("the compiler is there: scripts/setup").success());
        let mut child = Command::new(PYTHON)
            .arg(tests.join("http_server.py"))
            .args([protocol, version])
            .env("PYTHONPATH", folder.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a python3");
        let mut port = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut port).expect("it prints its port");
        let address = SocketAddr::from(([127, 0, 0, 1], port.trim().parse().expect("it prints its port")));
        Self { child, address, _folder: folder }
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SERVERS: [(&str, Protocol); 2] = [("binary", Protocol::Binary), ("compact", Protocol::Compact)];

fn a_server_of_another_language_is_called<L: Net>() {
    let _watchdog = watchdog();
    // With HTTP/1.0 it closes the connection after each answer.
    for ((name, protocol), version) in SERVERS.into_iter().zip(["1.0", "1.1"]) {
        let server = PythonServer::new(name, version);
        let address = server.address;
        client::<L>(async move |cx| {
            let calculator = calculator(&cx, address, Wire::http("/").protocol(protocol));
            for left in 0..3 {
                let work = Work::new(left, 22, None, "ä".to_owned());
                assert_eq!(calculator.call(|calculator| calculator.calculate(work.clone())).await?, left + 22);
            }
            let divide = Work::new(1, 0, Operation::DIVIDE, None);
            let divided = calculator.call(|calculator| calculator.calculate(divide.clone())).await;
            assert!(matches!(&divided, Err(thrift::Error::User(error)) if error.is::<NoResult>()), "{divided:?}");
            let panicked = calculator.call(|calculator| calculator.act("panic".to_owned())).await;
            assert_eq!(application(panicked).kind, ApplicationErrorKind::InternalError);
            // It answers before it carries the call out.
            calculator.call(|calculator| calculator.note("oneway".to_owned())).await?;
            while calculator.call(|calculator| calculator.notes()).await? != ["oneway"] {}
            Ok(())
        });
    }
}

#[test]
fn a_server_of_another_language_is_called_by_a_thread_that_may_block() {
    let _watchdog = watchdog();
    for ((name, protocol), version) in SERVERS.into_iter().zip(["1.1", "1.0"]) {
        let server = PythonServer::new(name, version);
        let mut calculator = blocking(&server.address.into(), Wire::http("/").protocol(protocol), PATIENCE);
        for left in 0..3 {
            assert_eq!(calculator.calculate(Work::new(left, 22, None, None)).expect("an answer"), left + 22);
        }
        assert_eq!(application(calculator.act("panic".to_owned())).kind, ApplicationErrorKind::InternalError);
        calculator.note("oneway".to_owned()).expect("it is taken");
        while calculator.notes().expect("an answer") != ["oneway"] {}
    }
}

/// Reserves a port that nobody else can listen on while the socket exists, unless told of it.
fn reserved_port() -> (SocketAddr, Socket) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("a server can bind it too");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
    (socket.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound"), socket)
}

fn at(port: SocketAddr) -> Hosting {
    host(route(&Handler::default()), &["--thrift-port", &port.port().to_string()])
}

fn a_connection_that_the_server_has_closed_is_made_anew<L: Net>() {
    let _watchdog = watchdog();
    let (port, _reserved) = reserved_port();
    let hosting = at(port);
    client::<L>(async move |cx| {
        let calculator = calculator(&cx, port, Wire::http("/"));
        calculator.call(|calculator| calculator.ping()).await?;
        hosting.stop();
        let hosting = at(port);
        calculator.call(|calculator| calculator.ping()).await?;
        hosting.stop();
        Ok(())
    });
}

#[test]
fn a_thread_makes_a_connection_anew_that_the_server_has_closed() {
    let _watchdog = watchdog();
    let (port, _reserved) = reserved_port();
    let hosting = at(port);
    let mut calculator = blocking(&port.into(), Wire::http("/"), PATIENCE);
    calculator.ping().expect("an answer");
    hosting.stop();
    let hosting = at(port);
    calculator.ping().expect("an answer");
    hosting.stop();
}

/// Reads the head and the body of a request.
fn request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).expect("it asks"), 0, "{head:?}");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("it says how much");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).expect("it sends that much");
    (head, body)
}

/// Returns the right answer to this call.
fn pong(call: &[u8]) -> Vec<u8> {
    let mut pong = PONG.to_vec();
    pong[12..16].copy_from_slice(&call[12..16]);
    ok(&pong)
}

/// Returns a 200 with this body.
fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Returns wrong responses to `ping`, and what the client makes of each.
fn wrong() -> Vec<(Vec<u8>, &'static str)> {
    let cut = |mut answer: Vec<u8>| {
        answer.pop();
        answer
    };
    let refused = |kind: &str, said: &str| {
        let length = said.len();
        format!("HTTP/1.1 404 Not Found\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{said}").into_bytes()
    };
    vec![
        (b"".to_vec(), "closed before the answer"),
        (b"\x80\x01\0\x02 not HTTP\r\n\r\n".to_vec(), "the answer is not HTTP"),
        (refused("text/plain", "no \x1bsuch\nplace"), "the server answered 404 Not Found: no \u{fffd}such"),
        (refused("text/html", "<html>"), "the server answered 404 Not Found"),
        (b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".to_vec(), "the server answered 302 Found"),
        (ok(b"<html>"), "the answer is text/html, and not Thrift"),
        (ok(b""), "the answer is empty"),
        (ok(b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x01\0"), "a call instead of an answer"),
        (ok(&PONG[..PONG.len() - 1]), "it ends too early"),
        (ok(&[PONG, b"\0"].concat()), "there is more in the answer"),
        (ok(b"\x80\x01\0\x02\0\0\0\x04ping\0\0\0\x01\x0b\0\x00\x7f\xff\xff\xff"), "too large"),
        (ok(&[0x80; 5000]), "is too large"),
        (cut(ok(PONG)), "closed within the answer"),
    ]
}

/// A server that sends all of them, on one connection after the other, and the right one at last.
fn wrong_server() -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a socket");
    let serve = thread::spawn(move || {
        let answers = wrong().into_iter().map(|(answer, _)| Some(answer));
        for answer in answers.chain([None]) {
            let (mut stream, _) = listener.accept().expect("a client");
            let (head, body) = request(&mut stream);
            assert!(head.starts_with("POST /x HTTP/1.1\r\n"), "{head}");
            for line in ["host: sums.test", "content-type: application/x-thrift", "accept: application/x-thrift"] {
                assert!(head.lines().any(|said| said == line), "{head}");
            }
            assert!(body.starts_with(b"\x80\x01\0\x01\0\0\0\x04ping"), "{body:?}");
            stream.write_all(&answer.unwrap_or_else(|| pong(&body))).expect("it is open");
        }
    });
    (address, serve)
}

fn wrong_wire() -> Wire {
    Wire::http("/x").host("sums.test").max_frame_size(1000)
}

fn an_answer_that_is_none_is_an_error<L: Net>() {
    let _watchdog = watchdog();
    let (address, serve) = wrong_server();
    client::<L>(async move |cx| {
        let calculator = calculator(&cx, address, wrong_wire());
        for (_, why) in wrong() {
            let message = transport(calculator.call(|calculator| calculator.ping()).await).message;
            assert!(message.contains(why), "{message:?} instead of {why:?}");
        }
        calculator.call(|calculator| calculator.ping()).await?;
        Ok(())
    });
    serve.join().expect("no panic");
}

#[test]
fn a_thread_is_told_of_an_answer_that_is_none() {
    let _watchdog = watchdog();
    let (address, serve) = wrong_server();
    let mut calculator = blocking(&address.into(), wrong_wire(), PATIENCE);
    for (_, why) in wrong() {
        let message = transport(calculator.ping()).message;
        assert!(message.contains(why), "{message:?} instead of {why:?}");
    }
    calculator.ping().expect("an answer");
    serve.join().expect("no panic");
}

/// A server that is slow for the first call, and fast for the second, which comes over another connection.
fn slow_server() -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a socket");
    let serve = thread::spawn(move || {
        let (mut first, _) = listener.accept().expect("a client");
        request(&mut first);
        // A byte now and then is no answer either.
        first.write_all(b"HTTP/1.1 200 OK\r\n").expect("it is open");
        let mut rest = Vec::new();
        let _ = first.read_to_end(&mut rest);
        assert_eq!(rest, b"", "it was given up, and nothing else was asked over it");
        let (mut second, _) = listener.accept().expect("a client");
        let (_, call) = request(&mut second);
        second.write_all(&pong(&call)).expect("it is open");
    });
    (address, serve)
}

fn a_call_that_takes_too_long_is_given_up_and_the_next_one_goes_on<L: Net>() {
    let _watchdog = watchdog();
    let (address, serve) = slow_server();
    client::<L>(async move |cx| {
        let calculator = calculator(&cx, address, Wire::http("/"));
        let hasty = calculator.clone().timeout(Duration::from_millis(200));
        let late = transport(hasty.call(|calculator| calculator.ping()).await);
        assert_eq!(late.kind, TransportErrorKind::TimedOut, "{late:?}");
        calculator.call(|calculator| calculator.ping()).await?;
        Ok(())
    });
    serve.join().expect("no panic");
}

#[test]
fn a_thread_waits_no_longer_than_it_was_told_to() {
    let _watchdog = watchdog();
    let (address, serve) = slow_server();
    let mut calculator = blocking(&address.into(), Wire::http("/"), Duration::from_secs(2));
    let begin = Instant::now();
    let late = transport(calculator.ping());
    assert_eq!((late.kind, &*late.message), (TransportErrorKind::TimedOut, "no answer in time"));
    assert!(begin.elapsed() >= Duration::from_millis(1900), "{:?}", begin.elapsed());
    calculator.ping().expect("an answer");
    serve.join().expect("no panic");
}

fn what_can_not_be_posted_to_is_an_error_at_once<L: Net>() {
    let _watchdog = watchdog();
    // No server is asked.
    let (nobody, _reserved) = reserved_port();
    client::<L>(async move |cx| {
        for (wire, why) in bad() {
            let calculator = calculator(&cx, nobody, wire);
            assert_eq!(transport(calculator.call(|calculator| calculator.ping()).await).message, why);
        }
        Ok(())
    });
    for (wire, why) in bad() {
        assert_eq!(connect(&nobody.into(), wire, None).err().map(|error| error.to_string()).as_deref(), Some(why));
    }
}

fn bad() -> [(Wire, &'static str); 3] {
    [
        (Wire::http("thrift"), "\"thrift\" is no path"),
        (Wire::http("/a b"), "\"/a b\" is no path"),
        (Wire::http("/").host("a\nb"), "\"a\\nb\" is no host"),
    ]
}

crate::util::on_each_loop! {
    calls_bring_results_exceptions_and_errors,
    a_server_of_another_language_is_called,
    a_connection_that_the_server_has_closed_is_made_anew,
    an_answer_that_is_none_is_an_error,
    a_call_that_takes_too_long_is_given_up_and_the_next_one_goes_on,
    what_can_not_be_posted_to_is_an_error_at_once,
}

#[cfg(feature = "tls")]
mod secure {
    use interloop_thrift::{TlsConnector, connect_with_tls};

    use super::*;
    use interloop_transport_tests::certificates::Ca;

    fn secure(handler: &Handler) -> (Ca, Hosting, TlsConnector) {
        let ca = Ca::new("the CA");
        ca.sign("server");
        let hosting = host(route(handler).tls(ca.path("server.pem"), ca.path("server.key")), &[]);
        let tls = TlsConnector::new(ca.path("ca.pem")).expect("it is a CA");
        (ca, hosting, tls)
    }

    fn calls_go_over_tls<L: Net>() {
        let _watchdog = watchdog();
        let (_ca, hosting, tls) = secure(&Handler::default());
        let address = hosting.port();
        client::<L>(async move |cx| {
            for wire in wires() {
                let client = ThriftClient::with_tls(&cx, address, wire, &tls, "localhost");
                let echo = client.calls_of("Echo", EchoSyncClient::new);
                for length in [1, 3_000_000, 0] {
                    let bytes = vec![7; length];
                    assert!(echo.call(|echo| echo.bytes(bytes.clone())).await? == bytes);
                }
            }
            Ok(())
        });
        assert_eq!((hosting.counter("connections"), hosting.counter("tls_handshakes")), (2, 2));
        hosting.stop();
    }

    crate::util::on_each_loop! {
        calls_go_over_tls,
    }

    #[test]
    fn a_thread_calls_over_tls() {
        let _watchdog = watchdog();
        let (_ca, hosting, tls) = secure(&Handler::default());
        for wire in wires() {
            let open = connect_with_tls(hosting.address(), wire, Some(PATIENCE), &tls, "localhost");
            let (input, output) = open.expect("they trust each other");
            let mut echo = EchoSyncClient::new(input, TMultiplexedOutputProtocol::new("Echo", output));
            for length in [1, 3_000_000, 0] {
                assert!(echo.bytes(vec![7; length]).expect("an answer") == vec![7; length]);
            }
        }
        assert_eq!((hosting.counter("connections"), hosting.counter("tls_handshakes")), (2, 2));
        let stranger = connect_with_tls(hosting.address(), Wire::http("/"), Some(PATIENCE), &tls, "example.org");
        let why = stranger.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(why.contains("not valid for name"), "{why}");
        hosting.stop();
    }
}
