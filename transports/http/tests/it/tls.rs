//! TLS: real clients, certificates that change, handshakes that don't end.

use std::{
    fs,
    future::poll_fn,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    pin::Pin,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::util::{Client, Handler, Hosting, PATIENCE, connect, eventually, hi, host, watchdog};
use axum::{
    Router,
    body::Bytes,
    routing::{get, post},
};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{
    rt::{Read as _, ReadBuf, Write as _},
    upgrade::OnUpgrade,
};
use interloop::{Service, net::Net, task_fn};
use interloop_http::{Body, Health, HttpServer, Listen};
use interloop_transport_tests::certificates::{Ca, rest, say, shown, tcp};
use rustix::net::sockopt;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, StreamOwned, SupportedProtocolVersion,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};

/// Makes a test of each of these on tokio, used directly, and on three loops with [`Net`].
macro_rules! on_four_loops {
    ($($test:ident,)+) => {
        interloop_transport_tests::on_loops! {
            {
                on_tokio: interloop_tokio::Tokio,
                on_thread: interloop::Thread,
                on_glib: interloop_glib::Glib,
                on_smol: interloop_smol::Smol
            }
            { $($test,)+ }
        }
    };
}

const HTTP2: bool = cfg!(feature = "http2");
/// The protocols that servers offer by ALPN.
const PROTOCOLS: &[&str] = if HTTP2 { &["h2", "http/1.1"] } else { &["http/1.1"] };

/// Creates a CA that has signed a certificate, and a server with that.
fn secure<L: Net>(router: Router, arguments: &[&str]) -> (Ca, Hosting) {
    let ca = Ca::new("the CA");
    ca.sign("server");
    let server = HttpServer::new(router).tls(ca.path("server.pem"), ca.path("server.key"));
    let hosting = host::<L, _>(server, arguments);
    (ca, hosting)
}

struct Ran {
    code: Option<i32>,
    said: String,
    complained: String,
}

fn run(program: &str, arguments: &[&str]) -> Ran {
    run_with(program, arguments, "")
}

/// Runs it with this standard input.
fn run_with(program: &str, arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(program);
    let ran = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut ran = ran.expect("it is installed");
    // One that has ended meanwhile reads nothing.
    let _ = ran.stdin.take().expect("it is piped").write_all(input.as_bytes());
    let ran = ran.wait_with_output().expect("it ends");
    Ran {
        code: ran.status.code(),
        said: String::from_utf8_lossy(&ran.stdout).into_owned(),
        complained: String::from_utf8_lossy(&ran.stderr).into_owned(),
    }
}

fn curl(hosting: &Hosting, ca: &Ca, path: &str, arguments: &[&str]) -> Ran {
    let url = format!("https://localhost:{}{path}", hosting.port().port());
    let ca = ca.text("ca.pem");
    let resolve = format!("localhost:{}:127.0.0.1", hosting.port().port());
    let fixed = ["-sS", "--max-time", "20", "--noproxy", "*", "--resolve", &resolve, "--cacert", &ca];
    run("curl", &[&fixed, arguments, &[&url]].concat())
}

fn curl_speaks_either_http_over_either_tls<L: Net>() {
    let _watchdog = watchdog();
    for arguments in crate::util::variants::<L>() {
        let (ca, hosting) = secure::<L>(hi(), arguments);
        for (http, version) in [("--http1.1", "1.1"), ("--http2", if HTTP2 { "2" } else { "1.1" })] {
            for tls in ["1.2", "1.3"] {
                let least = format!("--tlsv{tls}");
                let wished = [http, &least, "--tls-max", tls, "-w", " over %{http_version}"];
                let ran = curl(&hosting, &ca, "/", &wished);
                assert_eq!(ran.said, format!("hi over {version}"), "{}", ran.complained);
            }
        }
        assert_eq!((hosting.counter("tls_handshakes"), hosting.counter("tls_handshake_failures")), (4, 0));
        assert_eq!(hosting.counter("requests"), 4);
        hosting.stop();
    }
}

