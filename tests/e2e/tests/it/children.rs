//! Children of a service in their environment: signalled along with it, without a terminal, in a container.

use std::{collections::BTreeMap, fs, os::fd::OwnedFd, process::Command, thread, time::Instant};

use interloop_e2e::{Example, SOON, Signal, binary, watched};
use rustix::{
    process::{Pid, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr, tcgetpgrp},
};

fn children(kind: &str, script: &str) -> Example {
    Example::run(Command::new(binary("children")).env("CHILDREN", kind).env("SCRIPT", script))
}

/// Returns all descendants of this process, itself last: as a service manager finds them in its control group.
fn control_group(of: u32) -> Vec<i32> {
    let stats = fs::read_dir("/proc").unwrap().filter_map(|process| {
        let stat = fs::read_to_string(process.ok()?.path().join("stat")).ok()?;
        let pid: i32 = stat.split(' ').next()?.parse().ok()?;
        let parent: i32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    });
    let parents = stats.collect::<BTreeMap<_, _>>();
    let top = of as i32;
    let comes_from =
        |pid: &i32| std::iter::successors(Some(*pid), |pid| parents.get(pid).copied()).any(|pid| pid == top);
    let below = parents.keys().copied().filter(|pid| *pid != top && comes_from(pid));
    below.chain([top]).collect()
}

#[test]
fn a_term_to_the_whole_control_group_stops_a_service_with_0() {
    watched(|| {
        for round in 0..15 {
            // A child and its child, like `sh` and its command.
            let mut service = children("task", "sleep 1000 & echo up; wait");
            service.log("one: up");
            let all = control_group(service.id());
            // The service, the guard, the shell, the sleep.
            assert_eq!(all.len(), 4, "{all:?}");
            for pid in all {
                // One may have died of the previous signal.
                let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM);
            }
            assert_eq!(service.wait(), 0, "round {round}");
        }
    });
}

/// A terminal; a program started on it leads its session, and is in its foreground.
struct Terminal(OwnedFd);

impl Terminal {
    fn open() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        Self(master)
    }

    fn run(&self, program: &[&str], kind: &str, script: &str) -> Example {
        let name = ptsname(&self.0, Vec::new()).unwrap().into_string().unwrap();
        let mut command = Command::new("setsid");
        // A session's leader that opens a terminal controls it from then on.
        command.args(["sh", "-c", r#"exec <"$0"; exec "$@""#, &name]).args(program).arg(binary("children"));
        Example::run(command.env("CHILDREN", kind).env("SCRIPT", script))
    }

    fn start(&self, kind: &str, script: &str) -> Example {
        self.run(&[], kind, script)
    }

    fn types(&self, text: &str) {
        assert_eq!(rustix::io::write(&self.0, text.as_bytes()).unwrap(), text.len());
    }

    #[track_caller]
    fn is_used_by(&self, group: u32) {
        let begun = Instant::now();
        while tcgetpgrp(&self.0).unwrap().as_raw_pid() != group as i32 {
            assert!(begun.elapsed() < SOON, "the foreground is {:?}, not {group}", tcgetpgrp(&self.0));
            thread::yield_now();
        }
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.0).unwrap().local_modes.contains(LocalModes::ECHO)
    }
}

const ASKS: &str = "echo up; read -r word </dev/tty; echo got $word";

