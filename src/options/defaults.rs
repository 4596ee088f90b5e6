//! What code has set of a task's options.

use std::{fmt, time::Duration};

/// A duration that is longer than this is meant as for ever, and no text can tell it.
const LONGEST: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

/// Values of a task's options that its code has set: see [`Task::defaults`](crate::Task::defaults).
///
/// ```
/// # use std::time::Duration;
/// use interloop::Defaults;
///
/// let (port, timeout) = (Some(8020), None::<Duration>);
/// let defaults = Defaults::new().set("host", "::1").set_some("port", port).set_duration("idle-timeout", timeout);
/// # drop(defaults);
/// ```
#[derive(Clone, Default)]
pub struct Defaults(pub(crate) Vec<(String, String)>);

impl Defaults {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value, as one would type it, of the option with this long name, without the task's name. Of an option
    /// that may be given several times each adds one; of the others the last one counts.
    #[must_use]
    pub fn set(mut self, option: impl Into<String>, value: impl fmt::Display) -> Self {
        self.0.push((option.into(), value.to_string()));
        self
    }

    /// Adds a value, if there is one.
    #[must_use]
    pub fn set_some(self, option: impl Into<String>, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.set(option, value),
            None => self,
        }
    }

    /// Adds a duration, if there is one, as [`duration`](crate::options::duration) reads it.
    #[must_use]
    pub fn set_duration(self, option: impl Into<String>, time: Option<Duration>) -> Self {
        let time = time.filter(|time| *time <= LONGEST);
        self.set_some(option, time.map(humantime::format_duration))
    }

    /// Takes those of this option away.
    #[must_use]
    pub fn without(mut self, option: &str) -> Self {
        self.0.retain(|(set, _)| set != option);
        self
    }

    /// Adds these too.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }
}

/// The values may be secrets.
impl fmt::Debug for Defaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(option, _)| option)).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_told_as_it_is_read() {
        for time in [0, 1, 999, 1_000_000, 1_500_000_000, 60_000_000_000, 3_661_000_000_000].map(Duration::from_nanos) {
            let Defaults(set) = Defaults::new().set_duration("time", Some(time));
            assert_eq!(crate::options::duration(&set[0].1), Ok(time), "{set:?}");
        }
        assert!(Defaults::new().set_duration("time", Some(Duration::MAX)).0.is_empty());
        assert!(Defaults::new().set_duration("time", None).0.is_empty());
    }
}