fn large_bodies_go_both_ways<L: Net>() {
    let _watchdog = watchdog();
    for arguments in crate::util::variants::<L>() {
        let (ca, hosting) = secure::<L>(Router::new().route("/echo", post(async |body: Bytes| body)), arguments);
        let body: Vec<u8> = (0..1_500_000_u32).map(|number| (number % 251) as u8).collect();
        fs::write(ca.path("body"), &body).unwrap();
        let (data, answer) = (format!("@{}", ca.text("body")), ca.text("answer"));
        for http in ["--http1.1", "--http2"] {
            let ran = curl(&hosting, &ca, "/echo", &[http, "--data-binary", &data, "-o", &answer]);
            assert_eq!(ran.code, Some(0), "{}", ran.complained);
            assert!(fs::read(&answer).unwrap() == body, "what comes back is what was sent");
        }
        hosting.stop();
    }
}

fn a_client_that_takes_its_time_gets_all_of_it<L: Net>() {
    let _watchdog = watchdog();
    let large = Bytes::from((0..16_000_000_u32).map(|number| (number % 251) as u8).collect::<Vec<_>>());
    let body = large.clone();
    let (ca, hosting) = secure::<L>(Router::new().route("/", get(async move || body)), &[]);
    let mut stream = ca.connect(hosting.port());
    // More than fits into the sockets and buffers: the server must wait.
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut before = 0;
    eventually("it waits", || {
        let sent = hosting.counter("sent_bytes");
        sent > 0 && std::mem::replace(&mut before, sent) == sent
    });
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server says goodbye");
    assert!(answer.ends_with(&large), "all has come");
    hosting.stop();
}

fn a_client_certificate_is_right_wrong_or_missing<L: Net>() {
    let _watchdog = watchdog();
    let (ca, stranger) = (Ca::new("the CA"), Ca::new("another CA"));
    ca.sign("server");
    ca.sign("client");
    stranger.sign("client");
    let listen = Listen::new().tls(ca.path("server.pem"), ca.path("server.key")).tls_client_ca(ca.path("ca.pem"));
    let hosting = host::<L, _>(HttpServer::new(hi()).listen(listen), &[]);
    let with = |of: &Ca, tls: &str| {
        let (cert, key) = (of.text("client.pem"), of.text("client.key"));
        curl(&hosting, &ca, "/", &["--cert", &cert, "--key", &key, "--tls-max", tls])
    };
    for tls in ["1.2", "1.3"] {
        let (right, wrong) = (with(&ca, tls), with(&stranger, tls));
        let missing = curl(&hosting, &ca, "/", &["--tls-max", tls]);
        assert_eq!(right.said, "hi", "{}", right.complained);
        for refused in [&wrong, &missing] {
            assert_ne!(refused.code, Some(0));
            assert_eq!(refused.said, "");
            // It gets an alert instead of just being cut off.
            assert!(refused.complained.contains("alert"), "{}", refused.complained);
        }
    }
    // The alert is sent first, then counted.
    eventually("all are counted", || hosting.counter("tls_handshake_failures") == 4);
    assert_eq!((hosting.counter("tls_handshakes"), hosting.counter("requests")), (2, 2));
    hosting.stop();
}

/// Requests `/` on a new connection, which may resume a session of an earlier one; returns how the handshake went, or
/// why it failed.
fn visit(config: &Arc<ClientConfig>, hosting: &Hosting) -> std::io::Result<HandshakeKind> {
    let connection = ClientConnection::new(config.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, tcp(hosting.port()));
    // With TLS 1.3 a client learns after its handshake that it is refused, and gets its tickets.
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.ends_with("hi"), "{answer}");
    Ok(stream.conn.handshake_kind().expect("it is through"))
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn a_client_certificate_is_looked_at_with_each_connection<L: Net>() {
    let _watchdog = watchdog();
    let ca = Ca::new("the CA");
    ca.sign("server");
    let listen = Listen::new().tls(ca.path("server.pem"), ca.path("server.key")).tls_client_ca(ca.path("ca.pem"));
    let hosting = host::<L, _>(HttpServer::new(hi()).listen(listen), &[]);
    // Long enough for the visits below on a busy machine.
    ca.sign_for("client", Duration::from_secs(5));
    let clients = VERSIONS.map(|version| ca.config(Some((&ca, "client")), &[version]));
    for client in &clients {
        for _ in 0..4 {
            assert_eq!(visit(client, &hosting).expect("it is valid"), HandshakeKind::Full);
        }
    }
    for client in &clients {
        eventually("its certificate has expired", || visit(client, &hosting).is_err());
        assert!(visit(client, &hosting).unwrap_err().to_string().contains("CertificateExpired"));
    }
    hosting.stop();
}

