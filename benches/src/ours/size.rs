//! How large a program is: the stripped bytes of a release build, and the crates that it is made of.
//!
//! Each program is built alone, in a folder of its own: beside others cargo gives it the features that they ask for.

use std::collections::BTreeSet;
use std::env::var_os;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::baseline::BARE_AXUM;
use crate::suite::{Failure, Sample, Suite, Unit};

/// What is built: the row, its package, whether with link-time optimization.
const PROGRAMS: [(&str, &str, bool); 6] = [
    (BARE_AXUM, "size-bare-axum", false),
    ("interloop: hello, Tokio", "hello", false),
    ("interloop: hello, Tokio, without default features", "size-hello-slim", false),
    ("bare axum, tokio current-thread; LTO", "size-bare-axum", true),
    ("interloop: hello, Tokio; LTO", "hello", true),
    ("interloop: hello, Tokio, without default features; LTO", "size-hello-slim", true),
];

/// Opens the comparisons. Apart from the others, since they build: minutes, the first time.
pub fn register(suite: &mut Suite) {
    let size =
        suite.compare("size", 10, "The stripped program, built for release alone; with fat LTO as the name says.");
    size.unit(Unit::Bytes);
    for (name, package, lto) in PROGRAMS {
        size.add_fallible(name, move |_| Ok(Sample::of_count(stripped(package, lto)? as f64)));
    }
    let crates = suite.compare("size-crates", 10, "Crates that the program is built from, itself among them.");
    crates.unit(Unit::Count);
    for (name, package, _) in PROGRAMS.into_iter().filter(|(.., lto)| !lto) {
        crates.add_fallible(name, move |_| Ok(Sample::of_count(crates_of(package)? as f64)));
    }
}

fn cargo() -> Command {
    let mut cargo = Command::new(var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    cargo
}

/// Where such programs are built: beside the runner's own.
fn folder() -> Result<PathBuf, Failure> {
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).ok_or("the runner is in no target folder")?;
    Ok(target.join("size"))
}

fn stripped(package: &str, lto: bool) -> Result<u64, Failure> {
    let profile = if lto { "fat" } else { "plain" };
    let folder = folder()?.join(profile);
    let lto = if lto { "\"fat\"" } else { "false" };
    let mut build = cargo();
    build.args(["build", "--quiet", "--release", "--package", package, "--bin", package, "--target-dir"]).arg(&folder);
    build.args(["--config", "profile.release.strip=true", "--config", &format!("profile.release.lto={lto}")]);
    let status = build.status()?;
    if !status.success() {
        return Err(format!("cargo build of {package}: {status}").into());
    }
    length(&folder.join("release").join(package))
}

fn length(program: &Path) -> Result<u64, Failure> {
    Ok(fs::metadata(program).map_err(|error| format!("{}: {error}", program.display()))?.len())
}

fn crates_of(package: &str) -> Result<usize, Failure> {
    let output = cargo().args(["tree", "--edges", "normal", "--prefix", "none", "--package", package]).output()?;
    if !output.status.success() {
        return Err(format!("cargo tree of {package}: {}", output.status).into());
    }
    Ok(distinct(str::from_utf8(&output.stdout)?))
}

/// A crate that several others need is listed by each of them, as a rule with `(*)` behind it.
fn distinct(tree: &str) -> usize {
    tree.lines().map(|line| line.trim_end_matches(" (*)")).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::distinct;

    #[test]
    fn a_crate_counts_once() {
        let tree = "hello v0.1.0 (/x)\naxum v0.8.9\nbytes v1.12.2\nhttp v1.5.0\nbytes v1.12.2\naxum v0.8.9 (*)\n";
        assert_eq!(distinct(tree), 4);
    }

    #[test]
    fn programs_are_of_this_workspace() {
        for (_, package, _) in super::PROGRAMS {
            assert!(super::crates_of(package).expect("cargo knows it") > 20, "{package}");
        }
    }
}
