//! A service that is PID 1, like the first process of a container: it is its own init. The container is a PID namespace
//! of `unshare`, which requires root; if it can't be created, these tests fail.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use interloop_e2e::{Example, SOON, Signal, binary, watched};
use rustix::process::{Pid, kill_process};

/// A namespace, and the service that is its PID 1.
struct Container(Example);

impl Container {
    fn start(kind: &str, script: &str, unshare: &[&str], arguments: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        // When the namespace's parent ends, everything in it ends.
        command.args(["--pid", "--fork", "--kill-child"]).args(unshare).arg(binary("children")).args(arguments);
        Self(Example::run(command.env("CHILDREN", kind).env("SCRIPT", script)))
    }

    /// Returns PID 1 of the namespace, by its number outside.
    fn first(&self) -> u32 {
        let begun = Instant::now();
        loop {
            if let [first] = children_of(self.0.id())[..] {
                return first;
            }
            assert!(begun.elapsed() < SOON, "unshare has no child: {}", self.0.whole_log());
            thread::yield_now();
        }
    }

    /// Returns the service, which is the child of PID 1 that was there first.
    fn service(&self) -> u32 {
        let first = self.first();
        let begun = Instant::now();
        loop {
            if let Some(&service) = children_of(first).first() {
                return service;
            }
            assert!(begun.elapsed() < SOON, "PID 1 has no child: {}", self.0.whole_log());
            thread::yield_now();
        }
    }

