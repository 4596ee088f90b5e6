//! What a service tells a service manager, as a receiver of our own hears it, and what it does about a bad one.

use std::{
    fs,
    io::Read,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use interloop_e2e::{Example, SOON, Signal, binary, watched};
use rustix::{fs::Mode, time::ClockId};

/// The manager's end.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self { socket, folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// Starts the service with this socket.
    fn run(&self, kind: &str, arguments: &[&str]) -> Example {
        Example::run(service(kind).args(arguments).env("NOTIFY_SOCKET", self.path()))
    }

    /// Returns the next message.
    fn next(&self) -> String {
        next(&self.socket)
    }

    /// Returns the messages up to the one with this.
    fn up_to(&self, text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            seen.push(self.next());
            if seen.last().unwrap().contains(text) {
                return seen;
            }
        }
    }

    /// Fills the socket's buffer; returns how many messages that took.
    fn fill(&self) -> usize {
        let filler = UnixDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        (0..).find(|_| filler.send_to(b"FILL=1", self.path()).is_err()).unwrap()
    }
}

fn next(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 8192];
    let length = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("no message: {error}"));
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

fn service(kind: &str) -> Command {
    let mut command = Command::new(binary("supervised"));
    command.env("KIND", kind);
    for name in ["NOTIFY_SOCKET", "NOTIFY_FD", "WATCHDOG_USEC", "WATCHDOG_PID", "SYSTEMD_EXEC_PID", "LISTEN_FDS"] {
        command.env_remove(name);
    }
    command
}

/// Returns the value of a line of a message.
fn value<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// Returns how often the log has this.
fn count(service: &Example, text: &str) -> usize {
    service.whole_log().lines().filter(|line| line.contains(text)).count()
}

fn term(mut service: Example) {
    service.signal(Signal::TERM);
    assert_eq!(service.wait(), 0, "{}", service.whole_log());
}

