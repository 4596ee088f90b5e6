//! Consequences of the stop itself are no failure: programs that die of the same signal, and tasks that fail because of
//! that.
//!
//! Uses the fake clock, so that the 200 ms last as long as the test wants.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus, sync::mpsc, time::Duration};

use crate::util::{cause_of, state_of, watched};
use interloop::{
    CallError, Cause, Context, Error, Report, RestartPolicy, Result, Service, State, Thread,
    task::ProgramEnd,
    task_fn,
    tasks::{
        FirstRun, Periodic,
        command::{Command, CommandError, CommandHandle, Commands, Process},
    },
    testing::{Clock, RunningTest, TestService},
};
use rustix::process::{Pid, Signal, kill_process};

const DOUBT: Duration = Duration::from_millis(200);
const HOUR: Duration = Duration::from_secs(3600);
const SLEEPER: &str = "echo $$; exec sleep 1000";

fn with_clock(service: Service) -> (RunningTest, Clock) {
    let mut test = TestService::new(service);
    let clock = test.fake_clock();
    (test.start(), clock)
}

/// A program that first reports its number, which arrives here.
fn program(script: &str) -> (impl Fn() -> Command + Send + Clone + 'static, mpsc::Receiver<String>) {
    let (says, said) = mpsc::channel();
    let script = script.to_owned();
    let run = move || {
        let says = says.clone();
        Command::new("sh").args(["-c", &script]).on_stdout_line(move |line| drop(says.send(line.to_owned())))
    };
    (run, said)
}

#[track_caller]
fn next(pids: &mpsc::Receiver<String>) -> Pid {
    let pid = pids.recv_timeout(crate::util::SOON).unwrap();
    Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
}

/// The order of a service manager: the programs first, the service a moment later.
#[track_caller]
fn hit(pids: &[&mpsc::Receiver<String>], signal: Signal) {
    for pids in pids {
        kill_process(next(pids), signal).unwrap();
    }
}

/// Advances the clock as long as failing takes; returns how the service ended.
#[track_caller]
fn fails_in_time(test: RunningTest, clock: &Clock) -> Report {
    let begun = std::time::Instant::now();
    while !test.shutdown().is_requested() {
        assert!(begun.elapsed() < crate::util::SOON, "it does not fail");
        clock.advance(DOUBT);
    }
    test.join()
}

fn ended_by(signal: i32) -> ExitStatus {
    ExitStatus::from_raw(signal)
}

#[test]
fn a_program_that_is_ended_along_with_the_stop_is_no_failure() {
    watched(|| {
        for (script, signal) in [
            (SLEEPER, Signal::TERM),
            (SLEEPER, Signal::INT),
            (SLEEPER, Signal::KILL),
            (SLEEPER, Signal::HUP),
            ("trap 'exit 143' TERM; echo $$; while :; do sleep 0.01; done", Signal::TERM),
            ("trap 'exit 130' INT; echo $$; while :; do sleep 0.01; done", Signal::INT),
        ] {
            let (run, pids) = program(script);
            let mut service = Service::new("test");
            service.task_on::<Thread>("one", Process::new(run()));
            let (test, clock) = with_clock(service);
            hit(&[&pids], signal);
            test.wait_for_counter("one.finished", 1);
            clock.settle();
            clock.advance(DOUBT - Duration::from_millis(1));
            assert_eq!(test.task_state("one"), Some(State::Running), "{script}, {signal:?}");
            let report = test.stop();
            assert_eq!((report.code, state_of(&report, "one")), (0, State::Stopped), "{script}, {signal:?}: {report}");
        }
    });
}

#[test]
fn without_a_stop_it_is_a_failure_200_ms_later() {
    watched(|| {
        let (run, pids) = program(SLEEPER);
        let mut service = Service::new("test");
        service.task_on::<Thread>("one", Process::new(run()));
        let (test, clock) = with_clock(service);
        hit(&[&pids], Signal::TERM);
        let report = fails_in_time(test, &clock);
        assert_eq!((report.code, cause_of(&report, "one")), (1, Cause::Error("sh was ended by signal 15".into())));
    });
}

