//! The effect of signals on a service, from the first instruction of `run` to after its end; and what `run` restores.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use interloop_e2e::{Example, SOON, Signal, binary, watched};
use rustix::{
    process::{Pid, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use tempfile::TempDir;

/// Longer than the time within which the same signal counts once.
const NO_ECHO: Duration = Duration::from_millis(300);

fn fifo(folder: &TempDir, name: &str) -> PathBuf {
    let path = folder.path().join(name);
    let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo is there");
    assert!(made.success());
    path
}

/// Opens a FIFO for writing as soon as somebody reads it.
fn open_when_read(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).expect("a FIFO can be opened")
}

fn surroundings(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary("surroundings"));
    command.envs(variables.iter().copied()).env_remove("RUST_BACKTRACE");
    command
}

/// Returns the same program, started through another one.
fn by(program: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(binary("surroundings")).envs(variables.iter().copied());
    command
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < SOON, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Returns a mask of the process, such as `SigCgt`.
fn mask(service: &Example, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.id())).expect("the child is there");
    let mask = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of proc(5)");
    u64::from_str_radix(mask.trim_start_matches(':').trim(), 16).expect("a mask")
}

fn is_in(signal: Signal, mask: u64) -> bool {
    mask & (1 << (signal.as_raw() - 1)) != 0
}

// How signals add up.

/// A row of the table: the signals sent, and how it ends.
struct Row {
    /// The signals, each sent after the time in which repeats of the previous one count once.
    sent: &'static [Signal],
    /// The exit code, or `None` if the service goes on until it is released, and ends with 0.
    code: Option<i32>,
}

const fn row(sent: &'static [Signal], code: Option<i32>) -> Row {
    Row { sent, code }
}

/// A flag of open(2): the terminal doesn't become the test's own.
const NOCTTY: i32 = 0o400;
const INT: Signal = Signal::INT;
const TERM: Signal = Signal::TERM;
const HUP: Signal = Signal::HUP;

const TABLE: &[Row] = &[
    row(&[INT], None),
    row(&[TERM], None),
    row(&[INT, TERM], None),
    row(&[TERM, INT], None),
    row(&[TERM, HUP, HUP, HUP, INT, HUP], None),
    row(&[INT, INT], Some(130)),
    row(&[TERM, TERM], Some(143)),
    row(&[INT, TERM, INT], Some(130)),
    row(&[INT, TERM, TERM], Some(143)),
    row(&[TERM, INT, TERM], Some(143)),
    row(&[TERM, HUP, TERM], Some(143)),
];

#[test]
fn a_signal_escalates_only_when_it_is_repeated() {
    watched(|| {
        thread::scope(|scope| TABLE.iter().for_each(|row| drop(scope.spawn(move || check_row(row)))));
    });
}

fn check_row(Row { sent, code }: &Row) {
    let folder = TempDir::new().expect("a folder");
    let release = fifo(&folder, "release");
    let mut service = Example::run(surroundings(&[("STOP", "asked")]).env("RELEASE", &release));
    service.log("all tasks started");
    for (n, &signal) in sent.iter().enumerate() {
        if n > 0 {
            thread::sleep(NO_ECHO);
        }
        service.signal(signal);
        if n == 0 {
            // Its time counts from when it was received.
            service.log("received, stopping");
        }
    }
    match code {
        Some(code) => assert_eq!(service.wait(), *code, "{sent:?}"),
        None => {
            thread::sleep(NO_ECHO);
            assert!(!service.whole_log().contains("stopping hard"), "{sent:?}");
            drop(open_when_read(&release));
            assert_eq!(service.wait(), 0, "{sent:?}");
            assert!(service.whole_log().contains("stopped in order"), "{sent:?}");
        }
    }
}

#[test]
fn the_same_signal_at_once_counts_once() {
    watched(|| {
        for signal in [INT, TERM] {
            let folder = TempDir::new().expect("a folder");
            let release = fifo(&folder, "release");
            let mut service = Example::run(surroundings(&[("STOP", "asked")]).env("RELEASE", &release));
            service.log("all tasks started");
            (0..50).for_each(|_| service.signal(signal));
            service.log("received, stopping");
            service.signal(signal);
            drop(open_when_read(&release));
            assert_eq!(service.wait(), 0);
        }
    });
}

