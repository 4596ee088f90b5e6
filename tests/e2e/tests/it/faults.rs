//! Services that go wrong: exit code, log, time.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use interloop_e2e::{Example, Signal, binary, watched};

fn faulty(kind: &str) -> Example {
    let mut command = Command::new(binary("faulty"));
    // Finding the names for a backtrace takes longer than this task's deadline.
    command.args(["--fault-kind", kind]).env("STOP_TIMEOUT_MS", "300").env_remove("RUST_BACKTRACE");
    Example::run(&mut command)
}

/// Starts it, and sends TERM once all has started.
fn terminated(kind: &str) -> Example {
    let service = faulty(kind);
    service.log("all tasks started");
    service.signal(Signal::TERM);
    service
}

#[test]
fn an_error_before_ready_fails_the_start_and_stops_the_rest() {
    watched(|| {
        let mut service = faulty("fail-start");
        assert_eq!(service.wait(), 1);
        let log = service.whole_log();
        assert!(log.contains("task fault: no such queue") && log.contains("the bystander has stopped"), "{log}");
        assert!(!log.contains("all tasks started"), "{log}");
    });
}

#[test]
fn a_task_that_never_gets_ready_is_named() {
    watched(|| {
        let mut service = faulty("never-ready");
        assert_eq!(service.wait(), 1);
        let log = service.whole_log();
        assert!(log.contains("task fault: no cx.ready() within 500 ms"), "{log}");
    });
}

#[test]
fn an_error_or_a_panic_after_ready_stops_the_service_with_1() {
    watched(|| {
        let mut failed = faulty("fail");
        assert_eq!(failed.wait(), 1);
        let log = failed.whole_log();
        assert!(log.contains("task fault: the queue is gone") && log.contains("the bystander has stopped"), "{log}");

        let mut panicked = faulty("panic");
        assert_eq!(panicked.wait(), 1);
        let log = panicked.whole_log();
        assert!(log.contains("task fault on loop fault panicked at tests/e2e/src/bin/faulty.rs:"), "{log}");
        assert!(log.contains("the queue is on fire") && log.contains("the bystander has stopped"), "{log}");
    });
}

#[test]
fn a_panic_while_stopping_or_in_drop_is_a_failure_too() {
    watched(|| {
        for kind in ["panic-stopping", "panic-drop"] {
            let mut service = terminated(kind);
            assert_eq!(service.wait(), 1, "{kind}");
            assert!(service.whole_log().contains("the bystander has stopped"), "{kind}");
        }
    });
}

#[test]
fn tasks_that_end_by_themselves_do_not_end_the_others() {
    watched(|| {
        for kind in ["done", "one-shot"] {
            let mut service = faulty(kind);
            service.log("all tasks started");
            service.signal(Signal::TERM);
            assert_eq!(service.wait(), 0, "{kind}");
        }
    });
}

#[test]
fn a_task_that_ignores_its_shutdown_is_cancelled_at_its_deadline() {
    watched(|| {
        let mut service = terminated("ignore");
        assert_eq!(service.wait(), 124);
        let log = service.whole_log();
        assert!(log.contains("task fault cancelled: still running 300 ms after it was asked to stop"), "{log}");
        assert!(log.contains("the bystander has stopped"), "{log}");
    });
}

#[test]
fn a_thread_that_blocks_is_left_behind_and_named() {
    watched(|| {
        let begun = Instant::now();
        let mut service = terminated("block");
        assert_eq!(service.wait(), 124);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let log = service.whole_log();
        assert!(log.contains("loop fault: it is stuck: thread fault has been in task fault for 1.3 s"), "{log}");
        assert!(log.contains("the bystander has stopped"), "{log}");
    });
}

/// Longer than the time within which the same signal counts once.
const NO_ECHO: Duration = Duration::from_millis(300);

