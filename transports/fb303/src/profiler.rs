//! The profiler of the process, which is pprof.

use std::{
    sync::{Mutex, TryLockError},
    time::Duration,
};

use interloop::Shutdown;
use pprof::{Frames, ProfilerGuardBuilder};

use crate::{CpuProfile, Refused};

/// There is only one in a process.
static IN_USE: Mutex<()> = Mutex::new(());

/// In samples a second: not a divisor of other periodic events.
const FREQUENCY: i32 = 99;

/// Blocks for this time, or until the shutdown is requested.
pub(crate) fn profile(duration: Duration, shutdown: &Shutdown) -> Result<CpuProfile, Refused> {
    let _in_use = match IN_USE.try_lock() {
        Ok(in_use) => in_use,
        // It guards nothing that could be incomplete.
        Err(TryLockError::Poisoned(in_use)) => in_use.into_inner(),
        Err(TryLockError::WouldBlock) => return Err(Refused::new("a profile is being taken already")),
    };
    let failed = |error: pprof::Error| match error {
        // The stack of a stalled loop, for instance: there is one profiler in a process.
        pprof::Error::Running => Refused::new("a profile is being taken already"),
        error => Refused::new(format!("no profile can be taken: {error}")),
    };
    let profiler = builder().build().map_err(failed)?;
    shutdown.wait_timeout(duration);
    let report = profiler.report().build_unresolved();
    // The sampling ends here: resolving the names of functions takes time, which must not be included.
    drop(profiler);
    let mut profile = CpuProfile::default();
    for (stack, count) in report.map_err(failed)?.data {
        *profile.samples.entry(folded(&stack.into())).or_default() += u64::try_from(count).unwrap_or(0);
    }
    Ok(profile)
}

fn builder() -> ProfilerGuardBuilder {
    let builder = ProfilerGuardBuilder::default().frequency(FREQUENCY);
    // A thread interrupted in one of these may hold the lock that walking its stack needs, says pprof's documentation.
    // The method exists where pprof knows the registers.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64"))]
    let builder = builder.blocklist(&["libc", "libgcc", "pthread", "vdso"]);
    builder
}

fn folded(stack: &Frames) -> String {
    let mut line = part(&stack.thread_name_or_id());
    // The interrupted frame comes first, and in each frame the function that was inlined deepest.
    for symbol in stack.frames.iter().rev().flat_map(|symbols| symbols.iter().rev()) {
        line.push(';');
        line.push_str(&part(&symbol.name()));
    }
    line
}

/// Replaces the separators of parts and lines.
fn part(name: &str) -> String {
    name.chars().map(|c| if c == ';' || c.is_control() { ':' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_place() {
        assert_eq!(part("[u8; 4]\nx"), "[u8: 4]:x");
    }
}
