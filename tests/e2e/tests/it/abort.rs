//! A process that is built with `panic = "abort"`.

use std::{
    env,
    io::{self, Read},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use interloop_e2e::{Signal, watched};

/// Builds the package interloop-abort in this way, in a folder of its own beside the other builds.
fn built() -> PathBuf {
    let own = env::current_exe().expect("it runs");
    let target = own.ancestors().nth(3).expect("it is in target/debug/deps").join("abort");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--package", "interloop-abort", "--target-dir"])
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .envs([("CARGO_PROFILE_DEV_PANIC", "abort"), ("CARGO_PROFILE_DEV_DEBUG", "0")])
        .status()
        .expect("cargo is there");
    assert!(status.success(), "{status}");
    target.join("debug/interloop-abort")
}

#[test]
fn a_panic_that_aborts_the_process_is_logged_with_all_that_was_logged_before() {
    let program = built();
    watched(|| {
        let (mut reader, writer) = io::pipe().expect("there is one");
        let mut child = Command::new(program)
            .stdin(Stdio::null())
            .stderr(writer)
            .env_remove("RUST_BACKTRACE")
            .spawn()
            .expect("it was built");
        // While nobody reads, the log can't be written; a process that didn't wait for it would be gone by then.
        while rustix::io::ioctl_fionread(&reader).expect("it is a pipe") < 32 << 10 {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(100));
        let begun = Instant::now();
        let mut log = String::new();
        reader.read_to_string(&mut log).expect("text");
        let status = child.wait().expect("it is a child");
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let lines = log.lines().filter_map(|line| line.split_once(" barn.barn: line "));
        let numbers = lines.map(|(_, rest)| rest.split(' ').next().unwrap_or_default().to_owned());
        assert!(numbers.eq((0..3000).map(|number| number.to_string())), "{log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(
            last.contains("task barn on loop barn panicked at ") && last.ends_with(": the barn is on fire"),
            "{last}"
        );
    });
}

#[test]
fn nobody_waits_longer_than_half_a_second_for_a_log_that_nobody_reads() {
    let program = built();
    watched(|| {
        let (reader, writer) = io::pipe().expect("there is one");
        let begun = Instant::now();
        let mut child = Command::new(program).stdin(Stdio::null()).stderr(writer).spawn().expect("it was built");
        let status = child.wait().expect("it is a child");
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        drop(reader);
    });
}
