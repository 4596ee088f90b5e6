//! What code gives the options of one owner.

use std::{fmt, time::Duration};

/// A duration that is longer than this is meant as for ever, and no text can tell it.
const LONGEST: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

/// Values that code gives to options: of a task or of a loop's plan, by their builder methods, or of an instance, by
/// [`set`](crate::service::LoopSettings::set).
///
/// They are the weakest layer: the command line, the environment and a file go before. `--help` shows them as
/// defaults, `--dry-run` names the code as where they come from, and one that the option does not take is told
/// before anything starts.
///
/// # Examples
///
/// A plan with one builder method, of one line:
///
/// ```
/// use interloop::options::OptionDefaults;
///
/// #[derive(Clone, Debug, Default)]
/// struct Wheel {
///     defaults: OptionDefaults,
/// }
///
/// impl Wheel {
///     /// Turns so many times a second: `--wheel-rate`.
///     #[must_use]
///     fn rate(self, rate: u32) -> Self {
///         Self { defaults: self.defaults.with("rate", rate) }
///     }
/// }
///
/// // And, in its `impl EventLoop`: fn defaults(&self) -> OptionDefaults { self.defaults.clone() }
/// assert_eq!(format!("{:?}", Wheel::default().rate(60)), r#"Wheel { defaults: {"rate"} }"#);
/// ```
///
/// A [task](crate::Task::defaults) that keeps its values itself:
///
/// ```
/// # use std::time::Duration;
/// use interloop::options::OptionDefaults;
///
/// let (port, timeout) = (Some(8020), None::<Duration>);
/// let defaults = OptionDefaults::new().with("host", "::1").with_some("port", port).with_duration("idle-timeout", timeout);
/// # drop(defaults);
/// ```
#[derive(Clone, Default)]
pub struct OptionDefaults(Vec<(String, String)>);

impl OptionDefaults {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this value for one option, named as on the command line without the prefix: `worker-threads`. The value is
    /// what one would type. Of two for the same option the later one counts; an option that may be given several times
    /// collects them.
    #[must_use]
    pub fn with(mut self, option: impl Into<String>, value: impl fmt::Display) -> Self {
        self.set(option, value);
        self
    }

    /// As [`with`](Self::with), if there is a value.
    #[must_use]
    pub fn with_some(self, option: impl Into<String>, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(option, value),
            None => self,
        }
    }

    /// As [`with`](Self::with), if there is a duration; it is written as [`duration`](crate::options::duration) reads
    /// it. One of more than a thousand years is left out.
    #[must_use]
    pub fn with_duration(self, option: impl Into<String>, time: Option<Duration>) -> Self {
        let time = time.filter(|time| *time <= LONGEST);
        self.with_some(option, time.map(humantime::format_duration))
    }

    /// Without those of this option.
    #[must_use]
    pub fn without(mut self, option: &str) -> Self {
        self.0.retain(|(set, _)| set != option);
        self
    }

    /// These, and then those of `later`.
    #[must_use]
    pub fn and(mut self, later: Self) -> Self {
        self.0.extend(later.0);
        self
    }

    /// As [`with`](Self::with), in place.
    pub fn set(&mut self, option: impl Into<String>, value: impl fmt::Display) -> &mut Self {
        self.0.push((option.into(), value.to_string()));
        self
    }

    pub(crate) fn into_entries(self) -> Vec<(String, String)> {
        self.0
    }
}

impl fmt::Debug for OptionDefaults {
    /// The options' names: the values may be secrets.
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
            let OptionDefaults(set) = OptionDefaults::new().with_duration("time", Some(time));
            assert_eq!(crate::options::duration(&set[0].1), Ok(time), "{set:?}");
        }
        assert!(OptionDefaults::new().with_duration("time", Some(Duration::MAX)).0.is_empty());
        assert!(OptionDefaults::new().with_duration("time", None).0.is_empty());
    }
}
