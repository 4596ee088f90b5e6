//! A private bus.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// A dbus-daemon for one session, which ends with this value.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    address: String,
}

impl Daemon {
    /// Starts a bus.
    pub fn start() -> Self {
        let mut command = Command::new("dbus-daemon");
        command.args(["--session", "--nofork", "--nopidfile", "--nosyslog", "--print-address"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("dbus-daemon is installed");
        let mut address = String::new();
        let stdout = child.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut address).expect("it says its address");
        Self { child, address: address.trim().to_owned() }
    }

    /// Returns its address.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
