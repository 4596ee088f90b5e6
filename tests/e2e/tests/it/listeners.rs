//! Listening sockets that a manager or a parent passes: systemd's own program, and a few lines of Python that do the
//! same with descriptors of any kind.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::Path,
    process::Command,
    time::Instant,
};

use interloop_e2e::{Example, SOON, Signal, binary, get, watched};
use interloop_fb303::fb303::{FacebookServiceSyncClient, TFacebookServiceSyncClient};
use interloop_thrift::{Address, Wire, connect};
use thrift_multiplexed::house::{DoorSyncClient, TDoorSyncClient};

/// The system's Python: another one in the path has other packages.
const PYTHON: &str = "/usr/bin/python3";

/// Returns a command that passes these descriptors to this program.
fn passing(passed: &[&str], program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(PYTHON);
    command.arg("-u").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/passes.py")).args(passed).arg("--");
    command.arg(binary(program)).args(arguments);
    command
}

fn started(passed: &[&str], program: &str, arguments: &[&str]) -> Example {
    let example = Example::run(&mut passing(passed, program, arguments));
    example.log("all tasks started");
    example
}

/// Returns the address of a passed socket.
fn passed(example: &Example, what: &str) -> SocketAddr {
    let line = example.log(&format!("passed {what} on "));
    line.rsplit(' ').next().expect("a line has words").parse().expect("an address")
}

/// Fails unless the program ends at once with 78 and one line, which it returns.
#[track_caller]
fn refused(passed: &[&str], program: &str, arguments: &[&str]) -> String {
    let mut example = Example::run(&mut passing(passed, program, arguments));
    let code = example.wait();
    let log = example.whole_log();
    let lines = log.lines().filter(|line| !line.starts_with("passed ")).collect::<Vec<_>>();
    assert!(code == 78 && lines.len() == 1, "{code}: {log}");
    lines[0].to_owned()
}

/// Gets a page over a Unix socket.
fn get_unix(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).expect("somebody listens");
    stream.set_read_timeout(Some(SOON)).expect("it is open");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it takes it");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    answer
}

fn stops(mut example: Example) -> String {
    example.signal(Signal::TERM);
    assert_eq!(example.wait(), 0);
    example.whole_log()
}

/// The listening sockets of this port, as ss lists them.
fn listeners(port: u16) -> Vec<String> {
    let listed = Command::new("ss").args(["-Hltnp", &format!("sport = :{port}")]).output().expect("there is ss");
    String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn the_first_request_starts_the_service_and_nothing_of_it_is_changed() {
    watched(|| {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("systemd-socket-activate");
        let example = Example::run(command.args(["-l", &free.to_string()]).arg(binary("hello")));
        example.log("Listening on");
        let asked = Command::new("curl").args(["-sS", "-m", "20", &format!("http://{free}/")]).output().expect("curl");
        assert_eq!(String::from_utf8_lossy(&asked.stdout), "Hello, world", "{asked:?}");
        example.log("task http takes descriptor 3, as the only server");
        example.log(&format!("hello.http: server started on {free}"));
        let found = listeners(free.port());
        assert!(found.len() == 1 && found[0].contains("hello") && found[0].matches("fd=").count() == 2, "{found:?}");
        stops(example);
    });
}

#[test]
fn each_server_takes_a_tcp_socket_and_a_unix_socket() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let place = |path: &Path| format!("unix={}:both", path.display());
        // HTTP and health checks.
        let (http, health) = (file("http"), file("health"));
        let (first, second) = (format!("unix={}:http", http.display()), format!("unix={}:health", health.display()));
        let example = started(&["tcp:http", &first, "tcp:health", &second], "side-by-side", &[]);
        assert_eq!(get(passed(&example, "tcp http"), "/").status, 200);
        assert!(get_unix(&http).starts_with("HTTP/1.1 200 OK"));
        assert_eq!(get(passed(&example, "tcp health"), "/readyz").status, 200);
        assert!(get_unix(&health).starts_with("HTTP/1.1 404 "));
        let inodes = [&http, &health].map(|path| path.metadata().unwrap().ino());
        stops(example);
        assert_eq!([&http, &health].map(|path| path.metadata().unwrap().ino()), inodes, "the files stay");
        // Thrift, on a loop with its own sockets, and on others.
        for on in ["thread", "tokio", "glib"] {
            let path = file(on);
            let arguments = ["--thrift-listen", "fd:both", "--thrift-loop", on];
            let example = started(&["tcp:both", &place(&path)], "thrift-multiplexed", &arguments);
            for address in [Address::Tcp(passed(&example, "tcp both")), Address::Unix(path.clone())] {
                let (input, output) = connect(&address, Wire::framed(), Some(SOON)).expect("it listens");
                assert!(DoorSyncClient::new(input, output).enter("anna".into()).expect("an answer") > 0);
            }
            stops(example);
            assert!(path.exists());
        }
        // fb303.
        let path = file("fb303");
        let named = format!("unix={}:thrift", path.display());
        let example = started(&["tcp:thrift", &named, "tcp:http"], "http-thrift", &[]);
        for address in [Address::Tcp(passed(&example, "tcp thrift")), Address::Unix(path.clone())] {
            let (input, output) = connect(&address, Wire::framed(), Some(SOON)).expect("it listens");
            assert_eq!(FacebookServiceSyncClient::new(input, output).get_name().expect("an answer"), "http-thrift");
        }
        stops(example);
        // gRPC.
        let path = file("grpc");
        let arguments = ["--grpc-listen", "fd:both", "--grpc-loop", "thread"];
        let example = started(&["tcp:both", &place(&path)], "grpc-health", &arguments);
        for target in [passed(&example, "tcp both").to_string(), format!("unix:{}", path.display())] {
            let call = "import sys, grpc; call = grpc.insecure_channel(sys.argv[1])\
                .unary_unary('/grpc.health.v1.Health/Check'); print(call(b'', timeout=20))";
            let said = Command::new(PYTHON).args(["-c", call, &target]).output().expect("there is a python3");
            assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), r"b'\x08\x01'", "{said:?}");
        }
        stops(example);
    });
}

