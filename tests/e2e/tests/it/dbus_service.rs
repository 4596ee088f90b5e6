//! The example dbus-service: on a bus of its own, on each of its loops.

use std::process::Command;

use interloop_e2e::{Daemon, Example, Signal, watched};

fn call(daemon: &Daemon, path: &str, method: &str, args: &[&str]) -> String {
    let mut command = Command::new("gdbus");
    command.args(["call", "--address", daemon.address(), "--dest", "org.example.Counter", "--object-path", path]);
    let output = command.args(["--method", method]).args(args).output().expect("gdbus is installed");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn counts(on: &str) {
    let daemon = Daemon::start();
    let mut example = Example::start("dbus-service", &["--dbus-loop", on, "--dbus-address", daemon.address()]);
    example.log("is org.example.Counter on the bus");
    assert_eq!(call(&daemon, "/org/example/Counter", "org.example.Counter.Add", &["3"]), "(int64 3,)");
    assert_eq!(call(&daemon, "/org/example/Counter", "org.example.Counter.Add", &["4"]), "(int64 7,)");
    let tasks = call(&daemon, "/org/interloop/Service", "org.interloop.Service.ListTasks", &[]);
    assert_eq!(tasks, "([('dbus', 'running', uint32 1)],)");
    example.signal(Signal::TERM);
    assert_eq!(example.wait(), 0);
}

#[test]
fn it_counts_on_each_loop() {
    watched(|| ["thread", "tokio", "glib"].into_iter().for_each(counts));
}