#[test]
fn a_service_says_that_it_is_ready_and_that_it_stops() {
    watched(|| {
        let manager = Manager::new();
        let service = manager.run("idle", &["--shutdown-timeout", "40s"]);
        let started = manager.up_to("READY=1");
        let ready = started.last().unwrap();
        assert_eq!(value(ready, "STATUS"), Some("running"), "{started:?}");
        // A loop has 30 s to start.
        assert!(started.iter().any(|text| value(text, "EXTEND_TIMEOUT_USEC").is_some()), "{started:?}");
        service.signal(Signal::TERM);
        let stopping = manager.up_to("STOPPING=1");
        assert!(value(stopping.last().unwrap(), "STATUS").unwrap().starts_with("stopping (TERM)"), "{stopping:?}");
        let extended = manager.up_to("EXTEND_TIMEOUT_USEC").pop().unwrap();
        let micros = value(&extended, "EXTEND_TIMEOUT_USEC").unwrap().parse::<u64>().unwrap();
        assert!((40_000_000..60_000_000).contains(&micros), "{micros}");
        let mut service = service;
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn the_socket_may_have_an_abstract_name() {
    watched(|| {
        let name = format!("interloop-notify-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let service = Example::run(service("idle").env("NOTIFY_SOCKET", format!("@{name}")));
        while !next(&socket).starts_with("READY=1\n") {}
        term(service);
    });
}

#[test]
fn a_start_names_what_it_waits_for() {
    watched(|| {
        let manager = Manager::new();
        let service = manager.run("slow", &[]);
        manager.up_to("STATUS=starting: waiting for db");
        manager.up_to("READY=1");
        term(service);
    });
}

#[test]
fn a_failed_start_is_never_ready() {
    watched(|| {
        let manager = Manager::new();
        let mut service = manager.run("fails", &[]);
        assert_eq!(service.wait(), 1);
        manager.socket.set_nonblocking(true).unwrap();
        let mut bytes = [0; 8192];
        let mut stops = 0;
        while let Ok(length) = manager.socket.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..length]);
            assert!(!text.contains("READY=1"), "{text}");
            stops += text.matches("STOPPING=1").count();
        }
        assert_eq!(stops, 1);
    });
}

#[test]
fn a_service_whose_tasks_are_all_done_was_ready() {
    watched(|| {
        let manager = Manager::new();
        let mut service = manager.run("once", &[]);
        manager.up_to("READY=1");
        manager.up_to("STOPPING=1");
        assert_eq!(service.wait(), 0);
    });
}

fn micros() -> i64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[test]
fn a_reload_is_told_with_its_time_whether_it_works_or_not() {
    watched(|| {
        let manager = Manager::new();
        let file = manager.folder.path().join("options.toml");
        fs::write(&file, "number = 1\n").unwrap();
        let service = manager.run("idle", &["--config", file.to_str().unwrap()]);
        manager.up_to("READY=1");
        let reload = |status: &dyn Fn(&str) -> bool| {
            let before = micros();
            service.signal(Signal::HUP);
            let begun = manager.up_to("RELOADING=1").pop().unwrap();
            let said = value(&begun, "MONOTONIC_USEC").unwrap().parse::<i64>().unwrap();
            assert!((before..=micros()).contains(&said), "{before} {said}");
            let ended = manager.up_to("READY=1").pop().unwrap();
            assert!(status(value(&ended, "STATUS").unwrap()), "{ended}");
        };
        reload(&|status| status == "running");
        fs::write(&file, "number = \"many\"\n").unwrap();
        reload(&|status| status.starts_with("running; not reloaded: ") && status.contains("number"));
        service.log("not reloaded:");
        fs::write(&file, "number = 2\n").unwrap();
        reload(&|status| status == "running");
        term(service);
    });
}

#[test]
fn a_reload_during_the_start_makes_nothing_ready() {
    watched(|| {
        let manager = Manager::new();
        let begun = Instant::now();
        let service = manager.run("slow", &[]);
        manager.up_to("STATUS=starting: waiting for db");
        service.signal(Signal::HUP);
        service.log("reloaded");
        let seen = manager.up_to("READY=1");
        assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
        assert!(!seen.iter().any(|text| text.contains("RELOADING")), "{seen:?}");
        term(service);
    });
}

#[test]
fn a_full_socket_costs_one_line_and_is_told_later() {
    watched(|| {
        let manager = Manager::new();
        let filled = manager.fill();
        let service = manager.run("idle", &[]);
        service.log("all tasks started");
        service.log("NOTIFY_SOCKET: it is full");
        for _ in 0..filled {
            assert_eq!(manager.next(), "FILL=1");
        }
        manager.up_to("READY=1");
        service.log("NOTIFY_SOCKET: it is heard again");
        assert_eq!(count(&service, "it is full"), 1);
        term(service);
    });
}

#[test]
fn a_socket_that_stays_full_holds_up_no_stop() {
    watched(|| {
        let manager = Manager::new();
        manager.fill();
        let service = manager.run("idle", &[]);
        service.log("all tasks started");
        service.log("NOTIFY_SOCKET: it is full");
        let begun = Instant::now();
        term(service);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_socket_that_is_bound_late_is_told() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let service = Example::run(service("idle").env("NOTIFY_SOCKET", &path));
        service.log("all tasks started");
        service.log("NOTIFY_SOCKET: No such file");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        while !next(&socket).starts_with("READY=1\n") {}
        assert_eq!(count(&service, "NOTIFY_SOCKET: No such file"), 1);
        term(service);
    });
}

#[test]
fn a_manager_that_cannot_be_told_costs_one_line() {
    watched(|| {
        for (variable, value, line) in [
            ("NOTIFY_SOCKET", "vsock:2:1234", "NOTIFY_SOCKET=vsock:2:1234: sockets of virtual machines"),
            ("NOTIFY_SOCKET", "somewhere", "NOTIFY_SOCKET=somewhere: neither a path"),
            ("NOTIFY_SOCKET", "/nowhere/notify", "NOTIFY_SOCKET: No such file"),
            ("NOTIFY_FD", "x", "NOTIFY_FD=x: it is no descriptor"),
            ("NOTIFY_FD", "99", "NOTIFY_FD=99: it is not open"),
        ] {
            let service = Example::run(service("idle").env(variable, value));
            service.log("all tasks started");
            service.log(line);
            assert_eq!(count(&service, variable), 1, "{}", service.whole_log());
            term(service);
        }
    });
}

#[test]
fn a_watchdog_that_makes_no_sense_costs_one_line() {
    watched(|| {
        for (time, pid, line) in [
            ("0", "", "WATCHDOG_USEC=0: it is no time"),
            ("soon", "", "WATCHDOG_USEC=soon: it is no time"),
            ("2000000", "1", "WATCHDOG_PID=1, and this is process"),
        ] {
            let manager = Manager::new();
            let mut command = service("idle");
            command.env("NOTIFY_SOCKET", manager.path()).env("WATCHDOG_USEC", time).env("WATCHDOG_PID", pid);
            let service = Example::run(&mut command);
            manager.up_to("READY=1");
            service.log(line);
            assert_eq!(count(&service, "WATCHDOG_"), 1, "{}", service.whole_log());
            term(service);
        }
    });
}

#[test]
fn a_sign_of_life_comes_more_often_than_it_must_and_not_from_a_stuck_loop() {
    watched(|| {
        let manager = Manager::new();
        let mut command = service("stuck");
        let service = Example::run(command.env("NOTIFY_SOCKET", manager.path()).env("WATCHDOG_USEC", "600000"));
        manager.up_to("READY=1");
        let alive = Instant::now();
        let seen = manager.up_to("no WATCHDOG=1");
        // It blocks after half a second.
        let signs = seen.iter().filter(|text| *text == "WATCHDOG=1").count();
        assert!((1..=5).contains(&signs), "{signs}, {:?}: {seen:?}", alive.elapsed());
        service.log("loop tokio is stalled: thread tokio has been in task stuck");
        // Its status goes on: the time grows.
        for _ in 0..20 {
            assert!(manager.next().starts_with("STATUS="));
        }
    });
}

#[test]
fn a_wrapper_that_systemd_would_not_believe_costs_one_line() {
    watched(|| {
        let manager = Manager::new();
        let service = Example::run(service("idle").env("NOTIFY_SOCKET", manager.path()).env("SYSTEMD_EXEC_PID", "1"));
        service.log("systemd has started process 1");
        manager.up_to("READY=1");
        assert_eq!(count(&service, "NotifyAccess=all"), 1);
        term(service);
    });
}

/// Runs the service by a shell, which opens descriptors: `$0` is the service, `$1` a path.
fn by_shell(script: &str, kind: &str, path: &Path) -> Example {
    Example::run(Command::new("sh").args(["-c", script]).arg(binary("supervised")).arg(path).env("KIND", kind))
}

/// A FIFO, and what a thread reads from it to its end.
fn fifo() -> (tempfile::TempDir, PathBuf, mpsc::Receiver<Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ready");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    let (sends, read) = mpsc::channel();
    let from = path.clone();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        fs::File::open(from).unwrap().read_to_end(&mut bytes).unwrap();
        let _ = sends.send(bytes);
    });
    (folder, path, read)
}

