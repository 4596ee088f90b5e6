//! Python's own gRPC as client. Debian: python3-grpcio and python3-protobuf, by scripts/setup.

mod util;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use interloop::net::Net;
use util::{eventually, host, watchdog};

/// The system's: another in the path has other packages.
const PYTHON: &str = "/usr/bin/python3";

fn a_client_of_another_language_is_served<L: Net>() {
    let _watchdog = watchdog();
    for arguments in util::variants::<L>() {
        let hosting = host::<L>(arguments);
        let mut client = Command::new(PYTHON)
            .arg("-u")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client.py"))
            .arg(hosting.port().port().to_string())
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
        // The handlers of what was late or given up are gone, and the one that waits is there.
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
}

util::on_each_loop! {
    a_client_of_another_language_is_served,
}
