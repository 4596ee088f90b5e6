//! Apache's own client for Python, over every transport and protocol. Debian: python3-thrift and thrift-compiler, by
//! scripts/setup.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::util::{Handler, both, host, watchdog};
use interloop::net::Net;

/// The system's Python: another one in the path has other packages.
const PYTHON: &str = "/usr/bin/python3";

fn a_client_of_another_language_is_served<L: Net>() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().expect("a folder");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let generated = Command::new("thrift")
        .args(["--gen", "py", "-out"])
        .arg(folder.path())
        .arg(tests.join("it/idl/calc.thrift"))
        .status()
        .expect("the compiler is there: scripts/setup");
    assert!(generated.success());
    for arguments in [&[][..], &["--thrift-workers", "2"]] {
        let handler = Handler::default();
        let hosting = host::<L>(both(&handler), arguments);
        let client = Command::new(PYTHON)
            .arg(tests.join("client.py"))
            .arg(hosting.port().port().to_string())
            .env("PYTHONPATH", folder.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()
            .expect("there is a python3");
        let said = String::from_utf8_lossy(&client.stdout);
        assert!(client.status.success(), "{said}{}", String::from_utf8_lossy(&client.stderr));
        assert_eq!(said.lines().count(), 4, "{said}");
        assert_eq!(handler.notes.lock().expect("no panic").len(), 4);
        assert_eq!((hosting.counter("panics"), hosting.counter("bad_messages")), (4, 0));
        hosting.stop();
    }
}

crate::util::on_each_loop! {
    a_client_of_another_language_is_served,
}
