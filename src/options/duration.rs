//! Durations as people write them.

use std::time::Duration;

/// Parses a duration: `250ms`, `1.5s`, `2min 30s`, or a bare number of seconds.
///
/// Use it as a value parser for your own options:
///
/// ```
/// #[derive(clap::Args)]
/// struct Options {
///     /// How long to wait for an answer
///     #[arg(long, default_value = "5s", value_parser = interloop::options::duration)]
///     patience: std::time::Duration,
/// }
/// ```
///
/// # Errors
///
/// Returns a message for the person who typed the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let is_number = text.chars().all(|c| c.is_ascii_digit() || c == '.') && text.contains(|c: char| c.is_ascii_digit());
    let read = if is_number {
        let seconds = text.parse::<f64>().map_err(|error| error.to_string());
        seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string()))
    } else {
        humantime::parse_duration(text).map_err(|error| error.to_string())
    };
    read.map_err(|why| format!("expected a duration such as 250ms, 1.5s or 2min: {why}"))
}
