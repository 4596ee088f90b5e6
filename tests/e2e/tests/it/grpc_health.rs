//! The example grpc-health, on each of its loops, with Python's own gRPC. Debian: python3-grpcio and python3-protobuf,
//! by scripts/setup.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use interloop_e2e::{Example, Signal, watched};

/// The system's Python: another one in the path has other packages.
const PYTHON: &str = "/usr/bin/python3";

fn serves(on: &str) {
    let mut example = Example::start("grpc-health", &["--grpc-port", "0", "--grpc-loop", on]);
    let mut client = Command::new(PYTHON)
        .arg("-u")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpc_client.py"))
        .arg(example.address("grpc").port().to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a python3");
    let mut lines = BufReader::new(client.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "serving"), "the client complains on stderr");
    example.signal(Signal::TERM);
    assert_eq!(lines.last().as_deref(), Some("stopped"));
    assert!(client.wait().expect("it ends").success());
    assert_eq!(example.wait(), 0);
    let log = example.whole_log();
    assert!(log.contains("3 more make 3") && log.contains("stopped gracefully"), "{log}");
}

#[test]
fn health_follows_the_service_and_reflection_describes_it_on_each_loop() {
    watched(|| ["thread", "tokio", "glib"].into_iter().for_each(serves));
}
