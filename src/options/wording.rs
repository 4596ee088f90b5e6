//! Clap's errors in one line.

use super::stop::Stop;

/// A problem in one line, and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The command line.
    Usage(String),
    /// Any other source.
    Config(String),
}

impl Fault {
    pub(super) fn usage(error: &clap::Error) -> Self {
        Self::Usage(one_line(error))
    }

    pub(super) fn into_text(self) -> String {
        let (Self::Usage(text) | Self::Config(text)) = self;
        text
    }

    pub(super) fn stop(self, service: &str) -> Stop {
        match self {
            Self::Usage(text) => Stop::Usage(format!("{service}: {text}; try --help")),
            Self::Config(text) => Stop::Config(format!("{service}: {text}")),
        }
    }
}

/// Returns the message with its details and its tip, without the usage.
pub(super) fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut text = text.strip_prefix("error: ").unwrap_or(&text);
    for after in ["\n\nFor more information", "\n\nUsage:"] {
        text = text.rsplit_once(after).map_or(text, |(before, _)| before);
    }
    line(text)
}

/// Joins all its lines into one.
pub(super) fn line(text: &str) -> String {
    let mut line = String::new();
    let mut in_list = false;
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        let (separator, part) = match part.strip_prefix("tip: ") {
            Some(tip) => ("; ", tip),
            None if in_list && !line.ends_with(':') && !part.starts_with('[') => (", ", part),
            None if line.is_empty() => ("", part),
            None => (" ", part),
        };
        line.push_str(separator);
        line.push_str(part);
        in_list |= line.ends_with(':');
    }
    line.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
