//! Clap's errors in one line.

use super::Stop;

/// What is wrong with the command line's words.
pub(super) fn usage(service: &str, error: &clap::Error) -> Stop {
    Stop::Usage(format!("{service}: {}; try --help", one_line(error)))
}

/// The message with its details and its tip, without the usage.
pub(super) fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut text = text.strip_prefix("error: ").unwrap_or(&text);
    for after in ["\n\nFor more information", "\n\nUsage:"] {
        text = text.rsplit_once(after).map_or(text, |(before, _)| before);
    }
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
