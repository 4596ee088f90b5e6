//! Clients in Python: Apache's own, the script that Thrift's compiler generates, and that of sparts 0.7.3. Debian:
//! python3-thrift and thrift-compiler, by scripts/setup. `PYTHONPATH`, or the Python of `SPARTS_PYTHON`, provides
//! sparts; without it, its part is skipped.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::util::client;
use interloop::{Service, Thread, testing};
use interloop_fb303::fb303::{FbStatus, TFacebookServiceSyncClient};
use interloop_thrift::{Multiplexed, ThriftServer, Wire};
use tempfile::TempDir;
use thrift::{
    protocol::{
        TFieldIdentifier, TInputProtocol, TMessageIdentifier, TMessageType, TOutputProtocol, TStructIdentifier, TType,
    },
    server::TProcessor,
};

/// The system's Python: another one in the path has other packages.
const PYTHON: &str = "/usr/bin/python3";

/// Returns the Python that has sparts, if any.
fn python_of_sparts() -> String {
    std::env::var("SPARTS_PYTHON").unwrap_or_else(|_| PYTHON.to_owned())
}

/// Generates the interface's Python code with Thrift's compiler.
fn generated() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let idl = Path::new(env!("CARGO_MANIFEST_DIR")).join("idl/fb303.thrift");
    let compiler = Command::new("thrift").args(["--gen", "py", "-out"]).arg(folder.path()).arg(idl).status();
    assert!(compiler.expect("the compiler is there: scripts/setup").success());
    folder
}

#[track_caller]
fn said(mut python: Command, folder: &TempDir) -> String {
    let mut path = folder.path().as_os_str().to_owned();
    if let Some(others) = std::env::var_os("PYTHONPATH") {
        path.push(":");
        path.push(others);
    }
    let output = python.env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1").output();
    let output = output.expect("there is a python3");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn clients_of_another_language_call_everything() {
    let folder = generated();
    let (test, address) = crate::util::host::<Thread>(&["--fb303-allow-control"]);
    let mut client = Command::new(python_of_sparts());
    client.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client.py")).arg(address.port().to_string());
    let said = said(client, &folder);
    assert_eq!(said.lines().count(), 5, "{said}");
    if !said.contains("sparts\n") {
        eprintln!("sparts' client is left out: {said}");
    }
    test.join().assert_clean();
}

#[test]
fn the_generated_script_is_answered() {
    let folder = generated();
    let (test, address) = crate::util::host::<Thread>(&[]);
    let ask = |words: &[&str]| {
        let mut remote = Command::new(PYTHON);
        remote.arg(folder.path().join("fb303/FacebookService-remote"));
        // In this order.
        remote.args(["-h", &address.to_string(), "-f"]).args(words);
        said(remote, &folder).trim().to_owned()
    };
    assert_eq!(ask(&["getName"]), "'shop'");
    assert_eq!(ask(&["getStatus"]), "2");
    assert_eq!(ask(&["getCounter", "fb303.running"]), "1");
    test.stop().assert_clean();
}

/// A process that ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns whether sparts is there, and reports it if not.
fn has_sparts() -> bool {
    let has = Command::new(python_of_sparts()).args(["-c", "import sparts.tasks.thrift.nbserver"]).output();
    let has = has.expect("there is a python3").status.success();
    if !has {
        eprintln!("left out: sparts is not here");
    }
    has
}

/// A service with one method of its own name, which takes nothing, and returns its name.
struct Says(&'static str);

impl TProcessor for Says {
    fn process(&self, from: &mut dyn TInputProtocol, to: &mut dyn TOutputProtocol) -> thrift::Result<()> {
        let call = from.read_message_begin()?;
        assert_eq!(call.name, self.0);
        from.skip(TType::Struct)?;
        from.read_message_end()?;
        to.write_message_begin(&TMessageIdentifier::new(self.0, TMessageType::Reply, call.sequence_number))?;
        to.write_struct_begin(&TStructIdentifier::new("result"))?;
        to.write_field_begin(&TFieldIdentifier::new("success", TType::String, 0))?;
        to.write_string(self.0)?;
        to.write_field_stop()?;
        to.write_message_end()?;
        to.flush()
    }
}

#[test]
fn the_services_of_the_example_of_sparts_are_answered_at_one_address() {
    if !has_sparts() {
        return;
    }
    let services = Multiplexed::new().service("foo", Says("foo")).service("bar", Says("bar"));
    let mut service = Service::new("examples");
    service.task_on::<Thread>("thrift", ThriftServer::new(services));
    let test = testing::run(service);
    let mut client = Command::new(python_of_sparts());
    client.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sparts_multiplexed.py"));
    client.arg(test.tcp("thrift").port().to_string());
    assert_eq!(said(client, &tempfile::tempdir().expect("a folder")), "foo bar foo\n");
    test.stop().assert_clean();
}

#[test]
fn a_server_of_sparts_is_called() {
    if !has_sparts() {
        return;
    }
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sparts_server.py");
    let server = Command::new(python_of_sparts()).arg(server).stdout(Stdio::piped()).spawn();
    let mut server = Killed(server.expect("there is a python3"));
    let mut port = String::new();
    BufReader::new(server.0.stdout.take().expect("it is piped")).read_line(&mut port).expect("it says its port");
    let address = SocketAddr::from(([127, 0, 0, 1], port.trim().parse().expect("it is a port")));
    let mut client = client(address, Wire::framed());
    assert_eq!(client.get_name().expect("an answer"), "Bakery");
    assert_eq!(client.get_version().expect("an answer"), "0.7");
    assert_eq!(client.get_status().expect("an answer"), FbStatus::ALIVE);
    assert_eq!(client.get_status_details().expect("an answer"), "");
    client.get_counters().expect("an answer");
    client.set_option("thrift_threads".to_owned(), "7".to_owned()).expect("it may");
    assert_eq!(client.get_option("thrift_threads".to_owned()).expect("an answer"), "7");
    assert_eq!(client.get_options().expect("an answer")["thrift_threads"], "7");
    assert!(client.alive_since().expect("an answer") > 1_600_000_000);
    client.shutdown().expect("it is sent");
    assert!(server.0.wait().expect("it is our child").success());
}