#[test]
fn the_same_signal_a_third_time_leaves_at_once_though_a_thread_is_stuck() {
    watched(|| {
        for (others, signal) in [(&[][..], INT), (&[][..], TERM), (&[INT], TERM), (&[TERM], INT)] {
            let folder = TempDir::new().expect("a folder");
            let release = fifo(&folder, "release");
            let mut service = Example::run(surroundings(&[("STOP", "stuck")]).env("RELEASE", &release));
            service.log("all tasks started");
            others.iter().for_each(|&other| service.signal(other));
            service.signal(signal);
            service.log("received, stopping");
            // The other one came first, if any: this one may not have been received yet.
            thread::sleep(2 * NO_ECHO);
            service.signal(signal);
            service.log("received again, stopping hard");
            thread::sleep(NO_ECHO);
            service.signal(signal);
            assert_eq!(service.wait(), 128 + signal.as_raw());
            // The second one alone would end it too, a second later, and with a report.
            assert!(!service.whole_log().contains("stopped by force"), "{}", service.whole_log());
        }
    });
}

#[test]
fn a_hard_stop_is_told_with_the_signal_that_was_repeated() {
    watched(|| {
        let folder = TempDir::new().expect("a folder");
        let release = fifo(&folder, "release");
        let mut service = Example::run(surroundings(&[("STOP", "asked")]).env("RELEASE", &release));
        service.log("all tasks started");
        service.signal(INT);
        service.log("INT received, stopping");
        service.signal(TERM);
        service.log("TERM received, stopping already; once more stops hard");
        thread::sleep(NO_ECHO);
        service.signal(TERM);
        assert_eq!(service.wait(), 143);
        let log = service.whole_log();
        assert!(log.contains("TERM received again, stopping hard"), "{log}");
        assert!(log.contains("stopped by force of TERM (INT)"), "{log}");
    });
}

#[test]
fn ten_thousand_hangups_stop_nothing() {
    watched(|| {
        let mut service = Example::run(&mut surroundings(&[]));
        service.log("all tasks started");
        (0..10_000).for_each(|_| service.signal(HUP));
        service.log("HUP received");
        service.signal(TERM);
        assert_eq!(service.wait(), 0);
    });
}

// While options are read.

/// Starts a service that reads its options from a FIFO without a writer, and has its handlers.
fn reading(folder: &TempDir, variables: &[(&str, &str)]) -> (Example, PathBuf) {
    let config = fifo(folder, "config");
    let service = Example::run(surroundings(variables).arg("--config").arg(&config));
    wait_until("no handlers before the options", || is_in(TERM, mask(&service, "SigCgt")));
    (service, config)
}

