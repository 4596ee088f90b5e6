//! Options that are needed before options are parsed: what they ask for has to come before anything else.

use std::ffi::OsString;

use super::builder::Service;
use crate::options::variable;

/// Returns the value of this option by the command line, the environment or code. Only the service parses all its
/// options, and reports what is wrong with them.
pub(super) fn value_of(service: &Service, option: &str) -> Option<OsString> {
    let words = service.arguments.iter().cloned();
    let (typed, set) = if cfg!(feature = "cli") {
        let variable = variable(&service.about.name, option);
        (last_value(option, words.chain(std::env::args_os().skip(1))), std::env::var_os(variable))
    } else {
        (last_value(option, words), None)
    };
    let in_code = || service.defaults.iter().rfind(|(name, _)| name == option).map(|(_, value)| value.into());
    typed.or(set).or_else(in_code)
}

fn last_value(option: &str, words: impl Iterator<Item = OsString>) -> Option<OsString> {
    let flag = format!("--{option}");
    let mut words = words.take_while(|word| word != "--");
    let mut last = None;
    while let Some(word) = words.next() {
        let Some(rest) = word.as_encoded_bytes().strip_prefix(flag.as_bytes()) else { continue };
        if rest.is_empty() {
            last = words.next();
        } else if let Some(value) = rest.strip_prefix(b"=") {
            last = Some(String::from_utf8_lossy(value).into_owned().into());
        }
    }
    last
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_an_option_counts() {
        let last = |words: &[&str]| last_value("init", words.iter().map(OsString::from));
        assert_eq!(last(&["--log-level", "info"]), None);
        assert_eq!(last(&["--init", "no"]), Some("no".into()));
        assert_eq!(last(&["--init=no", "--init", "auto"]), Some("auto".into()));
        assert_eq!(last(&["--", "--init", "no"]), None);
        assert_eq!(last(&["--init"]), None);
        assert_eq!(last(&["--initial", "no"]), None);
    }
}