#[test]
fn a_socket_is_named_by_the_command_line_the_environment_a_file_and_code() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("hello.toml");
        std::fs::write(&config, "[http]\nlisten = [\"fd:a\", \"systemd:7\"]\n").unwrap();
        let config = config.to_str().unwrap();
        let both: [(&[&str], &[&str]); 5] = [
            (&["tcp:a", "tcp:7"], &["--http-listen", "fd:a", "--http-listen", "systemd:7"]),
            (&["tcp:a", "tcp:7"], &["--http-listen", "fd:a,fd:4"]),
            (&["tcp:a", "tcp:7"], &["--http-listen", "fd:3,fd:a,fd:4"]),
            (&["tcp:a", "tcp:7", "HELLO__HTTP__LISTEN=fd:a,systemd:7"], &[]),
            (&["tcp:a", "tcp:7"], &["--config", config]),
        ];
        for (given, arguments) in both {
            let example = started(given, "hello", arguments);
            for name in ["tcp a", "tcp 7"] {
                assert_eq!(get(passed(&example, name), "/").body, "Hello, world");
            }
            let log = stops(example);
            assert_eq!(log.matches("server started on").count(), 2, "{log}");
            assert_eq!(log.matches(", by --http-listen").count(), 2, "{log}");
        }
        let example = started(&["tcp:web", "NAME=web"], "inherits", &[]);
        assert_eq!(get(passed(&example, "tcp web"), "/incarnation").body, "1");
        // The code names a port, too.
        let log = stops(example);
        assert_eq!(log.matches("server started on").count(), 2, "{log}");
        let why = refused(&["tcp:http", "NAME=web"], "inherits", &[]);
        assert_eq!(
            why,
            "inherits: --http-listen fd:web: no descriptor with that name was passed; there is descriptor 3 (http)"
        );
    });
}

#[test]
fn the_standard_input_of_inetd_is_a_socket_too() {
    watched(|| {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("systemd-socket-activate");
        command.args(["--inetd", "-l", &free.to_string()]).arg(binary("hello")).args(["--http-listen", "fd:0"]);
        let example = Example::run(&mut command);
        example.log("Listening on");
        assert_eq!(get(free, "/").body, "Hello, world");
        stops(example);
    });
}