#[test]
fn hangups_and_asks_for_the_status_wait_until_options_are_read() {
    watched(|| {
        let folder = TempDir::new().expect("a folder");
        let (mut service, config) = reading(&folder, &[]);
        for _ in 0..3 {
            service.signal(HUP);
            service.signal(Signal::USR1);
        }
        open_when_read(&config).write_all(b"log-level = 'debug'\n").expect("it reads");
        service.log("all tasks started");
        // A row of the status.
        service.log("kind thread");
        // The reload reads the file again.
        open_when_read(&config).write_all(b"log-level = 'info'\n").expect("it reads");
        service.log("HUP received, reloaded: log-level: debug -> info (now)");
        service.signal(TERM);
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn a_stop_while_options_are_read_ends_the_process_at_once() {
    watched(|| {
        for signal in [INT, TERM] {
            let folder = TempDir::new().expect("a folder");
            let (mut service, _config) = reading(&folder, &[]);
            service.signal(signal);
            assert_eq!(service.wait(), 0, "{signal:?}");
            assert_eq!(service.whole_log(), "", "nothing was started");
            assert!(!service.whole_output().contains("has returned"), "{}", service.whole_output());
        }
    });
}

#[test]
fn a_hangup_at_any_moment_of_the_start_kills_nothing() {
    watched(|| {
        for delay in 0..20 {
            let mut service = Example::run(&mut surroundings(&[]));
            wait_until("no handler", || is_in(HUP, mask(&service, "SigCgt")));
            thread::sleep(Duration::from_micros(200 * delay));
            service.signal(HUP);
            service.signal(Signal::USR1);
            service.log("all tasks started");
            service.signal(TERM);
            assert_eq!(service.wait(), 0, "after {delay}");
        }
    });
}

// The signal state that the process began with.

#[test]
fn blocked_signals_are_heard_and_blocked_again_after_the_end() {
    watched(|| {
        for signal in [INT, TERM] {
            let service = Example::run(&mut by(&["env", "--block-signal=INT,TERM,HUP,USR1"], &[("AFTER", "wait")]));
            service.log("all tasks started");
            // A child inherits the mask of the thread that starts it. (libc blocks all signals while a thread begins.)
            wait_until("a thread blocks signals", || {
                let threads = fs::read_dir(format!("/proc/{}/task", service.id())).expect("the child is there");
                let status = |thread: io::Result<fs::DirEntry>| fs::read_to_string(thread?.path().join("status"));
                // The log's thread leaves signals to others, and starts no children.
                let is_free = |status: &String| {
                    status.contains("SigBlk:\t0000000000000000") || status.starts_with("Name:\tlog\n")
                };
                threads.map(status).all(|status| status.is_ok_and(|status| is_free(&status)))
            });
            service.signal(Signal::USR1);
            service.log("surroundings running");
            service.signal(HUP);
            service.log("HUP received");
            service.signal(signal);
            service.said("run 1 has returned ExitCode(unix_exit_status(0))");
            let (before, after) = (service.said("before: "), service.said("after: "));
            assert_eq!(before.strip_prefix("before"), after.strip_prefix("after"));
            // They wait there, as they did before: once the thread that reloaded, which accepts any signal, has ended.
            // The log's thread accepts none.
            wait_until("a thread is left that takes signals", || {
                let threads = fs::read_dir(format!("/proc/{}/task", service.id())).expect("the child is there");
                let status = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status"));
                let masks = threads.flatten().map(|thread| status(thread).unwrap_or_default());
                masks.into_iter().all(|status| {
                    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t"));
                    blocked.is_some_and(|mask| is_in(TERM, u64::from_str_radix(mask, 16).expect("a mask")))
                })
            });
            service.signal(TERM);
            wait_until("TERM is not pending", || is_in(TERM, mask(&service, "ShdPnd")));
        }
    });
}

#[test]
fn a_signal_from_before_the_handlers_is_heard_where_it_was_blocked() {
    watched(|| {
        // It is pending when the service begins.
        let raise = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); \
                     os.kill(os.getpid(), 15); os.execv(sys.argv[1], sys.argv[1:])";
        let mut service = Example::run(&mut by(&["python3", "-c", raise], &[]));
        assert_eq!(service.wait(), 0);
        assert!(!service.whole_log().contains("all tasks started"), "{}", service.whole_log());
    });
}

#[test]
fn interrupts_and_hangups_that_were_ignored_stay_ignored_and_a_term_is_heard() {
    watched(|| {
        let ignore = ["env", "--ignore-signal=INT,HUP,USR1,TERM"];
        let mut service = Example::run(&mut by(&ignore, &[("AFTER", "wait")]));
        service.log("INFO  surroundings: signals ignored since before the start, and left so: HUP, INT, USR1; TERM stops the service");
        service.log("all tasks started");
        for signal in [INT, HUP, Signal::USR1, INT] {
            assert!(is_in(signal, mask(&service, "SigIgn")));
            service.signal(signal);
        }
        service.signal(TERM);
        service.said("run 1 has returned ExitCode(unix_exit_status(0))");
        assert!(!service.whole_log().contains("HUP received"), "{}", service.whole_log());
        // TERM is ignored again, too.
        service.said("after: ");
        for signal in [INT, HUP, Signal::USR1, TERM] {
            service.signal(signal);
        }
        thread::sleep(NO_ECHO);
        service.signal(Signal::KILL);
        assert_eq!(service.wait(), -Signal::KILL.as_raw());
    });
}

#[test]
fn a_background_job_of_a_script_and_one_under_nohup_are_stopped_by_term_alone() {
    watched(|| {
        let script = ["sh", "-c", "\"$0\" & echo \"pid $!\"; wait $!"];
        for (program, ignored) in [(&script[..], INT), (&["nohup"], HUP)] {
            let mut service = Example::run(&mut by(program, &[]));
            service.log("all tasks started");
            let pid = match ignored {
                INT => service.said("pid ")[4..].parse().expect("a pid"),
                _ => service.id() as i32,
            };
            let pid = Pid::from_raw(pid).expect("a pid");
            for signal in [ignored, ignored, TERM] {
                kill_process(pid, signal).expect("it is there");
            }
            assert_eq!(service.wait(), 0, "{ignored:?}");
            assert!(service.whole_log().contains("TERM received, stopping"), "{}", service.whole_log());
            assert!(!service.whole_log().contains("HUP received"), "{}", service.whole_log());
        }
    });
}

#[test]
fn a_service_runs_with_its_standard_streams_closed() {
    watched(|| {
        let mut service = Example::run(&mut by(&["sh", "-c", "exec \"$0\" <&- >&- 2>&-"], &[]));
        wait_until("no handlers", || is_in(TERM, mask(&service, "SigCgt")));
        service.signal(TERM);
        assert_eq!(service.wait(), 0);
    });
}

// The terminal.

/// Both ends of a terminal.
fn terminal() -> (OwnedFd, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&master).expect("it is ours");
    unlockpt(&master).expect("it is ours");
    let name = ptsname(&master, Vec::new()).expect("it has a name");
    let name = name.to_str().expect("a path");
    let slave = OpenOptions::new().read(true).write(true).custom_flags(NOCTTY).open(name);
    (master, slave.expect("the other end"))
}

/// Starts a program that leads a session on a terminal of its own.
fn on_a_terminal(program: &[&str], variables: &[(&str, &str)]) -> (Example, OwnedFd) {
    let (master, slave) = terminal();
    let program = [&["setsid", "--ctty"], program].concat();
    (Example::run_with_stdin(&mut by(&program, variables), Stdio::from(slave)), master)
}

#[test]
fn a_terminal_that_hangs_up_stops_the_service() {
    watched(|| {
        let (mut service, master) = on_a_terminal(&[], &[]);
        service.log("all tasks started");
        drop(master);
        service.log("HUP received, stopping");
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn a_terminal_that_hangs_up_while_options_are_read_ends_the_process() {
    watched(|| {
        let folder = TempDir::new().expect("a folder");
        let config = fifo(&folder, "config");
        let (mut service, master) = on_a_terminal(&[], &[("SURROUNDINGS__CONFIG", config.to_str().expect("a path"))]);
        wait_until("no handlers", || is_in(HUP, mask(&service, "SigCgt")));
        drop(master);
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn hangups_never_escalate() {
    watched(|| {
        let folder = TempDir::new().expect("a folder");
        let release = fifo(&folder, "release");
        let release_ = release.to_str().expect("a path");
        let (mut service, master) = on_a_terminal(&[], &[("STOP", "asked"), ("RELEASE", release_)]);
        service.log("all tasks started");
        drop(master);
        service.log("HUP received, stopping");
        for _ in 0..3 {
            thread::sleep(NO_ECHO);
            service.signal(HUP);
        }
        thread::sleep(NO_ECHO);
        assert!(!service.whole_log().contains("stopping hard"), "{}", service.whole_log());
        drop(open_when_read(&release));
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn with_another_stdin_a_hangup_reloads_while_the_terminal_is_there_and_stops_when_it_is_gone() {
    watched(|| {
        let (mut service, master) = on_a_terminal(&["sh", "-c", "exec \"$0\" </dev/null"], &[]);
        service.log("all tasks started");
        service.signal(HUP);
        service.log("HUP received, ");
        assert!(!service.whole_log().contains("stopping"), "{}", service.whole_log());
        drop(master);
        service.log("HUP received, stopping");
        assert_eq!(service.wait(), 0);
    });
}

/// A process that must not outlive its test.
struct Job(i32);

impl Drop for Job {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_raw(self.0).expect("a pid"), Signal::KILL);
    }
}

#[test]
fn a_job_of_an_interactive_shell_stops_with_its_terminal() {
    watched(|| {
        // With the terminal for its stdin, as shells start their jobs, and with another one.
        for stdin in ["", "</dev/null"] {
            let (master, slave) = terminal();
            let mut shell = Command::new("setsid");
            shell.args(["--ctty", "bash", "--norc", "--noprofile", "-i"]);
            let shell = Example::run_with_stdin(&mut shell, Stdio::from(slave));
            let mut keyboard = File::from(master);
            writeln!(keyboard, "{} {stdin} &", binary("surroundings").display()).expect("it is typed");
            shell.log("all tasks started");
            let line = shell.log("[1] ");
            let (_, pid) = line.rsplit_once(' ').expect("a line has words");
            let _job = Job(pid.parse().expect("a pid"));
            drop(keyboard);
            shell.log("HUP received, stopping");
            shell.log("stopped gracefully (HUP)");
        }
    });
}

#[test]
fn under_nohup_a_service_survives_its_terminal() {
    watched(|| {
        let (mut service, master) = on_a_terminal(&["nohup"], &[]);
        service.log("all tasks started");
        drop(master);
        thread::sleep(NO_ECHO);
        service.signal(TERM);
        assert_eq!(service.wait(), 0);
        assert!(!service.whole_log().contains("HUP received"), "{}", service.whole_log());
    });
}

#[test]
fn a_service_that_was_suspended_goes_on() {
    watched(|| {
        let mut service = Example::start("idle", &["--http-host", "127.0.0.1", "--http-port", "0"]);
        service.log("all tasks started");
        for _ in 0..3 {
            service.signal(Signal::TSTP);
            wait_until("it is not stopped", || {
                let stat = fs::read_to_string(format!("/proc/{}/stat", service.id())).expect("the child is there");
                stat.contains(") T ")
            });
            service.signal(Signal::CONT);
        }
        service.signal(Signal::USR1);
        service.log("idle running");
        service.signal(TERM);
        assert_eq!(service.wait(), 0);
        assert!(!service.whole_log().contains("WARN"), "{}", service.whole_log());
    });
}

#[test]
fn a_signal_for_any_one_thread_is_a_signal_for_the_service() {
    watched(|| {
        let mut service = Example::start("idle", &["--http-host", "127.0.0.1", "--http-port", "0"]);
        service.log("all tasks started");
        let threads = fs::read_dir(format!("/proc/{}/task", service.id())).expect("the child is there");
        for thread in threads {
            let id = thread.expect("an entry").file_name().to_string_lossy().parse().expect("a thread's id");
            let _ = kill_process(Pid::from_raw(id).expect("not 0"), HUP);
        }
        service.log("HUP received");
        service.signal(TERM);
        assert_eq!(service.wait(), 0);
        assert!(!service.whole_log().contains("WARN"), "{}", service.whole_log());
    });
}

// The state that is restored.

#[test]
fn after_the_end_each_signal_has_its_default_effect_again() {
    watched(|| {
        for signal in [INT, TERM, HUP, Signal::USR1] {
            for runs in ["1", "2"] {
                let mut service = Example::run(&mut surroundings(&[("AFTER", "wait"), ("RUNS", runs)]));
                for run in 1..=runs.parse().expect("a number") {
                    wait_until("not started", || service.whole_log().matches("all tasks started").count() == run);
                    service.signal(TERM);
                    service.said(&format!("run {run} has returned ExitCode(unix_exit_status(0))"));
                }
                service.said("after: ");
                service.signal(signal);
                assert_eq!(service.wait(), -signal.as_raw());
            }
        }
    });
}

#[test]
fn after_options_that_are_wrong_each_signal_has_its_default_effect_again() {
    watched(|| {
        let mut service = Example::run(surroundings(&[("AFTER", "wait")]).arg("--no-such-option"));
        service.said("run 1 has returned ExitCode(unix_exit_status(2))");
        service.said("after: ");
        service.signal(TERM);
        assert_eq!(service.wait(), -TERM.as_raw());
    });
}

#[test]
fn a_handler_from_before_hears_the_signal_too_and_alone_after_the_end() {
    watched(|| {
        let mut service = Example::run(&mut surroundings(&[("AFTER", "wait"), ("HANDLER", "yes")]));
        service.log("all tasks started");
        service.signal(TERM);
        service.said("run 1 has returned ExitCode(unix_exit_status(0)); handled: true");
        service.said("the host has handled TERM");
        let so_far = service.whole_output().matches("the host has handled TERM").count();
        service.signal(TERM);
        wait_until("it is not heard", || service.whole_output().matches("the host has handled TERM").count() > so_far);
        service.signal(INT);
        assert_eq!(service.wait(), -INT.as_raw());
    });
}

// Panics.

#[test]
fn a_backtrace_is_shown_where_it_is_asked_for() {
    watched(|| {
        for (variable, shown) in [(None, false), (Some("0"), false), (Some("1"), true), (Some("full"), true)] {
            let mut command = surroundings(&[("BURNS", "yes")]);
            command.envs(variable.map(|value| ("RUST_BACKTRACE", value)));
            let mut service = Example::run(&mut command);
            assert_eq!(service.wait(), 1);
            let log = service.whole_log();
            assert!(log.contains("task barn on loop barn panicked at tests/e2e/src/bin/surroundings.rs:"), "{log}");
            assert_eq!(log.matches("panicked at").count(), 1, "{log}");
            assert_eq!(log.contains("stack backtrace:"), shown, "{variable:?}: {log}");
            assert_eq!(log.contains("surroundings::burns"), shown, "{variable:?}: {log}");
            // The frames around it are for `full`.
            assert_eq!(log.contains("rust_begin_short_backtrace"), variable == Some("full"), "{variable:?}: {log}");
            assert_eq!(log.contains("panic_hook::"), variable == Some("full"), "{variable:?}: {log}");
        }
    });
}

#[test]
fn a_panic_hook_from_before_is_called_too() {
    watched(|| {
        let mut service = Example::run(&mut surroundings(&[("BURNS", "yes"), ("HOOK", "yes"), ("RUNS", "2")]));
        assert_eq!(service.wait(), 1);
        let log = service.whole_log();
        assert_eq!(log.matches("task barn on loop barn panicked at").count(), 2, "{log}");
        assert_eq!(log.matches("the host's hook: the barn is on fire").count(), 2, "{log}");
    });
}

#[test]
fn without_a_log_a_panic_is_told_by_std() {
    watched(|| {
        let mut service = Example::run(surroundings(&[("BURNS", "yes")]).arg("--log-level=off"));
        assert_eq!(service.wait(), 1);
        let log = service.whole_log();
        assert!(log.contains("the barn is on fire") && log.contains("thread 'barn'"), "{log}");
    });
}

#[test]
fn the_panic_hook_is_given_back_after_the_end() {
    watched(|| {
        for (hook, told) in [("", "thread 'main'"), ("yes", "the host's hook: main panics")] {
            let mut service = Example::run(&mut surroundings(&[("AFTER", "panic"), ("HOOK", hook)]));
            service.log("all tasks started");
            service.signal(TERM);
            assert_eq!(service.wait(), 101);
            let log = service.whole_log();
            assert!(log.contains(told), "{log}");
            assert!(!log.contains("ERROR"), "{log}");
        }
    });
}
