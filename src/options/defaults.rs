//! Values that code sets for the options of one owner.

use std::{fmt, time::Duration};

/// A longer duration means forever, and no text can express it.
const LONGEST: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

/// Option values set in code: by the builder methods of a task or of a loop's plan, or for an instance by
/// [`set`](crate::service::LoopSettings::set).
///
/// They are the weakest layer: the command line, the environment and a file override them. `--help` shows them as
/// defaults, and `--dry-run` names code as their origin. If the option rejects a value, that is reported before
/// anything starts.
///
/// # Examples
///
/// A plan with one single-line builder method:
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
    /// Returns an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value for one option, named as on the command line without the prefix: `worker-threads`.
    ///
    /// The value is the text that one would type. For repeated values of one option the last one counts, unless the
    /// option may be given several times: then it collects them.
    #[must_use]
    pub fn with(mut self, option: impl Into<String>, value: impl fmt::Display) -> Self {
        self.set(option, value);
        self
    }

    /// Adds a value as [`with`](Self::with) does, if there is one.
    #[must_use]
    pub fn with_some(self, option: impl Into<String>, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(option, value),
            None => self,
        }
    }

    /// Adds a duration as [`with`](Self::with) does, if there is one, in the format that
    /// [`duration`](crate::options::duration) reads.
    ///
    /// A duration of more than a thousand years is omitted.
    #[must_use]
    pub fn with_duration(self, option: impl Into<String>, time: Option<Duration>) -> Self {
        let time = time.filter(|time| *time <= LONGEST);
        self.with_some(option, time.map(humantime::format_duration))
    }

    /// Removes the values of this option.
    #[must_use]
    pub fn without(mut self, option: &str) -> Self {
        self.0.retain(|(set, _)| set != option);
        self
    }

    /// Appends the values of `later`.
    #[must_use]
    pub fn and(mut self, later: Self) -> Self {
        self.0.extend(later.0);
        self
    }

    /// Adds a value as [`with`](Self::with) does, in place.
    pub fn set(&mut self, option: impl Into<String>, value: impl fmt::Display) -> &mut Self {
        self.0.push((option.into(), value.to_string()));
        self
    }

    pub(crate) fn into_entries(self) -> Vec<(String, String)> {
        self.0
    }
}

impl fmt::Debug for OptionDefaults {
    /// Writes only the options' names: the values may be secrets.
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