#[test]
fn a_parent_passes_a_number_without_any_variable() {
    watched(|| {
        let without = ["tcp:web", "no:LISTEN_PID", "no:LISTEN_FDS", "no:LISTEN_FDNAMES"];
        let example = started(&without, "hello", &["--http-listen", "fd:3"]);
        assert_eq!(get(passed(&example, "tcp web"), "/").body, "Hello, world");
        // Other options name a place beside it.
        let beside = started(&without, "hello", &["--http-listen", "fd:3", "--http-port", "0"]);
        assert_eq!(get(passed(&beside, "tcp web"), "/").body, "Hello, world");
        assert_eq!(stops(beside).matches("server started on").count(), 2);
        stops(example);
    });
}

#[test]
fn a_restarted_server_goes_on_with_the_socket_and_children_have_none_of_it() {
    watched(|| {
        let example = started(&["tcp:web"], "inherits", &[]);
        let address = passed(&example, "tcp web");
        let inherited = get(address, "/descriptors").body;
        assert!(inherited.contains(" 0 -> ") && !inherited.contains("socket:"), "{inherited}");
        for incarnation in 1..5 {
            assert_eq!(get(address, "/restart").body, "ok");
            let begun = Instant::now();
            // The old one may answer still; nobody is refused.
            while get(address, "/incarnation").body != (incarnation + 1).to_string() {
                assert!(begun.elapsed() < SOON, "it is not restarted");
            }
        }
        let log = stops(example);
        assert!(log.contains("task http takes descriptor 3 (web), as the only server"), "{log}");
        TcpStream::connect(address).expect_err("nobody listens any more");
    });
}

#[test]
fn a_second_service_of_the_process_has_none_of_the_first_one_s() {
    watched(|| {
        let mut example = started(&["tcp:web", "RUNS=2"], "inherits", &["--http-port", "0"]);
        example.signal(Signal::TERM);
        example.log("stopped");
        let begun = Instant::now();
        while example.whole_log().matches("all tasks started").count() < 2 {
            assert!(begun.elapsed() < SOON, "{}", example.whole_log());
            std::thread::yield_now();
        }
        TcpStream::connect(passed(&example, "tcp web")).expect_err("it was closed with the first service");
        example.signal(Signal::TERM);
        assert_eq!(example.wait(), 0);
        let log = example.whole_log();
        assert_eq!(log.matches("task http takes").count(), 1, "{log}");
    });
}

#[test]
fn tasks_that_are_left_out_leave_their_sockets_closed_with_a_warning() {
    watched(|| {
        let example = started(&["tcp:http", "tcp:health"], "side-by-side", &["--tasks", "http"]);
        assert_eq!(get(passed(&example, "tcp http"), "/").status, 200);
        TcpStream::connect(passed(&example, "tcp health")).expect_err("it is closed");
        let log = stops(example);
        let warning = "descriptor 4 (health) is closed: task health, which takes it, is left out";
        assert_eq!(log.matches(warning).count(), 1, "{log}");
        let named = ["--tasks", "http", "--health-listen", "fd:x"];
        let log = stops(started(&["tcp:http", "tcp:x"], "side-by-side", &named));
        assert!(log.contains("descriptor 4 (x) is closed: task health, which takes it, is left out"), "{log}");
        // What the service itself has stored with its manager is no mistake.
        let log = stops(started(&["tcp:web", "file:interloop/queue"], "hello", &[]));
        assert!(log.contains("descriptor 4 (interloop/queue) is closed: it was stored, and no task takes it"), "{log}");
    });
}