#[test]
fn a_signal_again_stops_hard() {
    watched(|| {
        let mut service = Example::start("faulty", &["--fault-kind", "ignore"]);
        service.log("all tasks started");
        service.signal(Signal::INT);
        service.log("INT received, stopping");
        thread::sleep(NO_ECHO);
        service.signal(Signal::INT);
        let asked = Instant::now();
        assert_eq!(service.wait(), 128 + 2);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert!(service.whole_log().contains("task fault cancelled: hard stop"), "{}", service.whole_log());
    });
}

#[test]
fn after_a_hard_stop_a_blocked_thread_is_given_one_second() {
    watched(|| {
        let mut service = Example::start("faulty", &["--fault-kind", "block"]);
        service.log("all tasks started");
        service.signal(Signal::TERM);
        service.log("TERM received, stopping");
        thread::sleep(NO_ECHO);
        service.signal(Signal::TERM);
        let asked = Instant::now();
        assert_eq!(service.wait(), 128 + 15);
        assert!(asked.elapsed() > Duration::from_millis(900), "{:?}", asked.elapsed());
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    });
}

#[test]
fn a_stop_during_the_start_is_a_graceful_stop() {
    watched(|| {
        let mut command = Command::new(binary("faulty"));
        command.args(["--fault-kind", "never-ready", "--log-level", "debug"]).env("STOP_TIMEOUT_MS", "100");
        let mut service = Example::run(&mut command);
        service.log("task fault (run 1): waiting -> starting");
        service.signal(Signal::TERM);
        // It ignores that too, and is cancelled at its deadline: past its deadline, but not a failed start.
        assert_eq!(service.wait(), 124);
    });
}