fn a_reload_without_a_client_ca_ends_what_it_has_vouched_for<L: Net>() {
    let _watchdog = watchdog();
    let (ca, other) = (Ca::new("the CA"), Ca::new("another CA"));
    ca.sign("server");
    ca.sign("client");
    other.sign("client");
    let cas = ca.path("clients.pem");
    let both = [&other, &ca].map(|ca| fs::read_to_string(ca.path("ca.pem")).unwrap()).concat();
    fs::write(&cas, both).unwrap();
    let listen = Listen::new().tls(ca.path("server.pem"), ca.path("server.key")).tls_client_ca(&cas);
    let hosting = host::<L, _>(HttpServer::new(hi()).listen(listen), &[]);
    for version in VERSIONS {
        let [leaving, staying] = [&other, &ca].map(|of| ca.config(Some((of, "client")), &[version]));
        visit(&leaving, &hosting).expect("both are trusted");
        visit(&staying, &hosting).expect("both are trusted");
        fs::copy(ca.path("ca.pem"), &cas).unwrap();
        hosting.running.reload().expect("it is right");
        visit(&leaving, &hosting).expect_err("its CA is gone");
        visit(&staying, &hosting).expect("its CA is there");
        fs::write(&cas, [&other, &ca].map(|ca| fs::read_to_string(ca.path("ca.pem")).unwrap()).concat()).unwrap();
        hosting.running.reload().expect("it is right");
    }
    hosting.stop();
}

fn openssl_resumes_a_session_unless_clients_show_certificates<L: Net>() {
    let _watchdog = watchdog();
    let ca = Ca::new("the CA");
    ca.sign("server");
    ca.sign("client");
    for asked in [false, true] {
        let mut listen = Listen::new().tls(ca.path("server.pem"), ca.path("server.key"));
        if asked {
            listen = listen.tls_client_ca(ca.path("ca.pem"));
        }
        let hosting = host::<L, _>(HttpServer::new(hi()).listen(listen), &[]);
        let (address, session) = (hosting.port().to_string(), ca.text("session"));
        let (file, cert, key) = (ca.text("ca.pem"), ca.text("client.pem"), ca.text("client.key"));
        for version in ["-tls1_2", "-tls1_3"] {
            let talk = |session: &[&str]| {
                let fixed = ["s_client", "-connect", &address, "-CAfile", &file, "-cert", &cert, "-key", &key, version];
                // Without a request it would not wait for tickets.
                let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
                let ran = run_with("openssl", &[&fixed[..], &["-ign_eof"], session].concat(), request);
                assert!(ran.said.contains("hi"), "{}{}", ran.said, ran.complained);
                ran.said
            };
            let _ = fs::remove_file(ca.path("session"));
            assert!(talk(&["-sess_out", &session]).contains("New, TLS"));
            // If it got no session it has nothing to resume, or only one that the server no longer knows.
            let back: &[&str] = if ca.path("session").exists() { &["-sess_in", &session] } else { &[] };
            assert_eq!(talk(back).contains("Reused, TLS"), !asked, "{version}");
        }
        hosting.stop();
    }
}

#[test]
fn sessions_without_client_certificates_are_resumed() {
    let _watchdog = watchdog();
    let (ca, hosting) = secure::<interloop::Thread>(hi(), &[]);
    for version in VERSIONS {
        let client = ca.config(None, &[version]);
        assert_eq!(visit(&client, &hosting).expect("it is served"), HandshakeKind::Full);
        assert_eq!(visit(&client, &hosting).expect("it is served"), HandshakeKind::Resumed);
    }
    hosting.stop();
}

