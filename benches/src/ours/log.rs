//! The cost of a log line for the threads that log.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::sibling;
use crate::suite::{Bound, Failure, Sample, Suite};

const FERN: &str = "one thread: fern, a write a line";
const FERN_8: &str = "eight threads: fern, a write a line";
const OURS: &str = "interloop: one thread";
const OURS_8: &str = "interloop: eight threads";
/// The pause between two lines, in microseconds.
const PAUSE: &str = "200";

pub(super) fn register(suite: &mut Suite) {
    suite
        .compare(
            "log",
            200_000,
            "A line of the log, to a file, in CPU time of the threads that log, by one and by eight at once.",
        )
        .add_fallible(FERN, |n| measure(n, |file| fern("1", n, "0", file)))
        .add_fallible(FERN_8, |n| measure(n, |file| fern("8", n, "0", file)))
        .add_fallible(OURS, |n| measure(n, |file| ours("1", n, None, file)))
        .add_fallible(OURS_8, |n| measure(n, |file| ours("8", n, None, file)))
        .claim(OURS, FERN, Bound::CostAtMost(1.0))
        .claim(OURS_8, FERN_8, Bound::CostAtMost(1.0));
    suite
        .compare("log-apart", 2_000, "The same, by one thread that rests for 200 us behind each line: the thread that writes looks by itself once a millisecond.")
        .add_fallible(FERN, |n| measure(n, |file| fern("1", n, PAUSE, file)))
        .add_fallible(OURS, |n| measure(n, |file| ours("1", n, Some(PAUSE), file)));
}

fn fern(threads: &str, n: u32, pause: &str, file: &str) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("fern-lines")?);
    command.args([threads, &n.to_string(), pause, file]);
    Ok(command)
}

fn ours(threads: &str, n: u32, pause: Option<&str>, file: &str) -> Result<Command, Failure> {
    let mut command = Command::new(sibling("lines-on")?);
    command.args(["--lines-threads", threads, "--lines-count", &n.to_string(), "--log-file", file]);
    if let Some(pause) = pause {
        command.args(["--lines-pause", pause]);
    }
    Ok(command)
}

fn measure(n: u32, command: impl Fn(&str) -> Result<Command, Failure>) -> Result<Sample, Failure> {
    let file = std::env::temp_dir().join(format!("interloop-benches-{}.log", std::process::id()));
    let begun = Instant::now();
    let output = command(file.to_str().ok_or("the folder for temporary files has no name in UTF-8")?)?.output();
    let elapsed = begun.elapsed();
    let removed = std::fs::remove_file(&file);
    let output = output?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    removed?;
    Ok(Sample::of_cpu(n, Duration::from_nanos(String::from_utf8(output.stdout)?.trim().parse()?), elapsed))
}
