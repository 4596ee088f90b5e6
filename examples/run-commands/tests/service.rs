//! Runs the service with real children. It ends by itself, so the tests launch it and wait for its end.

use interloop::{State, counters::Reading, testing::TestService};

#[test]
fn it_ends_when_all_commands_have_ended() {
    let args = ["--runner-run", "echo one; echo two >&2", "--runner-run", "exit 0"];
    let test = TestService::new(run_commands::service()).args(args).launch();
    let handle = test.handle();
    test.join().assert_clean();
    let count = |name| match handle.counters().get(name) {
        Some(Reading::Counter(count)) => count,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(["commands.started", "commands.finished", "runner.lines"].map(count), [2, 2, 2]);
}

#[test]
fn a_command_that_fails_fails_the_service() {
    let test = TestService::new(run_commands::service()).args(["--runner-run", "exit 3"]).launch();
    let report = test.join();
    assert_eq!(report.assert_code(1).state_of("runner"), State::Failed);
}

#[test]
fn a_stop_ends_what_runs() {
    let args = ["--runner-run", "echo up; exec sleep 1000", "--commands-kill-timeout", "10ms"];
    let test = TestService::new(run_commands::service()).args(args).start();
    test.wait_for_counter("runner.lines", 1);
    test.stop().assert_clean();
}
