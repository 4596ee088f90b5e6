//! Values that must not be shown.

use std::fmt;

use super::wording;

/// The text that is shown instead of a secret.
pub(super) const MASK: &str = "***";

/// A value that is never shown: not in the list of options, the help, a dry run or an error, nor by `Debug`.
///
/// To hide an option, use it as the option's type:
///
/// ```
/// #[derive(clap::Args)]
/// struct Options {
///     /// What others must know
///     #[arg(long)]
///     token: Option<interloop::options::Secret>,
/// }
/// ```
///
/// Other users of the machine can see the command line; `{VARIABLE}_FILE` and systemd's credentials are safer.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns the value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({MASK})")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Removes these values from a message: as they are, as `Debug` writes them, and as a one-line message has them.
pub(super) fn redacted(message: String, values: impl Iterator<Item = String>) -> String {
    let forms = |value: String| [value.escape_debug().to_string(), wording::line(&value), value];
    let mut forms: Vec<String> = values.flat_map(forms).filter(|form| !form.is_empty()).collect();
    // One may be part of another.
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.iter().fold(message, |message, form| message.replace(form, MASK))
}
