//! What the environment says about a manager.

use std::{
    ffi::{OsStr, OsString},
    os::{
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net::SocketAddr},
    },
    time::Duration,
};

/// What there is to work with. What can't be used costs one line, and nothing else: it may be meant for somebody else.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// Where the manager wants its datagrams.
    pub(super) socket: Option<SocketAddr>,
    /// How long the manager waits for a sign of life.
    pub(super) watchdog: Option<Duration>,
    /// The descriptor on which the manager wants a line.
    pub(super) notify_fd: Option<i32>,
    /// Lines for the log.
    pub(super) complaints: Vec<String>,
}

impl Surroundings {
    /// Reads the environment of this process.
    pub(super) fn look() -> Self {
        Self::of(|name| std::env::var_os(name), std::process::id())
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        // An empty variable is how a shell unsets one for a program.
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut this = Self::default();
        if let Some(name) = variable("NOTIFY_SOCKET") {
            match address(&name) {
                Ok(address) => this.socket = Some(address),
                Err(why) => {
                    this.complain(format!("NOTIFY_SOCKET={}: {why}: the manager is told nothing", shown(&name)))
                }
            }
        }
        if this.socket.is_some()
            && let Some(started) = variable("SYSTEMD_EXEC_PID")
            && number::<u32>(&started).is_some_and(|started| started != pid)
        {
            this.complain(format!(
                "systemd has started process {}, and this is process {pid}: unless the unit has NotifyAccess=all, or \
                 the wrapper ends in exec, systemd ignores what it is told",
                shown(&started)
            ));
        }
        if this.socket.is_some()
            && let Some(time) = variable("WATCHDOG_USEC")
        {
            match watchdog(&time, variable("WATCHDOG_PID").as_deref(), pid) {
                Ok(time) => this.watchdog = Some(time),
                Err(why) => this.complain(format!("{why}: no WATCHDOG=1 is sent")),
            }
        }
        if let Some(fd) = variable("NOTIFY_FD") {
            match number::<i32>(&fd).filter(|fd| *fd >= 0) {
                Some(fd) => this.notify_fd = Some(fd),
                None => this.complain(format!("NOTIFY_FD={}: it is no descriptor", shown(&fd))),
            }
        }
        this
    }

    fn complain(&mut self, line: String) {
        self.complaints.push(line);
    }
}

fn address(name: &OsStr) -> Result<SocketAddr, String> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest).map_err(|error| error.to_string()),
        [b'/', ..] => SocketAddr::from_pathname(name).map_err(|error| error.to_string()),
        [b'v', b's', b'o', b'c', b'k', ..] => Err("sockets of virtual machines are not supported".to_owned()),
        _ => Err("neither a path from the root nor @ with an abstract name".to_owned()),
    }
}

/// Returns the time of the watchdog, if it is meant for this process.
fn watchdog(time: &OsStr, meant: Option<&OsStr>, pid: u32) -> Result<Duration, String> {
    match meant.map(|meant| (meant, number::<u32>(meant))) {
        Some((meant, None)) => return Err(format!("WATCHDOG_PID={}: it is no process", shown(meant))),
        Some((_, Some(meant))) if meant != pid => {
            return Err(format!("WATCHDOG_PID={meant}, and this is process {pid}"));
        }
        _ => {}
    }
    // sd_watchdog_enabled(3) takes neither of the two.
    let micros = number::<u64>(time).filter(|micros| ![0, u64::MAX].contains(micros));
    micros.map(Duration::from_micros).ok_or_else(|| format!("WATCHDOG_USEC={}: it is no time", shown(time)))
}

pub(super) fn number<T: std::str::FromStr>(text: &OsStr) -> Option<T> {
    text.to_str()?.parse().ok()
}

fn shown(text: &OsStr) -> String {
    text.to_string_lossy().escape_debug().to_string()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn look(variables: &[(&str, &str)]) -> Surroundings {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        Surroundings::of(value, 7)
    }

    #[test]
    fn a_notify_socket_is_a_path_or_an_abstract_name() {
        let path = look(&[("NOTIFY_SOCKET", "/run/notify")]);
        assert_eq!(path.socket.unwrap().as_pathname(), Some("/run/notify".as_ref()));
        let name = look(&[("NOTIFY_SOCKET", "@notify")]);
        assert_eq!(name.socket.unwrap().as_abstract_name(), Some(&b"notify"[..]));
        assert!(path.complaints.is_empty() && name.complaints.is_empty());
        let none = look(&[("NOTIFY_SOCKET", "")]);
        assert!(none.socket.is_none() && none.complaints.is_empty());
    }

    #[test]
    fn an_address_that_cannot_be_used_is_one_line() {
        let long = format!("/{}", "x".repeat(200));
        for (address, why) in [
            ("vsock:2:1234", "NOTIFY_SOCKET=vsock:2:1234: sockets of virtual machines"),
            ("vsock-stream:2:1234", "sockets of virtual machines"),
            ("notify", "neither a path"),
            (&*long, "NOTIFY_SOCKET=/xxx"),
        ] {
            let found = look(&[("NOTIFY_SOCKET", address)]);
            assert!(found.socket.is_none(), "{address}");
            assert!(matches!(&*found.complaints, [line] if line.contains(why)), "{:?}", found.complaints);
        }
    }

    #[test]
    fn a_wrapper_is_one_line() {
        let socket = ("NOTIFY_SOCKET", "/run/notify");
        assert!(look(&[socket, ("SYSTEMD_EXEC_PID", "7")]).complaints.is_empty());
        assert!(look(&[socket, ("SYSTEMD_EXEC_PID", "x")]).complaints.is_empty());
        assert!(look(&[("SYSTEMD_EXEC_PID", "8")]).complaints.is_empty());
        let wrapped = look(&[socket, ("SYSTEMD_EXEC_PID", "6")]);
        assert!(wrapped.socket.is_some());
        assert!(
            matches!(&*wrapped.complaints, [line] if line.contains("process 6") && line.contains("NotifyAccess=all"))
        );
    }

    #[test]
    fn a_watchdog_that_is_wrong_or_meant_for_another_is_one_line() {
        let look = |time: &str, pid: &str| {
            look(&[("NOTIFY_SOCKET", "/run/notify"), ("WATCHDOG_USEC", time), ("WATCHDOG_PID", pid)])
        };
        for pid in ["", "7"] {
            let found = look("2000000", pid);
            assert_eq!((found.watchdog, found.complaints.len()), (Some(Duration::from_secs(2)), 0));
        }
        for (time, pid, why) in [
            ("0", "7", "WATCHDOG_USEC=0: it is no time"),
            ("-1", "7", "WATCHDOG_USEC=-1: it is no time"),
            ("soon", "", "WATCHDOG_USEC=soon: it is no time"),
            ("18446744073709551615", "", "it is no time"),
            ("99999999999999999999999", "", "it is no time"),
            ("2000000", "8", "WATCHDOG_PID=8, and this is process 7"),
            ("2000000", "x", "WATCHDOG_PID=x: it is no process"),
        ] {
            let found = look(time, pid);
            assert_eq!(found.watchdog, None);
            assert!(matches!(&*found.complaints, [line] if line.contains(why)), "{:?}", found.complaints);
        }
    }

    #[test]
    fn a_notify_fd_is_a_number() {
        assert_eq!(look(&[("NOTIFY_FD", "3")]).notify_fd, Some(3));
        for wrong in ["x", "-1", "99999999999"] {
            let found = look(&[("NOTIFY_FD", wrong)]);
            assert!(found.notify_fd.is_none() && found.complaints.len() == 1, "{found:?}");
        }
    }
}
