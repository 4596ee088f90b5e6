//! What code gives the options of one owner.

use std::fmt;

/// Values that code gives to options: of a plan, by its builder methods, and of an instance, by
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

    /// As [`with`](Self::with), in place.
    pub fn set(&mut self, option: impl Into<String>, value: impl fmt::Display) -> &mut Self {
        self.0.push((option.into(), value.to_string()));
        self
    }

    /// These, and then those of `later`.
    pub(crate) fn and(mut self, later: &Self) -> Self {
        self.0.extend_from_slice(&later.0);
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