    /// Sends a signal to PID 1, as `docker stop` does.
    fn signal(&self, signal: Signal) {
        send(self.first(), signal);
    }
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

fn children_of(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim().chars().next()
}

/// Waits until none of the children of these processes is a zombie.
#[track_caller]
fn no_zombies(of: &[u32]) {
    let begun = Instant::now();
    loop {
        let children = of.iter().flat_map(|pid| children_of(*pid));
        let zombies = children.filter(|pid| state_of(*pid) == Some('Z')).count();
        if zombies == 0 {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{zombies} zombies");
        thread::yield_now();
    }
}

/// Leaves an orphan behind each time.
const ORPHANS: &str = "sleep 0.3 & sleep 0.1";

#[test]
fn orphans_are_reaped_and_each_child_of_the_program_has_its_own_status() {
    watched(|| {
        for unshare in [&[][..], &["--mount-proc"]] {
            let mut container = Container::start("often", ORPHANS, unshare, &[]);
            container.0.log("all 200 have their own status");
            container.0.log("ran 20 times");
            no_zombies(&[container.first(), container.service()]);
            container.signal(Signal::TERM);
            assert_eq!(container.0.wait(), 0);
        }
    });
}

#[test]
fn without_an_init_what_commands_leave_is_reaped() {
    watched(|| {
        for unshare in [&[][..], &["--mount-proc"]] {
            let mut container = Container::start("often", ORPHANS, unshare, &["--init", "no"]);
            container.0.log("all 200 have their own status");
            container.0.log("ran 20 times");
            no_zombies(&[container.first()]);
            container.signal(Signal::TERM);
            assert_eq!(container.0.wait(), 0);
        }
    });
}

#[test]
fn a_subreaper_reaps_what_commands_leave_and_nothing_else() {
    watched(|| {
        let mut command = Command::new(binary("children"));
        command.env("CHILDREN", "often").env("SCRIPT", ORPHANS).env("REAPER", "1");
        let mut service = Example::run(&mut command);
        service.log("all 200 have their own status");
        service.log("ran 20 times");
        no_zombies(&[service.id()]);
        service.signal(Signal::TERM);
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn a_container_ends_with_the_exit_code_of_its_service() {
    watched(|| {
        let ends = |arguments: &[&str]| Container::start("none", "", &[], arguments).0.wait();
        assert_eq!(ends(&["--help"]), 0);
        assert_eq!(ends(&["--nonsense"]), 2);
        assert_eq!(ends(&["--init", "maybe"]), 2);
        assert_eq!(ends(&["--config", "/nowhere"]), 78);
        let hit = |signal: Signal, code: i32| {
            let mut container = Container::start("none", "", &[], &[]);
            container.0.log("all tasks started");
            send(container.service(), signal);
            assert_eq!(container.0.wait(), code, "{signal:?}");
        };
        hit(Signal::TERM, 0);
        hit(Signal::KILL, 137);
        hit(Signal::ABORT, 134);
        let mut failed = Container::start("task", "exit 3", &[], &[]);
        assert_eq!(failed.0.wait(), 1);
    });
}

#[test]
fn signals_go_on_to_the_service() {
    watched(|| {
        for signal in [Signal::TERM, Signal::INT] {
            let mut container = Container::start("none", "", &[], &[]);
            container.0.log("all tasks started");
            container.signal(Signal::USR1);
            container.0.log("idle");
            container.signal(Signal::HUP);
            container.0.log("HUP received");
            container.signal(signal);
            assert_eq!(container.0.wait(), 0);
        }
        let mut container = Container::start("none", "", &[], &[]);
        container.0.log("all tasks started");
        let status = fs::read_to_string(format!("/proc/{}/status", container.first())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
        // All of the 31, except those that can't be caught, or report a fault of the process itself.
        let not = [Signal::KILL, Signal::STOP, Signal::ILL, Signal::FPE, Signal::SEGV];
        let not = not.map(|signal| 1 << (signal.as_raw() - 1)).iter().sum::<u64>();
        assert_eq!(caught & 0x7fff_ffff & !not, 0x7fff_ffff & !not);
        container.signal(Signal::QUIT);
        assert_eq!(container.0.wait(), 131);
    });
}

#[test]
fn what_is_ignored_from_the_start_is_not_caught() {
    watched(|| {
        let mut command = Command::new("env");
        command.args(["--ignore-signal=INT,HUP,TERM", "unshare", "--pid", "--fork", "--kill-child"]);
        let mut container = Container(Example::run(command.arg(binary("children")).env("CHILDREN", "none")));
        container.0.log("all tasks started");
        let status = fs::read_to_string(format!("/proc/{}/status", container.first())).unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        let bit = |signal: Signal| ignored & (1 << (signal.as_raw() - 1)) != 0;
        assert!(bit(Signal::INT) && bit(Signal::HUP));
        // It is always handled.
        container.signal(Signal::TERM);
        assert_eq!(container.0.wait(), 0);
    });
}

#[test]
fn a_signal_that_comes_before_the_service_is_up_waits_for_it() {
    watched(|| {
        let mut container = Container::start("none", "", &[], &[]);
        let first = container.first();
        let caught = || {
            let status = fs::read_to_string(format!("/proc/{first}/status")).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
            u64::from_str_radix(&caught, 16).unwrap() & (1 << 14) != 0
        };
        let begun = Instant::now();
        while !caught() {
            assert!(begun.elapsed() < SOON, "PID 1 never catches TERM");
            thread::yield_now();
        }
        container.signal(Signal::TERM);
        // The service may not have a handler yet: then the signal ends it.
        let code = container.0.wait();
        assert!(code == 0 || code == 143, "{code}");
    });
}

#[test]
fn a_child_that_is_stopped_goes_on_with_a_cont() {
    watched(|| {
        let mut container = Container::start("none", "", &[], &[]);
        container.0.log("all tasks started");
        let service = container.service();
        send(service, Signal::STOP);
        let begun = Instant::now();
        while state_of(service) != Some('T') {
            assert!(begun.elapsed() < SOON, "it is not stopped");
            thread::yield_now();
        }
        container.signal(Signal::CONT);
        container.signal(Signal::TERM);
        assert_eq!(container.0.wait(), 0);
    });
}

#[test]
fn words_descriptors_and_variables_are_the_services() {
    watched(|| {
        // A shell opens the descriptor that the service inherits.
        let script = r#"exec 3</etc/passwd; exec unshare --pid --fork --kill-child "$0" --log-level info"#;
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(binary("children")).env("CHILDREN", "none");
        command
            .env("LISTEN_PID", "1")
            .env("LISTEN_FDS", "0")
            .env("WATCHDOG_PID", "1")
            .env("NOTIFY_SOCKET", "/run/notify");
        let mut container = Container(Example::run(&mut command));
        container.0.log("all tasks started");
        let log = container.0.whole_log();
        for words in [
            "LISTEN_PID=2",
            "WATCHDOG_PID=2",
            "LISTEN_FDS=0",
            "NOTIFY_SOCKET=/run/notify",
            "--log-level info",
            "/etc/passwd",
        ] {
            assert!(log.contains(words), "no {words:?} in {log}");
        }
        assert!(!log.contains("INTERLOOP_PIDS"), "{log}");
        container.signal(Signal::TERM);
        assert_eq!(container.0.wait(), 0);
        // Children of another process are left alone.
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(binary("children"));
        let mut other = Container(Example::run(command.env("CHILDREN", "none").env("LISTEN_PID", "77")));
        other.0.log("LISTEN_PID=77");
        other.signal(Signal::TERM);
        assert_eq!(other.0.wait(), 0);
    });
}

#[test]
fn no_init_is_asked_for_by_the_command_line_the_environment_or_the_code() {
    watched(|| {
        let is_alone = |mut container: Container| {
            container.0.log("pid 1,");
            assert_eq!(children_of(container.first()), Vec::<u32>::new());
            container.signal(Signal::TERM);
            assert_eq!(container.0.wait(), 0);
        };
        is_alone(Container::start("none", "", &[], &["--init", "no"]));
        is_alone(Container::start("none", "", &[], &["--init=no"]));
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(binary("children"));
        is_alone(Container(Example::run(command.env("CHILDREN", "none").env("CHILDREN__INIT", "no"))));
        is_alone(Container::start("no-init", "", &[], &[]));
        let mut again = Container::start("no-init", "", &[], &["--init", "auto"]);
        again.0.log("pid 2,");
        again.signal(Signal::TERM);
        assert_eq!(again.0.wait(), 0);
    });
}

#[test]
fn a_program_that_has_made_threads_before_is_no_init_and_says_so() {
    watched(|| {
        let mut container = Container::start("threads", "", &[], &[]);
        container.0.log("2 threads run before Service::run, so this PID 1 reaps no orphans");
        container.0.log("pid 1,");
        container.signal(Signal::TERM);
        assert_eq!(container.0.wait(), 0);
    });
}

#[test]
fn who_is_not_pid_1_is_no_init() {
    watched(|| {
        let mut service = Example::run(Command::new(binary("children")).env("CHILDREN", "none"));
        service.log("all tasks started");
        assert_eq!(children_of(service.id()), Vec::<u32>::new());
        service.signal(Signal::TERM);
        assert_eq!(service.wait(), 0);
    });
}
