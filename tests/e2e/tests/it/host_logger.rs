//! A logger of the host's own that panics within a task's call: that is the task's failure, not the end of the process.

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
                // Nothing can be said by way of that logger.
                assert!(stderr.contains(panic), "{stderr}");
                continue;
            }
            let lines = stderr.lines().collect::<Vec<_>>();
            let at = |words: &str| {
                let place = lines.iter().position(|line| line.contains(words));
                place.unwrap_or_else(|| panic!("{logger}: no {words}: {stderr}"))
            };
            // What the panic said, then what became of it; nothing is lost at the end.
            let order = [
                "surroundings.barn: task barn on loop barn panicked at ",
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