#[test]
fn a_child_that_asks_for_the_terminal_is_named_and_counted_and_ends_at_the_stop() {
    watched(|| {
        let terminal = Terminal::open();
        let mut service = terminal.start("task", ASKS);
        service.log("one: up");
        service.log("asks for the terminal, which is not its own");
        service.signal(Signal::USR1);
        service.log("stopped 1");
        terminal.is_used_by(service.id());
        service.signal(Signal::TERM);
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn a_child_that_changes_the_terminal_is_named_too() {
    watched(|| {
        let terminal = Terminal::open();
        let mut service = terminal.start("task", "stty -echo </dev/tty; echo never");
        service.log("asks for the terminal, which is not its own");
        assert!(terminal.echoes());
        service.signal(Signal::TERM);
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn a_child_that_was_stopped_by_hand_is_named() {
    watched(|| {
        let mut service = children("task", "echo $$; kill -STOP $$; echo on; exec sleep 1000");
        let line = service.log("was stopped by signal 19, and waits for a CONT");
        let (_, number) = line.split_once("sh (process ").unwrap();
        let pid: i32 = number.split(')').next().unwrap().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::CONT).unwrap();
        service.log("one: on");
        service.signal(Signal::TERM);
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn a_child_in_the_foreground_has_the_terminal_while_it_runs() {
    watched(|| {
        let terminal = Terminal::open();
        let mut service = terminal.start("foreground", ASKS);
        service.log("one: up");
        terminal.types("secret\n");
        service.log("one: got secret");
        terminal.is_used_by(service.id());
        // Typed input goes to the service again.
        terminal.types("\x03");
        service.log("INT received");
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn a_child_in_the_foreground_that_dies_leaves_the_terminal_as_it_was() {
    watched(|| {
        let terminal = Terminal::open();
        let mut service = terminal.start("foreground", "stty -echo </dev/tty; echo quiet; kill -KILL $$");
        service.log("one: quiet");
        // Without a stop it has failed.
        assert_eq!(service.wait(), 1);
        assert!(terminal.echoes());
        let mut service = terminal.start("foreground", "stty -echo </dev/tty; echo quiet");
        service.log("one: quiet");
        terminal.is_used_by(service.id());
        assert!(!terminal.echoes(), "what a program that ended well has set stays");
        service.signal(Signal::TERM);
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn a_child_in_the_foreground_that_is_stopped_gives_the_terminal_back() {
    watched(|| {
        let terminal = Terminal::open();
        let mut service = terminal.start("foreground", "echo $$; read -r word </dev/tty; echo got $word");
        let said = service.log("children.one: ");
        terminal.types("\x1a");
        service.log("was stopped by signal 20");
        terminal.is_used_by(service.id());
        let pid: i32 = said.rsplit(' ').next().unwrap().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::CONT).unwrap();
        terminal.types("secret\n");
        service.log("one: got secret");
        service.signal(Signal::TERM);
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn without_a_terminal_a_child_in_the_foreground_runs_as_ever() {
    watched(|| {
        let mut command = Command::new("setsid");
        command.arg(binary("children")).env("CHILDREN", "foreground").env("SCRIPT", "echo up");
        let mut service = Example::run(&mut command);
        service.log("one: up");
        service.signal(Signal::TERM);
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn a_terminal_that_is_another_programs_is_not_given() {
    watched(|| {
        let terminal = Terminal::open();
        let mut service = terminal.start("two-foreground", ASKS);
        service.log("one: up");
        service.log("can't run sh: the terminal is not the service's to give");
        // It belongs to the first one.
        terminal.types("secret\n");
        service.log("one: got secret");
        service.signal(Signal::TERM);
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn a_service_in_a_container_with_a_terminal_is_in_its_foreground() {
    watched(|| {
        let terminal = Terminal::open();
        let mut container = terminal.run(&["unshare", "--pid", "--fork", "--kill-child"], "none", "");
        container.log("pid 2, foreground Ok(2)");
        container.log("all tasks started");
        terminal.types("\x03");
        container.log("INT received");
        assert_eq!(container.wait(), 0);
        assert_eq!(container.whole_log().matches("INT received").count(), 1, "it is not sent twice");
    });
}

#[test]
fn children_can_be_waited_for_though_sigchld_was_ignored() {
    watched(|| {
        for init in [&[][..], &["unshare", "--pid", "--fork", "--kill-child"]] {
            let mut command = Command::new("env");
            command.arg("--ignore-signal=CHLD").args(init).arg(binary("children"));
            let mut service = Example::run(command.env("CHILDREN", "status").env("SCRIPT", "exit 3"));
            service.log("by commands: exit status: 3");
            service.log("by itself: exit status: 5");
            if init.is_empty() {
                service.signal(Signal::TERM);
                assert_eq!(service.wait(), 0);
            }
        }
    });
}
