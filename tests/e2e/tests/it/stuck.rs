//! User code is stuck while signals come.

use std::{
    io::{self, Read},
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

use interloop_e2e::{Example, SOON, Signal, binary, watched};

#[test]
fn a_gauge_that_blocks_is_named_and_keeps_no_signal_from_its_effect() {
    watched(|| {
        let mut service = Example::start("faulty", &["--fault-kind", "block-gauge"]);
        service.log("all tasks started");
        service.signal(Signal::USR1);
        service.log("gauge depth: it has not answered within 500 ms, and is left out until it does");
        service.log("faulty running, ready");
        let begun = Instant::now();
        service.signal(Signal::TERM);
        assert_eq!(service.wait(), 0);
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    });
}

/// A service with a task that writes to stderr itself until that is full and the task hangs; and that stderr, which
/// nobody reads.
fn hanging(stop_timeout: Duration, arguments: &[&str]) -> (process::Child, io::PipeReader) {
    let (reader, writer) = io::pipe().expect("a pipe");
    let mut command = Command::new(binary("faulty"));
    command
        .args(["--fault-kind", "print"])
        .args(arguments)
        .env("STOP_TIMEOUT_MS", stop_timeout.as_millis().to_string())
        .stdin(process::Stdio::null());
    let child = command.stderr(writer).spawn().expect("it starts");
    let begun = Instant::now();
    // As much as there is room for, except the rest of a page.
    while rustix::io::ioctl_fionread(&reader).expect("it is a pipe") < 60 * 1024 {
        assert!(begun.elapsed() < SOON);
        thread::yield_now();
    }
    (child, reader)
}

/// Waits for the end of the service, then for its output.
fn end(mut child: process::Child, mut reader: io::PipeReader) -> (Option<i32>, Duration, String) {
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status;
        }
        assert!(begun.elapsed() < SOON, "it does not end");
        thread::sleep(Duration::from_millis(2));
    };
    let took = begun.elapsed();
    let mut log = String::new();
    reader.read_to_string(&mut log).expect("it is text");
    (status.code(), took, log)
}

fn kill(child: &process::Child, signal: Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("the child is there");
}

#[test]
fn a_task_that_hangs_in_writing_to_stderr_is_left_behind_in_time() {
    // Without the bystander, whose lines would wait, too; and with everything that the service logs.
    for level in ["error", "debug"] {
        for (stop_timeout, shutdown_timeout) in [(2, "10s"), (10, "2s")] {
            watched(|| {
                let arguments = ["--log-level", level, "--shutdown-timeout", shutdown_timeout];
                let (child, reader) = hanging(Duration::from_secs(stop_timeout), &arguments);
                kill(&child, Signal::TERM);
                let (code, took, log) = end(child, reader);
                assert_eq!(code, Some(124), "{log}");
                // Its own time, 0.2 s to act on the cancel, and at most 0.25 s for the log.
                assert!(took < Duration::from_millis(2800), "{took:?} {level} {shutdown_timeout}");
            });
        }
    }
}

#[test]
fn a_second_signal_cancels_at_once_even_if_stderr_is_full() {
    watched(|| {
        let (child, reader) = hanging(Duration::from_secs(10), &["--log-level", "error"]);
        kill(&child, Signal::TERM);
        // The same signal within 250 ms would count once.
        thread::sleep(Duration::from_millis(300));
        kill(&child, Signal::TERM);
        let (code, took, log) = end(child, reader);
        assert_eq!(code, Some(128 + 15), "{log}");
        assert!(took < Duration::from_millis(2500), "{took:?}");
    });
}
