//! Runs a test in a process of its own: for tests of process-wide things, such as threads, descriptors and children,
//! the logger and the panic hook, or glib's default context.
//!
//! cargo-nextest gives each test a process, so there the test simply runs. `cargo test` runs the tests of a binary as
//! threads of one process, so the binary is started once more, for this test alone.

use std::{
    any::type_name,
    env,
    process::{Command, Stdio},
    thread,
};

/// Set in the process that was started for one test.
const WITHIN: &str = "INTERLOOP_OWN_PROCESS";

/// Runs the test where no other test runs.
///
/// The test's name is taken from the type of the closure, so the closure must be written in the test function itself.
///
/// # Panics
///
/// Panics as the test does. If it ran in a process of its own, the message contains its output.
pub fn own_process<F: FnOnce()>(test: F) {
    own_process_of(type_name::<F>(), test);
}

/// Does the same for helpers that wrap the test's closure: `closure` is the name of its type.
///
/// # Panics
///
/// Panics as [`own_process`] does.
pub fn own_process_of(closure: &str, test: impl FnOnce()) {
    if is_own_process() {
        return test();
    }
    run_in_own_process(closure);
}

/// Apart from [`own_process_of`], which is compiled for each test.
fn run_in_own_process(closure: &str) {
    let name = test_name(closure);
    let program = env::current_exe().expect("a test knows its own binary");
    let child = Command::new(program)
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(WITHIN, "1")
        .stdin(Stdio::null())
        .output()
        .expect("the test's binary starts once more");
    let out = String::from_utf8_lossy(&child.stdout);
    // A name that libtest doesn't know runs nothing, and succeeds.
    let ran = out.contains("test result: ok. 1 passed");
    assert!(
        child.status.success() && ran,
        "{name}, in a process of its own, ended with {}:\n{out}{}",
        child.status,
        String::from_utf8_lossy(&child.stderr)
    );
}

/// Does the same for generic functions that a macro makes tests of: called on the test's own thread, to which libtest
/// gives the test's name.
///
/// With `--test-threads=1` there is no such thread, and nothing runs beside the test, so it runs in place.
///
/// # Panics
///
/// Panics as [`own_process`] does.
pub fn own_process_of_thread(test: impl FnOnce()) {
    match thread::current().name() {
        Some(name) if name != "main" => own_process_of(&format!("it::{name}"), test),
        _ => test(),
    }
}

/// Returns whether this test has its process to itself: under nextest, or within [`own_process`].
pub fn is_own_process() -> bool {
    let nextest = env::var("NEXTEST_EXECUTION_MODE").is_ok_and(|mode| mode == "process-per-test");
    nextest || env::var_os(WITHIN).is_some()
}

/// Returns the test's name from the type of its closure: `it::stop::a_test::{{closure}}` is in `stop::a_test`.
fn test_name(closure: &str) -> String {
    let path = closure.split("::").skip(1);
    path.take_while(|part| !part.starts_with("{{")).collect::<Vec<_>>().join("::")
}
