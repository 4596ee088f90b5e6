//! A host's own logger that panics within a task's call: that is the task's failure, not the end of the process.

use std::process::{Command, Output, Stdio};

use interloop_e2e::{binary, watched};

fn run(variables: &[(&str, &str)]) -> (Output, String, String) {
    let mut command = Command::new(binary("surroundings"));
    command.envs(variables.iter().copied()).env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    let output = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

#[test]
fn a_logger_that_panics_in_a_task_fails_that_task() {
    watched(|| {
        for (logger, panic) in [
            ("order", "the logger is out of order"),
            ("all", "the logger is out of order"),
            ("enabled", "no question, please"),
        ] {
            let (output, stdout, stderr) = run(&[("LOGGER", logger)]);
            assert_eq!(output.status.code(), Some(1), "{logger}: {:?} {stdout} {stderr}", output.status);
            assert!(stdout.contains("the bystander has stopped in order"), "{logger}: {stdout} {stderr}");
            assert!(stdout.contains("run 1 has returned"), "{logger}: {stdout} {stderr}");
            if logger == "all" {
                // That logger can't report anything.
                assert!(stderr.contains(panic), "{stderr}");
                continue;
            }
            let lines = stderr.lines().collect::<Vec<_>>();
            let at = |words: &str| {
                let place = lines.iter().position(|line| line.contains(words));
                place.unwrap_or_else(|| panic!("{logger}: no {words}: {stderr}"))
            };
            // The panic message, then its consequences; nothing is lost at the end.
            let order = [
                "surroundings.barn: code of task barn on loop barn panicked at ",
                "surroundings: stopping: task barn failed",
                "surroundings: stopped after a failure",
            ];
            assert!(order.map(at).is_sorted(), "{stderr}");
            assert!(stderr.contains(panic), "{stderr}");
        }
    });
}

#[test]
fn what_a_panic_says_is_there_before_what_its_thread_logs_next() {
    watched(|| {
        let (output, stdout, stderr) = run(&[("LOGGER", "none"), ("BURNS", "1")]);
        assert_eq!(output.status.code(), Some(1), "{stdout} {stderr}");
        let at = |words: &str| stderr.find(words).unwrap_or_else(|| panic!("no {words}: {stderr}"));
        assert!(at("it is there still") < at("panicked at tests/e2e"), "{stderr}");
        assert!(at("the barn is on fire") < at("stopping: task barn failed"), "{stderr}");
    });
}

/// Runs it with the program's own logger, such as `tracing-subscriber`'s bridge.
fn surroundings(word: Option<&str>, variable: Option<&str>) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary("surroundings"));
    command.args(word).envs([("LOGGER", "none"), ("BURNS", "1")]).env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    command.envs(variable.map(|name| (name, "debug")));
    let output = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn options_for_logging_are_not_there_where_the_program_has_its_own_logger() {
    watched(|| {
        let (code, help, _) = surroundings(Some("--help"), None);
        assert_eq!(code, Some(0));
        assert!(help.contains("--drain-delay") && !help.contains("--log-"), "{help}");
        for option in ["--log-level=debug", "--log-file=/tmp/x", "--log-format=json"] {
            let (code, _, said) = surroundings(Some(option), None);
            let name = option.split('=').next().unwrap();
            let why = format!("surroundings: {name}: it is not there, since the program has a logger of its own");
            assert!(code == Some(2) && said.lines().any(|line| line == why), "{option}: {code:?} {said}");
        }
        let (_, _, said) = surroundings(None, Some("SURROUNDINGS__LOG_LEVEL"));
        let why = "surroundings: environment variable SURROUNDINGS__LOG_LEVEL is of no option: it is not there, \
                   since the program has a logger of its own";
        assert!(said.lines().any(|line| line == why), "{said}");
    });
}

#[test]
fn a_logger_of_the_program_s_own_costs_no_warning_at_the_start() {
    watched(|| {
        let (_, stdout, stderr) = run(&[("LOGGER", "none"), ("BURNS", "1")]);
        assert!(!stderr.contains("already installed") && !stderr.contains("no effect"), "{stdout} {stderr}");
    });
}