#[test]
fn a_program_that_ends_otherwise_has_failed_at_once() {
    watched(|| {
        let (run, _pids) = program("exit 3");
        let mut service = Service::new("test");
        service.task_on::<Thread>("one", Process::new(run()));
        service.task(
            "two",
            task_fn::<Thread>(async |cx| {
                cx.until_shutdown().await;
                Ok(())
            }),
        );
        let mut test = TestService::new(service);
        let _clock = test.fake_clock();
        let report = test.launch().join();
        assert_eq!((report.code, cause_of(&report, "one")), (1, Cause::Error("sh exited with 3".into())));
    });
}

#[test]
fn a_restart_policy_waits_for_the_stop() {
    watched(|| {
        let (run, pids) = program(SLEEPER);
        let (other, others) = program(SLEEPER);
        let policy = RestartPolicy::on_failure().backoff(Duration::from_millis(1), Duration::from_millis(1));
        let mut service = Service::new("test");
        service.task_with::<Thread>("one", move || Process::new(run())).restart(policy.clone());
        service.task_with::<Thread>("two", move || Process::new(other())).restart(policy).requires("one");
        let (test, clock) = with_clock(service);
        hit(&[&pids, &others], Signal::TERM);
        test.wait_for_counter("one.finished", 1);
        test.wait_for_counter("two.finished", 1);
        clock.advance(DOUBT / 2);
        let report = test.stop();
        assert_eq!(report.code, 0, "{report}");
        assert!(pids.try_recv().is_err() && others.try_recv().is_err(), "one was started again");
    });
}

#[test]
fn what_comes_before_a_restart_is_a_failure_that_the_policy_covers() {
    watched(|| {
        let (run, pids) = program(SLEEPER);
        let policy = RestartPolicy::on_failure().backoff(Duration::from_millis(1), Duration::from_millis(1));
        let mut service = Service::new("test");
        service.task_with::<Thread>("one", move || Process::new(run())).restart(policy);
        let (test, clock) = with_clock(service);
        hit(&[&pids], Signal::TERM);
        let begun = std::time::Instant::now();
        let again = loop {
            clock.advance(DOUBT);
            match pids.recv_timeout(Duration::from_millis(10)) {
                Ok(pid) => break pid,
                Err(_) => assert!(begun.elapsed() < crate::util::SOON, "it is not started again"),
            }
        };
        assert!(!again.is_empty());
        assert_eq!(test.stop().code, 0);
    });
}

/// A service with commands, and a task that does this with them.
fn with_commands<F>(does: F) -> Service
where
    F: AsyncFn(Context<Thread>, CommandHandle) -> Result + Send + 'static,
{
    let commands = Commands::new();
    let runs = commands.handle();
    let mut service = Service::new("test");
    service.task_on::<Thread>("commands", commands);
    let asks = runs.clone();
    let task = task_fn::<Thread>(async move |cx: Context<Thread>| {
        cx.ready();
        does(cx, asks.clone()).await
    });
    service.task("asker", task).uses(&runs);
    service
}

#[test]
fn a_task_that_fails_because_its_program_was_ended_along_with_the_stop_has_not_failed() {
    watched(|| {
        let (run, pids) = program(SLEEPER);
        let (test, clock) = with_clock(with_commands(async move |_, runs| {
            let status = runs.run(run()).status().await?;
            // In its own words: the error doesn't contain the status.
            if status.success() { Ok(()) } else { Err(Error::new("the words were not sorted")) }
        }));
        hit(&[&pids], Signal::TERM);
        test.wait_for_counter("commands.finished", 1);
        clock.advance(DOUBT / 2);
        let report = test.stop();
        assert_eq!(report.code, 0, "{report}");
        assert_eq!(cause_of(&report, "asker"), Cause::PartOfStop("the words were not sorted".into()));
    });
}

