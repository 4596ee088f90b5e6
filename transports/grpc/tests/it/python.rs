//! Python's own gRPC as client. Debian: python3-grpcio and python3-protobuf, by scripts/setup.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use crate::util::{Hosting, eventually, host, watchdog};
use interloop::net::Net;

/// The system's Python: another one in the path has other packages.
const PYTHON: &str = "/usr/bin/python3";

/// The authority is a PEM file; with one, it uses TLS.
fn serves(hosting: Hosting, authority: Option<&Path>) {
    let mut client = Command::new(PYTHON)
        .arg("-u")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client.py"))
        .arg(hosting.port().port().to_string())
        .args(authority)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a python3");
    let mut lines = BufReader::new(client.stdout.take().expect("it is piped")).lines();
    let mut said = Vec::new();
    while let Some(Ok(line)) = lines.next() {
        let open = line == "open";
        said.push(line);
        if open {
            break;
        }
    }
    assert_eq!(said.last().map(String::as_str), Some("open"), "{said:?}");
    // The handlers of late or cancelled calls are gone, and the one that waits is there.
    eventually("one is at the gate", || hosting.echo.waiting() == 1);
    eventually("the others were dropped", || hosting.echo.held() == 0);
    assert_eq!(hosting.counter("panics"), 2);
    assert_eq!(hosting.counter("unknown_methods"), 2);
    assert!(hosting.counter("calls{method=\"test.Echo/Say\",status=\"0\"}") >= 4);
    hosting.running.request_shutdown("test");
    eventually("it listens no more", || std::net::TcpStream::connect(hosting.port()).is_err());
    hosting.echo.open();
    said.extend(lines.map_while(Result::ok));
    let status = client.wait().expect("it ends");
    assert!(status.success(), "{said:?}");
    assert_eq!(said.last().map(String::as_str), Some("gone"), "{said:?}");
    let report = hosting.running.join();
    assert_eq!(report.code, 0, "{report}");
}

fn a_client_of_another_language_is_served<L: Net>() {
    let _watchdog = watchdog();
    for arguments in crate::util::variants::<L>() {
        serves(host::<L>(arguments), None);
    }
}

/// Prints the result of calls with this many bytes.
const SENDS: &str = "
import grpc, sys
from google.protobuf.wrappers_pb2 import BytesValue
options = [('grpc.max_receive_message_length', -1), ('grpc.max_send_message_length', -1)]
say = grpc.insecure_channel('127.0.0.1:' + sys.argv[1], options=options).unary_unary('/test.Echo/Say')
for length in sys.argv[2:]:
    try:
        answer = say(BytesValue(value=b'x' * int(length)).SerializeToString(), timeout=20)
        print(len(BytesValue.FromString(answer).value))
    except grpc.RpcError as error:
        print(error.code().name)
";

fn a_call_of_three_mebibytes_is_refused_where_two_are_allowed<L: Net>() {
    let _watchdog = watchdog();
    let (one, three) = (1 << 20, 3 << 20);
    for (arguments, expected) in [
        (&["--grpc-max-body-size", "2MiB"][..], format!("RESOURCE_EXHAUSTED\n{one}\n")),
        (&[], format!("{three}\n{one}\n")),
    ] {
        let hosting = host::<L>(arguments);
        let client = Command::new(PYTHON)
            .args(["-c", SENDS])
            .arg(hosting.port().port().to_string())
            .args([three, one].map(|length: u32| length.to_string()))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()
            .expect("there is a python3");
        let said = String::from_utf8_lossy(&client.stdout);
        assert_eq!(said, expected, "{arguments:?}: {}", String::from_utf8_lossy(&client.stderr));
        assert_eq!(hosting.running.stop().code, 0);
    }
}

crate::util::on_each_loop! {
    a_client_of_another_language_is_served,
    a_call_of_three_mebibytes_is_refused_where_two_are_allowed,
}

#[cfg(feature = "tls")]
mod tls {
    use std::fs;

    use interloop::Service;
    use interloop_grpc::{GrpcServer, Listen};
    use tempfile::TempDir;

    use super::*;

    /// Creates a folder with a self-signed certificate and its key.
    fn certificate() -> TempDir {
        let folder = TempDir::new().expect("there is room");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("the names are good");
        fs::write(folder.path().join("cert.pem"), made.cert.pem()).expect("there is room");
        fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).expect("there is room");
        folder
    }

    fn a_client_of_another_language_is_served_over_tls<L: Net>() {
        let _watchdog = watchdog();
        let folder = certificate();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        for arguments in crate::util::variants::<L>() {
            let listen = Listen::new().tls(&cert, &key).tls_max_handshakes(1).max_connections(3);
            serves(crate::util::host_set::<L>(arguments, |server| server.listen(listen)), Some(&cert));
        }
    }

    fn a_certificate_that_is_not_there_is_said_before_anything_starts<L: Net>() {
        let mut service = Service::new("test");
        service.task_on::<L>("grpc", GrpcServer::new());
        service.arguments(["--grpc-tls-cert", "/nothing/here.pem", "--grpc-tls-key", "/nothing/here.key"]);
        let error = service.start().expect_err("it can't serve").to_string();
        assert!(error.contains("/nothing/here"), "{error}");
    }

    crate::util::on_each_loop! {
        a_client_of_another_language_is_served_over_tls,
        a_certificate_that_is_not_there_is_said_before_anything_starts,
    }
}
