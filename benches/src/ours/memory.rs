//! The memory that a further loop takes.

use std::process::Command;

use crate::process::sibling;
use crate::suite::{Failure, Sample, Suite, Unit};

const THREAD: &str = "interloop: Thread";
const FURTHER: u32 = 32;

pub(super) fn register(suite: &mut Suite) {
    suite
        .compare(
            "memory",
            FURTHER,
            "Resident memory (anonymous) that a further idle loop takes: of a process with 33 of them and of one with \
             one, the difference by 32.",
        )
        .unit(Unit::Bytes)
        .add_fallible("a thread that parks", |_| further("bare-thread"))
        .add_fallible("tokio current-thread on a thread", |_| further("bare-tokio"))
        .add_fallible("glib main loop on a thread", |_| further("bare-glib"))
        .add_fallible(THREAD, |_| further("thread"))
        .add_fallible("interloop: Tokio", |_| further("tokio"))
        .add_fallible("interloop: Glib::private", |_| further("glib"))
        .limit(THREAD, 100.0 * 1024.0);
}

/// However few operations are asked for: with fewer loops the noise is larger than what is measured.
fn further(kind: &str) -> Result<Sample, Failure> {
    let further = resident(kind, FURTHER + 1)? - resident(kind, 1)?;
    Ok(Sample::of_bytes(further / f64::from(FURTHER)))
}

/// The resident memory of a process with so many.
fn resident(kind: &str, loops: u32) -> Result<f64, Failure> {
    let output = Command::new(sibling("idle-loops")?).arg(kind).arg(loops.to_string()).output()?;
    if !output.status.success() {
        return Err(format!("idle-loops {kind}: {}", output.status).into());
    }
    Ok(str::from_utf8(&output.stdout)?.trim().parse()?)
}
