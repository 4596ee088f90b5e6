//! SIGCHLD. Whoever has it ignored (a parent that did, for exec keeps that) loses how its children end: the system reaps them, and a wait finds nothing.

use std::{
    fs, io,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{consts::SIGCHLD, flag};

/// Children can be waited for from now on, whoever starts them. A handler ends the ignoring; in the children it is the default again.
pub(crate) fn heed() -> io::Result<()> {
    // Without /proc nobody knows.
    if is_ignored(SIGCHLD).unwrap_or(true) {
        flag::register(SIGCHLD, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// Whether this process ignores a signal; None without /proc.
pub(crate) fn is_ignored(signal: i32) -> Option<bool> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u64::from_str_radix(ignored.trim(), 16).ok()?;
    Some(mask & (1 << (signal - 1)) != 0)
}
