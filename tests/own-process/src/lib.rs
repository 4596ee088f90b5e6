//! A test in a process of its own: for tests of what the whole process has, such as its threads, descriptors and
//! children, its logger and its panic hook, or glib's default context.
//!
//! cargo-nextest gives each test a process, so there it simply runs. Under `cargo test`, which runs the tests of a
//! binary as threads of one process, the binary is started once more, for this test alone.

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
/// As the test does. Where it ran in a process of its own, with all that it printed there.
pub fn own_process<F: FnOnce()>(test: F) {
    own_process_of(type_name::<F>(), test);
}

/// The same for helpers that wrap the test's closure: `closure` is the name of its type.
///
/// # Panics
///
/// As [`own_process`].
pub fn own_process_of(closure: &str, test: impl FnOnce()) {
    if is_own_process() {
        return test();
    }
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

/// The same for generic functions that a macro makes tests of: called on the test's own thread, which libtest gives the
/// test's name.
///
/// With `--test-threads=1` there is no such thread, and nothing that runs beside the test: it runs where it is.
///
/// # Panics
///
/// As [`own_process`].
pub fn own_process_of_thread(test: impl FnOnce()) {
    match thread::current().name() {
        Some(name) if name != "main" => own_process_of(&format!("it::{name}"), test),
        _ => test(),
    }
}

/// Whether this test has its process to itself: under nextest, or within [`own_process`].
pub fn is_own_process() -> bool {
    let nextest = env::var("NEXTEST_EXECUTION_MODE").is_ok_and(|mode| mode == "process-per-test");
    nextest || env::var_os(WITHIN).is_some()
}

/// `it::stop::a_test::{{closure}}`, the type of a closure, is in `stop::a_test`.
fn test_name(closure: &str) -> String {
    let path = closure.split("::").skip(1);
    path.take_while(|part| !part.starts_with("{{")).collect::<Vec<_>>().join("::")
}