#[test]
fn a_ready_fd_gets_one_line_when_all_has_started_and_is_closed() {
    watched(|| {
        for script in [
            r#"exec "$0" --ready-fd 7 7>"$1""#,
            r#"NOTIFY_FD=7 exec "$0" 7>"$1""#,
            r#"SUPERVISED__READY_FD=7 exec "$0" 7>"$1""#,
            r#"exec "$0" --ready-fd 1 >"$1""#,
        ] {
            let (_folder, path, read) = fifo();
            let begun = Instant::now();
            let service = by_shell(script, "slow", &path);
            assert_eq!(read.recv_timeout(SOON).unwrap(), b"\n", "{script}");
            assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
            service.log("all tasks started");
            assert!(!service.whole_log().contains("WARN"), "{}", service.whole_log());
            term(service);
        }
    });
}

#[test]
fn a_ready_fd_that_cannot_take_a_line_is_refused() {
    watched(|| {
        for (script, line) in [
            (r#"exec "$0" --ready-fd 7"#, "supervised: --ready-fd 7: it is not open"),
            (r#"exec "$0" --ready-fd 7 7</dev/null"#, "supervised: --ready-fd 7: it is open for reading only"),
            (r#"exec "$0" --ready-fd 0"#, "supervised: --ready-fd 0: standard input can't take a line"),
            (r#"exec "$0" --ready-fd 2"#, "supervised: --ready-fd 2: standard error is for the log"),
        ] {
            let mut service = by_shell(script, "idle", "/".as_ref());
            assert_eq!(service.wait(), 78, "{script}");
            assert_eq!(service.whole_log().trim_end(), line);
        }
        for wrong in ["x", "-1"] {
            let mut service = Example::run(service("idle").arg(format!("--ready-fd={wrong}")));
            assert_eq!(service.wait(), 2, "{wrong}");
        }
    });
}

#[test]
fn a_ready_fd_that_nobody_reads_costs_one_line() {
    watched(|| {
        let full = r#"exec 7<>"$1"; head -c 65536 /dev/zero >&7; exec "$0" --ready-fd 7"#;
        let gone = r#"exec 7<>"$1"; exec 8>"$1" 7>&-; exec "$0" --ready-fd 8"#;
        for (script, line) in [(full, "--ready-fd 7: it is full"), (gone, "--ready-fd 8: its reader is gone")] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("ready");
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
            let service = by_shell(script, "idle", &path);
            service.log("all tasks started");
            service.log(line);
            assert_eq!(count(&service, "--ready-fd"), 1, "{}", service.whole_log());
            term(service);
        }
    });
}

#[test]
fn children_inherit_nothing_that_is_for_the_service() {
    watched(|| {
        let (_folder, path, read) = fifo();
        let manager = Manager::new();
        let script = r#"exec "$0" --ready-fd 7 7>"$1""#;
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(binary("supervised")).arg(&path).env("KIND", "env");
        command.env("NOTIFY_SOCKET", manager.path()).env("NOTIFY_FD", "33").env("INVOCATION_ID", "kept");
        let of_the_manager = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID", "INTERLOOP_LISTEN"];
        for name in of_the_manager {
            command.env(name, "77");
        }
        let service = Example::run(command.stdin(Stdio::null()));
        service.log("open is over");
        let log = service.whole_log();
        let of = |what: &str| {
            let lines = log.lines().filter_map(|line| line.split_once(&format!(" {what}: ")));
            lines.map(|(_, line)| line.to_owned()).collect::<Vec<_>>()
        };
        let bare = of("bare");
        assert!(bare.contains(&"INVOCATION_ID=kept".to_owned()), "{bare:?}");
        let is_theirs = |line: &String| {
            ["NOTIFY_", "LISTEN_", "WATCHDOG_", "INTERLOOP_"].iter().any(|begin| line.starts_with(begin))
        };
        assert!(!bare.iter().any(is_theirs), "{bare:?}");
        assert!(of("by hand").contains(&"NOTIFY_SOCKET=/by-hand".to_owned()), "{log}");
        assert!(!of("open").iter().any(|line| line.contains("/ready")), "{log}");
        assert_eq!(read.recv_timeout(SOON).unwrap(), b"\n");
        term(service);
    });
}

#[test]
fn as_the_first_process_of_a_container_the_service_tells_and_its_init_does_not() {
    watched(|| {
        let manager = Manager::new();
        let (_folder, path, read) = fifo();
        let mut command = Command::new("sh");
        let script = r#"exec unshare --pid --fork --kill-child "$0" --ready-fd 7 7>"$1""#;
        command.args(["-c", script]).arg(binary("supervised")).arg(&path).env("KIND", "idle");
        let service = Example::run(command.env("NOTIFY_SOCKET", manager.path()));
        manager.up_to("READY=1");
        // `unshare` keeps the descriptor: its end comes with it.
        let first = || fs::read_to_string(format!("/proc/{0}/task/{0}/children", service.id())).unwrap();
        let first = first().trim().parse::<i32>().unwrap();
        let open =
            fs::read_dir(format!("/proc/{first}/fd")).unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        let open = open.collect::<Vec<_>>();
        assert!(!open.contains(&path), "{open:?}");
        rustix::process::kill_process(rustix::process::Pid::from_raw(first).unwrap(), Signal::TERM).unwrap();
        manager.up_to("STOPPING=1");
        let mut service = service;
        assert_eq!(service.wait(), 0);
        assert_eq!(read.recv_timeout(SOON).unwrap(), b"\n");
    });
}

#[test]
fn anybody_can_follow_the_phases() {
    watched(|| {
        let service = Example::run(service("follower").env("NOTIFY_SOCKET", "").stdin(Stdio::null()));
        service.log("follower: Entered(Running)");
        service.signal(Signal::HUP);
        service.log("follower: ReloadEnded { error: None }");
        service.signal(Signal::TERM);
        service.log("follower: end");
        let log = service.whole_log();
        let seen = log.lines().filter_map(|line| line.strip_prefix("follower: ")).collect::<Vec<_>>();
        let phases = seen.iter().filter(|line| **line != "deadline").copied().collect::<Vec<_>>();
        assert_eq!(
            phases,
            [
                "Entered(New)",
                "Entered(Starting)",
                "Entered(Running)",
                "ReloadBegun",
                "ReloadEnded { error: None }",
                "Entered(Stopping)",
                "Entered(Ended)",
                "end"
            ]
        );
        assert!(seen.contains(&"deadline"), "{seen:?}");
        let mut service = service;
        assert_eq!(service.wait(), 0);
    });
}
