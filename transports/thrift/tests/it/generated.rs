//! The checked-in code must be the Thrift compiler's output for the interfaces.

use std::{path::Path, process::Command};

#[test]
fn what_was_generated_is_current() {
    let version = Command::new("thrift").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    // Other versions write other code.
    if !version.contains("0.17.") {
        eprintln!("no thrift compiler 0.17 is here: {version:?}");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/generate");
    let check = Command::new(script).args(["--check", "thrift"]).output().expect("there is a shell");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
