//! The memory and the threads that a further loop takes.

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
        .add_fallible("interloop: Smol", |_| further("smol"))
        .add_fallible("interloop: AsyncStd", |_| further("async-std"))
        .add_fallible("interloop: Compio", |_| further("compio"))
        .add_fallible("interloop: Glib::private", |_| further("glib"))
        .add_fallible("interloop: Calloop", |_| further("calloop"))
        .add_fallible("interloop: Mio", |_| further("mio"))
        .limit(THREAD, 100.0 * 1024.0);
    let threads = suite.compare(
        "threads",
        FURTHER,
        "Threads of a process with one idle loop of a kind, the service's own among them: main, the supervisor.",
    );
    threads
        .unit(Unit::Count)
        .add_fallible(THREAD, |_| threads_of("thread"))
        .add_fallible("interloop: Tokio", |_| threads_of("tokio"))
        .add_fallible("interloop: Smol", |_| threads_of("smol"))
        .add_fallible("interloop: AsyncStd", |_| threads_of("async-std"))
        .add_fallible("interloop: Compio", |_| threads_of("compio"))
        .add_fallible("interloop: Glib::private", |_| threads_of("glib"))
        .add_fallible("interloop: Calloop", |_| threads_of("calloop"))
        .add_fallible("interloop: Mio", |_| threads_of("mio"));
}

/// Measures a fixed number of loops, however few operations are asked for: with fewer loops the noise exceeds the
/// result.
fn further(kind: &str) -> Result<Sample, Failure> {
    let further = idle(kind, FURTHER + 1)?.0 - idle(kind, 1)?.0;
    Ok(Sample::of_count(further / f64::from(FURTHER)))
}

fn threads_of(kind: &str) -> Result<Sample, Failure> {
    Ok(Sample::of_count(idle(kind, 1)?.1))
}

/// Returns the resident memory of a process with this many loops, and its number of threads.
fn idle(kind: &str, loops: u32) -> Result<(f64, f64), Failure> {
    let output = Command::new(sibling("idle-loops")?).arg(kind).arg(loops.to_string()).output()?;
    if !output.status.success() {
        return Err(format!("idle-loops {kind}: {}", output.status).into());
    }
    let words = str::from_utf8(&output.stdout)?;
    let (resident, threads) = words.trim().split_once(' ').ok_or("idle-loops says two numbers")?;
    Ok((resident.parse()?, threads.parse()?))
}
