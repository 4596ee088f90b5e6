//! The memory that a further loop takes.

use std::process::Command;

use crate::process::sibling;
use crate::suite::{Failure, Sample, Suite, Unit};

const THREAD: &str = "interloop: Thread";

pub(super) fn register(suite: &mut Suite) {
    suite
        .compare(
            "memory",
            32,
            "Resident memory that a further idle loop takes: of a process with 33 of them and of one with one, the \
             difference by 32.",
        )
        .unit(Unit::Bytes)
        .add_fallible("a thread that parks", |n| further("bare-thread", n))
        .add_fallible("tokio current-thread on a thread", |n| further("bare-tokio", n))
        .add_fallible("glib main loop on a thread", |n| further("bare-glib", n))
        .add_fallible(THREAD, |n| further("thread", n))
        .add_fallible("interloop: Tokio", |n| further("tokio", n))
        .add_fallible("interloop: Glib::private", |n| further("glib", n))
        .limit(THREAD, 100.0 * 1024.0);
}

fn further(kind: &str, n: u32) -> Result<Sample, Failure> {
    Ok(Sample::of_bytes((resident(kind, n + 1)? - resident(kind, 1)?) / f64::from(n)))
}

/// The resident memory of a process with so many.
fn resident(kind: &str, loops: u32) -> Result<f64, Failure> {
    let output = Command::new(sibling("idle-loops")?).arg(kind).arg(loops.to_string()).output()?;
    if !output.status.success() {
        return Err(format!("idle-loops {kind}: {}", output.status).into());
    }
    Ok(str::from_utf8(&output.stdout)?.trim().parse()?)
}