#[test]
fn a_wrong_descriptor_is_one_line_that_names_it() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let seqpacket = format!("seqpacket={}:web", folder.path().join("x").display());
        let cases: &[(&[&str], &[&str], &str)] = &[
            (&["file:web"], &[], "task http: descriptor 3 (web) is no socket"),
            (&["udp:web"], &[], "task http: descriptor 3 (web) is no stream socket, but one of datagrams"),
            (&[&seqpacket], &[], "task http: descriptor 3 (web) is no stream socket"),
            (
                &["bound:web"],
                &[],
                "task http: descriptor 3 (web) does not listen (a connection, perhaps: a socket unit needs Accept=no)",
            ),
            (
                &["connection"],
                &[],
                "task http: descriptor 3 does not listen (a connection, perhaps: a socket unit needs Accept=no)",
            ),
            (&["tcp:a", "closed:b"], &[], "LISTEN_FDS passes descriptor 4, but it is not open"),
            (&["tcp:web"], &["--http-listen", "fd:99"], "--http-listen fd:99: descriptor 99 is not open"),
            (
                &["tcp:web"],
                &["--http-listen", "fd:http"],
                "--http-listen fd:http: no descriptor with that name was passed; there is descriptor 3 (web)",
            ),
            (
                &["no:LISTEN_PID"],
                &["--http-listen", "fd:http"],
                "--http-listen fd:http: no descriptor with that name was passed; no descriptor was passed",
            ),
            (
                &["tcp:web", "tcp:other"],
                &["--http-listen", "fd:web"],
                "descriptor 4 (other) was passed to the process, but no task takes it: \
                 --http-listen fd:other names it",
            ),
            (
                &["tcp", "tcp"],
                &[],
                "descriptor 3 was passed to the process, but no task takes it: --http-listen fd:3 names it",
            ),
            (&["tcp", "LISTEN_FDS=x"], &[], "LISTEN_FDS must be a number of descriptors, but is \"x\""),
            (&["tcp", "LISTEN_PID=x"], &[], "LISTEN_PID must be a process number, but is \"x\""),
            (
                &["tcp:a", "tcp:b", "LISTEN_FDNAMES=a"],
                &[],
                "LISTEN_FDS is 2, but the number of names in LISTEN_FDNAMES is 1",
            ),
        ];
        for (passed, arguments, why) in cases {
            assert_eq!(refused(passed, "hello", arguments), format!("hello: {why}"));
        }
        let twice = ["--http-listen", "fd:web", "--thrift-listen", "fd:3"];
        let why = refused(&["tcp:web"], "http-thrift", &twice);
        assert_eq!(why, "http-thrift: --thrift-listen fd:3: descriptor 3 (web) is taken by task http already");
        let why = refused(&["tcp:web"], "http-thrift", &[]);
        let hint = "--http-listen or --thrift-listen fd:web names it";
        let words = "descriptor 3 (web) was passed to the process, but no task takes it";
        assert_eq!(why, format!("http-thrift: {words}: {hint}"));
        let why = refused(&["tcp:web"], "clock", &[]);
        assert_eq!(why, format!("clock: {words}: no task has an option for it"));
        // A value that names nothing is a wrong value.
        let mut wrong = Example::start("hello", &["--http-listen", "web"]);
        assert_eq!(wrong.wait(), 2);
        let log = wrong.whole_log();
        assert!(log.contains("it must be fd:NAME, systemd:NAME or fd:NUMBER") && log.lines().count() == 1, "{log}");
    });
}

#[test]
fn descriptors_for_another_process_are_ignored() {
    watched(|| {
        let example = started(&["tcp:web", "LISTEN_PID=1"], "hello", &[]);
        assert_eq!(get(example.address("http"), "/").body, "Hello, world");
        assert_ne!(example.address("http"), passed(&example, "tcp web"));
        stops(example);
    });
}

#[test]
fn a_dry_run_neither_takes_nor_misses_descriptors() {
    watched(|| {
        for (given, arguments) in [
            (&["tcp:a", "closed:b"][..], &["--dry-run"][..]),
            (&["tcp:a"], &["--dry-run", "--http-listen", "fd:nobody,fd:9"]),
            (&["tcp:a", "LISTEN_FDS=x"], &["--help"]),
            (&["tcp:a", "tcp:b"], &["--list-tasks"]),
        ] {
            let mut example = Example::run(&mut passing(given, "hello", arguments));
            assert_eq!(example.wait(), 0, "{}", example.whole_log());
        }
        let mut shown = Example::run(&mut passing(&[], "hello", &["--dry-run", "--http-listen", "fd:a"]));
        assert_eq!(shown.wait(), 0);
        let text = shown.whole_output();
        assert!(text.contains("listen = \"fd:a\" # command line"), "{text}");
    });
}

#[test]
fn pid_1_passes_them_on_to_the_service() {
    watched(|| {
        let inner = passing(&["tcp:web"], "hello", &[]);
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(inner.get_program()).args(inner.get_args());
        let example = Example::run(&mut command);
        example.log("all tasks started");
        example.log("task http takes descriptor 3 (web), as the only server");
        assert_eq!(get(passed(&example, "tcp web"), "/").body, "Hello, world");
        example.signal(Signal::KILL);
    });
}