#[test]
fn a_task_that_fails_because_its_program_was_killed_has_failed_without_a_stop() {
    watched(|| {
        let (run, pids) = program(SLEEPER);
        let (test, clock) = with_clock(with_commands(async move |_, runs| {
            let status = runs.run(run()).status().await?;
            Err(Error::exited("sort", status))
        }));
        hit(&[&pids], Signal::KILL);
        let report = fails_in_time(test, &clock);
        assert_eq!((report.code, cause_of(&report, "asker")), (1, Cause::Error("sort was ended by signal 9".into())));
    });
}

#[test]
fn a_pipe_that_breaks_because_its_program_was_ended_along_with_the_stop_is_no_failure() {
    watched(|| {
        let (run, pids) = program(SLEEPER);
        let (test, clock) = with_clock(with_commands(async move |cx, runs| {
            let mut child = runs.run(run().stdin_piped());
            let mut input = child.take_stdin().unwrap();
            loop {
                input.write(b"more\n").await?;
                cx.sleep(Duration::from_millis(1)).await;
            }
        }));
        hit(&[&pids], Signal::TERM);
        test.wait_for_counter("commands.finished", 1);
        clock.advance(DOUBT / 2);
        let report = test.stop();
        assert_eq!((report.code, state_of(&report, "asker")), (0, State::Stopped), "{report}");
    });
}

#[test]
fn an_output_that_ends_because_its_program_was_ended_along_with_the_stop_is_no_failure() {
    watched(|| {
        let (says, pids) = mpsc::channel();
        let (test, clock) = with_clock(with_commands(async move |_, runs| {
            let mut child = runs.run(Command::new("sh").args(["-c", SLEEPER]));
            let mut output = child.take_stdout().unwrap();
            while let Some(line) = output.line().await {
                says.send(line).unwrap();
            }
            Err(Error::new("there are no more lines"))
        }));
        hit(&[&pids], Signal::TERM);
        test.wait_for_counter("commands.finished", 1);
        clock.advance(DOUBT / 2);
        let report = test.stop();
        assert_eq!((report.code, state_of(&report, "asker")), (0, State::Stopped), "{report}");
    });
}

#[test]
fn an_output_that_ends_well_explains_no_error() {
    watched(|| {
        let (test, _clock) = with_clock(with_commands(async move |_, runs| {
            let output = runs.run(Command::new("echo").arg("nonsense")).output().await?;
            Err(Error::new(format!("can't read {:?}", String::from_utf8_lossy(&output.stdout))))
        }));
        // At once: the clock stands still.
        let report = test.join();
        assert_eq!((report.code, state_of(&report, "asker")), (1, State::Failed));
    });
}

#[test]
fn who_is_told_that_the_commands_or_the_other_side_have_stopped_has_not_failed() {
    watched(|| {
        for error in
            [|| Error::from(CommandError::Stopped), || CallError::Stopped.into(), || CallError::Cancelled.into()]
        {
            let mut service = Service::new("test");
            service.task(
                "asker",
                task_fn::<Thread>(async move |cx: Context<Thread>| {
                    cx.until_shutdown().await;
                    Err(error())
                }),
            );
            let (test, _clock) = with_clock(service);
            let report = test.stop();
            assert_eq!((report.code, state_of(&report, "asker")), (0, State::Stopped), "{report}");
        }
    });
}

