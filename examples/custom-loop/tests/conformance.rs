//! The tests that every loop must pass.

use custom_loop::Epoll;

interloop_conformance::conformance!(Epoll);

/// Checks that the code that makes the loop a member is short.
#[test]
fn it_has_at_most_sixty_lines() {
    let code = include_str!("../src/lib.rs").lines().map(str::trim);
    let lines = code.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    assert!(lines <= 60, "{lines} lines of code");
}
