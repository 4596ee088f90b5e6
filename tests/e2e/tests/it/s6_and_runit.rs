//! The service under s6 and runit.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use interloop_e2e::{Example, SOON, binary, watched};

/// A service folder, with its `run`.
fn folder(script: &str) -> (tempfile::TempDir, PathBuf) {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("service");
    fs::create_dir(&folder).unwrap();
    let run = folder.join("run");
    fs::write(&run, format!("#!/bin/sh\nexec 2>&1\n{script}\n")).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
    (above, folder)
}

/// Runs a program on the folder.
fn on(folder: &Path, command: &[&str]) -> Output {
    let mut program = Command::new(command[0]);
    let program = program.args(&command[1..]).arg(folder).stdin(Stdio::null());
    program.output().unwrap_or_else(|error| panic!("{}: {error}: scripts/setup installs it", command[0]))
}

/// Runs the supervisor of one folder, which ends with this value: its own end is the end of the service, too.
fn supervise(program: &str, folder: &Path) -> Supervised {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", program])
        .arg(folder);
    Supervised(Example::run(&mut command))
}

struct Supervised(Example);

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn s6_sees_the_service_up_and_ready() {
    watched(|| {
        let hello = binary("hello");
        let (_above, folder) = folder(&format!("exec {} --http-port 0 --ready-fd 3", hello.display()));
        fs::write(folder.join("notification-fd"), "3\n").unwrap();
        let s6 = supervise("s6-supervise", &folder);
        wait_until("s6-supervise is up", || on(&folder, &["s6-svok"]).status.success());
        let waited = on(&folder, &["s6-svwait", "-t", "2000", "-U"]);
        assert_eq!(waited.status.code(), Some(0), "{waited:?}");
        let status = on(&folder, &["s6-svstat", "-o", "up,ready"]);
        assert_eq!(String::from_utf8_lossy(&status.stdout).trim(), "true true");
        assert!(on(&folder, &["s6-svc", "-d"]).status.success());
        let waited = on(&folder, &["s6-svwait", "-t", "2000", "-D"]);
        assert_eq!(waited.status.code(), Some(0), "{waited:?}");
        let status = on(&folder, &["s6-svstat", "-o", "exitcode"]);
        assert_eq!(String::from_utf8_lossy(&status.stdout).trim(), "0", "{}", s6.0.whole_output());
    });
}

#[test]
fn s6_does_not_see_a_service_ready_that_still_starts() {
    watched(|| {
        let supervised = binary("supervised");
        let (_above, folder) = folder(&format!("KIND=slow exec {} --ready-fd 3", supervised.display()));
        fs::write(folder.join("notification-fd"), "3\n").unwrap();
        let begun = Instant::now();
        let _s6 = supervise("s6-supervise", &folder);
        wait_until("s6-supervise is up", || on(&folder, &["s6-svok"]).status.success());
        assert_eq!(on(&folder, &["s6-svwait", "-t", "20000", "-U"]).status.code(), Some(0));
        assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    });
}

#[test]
fn runit_starts_reloads_and_stops_the_service() {
    watched(|| {
        let hello = binary("hello");
        let (_above, folder) = folder(&format!("exec {} --http-port 0", hello.display()));
        let runsv = supervise("runsv", &folder);
        wait_until("runsv is up", || on(&folder, &["sv", "status"]).status.success());
        let sv = |verb: &str| {
            let done = on(&folder, &["sv", "-w", "10", verb]);
            assert!(done.status.success(), "sv {verb}: {done:?}\n{}", runsv.0.whole_output());
            String::from_utf8_lossy(&done.stdout).into_owned()
        };
        runsv.0.said("all tasks started");
        assert!(sv("status").starts_with("run: "));
        sv("hup");
        runsv.0.said("reloaded");
        assert!(sv("stop").starts_with("ok: down: "));
        assert!(sv("start").starts_with("ok: run: "));
        sv("term");
        sv("stop");
        assert!(!runsv.0.whole_output().contains("ERROR"), "{}", runsv.0.whole_output());
    });
}