#[test]
fn a_stop_before_the_start_starts_nothing() {
    watched(|| {
        let mut service = Example::start("faulty", &[]);
        service.signal_when_handlers_are_installed(Signal::TERM);
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn the_words_of_the_command_line_are_checked() {
    watched(|| {
        for (arguments, code, said) in [
            (&["--no-such-flag"][..], 2, "--no-such-flag"),
            (&["--tasks", "nobody"], 2, "nobody"),
            (&["--fault-kind", "odd"], 2, "--fault-kind"),
            (&["--log-level", "loud"], 2, "--log-level"),
            (&["--log-file", "/no/such/folder/log"], 78, "/no/such/folder/log"),
        ] {
            let mut service = Example::start("faulty", arguments);
            assert_eq!(service.wait(), code, "{arguments:?}\n{}", service.whole_log());
            let log = service.whole_log();
            assert!(log.contains(said), "{arguments:?}: {log}");
            assert_eq!(log.lines().count(), 1, "{arguments:?}: {log}");
        }
        let mut service = Example::run(Command::new(binary("faulty")).env("FAULTY__FAULT__KIND", "odd"));
        assert_eq!(service.wait(), 78);
        assert!(service.whole_log().contains("FAULTY__FAULT__KIND"), "{}", service.whole_log());
    });
}

#[test]
fn what_is_asked_for_goes_to_stdout() {
    watched(|| {
        for (flag, said) in [
            ("--help", "--fault-kind"),
            ("--list-tasks", "bystander"),
            ("--graph", "digraph"),
            ("--version", "faulty (no version)"),
        ] {
            let mut service = Example::start("faulty", &[flag]);
            assert_eq!(service.wait(), 0, "{flag}");
            assert!(service.whole_output().contains(said), "{flag}: {}", service.whole_output());
            assert_eq!(service.whole_log(), "", "{flag}");
        }
    });
}

#[test]
fn selected_tasks_bring_what_they_require() {
    watched(|| {
        let mut service = Example::start("faulty", &["--tasks", "bystander"]);
        service.log("all tasks started");
        service.signal(Signal::USR1);
        let table = service.log("faulty running");
        assert!(table.contains("ready"), "{table}");
        service.signal(Signal::TERM);
        assert_eq!(service.wait(), 0);
        assert!(!service.whole_log().contains("fault "), "{}", service.whole_log());
    });
}

/// Returns the lines of the log from this level on.
fn lines_of<'a>(log: &'a str, level: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.split_whitespace().nth(1) == Some(level)).collect()
}

#[test]
fn one_cause_is_one_error_that_names_the_task_the_thing_and_the_cause() {
    watched(|| {
        for (kind, code, said) in [
            ("fail-start", 1, "faulty.fault: task fault: no such queue"),
            ("never-ready", 1, "faulty.fault: task fault: no cx.ready() within 500 ms"),
            ("fail", 1, "faulty.fault: task fault: the queue is gone"),
            ("program", 1, "faulty.fault: task fault: sh exited with 3"),
            (
                "panic-start",
                1,
                "faulty.fault: code of task fault on loop fault panicked at tests/e2e/src/bin/faulty.rs:",
            ),
            ("panic", 1, "faulty.fault: code of task fault on loop fault panicked at tests/e2e/src/bin/faulty.rs:"),
            (
                "panic-child",
                1,
                "faulty.fault: code of task fault on loop fault panicked at tests/e2e/src/bin/faulty.rs:",
            ),
            ("panic-thread", 1, "faulty.fault: code of task fault panicked at tests/e2e/src/bin/faulty.rs:"),
            (
                "panic-caught",
                0,
                "faulty.fault: code of task fault on loop fault panicked at tests/e2e/src/bin/faulty.rs:",
            ),
            ("panic-job", 0, "faulty: a job on loop fault panicked at tests/e2e/src/bin/faulty.rs:"),
            ("panic-call", 1, "faulty: a job on loop fault panicked at tests/e2e/src/bin/faulty.rs:"),
            ("tokio", 1, "faulty.fault: code of task fault on loop fault panicked at tests/e2e/src/bin/faulty.rs:"),
            ("loop-fails", 1, "faulty: loop wheel: the wheel came off; tasks rider, pillion end with it"),
            ("loop-panics", 1, "faulty: code on loop wheel panicked at tests/e2e/src/bin/faulty.rs:"),
        ] {
            let mut command = Command::new(binary("faulty"));
            command.args(["--fault-kind", kind]).env("STOP_TIMEOUT_MS", "300").env_remove("RUST_BACKTRACE");
            if kind.starts_with("loop-") {
                command.env("WHEEL", "1");
            }
            let mut service = Example::run(&mut command);
            assert_eq!(service.wait(), code, "{kind}: {}", service.whole_log());
            let log = service.whole_log();
            let errors = lines_of(&log, "ERROR");
            assert!(errors.len() == 1 && errors[0].contains(said), "{kind}: {log}");
            // The exit code follows.
            if code != 0 {
                assert!(log.lines().last().unwrap_or_default().ends_with(", exit code 1"), "{kind}: {log}");
            }
            if kind.starts_with("panic-start") {
                assert!(!log.contains("all tasks started"), "{log}");
            }
            if kind == "tokio" {
                assert!(errors[0].contains("with_tokio"), "{log}");
            }
        }
    });
}

#[test]
fn a_task_that_panics_while_it_stops_is_one_error_too() {
    watched(|| {
        for (kind, said) in [("panic-stopping", "no way out"), ("panic-drop", "it does not want to go")] {
            let mut command = Command::new(binary("faulty"));
            let mut service = Example::run(command.args(["--fault-kind", kind]).env_remove("RUST_BACKTRACE"));
            service.log("all tasks started");
            service.signal(Signal::TERM);
            assert_eq!(service.wait(), 1, "{kind}");
            let log = service.whole_log();
            let errors = lines_of(&log, "ERROR");
            assert!(errors.len() == 1 && errors[0].contains(said), "{kind}: {log}");
        }
    });
}

#[test]
fn a_stop_past_its_deadline_warns_and_a_thread_that_is_left_behind_is_one_error() {
    watched(|| {
        for (kind, errors) in [("ignore", 0), ("block", 1)] {
            let mut service = terminated(kind);
            assert_eq!(service.wait(), 124, "{kind}");
            let log = service.whole_log();
            assert_eq!(lines_of(&log, "ERROR").len(), errors, "{kind}: {log}");
            assert!(log.lines().last().unwrap_or_default().ends_with(", exit code 124"), "{kind}: {log}");
        }
    });
}
