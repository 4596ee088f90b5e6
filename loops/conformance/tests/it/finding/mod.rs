//! The message of a check about a broken loop, and the time it took.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use interloop::task::panic_message;

/// The time within which a check must have found the fault.
const SOON: Duration = Duration::from_secs(5);

/// Runs a check; returns its message if it fails.
pub(crate) fn run(check: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(check)).map_err(panic_message)
}

/// Checks that the check fails soon, with these words.
pub(crate) fn is_found(words: &str, check: impl FnOnce() -> Result<(), String>) {
    let begun = Instant::now();
    let said = check().expect_err("the broken loop passes");
    assert!(said.contains(words), "it fails with other words: {said}");
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
}

/// Checks that only one thing is wrong with the loop: it fails less than half of these quick checks.
pub(crate) fn passes_most<N: std::fmt::Debug>(results: impl Iterator<Item = (N, Result<(), String>)>) {
    let results: Vec<_> = results.collect();
    let (checks, mut failed) = (results.len(), results);
    failed.retain(|(_, result)| result.is_err());
    assert!(failed.len() * 2 < checks, "it fails {failed:#?}");
}