#[test]
fn an_error_of_a_program_that_the_task_ran_by_itself_can_say_so() {
    watched(|| {
        #[derive(Debug)]
        struct Wrapped(Error);
        impl std::fmt::Display for Wrapped {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("no backup")
            }
        }
        impl std::error::Error for Wrapped {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                self.0.source().map(|error| error as _)
            }
        }
        let cases: [(fn() -> Error, u8); 4] = [
            (|| Error::exited("tar", ended_by(15)), 0),
            (|| Wrapped(Error::exited("tar", ended_by(2))).into(), 0),
            (|| Error::exited("tar", ended_by(11)), 1),
            (|| Error::exited("tar", ended_by(2 << 8)), 1),
        ];
        for (error, code) in cases {
            let mut service = Service::new("test");
            let (begins, begun) = mpsc::channel();
            let backup = task_fn::<Thread>(async move |_| {
                begins.send(()).unwrap();
                Err(error())
            });
            service.task("backup", backup);
            service.task(
                "other",
                task_fn::<Thread>(async |cx| {
                    cx.until_shutdown().await;
                    Ok(())
                }),
            );
            let mut test = TestService::new(service);
            let _clock = test.fake_clock();
            let test = test.launch();
            begun.recv().unwrap();
            if code == 1 {
                // It is clearly a failure if there was no stop before.
                test.wait_until("the backup has not failed", || test.task_state("backup") == Some(State::Failed));
            }
            let report = test.stop();
            assert_eq!(report.code, code, "{report}");
        }
    });
}

#[test]
fn the_time_is_over_at_200_ms_of_the_services_clock() {
    watched(|| {
        for (after, code) in [(0, 0), (199, 0), (200, 1)] {
            let mut service = Service::new("test");
            let backup = task_fn::<Thread>(async move |cx: Context<Thread>| {
                cx.ready();
                cx.sleep(HOUR).await;
                Err(Error::exited("tar", ended_by(15)))
            });
            service.task("backup", backup);
            service.task(
                "other",
                task_fn::<Thread>(async |cx| {
                    cx.until_shutdown().await;
                    Ok(())
                }),
            );
            let (test, clock) = with_clock(service);
            clock.advance(HOUR);
            clock.advance(Duration::from_millis(after));
            let report = test.stop();
            assert_eq!(report.code, code, "after {after} ms: {report}");
        }
    });
}

#[test]
fn a_job_that_fails_along_with_the_stop_leaves_the_service_alone() {
    watched(|| {
        let commands = Commands::new();
        let runs = commands.handle();
        let (run, pids) = program(SLEEPER);
        let mut service = Service::new("test");
        service.task_on::<Thread>("commands", commands);
        let asks = runs.clone();
        let job = move || {
            let child = asks.run(run());
            async move { child.status().await.map(drop) }
        };
        let periodic = Periodic::new_async(HOUR, job).first_run(FirstRun::AtOnce);
        service.task_on::<Thread>("job", periodic).uses(&runs);
        let (test, clock) = with_clock(service);
        hit(&[&pids], Signal::TERM);
        test.wait_for_counter("commands.finished", 1);
        clock.advance(DOUBT / 2);
        assert_eq!(test.stop().code, 0);
    });
}

#[test]
fn a_task_that_runs_programs_by_itself_says_how_they_ended() {
    watched(|| {
        // Killed along with the stop; killed, which was known later; and ended by itself.
        for (status, known_first, is_explained) in [
            (ended_by(15), true, true),
            (ended_by(15), false, true),
            (ended_by(0), true, false),
            (ended_by(0), false, false),
        ] {
            let mut service = Service::new("test");
            let runs = task_fn::<Thread>(async move |cx: Context<Thread>| {
                cx.ready();
                cx.sleep(HOUR).await;
                let end = ProgramEnd::default();
                if known_first {
                    end.exited(status);
                }
                end.tell();
                end.exited(status);
                Err(Error::new("a broken pipe"))
            });
            service.task("runs", runs);
            let (test, clock) = with_clock(service);
            clock.advance(HOUR);
            clock.advance(DOUBT - Duration::from_millis(1));
            let held_back = !test.shutdown().is_requested();
            assert_eq!(held_back, is_explained, "{status}, {known_first}");
            let report = test.stop();
            assert_eq!(report.code, u8::from(!is_explained), "{status}, {known_first}: {report}");
        }
    });
}
