//! Calls over TLS.

#[path = "../../http/tests/util/tls.rs"]
mod certificates;
mod util;

use std::{
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use certificates::{Ca, Secure, rest, say, shown, tcp};
use interloop::{Service, Thread, net::Net};
use util::{Handler, Hosting, both, calculator, eventually, host, watchdog};

/// A framed, binary call of `ping`, and its answer.
const PING: &[u8] = b"\0\0\0\x11\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x01\0";
const PONG: &[u8] = b"\0\0\0\x11\x80\x01\0\x02\0\0\0\x04ping\0\0\0\x01\0";

/// A CA that has signed a certificate, and a server with that.
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
        .arg(tests.join("idl/calc.thrift"))
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
    let (ca, hosting) = secure::<L>(&Handler::default(), &["--thrift-tls-handshake-timeout", "1s"]);
    let hello = ca.hello();
    let (silent, half) = (tcp(hosting.port()), say(hosting.port(), &hello[..100]));
    assert_eq!(rest(say(hosting.port(), PING)).first(), Some(&0x15), "an alert");
    ping(&mut ca.connect(hosting.port()));
    assert_eq!((rest(silent), rest(half)), (Vec::new(), Vec::new()));
    eventually("all are counted", || hosting.counter("tls_handshake_failures") == 3);
    hosting.stop();
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
    // The first is at it, and what comes after it is in the server's hands already.
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

util::on_each_loop! {
    apaches_python_client_calls_over_tls,
    calls_in_one_piece_are_all_answered,
    what_is_no_handshake_is_closed_and_others_are_served,
    a_reload_reads_the_certificate_again,
    a_stop_answers_what_has_come_and_says_goodbye,
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
