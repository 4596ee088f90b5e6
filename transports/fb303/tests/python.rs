//! Clients in Python: Apache's own, the script that Thrift's compiler makes, and that of sparts 0.7.3. Debian: python3-thrift and thrift-compiler, by
//! scripts/setup. sparts is found by `PYTHONPATH`, or by the Python of `SPARTS_PYTHON`; without it, its part is left out.

mod util;

use std::{path::Path, process::Command};

use interloop::Thread;
use tempfile::TempDir;

/// The system's: another in the path has other packages.
const PYTHON: &str = "/usr/bin/python3";

/// What Thrift's compiler makes of the interface for Python.
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
    let (test, address) = util::host::<Thread>(&["--fb303-allow-control"]);
    let mut client = Command::new(std::env::var("SPARTS_PYTHON").unwrap_or_else(|_| PYTHON.to_owned()));
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
    let (test, address) = util::host::<Thread>(&[]);
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
