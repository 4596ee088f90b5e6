//! The descriptors that are checked in are what protoc makes of the interfaces.

use std::{path::Path, process::Command};

#[test]
fn what_was_generated_is_current() {
    let version = Command::new("protoc").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    // Others may write other bytes.
    if !version.contains("3.21.") {
        eprintln!("no protoc 3.21 is here: {version:?}");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/generate");
    let check = Command::new(script).args(["--check", "protoc"]).output().expect("there is a shell");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
