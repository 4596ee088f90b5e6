//! The example dbus-service: on a bus of its own, on each of its loops.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use interloop_e2e::{Example, Signal, watched};

struct Daemon(Child, String);

impl Daemon {
    fn start() -> Self {
        let mut command = Command::new("dbus-daemon");
        command.args(["--session", "--nofork", "--nopidfile", "--nosyslog", "--print-address"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("dbus-daemon is installed");
        let mut address = String::new();
        let stdout = child.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut address).expect("it says its address");
        Self(child, address.trim().to_owned())
    }

    fn call(&self, path: &str, method: &str, args: &[&str]) -> String {
        let mut command = Command::new("gdbus");
        command.args(["call", "--address", &self.1, "--dest", "org.example.Counter", "--object-path", path]);
        let output = command.args(["--method", method]).args(args).output().expect("gdbus is installed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn counts(on: &str) {
    let daemon = Daemon::start();
    let mut example = Example::start("dbus-service", &["--dbus-loop", on, "--dbus-address", &daemon.1]);
    example.log("is org.example.Counter on the bus");
    assert_eq!(daemon.call("/org/example/Counter", "org.example.Counter.Add", &["3"]), "(int64 3,)");
    assert_eq!(daemon.call("/org/example/Counter", "org.example.Counter.Add", &["4"]), "(int64 7,)");
    let tasks = daemon.call("/org/interloop/Service", "org.interloop.Service.ListTasks", &[]);
    assert_eq!(tasks, "([('dbus', 'running', uint32 1)],)");
    example.signal(Signal::TERM);
    assert_eq!(example.wait(), 0);
}

#[test]
fn it_counts_on_each_loop() {
    watched(|| ["thread", "tokio", "glib"].into_iter().for_each(counts));
}
