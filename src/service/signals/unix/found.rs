//! The signal and terminal state that the process inherited, read once before anything is changed.

use std::io::{self, IsTerminal};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use crate::kit::proc;

/// The dispositions of signals. Linux reports them; elsewhere all count as default.
#[derive(Debug, Default)]
pub(super) struct Found {
    ignored: u64,
    caught: u64,
}

impl Found {
    pub(super) fn look() -> Self {
        Self::told().unwrap_or_default()
    }

    /// Returns `None` if the system doesn't report them.
    fn told() -> Option<Self> {
        Self::parse(&proc::read("/proc/self/status").ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let mask = |name: &str| {
            let hex = status.lines().find_map(|line| line.strip_prefix(name))?;
            u64::from_str_radix(hex.trim(), 16).ok()
        };
        Some(Self { ignored: mask("SigIgn:")?, caught: mask("SigCgt:")? })
    }

    pub(super) fn is_ignored(&self, signal: i32) -> bool {
        self.ignored & bit(signal) != 0
    }

    pub(super) fn is_default(&self, signal: i32) -> bool {
        (self.ignored | self.caught) & bit(signal) == 0
    }
}

/// Whether this process ignores a signal; `None` if the system doesn't report it.
#[cfg(all(feature = "command", target_os = "linux"))]
pub(in crate::service) fn is_ignored(signal: i32) -> Option<bool> {
    Found::told().map(|found| found.is_ignored(signal))
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// The terminals that the process has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    stdin: bool,
    controlling: bool,
}

impl Terminal {
    pub(super) fn look() -> Self {
        Self { stdin: io::stdin().is_terminal(), controlling: has_controlling_terminal() }
    }

    /// Whether a HUP means that the terminal is gone, rather than a request to reload.
    ///
    /// A stdin that has hung up is no longer a terminal, so its earlier state counts. If stdin is something else, the
    /// controlling terminal decides: the kernel takes it from us before the HUP.
    pub(super) fn is_gone(self) -> bool {
        self.stdin || (self.controlling && !has_controlling_terminal())
    }
}

fn has_controlling_terminal() -> bool {
    proc::read("/proc/self/stat").is_ok_and(|stat| controlling_terminal(&stat).is_some_and(|tty| tty != 0))
}

/// Parses the field tty_nr of proc(5). The field before the state, the program's name in parentheses, may contain
/// anything.
fn controlling_terminal(stat: &str) -> Option<i32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(4)?.parse().ok()
}

/// This thread's mask, for some signals.
#[derive(Debug)]
pub(super) struct Mask {
    signals: SigSet,
    blocked: SigSet,
}

impl Mask {
    /// Blocks these signals.
    pub(super) fn block(signals: &[i32]) -> Self {
        let signals = signals.iter().filter_map(|&signal| Signal::try_from(signal).ok()).collect::<SigSet>();
        // This can't fail: the arguments are valid.
        let before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK).unwrap_or_else(|_| SigSet::empty());
        Self { signals, blocked: signals.iter().filter(|&signal| before.contains(signal)).collect() }
    }

    /// Unblocks these signals, even those that had been blocked before.
    pub(super) fn unblock(&self) {
        let _ = self.signals.thread_unblock();
    }

    /// Blocks the signals that had been blocked before.
    pub(super) fn restore(&self) {
        let _ = self.blocked.thread_block();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispositions_are_read_from_the_masks_of_proc() {
        let found =
            Found::parse("Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001003\nSigCgt:\t0000000000004000\n");
        let found = found.expect("both masks are there");
        assert!(found.is_ignored(1) && found.is_ignored(2) && !found.is_ignored(15));
        assert!(found.is_default(10) && !found.is_default(15) && !found.is_default(2));
        assert!(Found::parse("no masks here").is_none());
        assert!(Found::default().is_default(1));
    }

    #[test]
    fn the_controlling_terminal_is_found_behind_any_program_name() {
        assert_eq!(controlling_terminal("12 (a) b) c) S 1 12 12 34816 12 4194304 1"), Some(34816));
        assert_eq!(controlling_terminal("12 (x) S 1 12 12 0 -1 4194304 1"), Some(0));
        assert_eq!(controlling_terminal("rubbish"), None);
    }
}
