//! The example run-commands: whenever and however it ends, nothing of its commands is left.
//!
//! This process adopts orphans. So when the example has ended, all remains of its commands are children of this
//! process, and each of them must end; and no process has the test's mark any more.

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use interloop_e2e::{Example, Signal, watched};
use rustix::{
    io::Errno,
    process::{WaitOptions, getpid, set_child_subreaper, wait},
};

/// Tests run one at a time: children belong to the process.
static ALONE: Mutex<()> = Mutex::new(());

/// The example with one command, which carries a mark.
struct Marked {
    example: Example,
    mark: String,
    _alone: MutexGuard<'static, ()>,
}

impl Marked {
    /// The script may use `$M` as the argument of a program.
    fn run(script: &str, arguments: &[&str]) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        set_child_subreaper(Some(getpid())).unwrap();
        // A number of seconds that no other test sleeps.
        let mark = format!("{}.{}", 4000 + std::process::id() % 1000, std::process::id());
        let command = script.replace("$M", &mark);
        let mut all = vec!["--runner-run", &*command];
        all.extend(arguments);
        Self { example: Example::start("run-commands", &all), mark, _alone: alone }
    }

    /// Waits for its end, and for that of everything it leaves behind; returns the exit code.
    fn ends_with_all(mut self) -> i32 {
        let code = self.example.wait();
        while !matches!(wait(WaitOptions::empty()), Err(Errno::CHILD)) {}
        self.has_left_no_mark();
        code
    }

    /// Waits for its end, by which everything that it started must have ended; returns the exit code.
    fn ends_after_all(mut self) -> i32 {
        let code = self.example.wait();
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Err(Errno::CHILD) => break,
                lives => panic!("a process is left: {lives:?}"),
            }
        }
        self.has_left_no_mark();
        code
    }

    fn has_left_no_mark(&self) {
        let lines = fs::read_dir("/proc").unwrap().filter_map(|process| {
            let process = process.unwrap().path();
            fs::read(process.join("cmdline")).ok()
        });
        let marked =
            lines.map(|line| String::from_utf8_lossy(&line).into_owned()).filter(|line| line.contains(&self.mark));
        assert_eq!(marked.collect::<Vec<_>>(), Vec::<String>::new());
    }
}

const KILLED: i32 = -9;
/// Two generations.
const FAMILY: &str = "sleep $M & (sleep $M & echo up; wait) & wait";
/// Ignores TERM, as does its child.
const DEAF: &str =
    "trap 'echo asked' TERM; (trap '' TERM; while :; do sleep $M; done) & echo up; while :; do wait; done";
/// Takes its time after a TERM.
const SLOW: &str = "trap 'echo asked; sleep $M; exit' TERM; echo up; while :; do sleep $M & wait; done";
/// Has written half a line.
const HALF: &str = "sleep $M & printf 'half a line'; echo up >&2; wait";
/// Writes without end.
const FLOOD: &str = "sleep $M & while :; do echo up; done";
/// Has stopped itself.
const STOPPED: &str = "sleep $M & echo up; kill -STOP $$; wait";
/// Holds no descriptor, nor does its child.
const BARE: &str = "echo up; exec <&- >&- 2>&-; sleep $M & exec sleep $M";
/// Runs in a session of its own.
const AWAY: &str = "echo up; exec setsid sleep $M";

#[test]
fn commands_are_run_and_their_lines_logged() {
    watched(|| {
        let done = Marked::run("echo one; echo two >&2", &["--runner-run", "exit 0"]);
        done.example.log("runner: out: one");
        done.example.log("runner: err: two");
        done.example.log("\"exit 0\" has ended: exit status: 0");
        assert_eq!(done.ends_after_all(), 0);
        let failed = Marked::run("exit 3", &[]);
        failed.example.log("1 failed");
        assert_eq!(failed.ends_after_all(), 1);
    });
}

#[test]
fn ended_before_it_has_run_anything_it_leaves_nothing() {
    watched(|| {
        let service = Marked::run(FAMILY, &[]);
        service.example.signal(Signal::KILL);
        assert_eq!(service.ends_with_all(), KILLED);
        let service = Marked::run(FAMILY, &[]);
        // A guard is getting ready then.
        service.example.log("all tasks started");
        service.example.signal(Signal::TERM);
        assert_eq!(service.ends_after_all(), 0);
    });
}

#[test]
fn killed_at_any_moment_of_its_start_it_leaves_nothing() {
    watched(|| {
        for moment in 0..40 {
            let service = Marked::run(FAMILY, &["--runner-run", FAMILY, "--runner-run", "true"]);
            // This doesn't wait for anything: the kill must come at another moment each time.
            thread::sleep(Duration::from_micros(moment * 500));
            service.example.signal(Signal::KILL);
            assert_eq!(service.ends_with_all(), KILLED);
        }
    });
}

#[test]
fn ended_while_commands_run_it_leaves_nothing() {
    watched(|| {
        for script in [FAMILY, HALF, FLOOD, SLOW, DEAF, STOPPED, BARE, AWAY] {
            let service = Marked::run(script, &[]);
            service.example.log(": up");
            service.example.signal(Signal::KILL);
            assert_eq!(service.ends_with_all(), KILLED);
        }
        for script in [FAMILY, HALF, FLOOD, STOPPED, BARE, AWAY] {
            let service = Marked::run(script, &[]);
            service.example.log(": up");
            service.example.signal(Signal::TERM);
            assert_eq!(service.ends_after_all(), 0, "{script}");
        }
    });
}

#[test]
fn killed_during_its_stop_it_leaves_nothing() {
    watched(|| {
        let service = Marked::run(SLOW, &[]);
        service.example.log(": up");
        service.example.signal(Signal::TERM);
        service.example.log(": asked");
        service.example.signal(Signal::KILL);
        assert_eq!(service.ends_with_all(), KILLED);
    });
}

#[test]
fn killed_between_a_commands_term_and_its_kill_it_leaves_nothing() {
    watched(|| {
        let service = Marked::run(DEAF, &[]);
        service.example.log(": up");
        service.example.signal(Signal::TERM);
        service.example.log(": asked");
        service.example.signal(Signal::KILL);
        assert_eq!(service.ends_with_all(), KILLED);
    });
}

#[test]
fn a_command_that_heeds_no_term_is_killed_and_leaves_nothing() {
    watched(|| {
        let service = Marked::run(DEAF, &["--commands-kill-timeout", "100ms"]);
        service.example.log(": up");
        service.example.signal(Signal::TERM);
        service.example.log("sh does not end, and is killed");
        assert_eq!(service.ends_after_all(), 0);
    });
}

#[test]
fn told_twice_it_kills_all_at_once() {
    watched(|| {
        let service = Marked::run(SLOW, &[]);
        service.example.log(": up");
        service.example.signal(Signal::TERM);
        service.example.log(": asked");
        // Within 250 ms it would count once.
        thread::sleep(Duration::from_millis(300));
        service.example.signal(Signal::TERM);
        assert_eq!(service.ends_with_all(), 128 + 15);
    });
}