fn openssl_agrees_on_protocol_and_version<L: Net>() {
    let _watchdog = watchdog();
    let (ca, hosting) = secure::<L>(hi(), &[]);
    let (address, file) = (hosting.port().to_string(), ca.text("ca.pem"));
    let openssl = |arguments: &[&str]| {
        let fixed = ["s_client", "-connect", &address, "-CAfile", &file, "-verify_return_error", "-brief"];
        run("openssl", &[&fixed, arguments].concat())
    };
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        for protocol in PROTOCOLS {
            let ran = run("openssl", &["s_client", "-connect", &address, "-CAfile", &file, version, "-alpn", protocol]);
            assert!(ran.said.contains(&format!("ALPN protocol: {protocol}")), "{}", ran.said);
            assert!(ran.said.contains("Verify return code: 0 (ok)"), "{}", ran.said);
            assert!(ran.said.contains(name), "{}", ran.said);
        }
        assert_eq!(openssl(&[version]).code, Some(0), "a client may name no protocol");
        for unknown in ["smtp", "h2"].into_iter().filter(|unknown| !PROTOCOLS.contains(unknown)) {
            let refused = openssl(&[version, "-alpn", unknown]);
            assert_ne!(refused.code, Some(0));
            assert!(refused.complained.contains("no application protocol"), "{}", refused.complained);
        }
    }
    assert_ne!(openssl(&["-tls1_1"]).code, Some(0));
    hosting.stop();
}

