//! What a check says of a broken loop, and how soon.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use interloop::task::panic_message;

/// Within which a check has found what is wrong.
const SOON: Duration = Duration::from_secs(5);

/// Runs a check; what it says if it fails.
pub(crate) fn run(check: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(check)).map_err(panic_message)
}

/// The check fails soon, with these words.
pub(crate) fn is_found(words: &str, check: impl FnOnce() -> Result<(), String>) {
    let begun = Instant::now();
    let said = check().expect_err("the broken loop passes");
    assert!(said.contains(words), "it fails with other words: {said}");
    assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
}

/// It is one thing that is wrong with the loop: of these quick checks it fails less than half.
pub(crate) fn passes_most<N: std::fmt::Debug>(results: impl Iterator<Item = (N, Result<(), String>)>) {
    let results: Vec<_> = results.collect();
    let (checks, mut failed) = (results.len(), results);
    failed.retain(|(_, result)| result.is_err());
    assert!(failed.len() * 2 < checks, "it fails {failed:#?}");
}
