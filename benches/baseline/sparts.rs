//! sparts' QueueTask, by a Python program, if there is a Python that has sparts 0.7.3.

use std::process::Command;
use std::time::Duration;

use crate::suite::{Failure, Sample};

/// The home of sparts.
pub const LINK: &str = "https://pypi.org/project/sparts/0.7.3/";
/// The remark for runs in which it takes part.
pub const SLOW: &str = "sparts' QueueTask does a twentieth of them.";
/// The remark for runs in which it is missing.
pub const MISSING: &str =
    "sparts' QueueTask is left out: no Python with sparts 0.7.3 was found, neither SPARTS_PYTHON nor python3.";

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline/sparts_queue.py");

/// Returns `SPARTS_PYTHON`, or `python3`, if it has sparts.
pub fn python() -> Option<String> {
    has("from sparts.tasks.queue import QueueTask").then(python_name)
}

/// Returns `SPARTS_PYTHON`, or `python3`, whether or not it has sparts.
pub fn python_name() -> String {
    std::env::var("SPARTS_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// Whether the Python runs that line.
pub fn has(line: &str) -> bool {
    Command::new(python_name()).args(["-c", line]).output().is_ok_and(|output| output.status.success())
}

/// Runs the same as [`queue`](super::queue), in the mode `results` or `posts`, with a twentieth of the items, since it
/// is slow.
pub fn queue(python: &str, mode: &str, workers: usize, n: u32) -> Result<Sample, Failure> {
    let n = (n / 20).max(10);
    let output = Command::new(python).args([PROGRAM, mode, &workers.to_string(), &n.to_string()]).output()?;
    if !output.status.success() {
        return Err(format!("{python}: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    let seconds: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(Sample::of(n, Duration::try_from_secs_f64(seconds)?))
}