fn what_is_no_handshake_gets_an_alert<L: Net>() {
    let _watchdog = watchdog();
    let (ca, hosting) = secure::<L>(hi(), &[]);
    let garbage: Vec<u8> = (0..100_000_u32).map(|number| (number.wrapping_mul(number) % 253) as u8).collect();
    for what in [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], &garbage] {
        let answer = rest(say(hosting.port(), what));
        assert_eq!(answer.first(), Some(&0x15), "an alert: {answer:?}");
    }
    eventually("both are counted", || hosting.counter("tls_handshake_failures") == 2);
    // A record without length, and one that is too long.
    rest(say(hosting.port(), &[0x16, 3, 1, 0xff, 0xff]));
    // Of a message that may be 16 MB long, no more than fits is kept.
    let mut stream = say(hosting.port(), &[0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff]);
    for _ in 0..1000 {
        let record = [&[0x16, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
        if stream.write_all(&record).is_err() {
            break;
        }
    }
    eventually("all are counted", || hosting.counter("tls_handshake_failures") == 4);
    drop(stream);
    assert_eq!(Client::new(ca.connect(hosting.port())).get("/").body, "hi");
    eventually("their connections are gone", || hosting.counter("open_connections") <= 1);
    assert_eq!((hosting.counter("tls_handshakes"), hosting.counter("requests")), (1, 1));
    hosting.stop();
}

/// Records, each of which is invalid at its position.
const JUNK: &[(&str, &[u8])] = &[
    (
        "application data that nobody can read",
        &[0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    ),
    ("a ChangeCipherSpec that isn't one", &[0x14, 3, 3, 0, 1, 2]),
    ("a record of a kind that doesn't exist", &[0x50, 3, 3, 0, 1, 0]),
    ("another message in the clear", &[0x16, 3, 3, 0, 4, 0x14, 0, 0, 0]),
];

fn what_comes_along_with_the_first_message_is_looked_at<L: Net>() {
    let _watchdog = watchdog();
    for arguments in crate::util::variants::<L>() {
        let (ca, hosting) = secure::<L>(hi(), &[&["--http-tls-handshake-timeout", "1min"], *arguments].concat());
        let hello = ca.hello();
        let (mut failures, begin) = (0, Instant::now());
        for (what, junk) in JUNK {
            for first in [&hello[..], &[]] {
                let said = rest(say(hosting.port(), &[first, junk].concat()));
                if first.is_empty() {
                    assert_eq!(said.first(), Some(&0x15), "{what} first gets an alert: {said:?}");
                } else {
                    // The alert may be encrypted: it is the last of the records.
                    assert!(matches!(said.first(), Some(0x15 | 0x16)), "{what} behind a hello gets an alert: {said:?}");
                }
                failures += 1;
            }
        }
        // An alert is the end, and is not answered.
        let fatal = [0x15, 3, 3, 0, 2, 2, 40];
        assert_eq!(rest(say(hosting.port(), &fatal)), b"");
        rest(say(hosting.port(), &[&hello[..], &fatal].concat()));
        assert!(begin.elapsed() < Duration::from_secs(30), "nobody waits for more: {:?}", begin.elapsed());
        eventually("all are counted", || hosting.counter("tls_handshake_failures") == failures + 2);
        hosting.stop();
    }
}

/// Sends a request, and says goodbye, without closing the socket.
fn a_client_that_has_said_goodbye_is_answered<L: Net>() {
    let _watchdog = watchdog();
    for arguments in crate::util::variants::<L>() {
        let (ca, hosting) = secure::<L>(hi(), arguments);
        for goodbye in [true, false] {
            for _ in 0..5 {
                let mut client = ca.connect(hosting.port());
                client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
                if goodbye {
                    client.conn.send_close_notify();
                }
                client.flush().unwrap();
                if !goodbye {
                    client.sock.shutdown(std::net::Shutdown::Write).unwrap();
                }
                let mut said = String::new();
                // Without one from the client there need be none from the server.
                let read = client.read_to_string(&mut said);
                assert!(read.is_ok() || !goodbye, "{read:?}");
                assert!(said.ends_with("hi"), "{said}");
            }
        }
        hosting.stop();
    }
}

fn a_quiet_handler_whose_client_has_said_goodbye_has_the_idle_time<L: Net>() {
    let _watchdog = watchdog();
    for arguments in crate::util::variants::<L>() {
        let at_work = Arc::new(AtomicBool::new(false));
        let working = at_work.clone();
        let silent = async move || {
            struct AtWork(Arc<AtomicBool>);
            impl Drop for AtWork {
                fn drop(&mut self) {
                    self.0.store(false, Ordering::SeqCst);
                }
            }
            working.store(true, Ordering::SeqCst);
            let _at_work = AtWork(working.clone());
            std::future::pending::<()>().await;
        };
        let arguments = [&["--http-idle-timeout", "300ms"], *arguments].concat();
        let (ca, hosting) = secure::<L>(Router::new().route("/", get(silent)), &arguments);
        for http2 in [false, HTTP2] {
            let mut client = ca.connect(hosting.port());
            match http2 {
                false => client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap(),
                true => {
                    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
                    client.write_all(hello).unwrap();
                    client.write_all(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01x").unwrap();
                }
            }
            client.flush().unwrap();
            eventually("it is at work", || at_work.load(Ordering::SeqCst));
            client.conn.send_close_notify();
            client.flush().unwrap();
            eventually("it is dropped", || !at_work.load(Ordering::SeqCst));
        }
        hosting.stop();
    }
}

fn a_handshake_that_takes_too_long_is_closed<L: Net>() {
    let _watchdog = watchdog();
    let (ca, hosting) = secure::<L>(hi(), &["--http-tls-handshake-timeout", "50ms"]);
    let hello = ca.hello();
    let silent = tcp(hosting.port());
    let (half, whole) = (say(hosting.port(), &hello[..hello.len() / 2]), say(hosting.port(), &hello));
    assert_eq!((rest(silent), rest(half)), (Vec::new(), Vec::new()));
    // To this one the server has sent its part.
    assert_eq!(rest(whole).first(), Some(&0x16));
    eventually("all are counted", || hosting.counter("tls_handshake_failures") == 3);
    assert_eq!(hosting.counter("tls_handshakes"), 0);
    hosting.stop();
}

fn one_who_does_not_go_on_holds_nobody_up<L: Net>() {
    let _watchdog = watchdog();
    for arguments in crate::util::variants::<L>() {
        let arguments = [&["--http-tls-max-handshakes", "1", "--http-tls-handshake-timeout", "0"], *arguments].concat();
        let (ca, hosting) = secure::<L>(hi(), &arguments);
        let hello = ca.hello();
        let silent = (0..200).map(|_| tcp(hosting.port())).collect::<Vec<_>>();
        let halves = (0..200).map(|_| say(hosting.port(), &hello[..100])).collect::<Vec<_>>();
        eventually("all are in", || hosting.counter("open_connections") == 400);
        assert_eq!(Client::new(ca.connect(hosting.port())).get("/").body, "hi");
        // One that has sent its part takes the only turn, until it goes.
        let mut taken = say(hosting.port(), &hello);
        taken.read_exact(&mut [0]).expect("the server says its part");
        let mut next = tcp(hosting.port());
        next.write_all(&hello).unwrap();
        next.set_nonblocking(true).unwrap();
        eventually("it is in", || hosting.counter("open_connections") >= 402);
        assert_eq!(next.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
        next.set_nonblocking(false).unwrap();
        drop(taken);
        next.read_exact(&mut [0]).expect("it is its turn");
        drop((next, silent, halves));
        eventually("all are gone", || hosting.counter("open_connections") == 0);
        assert_eq!(hosting.counter("tls_handshake_failures"), 402);
        hosting.stop();
    }
}

fn a_reset_in_the_middle_is_one_failure<L: Net>() {
    let _watchdog = watchdog();
    let (ca, hosting) = secure::<L>(hi(), &[]);
    let hello = ca.hello();
    let reset = |stream: TcpStream| sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    let half = say(hosting.port(), &hello[..hello.len() / 2]);
    let mut whole = say(hosting.port(), &hello);
    whole.read_exact(&mut [0]).expect("the server says its part");
    eventually("both are in", || hosting.counter("open_connections") == 2);
    reset(half);
    reset(whole);
    eventually("both have failed", || hosting.counter("tls_handshake_failures") == 2);
    // Later too.
    let mut client = Client::new(ca.connect(hosting.port()));
    assert_eq!(client.get("/").body, "hi");
    sockopt::set_socket_linger(&client.stream().sock, Some(Duration::ZERO)).unwrap();
    drop(client);
    eventually("all are gone", || hosting.counter("open_connections") == 0);
    assert_eq!(Client::new(ca.connect(hosting.port())).get("/").body, "hi");
    hosting.stop();
}

fn a_reload_reads_the_certificate_again<L: Net>() {
    let _watchdog = watchdog();
    let (ca, hosting) = secure::<L>(hi(), &[]);
    let old = ca.certificate("server");
    let mut open = Client::new(ca.connect(hosting.port()));
    assert_eq!((open.get("/").body.as_str(), shown(open.stream())), ("hi", old.clone()));

    // A new certificate without its key.
    let key = fs::read(ca.path("server.key")).unwrap();
    ca.sign("server");
    let (new, new_key) = (ca.certificate("server"), fs::read(ca.path("server.key")).unwrap());
    fs::write(ca.path("server.key"), &key).unwrap();
    let refused = hosting.running.reload().unwrap_err();
    let (cert, key) = (ca.text("server.pem"), ca.text("server.key"));
    let why = format!("task http: the private key in {key} is not that of the certificate in {cert}");
    assert_eq!(refused.lines(), [why]);
    assert_eq!(shown(&ca.connect(hosting.port())), old);

    fs::write(ca.path("server.key"), new_key).unwrap();
    hosting.running.reload().expect("now they belong together");
    let mut fresh = Client::new(ca.connect(hosting.port()));
    assert_eq!((fresh.get("/").body.as_str(), shown(fresh.stream())), ("hi", new.clone()));
    assert_eq!(open.get("/").body, "hi", "the open connection goes on");

    fs::remove_file(ca.path("server.pem")).unwrap();
    let refused = hosting.running.reload().unwrap_err().to_string();
    assert_eq!(refused, format!("task http: can't read {cert}: No such file or directory (os error 2)"));
    assert_eq!(shown(&ca.connect(hosting.port())), new);
    hosting.stop();
}

fn a_stop_answers_what_is_open_and_says_goodbye<L: Net>() {
    let _watchdog = watchdog();
    for arguments in crate::util::variants::<L>() {
        let (begun, release) = (std::sync::Arc::new(tokio::sync::Semaphore::new(0)), std::sync::Arc::default());
        let gate: std::sync::Arc<tokio::sync::Notify> = std::sync::Arc::clone(&release);
        let say = begun.clone();
        let slow = async move || {
            say.add_permits(1);
            gate.notified().await;
            "slow"
        };
        let (ca, hosting) = secure::<L>(Router::new().route("/slow", get(slow)).fallback(async || "hi"), arguments);
        let mut idle = Client::new(ca.connect(hosting.port()));
        assert_eq!(idle.get("/").body, "hi");
        let mut open = Client::new(ca.connect(hosting.port()));
        open.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n");
        eventually("the request is there", || begun.available_permits() == 1);
        // Half a handshake holds up nobody.
        let half = tcp(hosting.port());
        eventually("it is in", || hosting.counter("open_connections") == 3);
        let begin = Instant::now();
        hosting.running.request_shutdown("test");
        // An end without a goodbye would be an error: `UnexpectedEof`.
        assert_eq!(idle.closed_cleanly(), "");
        release.notify_one();
        assert_eq!(open.receive().body, "slow");
        assert_eq!(open.closed_cleanly(), "");
        assert_eq!(rest(half), b"");
        hosting.stop();
        assert!(begin.elapsed() < Duration::from_secs(8), "it was not the stop's timeout that ended it");
    }
}

fn an_upgraded_connection_goes_on_over_tls<L: Net>() {
    let _watchdog = watchdog();
    let ca = Ca::new("the CA");
    ca.sign("server");
    let mut service = Service::new("test");
    // The server and the holders of upgraded connections share a loop.
    service.event_loop("io", L::default());
    let (slot, place) = service.slot::<()>("shouter");
    let shouter = task_fn::<L>(async move |cx| {
        let _place = cx.fill(slot, ());
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("shouter", shouter).on("io");
    let handler = Handler(move |request: Request<Body>| {
        let place = place.clone();
        async move {
            let upgrade = hyper::upgrade::on(request);
            place.spawn(|_| shout(upgrade)).detach();
            let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            let response = response.header("connection", "upgrade").header("upgrade", "shouting");
            response.body(Full::<Bytes>::default()).expect("it is a response")
        }
    });
    let server = HttpServer::new(handler).tls(ca.path("server.pem"), ca.path("server.key"));
    let addresses = server.addresses();
    service.task_on::<L>("http", server).on("io");
    let running = service.start().expect("the configuration works");
    addresses.wait_timeout(PATIENCE).expect("it listens");
    let mut client = Client::new(ca.connect(addresses.tcp().expect("on a port")));
    client.send("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: shouting\r\n\r\n");
    assert_eq!(client.receive().status, 101);
    client.send("hello");
    assert_eq!(client.closed_cleanly(), "HELLO");
    assert_eq!(running.stop().code, 0);
}

/// Echoes in capitals what a connection sends first.
async fn shout(upgrade: OnUpgrade) -> std::io::Result<()> {
    let mut connection = upgrade.await.map_err(std::io::Error::other)?;
    let mut connection = Pin::new(&mut connection);
    let mut bytes = [0; 64];
    let mut said = ReadBuf::new(&mut bytes);
    poll_fn(|cx| connection.as_mut().poll_read(cx, said.unfilled())).await?;
    let said = said.filled().to_ascii_uppercase();
    poll_fn(|cx| connection.as_mut().poll_write(cx, &said)).await?;
    poll_fn(|cx| connection.as_mut().poll_shutdown(cx)).await
}

on_four_loops! {
    an_upgraded_connection_goes_on_over_tls,
    curl_speaks_either_http_over_either_tls,
    large_bodies_go_both_ways,
    a_client_that_takes_its_time_gets_all_of_it,
    a_client_certificate_is_right_wrong_or_missing,
    a_client_certificate_is_looked_at_with_each_connection,
    a_reload_without_a_client_ca_ends_what_it_has_vouched_for,
    openssl_resumes_a_session_unless_clients_show_certificates,
    openssl_agrees_on_protocol_and_version,
    what_is_no_handshake_gets_an_alert,
    what_comes_along_with_the_first_message_is_looked_at,
    a_client_that_has_said_goodbye_is_answered,
    a_quiet_handler_whose_client_has_said_goodbye_has_the_idle_time,
    a_handshake_that_takes_too_long_is_closed,
    one_who_does_not_go_on_holds_nobody_up,
    a_reset_in_the_middle_is_one_failure,
    a_reload_reads_the_certificate_again,
    a_stop_answers_what_is_open_and_says_goodbye,
}

#[test]
fn what_can_not_work_is_one_line_and_78() {
    let _watchdog = watchdog();
    let ca = Ca::new("the CA");
    ca.sign("server");
    ca.sign("other");
    let (cert, key, other) = (ca.text("server.pem"), ca.text("server.key"), ca.text("other.key"));
    let none = ca.text("none.pem");
    let cases: [(&[&str], String); 4] = [
        (
            &["--http-tls-cert", &cert, "--http-tls-key", &other],
            format!("the private key in {other} is not that of the certificate in {cert}"),
        ),
        (&["--http-tls-cert", &cert], format!("the certificate {cert} is named without its key: tls-key")),
        (&["--http-tls-key", &key], format!("the key {key} is named without its certificate: tls-cert")),
        (
            &["--http-tls-cert", &cert, "--http-tls-key", &key, "--http-tls-client-ca", &none],
            format!("can't read {none}: No such file or directory (os error 2)"),
        ),
    ];
    for (arguments, why) in &cases {
        for dry in [&[][..], &["--dry-run"]] {
            let mut service = Service::new("test");
            service.task_on::<interloop::Thread>("http", HttpServer::new(hi()));
            service.arguments(arguments.iter().chain(dry));
            let error = service.start().expect_err("it can't work");
            assert_eq!((error.code(), error.to_string()), (78, format!("test: task http: {why}")));
        }
    }
    // Settings in code are checked too, and options take precedence.
    let wrong = || HttpServer::new(hi()).tls(&none, &key);
    let mut service = Service::new("test");
    service.task_on::<interloop::Thread>("http", wrong());
    let error = service.start().expect_err("it can't work").to_string();
    assert_eq!(error, format!("test: task http: can't read {none}: No such file or directory (os error 2)"));
    let hosting = host::<interloop::Thread, _>(wrong(), &["--http-tls-cert", &cert]);
    assert_eq!(Client::new(ca.connect(hosting.port())).get("/").body, "hi");
    hosting.stop();
}

#[test]
fn a_unix_socket_speaks_tls_too() {
    let _watchdog = watchdog();
    let ca = Ca::new("the CA");
    ca.sign("server");
    let server = HttpServer::new(hi()).tls(ca.path("server.pem"), ca.path("server.key")).unix(ca.path("socket"));
    let hosting = host::<interloop::Thread, _>(server, &[]);
    let (file, socket) = (ca.text("ca.pem"), ca.text("socket"));
    let ran = run("curl", &["-sS", "--cacert", &file, "--unix-socket", &socket, "https://localhost/"]);
    assert_eq!(ran.said, "hi", "{}", ran.complained);
    hosting.stop();
}

#[test]
fn health_checks_speak_tls_as_they_are_told_by_code_and_options() {
    let _watchdog = watchdog();
    let ca = Ca::new("the CA");
    ca.sign("server");
    let (file, socket, cert, key) =
        (ca.text("ca.pem"), ca.text("socket"), ca.text("server.pem"), ca.text("server.key"));
    let by_code = Health::new().listen(Listen::new().unix(&socket).tls(&cert, &key));
    let by_options = ["--health-unix", &socket, "--health-tls-cert", &cert, "--health-tls-key", &key];
    for (health, arguments) in [(by_code, &[][..]), (Health::new(), &by_options)] {
        let addresses = health.addresses();
        let mut service = Service::new("test");
        service.task_on::<interloop::Thread>("health", health);
        service.arguments(arguments.iter().copied());
        let running = service.start().expect("the configuration works");
        addresses.wait_timeout(PATIENCE).expect("it listens");
        let ran = run("curl", &["-sS", "--cacert", &file, "--unix-socket", &socket, "https://localhost/livez"]);
        assert_eq!(ran.said, "ok\n", "{}", ran.complained);
        assert_eq!(running.stop().code, 0);
    }
    let mut service = Service::new("test");
    service.task_on::<interloop::Thread>("health", Health::new().tls(ca.path("nothing"), &key));
    let said = service.start().expect_err("it can't serve").to_string();
    assert!(said.contains("can't read") && said.contains("nothing"), "{said}");
}

#[test]
fn health_checks_and_servers_without_a_certificate_stay_in_the_clear() {
    let _watchdog = watchdog();
    let hosting = host::<interloop::Thread, _>(HttpServer::new(hi()), &["--http-tls-max-handshakes", "1"]);
    assert_eq!(connect(hosting.port()).get("/").body, "hi");
    hosting.stop();
}
