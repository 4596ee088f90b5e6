//! The format of a record.
//!
//! Whatever a message contains, it can't pass for another record, nor control a terminal: control characters are
//! escaped, and further lines of a message are indented (human) or joined into one (classic, JSON).

use std::{borrow::Cow, fmt::Write, thread, time::SystemTime};

use clap::{ValueEnum, builder::PossibleValue};
use log::{Level, Record};

use super::Surroundings;

/// The format of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Human,
    Classic,
    Json,
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Human, Self::Classic, Self::Json]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Human => ("human", "Time, level, target and message"),
            Self::Classic => ("classic", "LEVEL:target:message"),
            Self::Json => ("json", "One object a line, with ts, level, target, message and thread"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

/// A format and its surroundings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    format: Format,
    surroundings: Surroundings,
}

/// The prefix of each further line of a multi-line message.
const INDENT: &str = "    ";

impl Style {
    pub(super) fn new(format: Format, surroundings: Surroundings) -> Self {
        Self { format, surroundings }
    }

    /// Returns the record's line or lines, without the newline at the end.
    pub(super) fn render(&self, record: &Record<'_>, message: &str) -> String {
        self.render_at(SystemTime::now(), record, message)
    }

    pub(super) fn render_at(&self, now: SystemTime, record: &Record<'_>, message: &str) -> String {
        let message = message.trim_end_matches(['\r', '\n']);
        let text = match self.format {
            Format::Human => self.human(now, record, message),
            Format::Classic => format!("{}:{}:{}", record.level(), escape(record.target()), escape(message)),
            Format::Json => json(now, record, message),
        };
        if self.surroundings != Surroundings::Journal {
            return text;
        }
        // journald takes every line for a separate entry.
        let priority = format!("<{}>", priority(record.level()));
        text.lines().map(|line| format!("{priority}{line}")).collect::<Vec<_>>().join("\n")
    }

    fn human(&self, now: SystemTime, record: &Record<'_>, message: &str) -> String {
        let mut text = String::with_capacity(message.len() + 64);
        // journald records the time itself.
        if self.surroundings != Surroundings::Journal {
            push(&mut text, format_args!("{} ", humantime::format_rfc3339_millis(now)));
        }
        let level = record.level();
        match self.surroundings {
            Surroundings::Terminal => push(&mut text, format_args!("\x1b[{}m{level:<5}\x1b[0m", colour(level))),
            Surroundings::Journal | Surroundings::Plain => push(&mut text, format_args!("{level:<5}")),
        }
        push(&mut text, format_args!(" {}: ", escape(record.target())));
        for (n, line) in message.split('\n').enumerate() {
            if n > 0 {
                push(&mut text, format_args!("\n{INDENT}"));
            }
            text.push_str(&escape(line.trim_end_matches('\r')));
        }
        text
    }
}

fn push(text: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = text.write_fmt(part);
}

/// Returns the record as JSON, written by hand for the order of its members.
fn json(now: SystemTime, record: &Record<'_>, message: &str) -> String {
    let thread = thread::current();
    let thread = thread.name().map_or_else(|| format!("{:?}", thread.id()), str::to_owned);
    let members = [
        ("ts", humantime::format_rfc3339_millis(now).to_string()),
        ("level", record.level().to_string()),
        ("target", record.target().to_owned()),
        ("message", message.to_owned()),
        ("thread", thread),
    ];
    let members = members.map(|(name, value)| format!("\"{name}\":{}", quoted(&value)));
    format!("{{{}}}", members.join(","))
}

/// Returns the text as a JSON string (RFC 8259, section 7).
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\0'..='\u{1f}' => push(&mut quoted, format_args!("\\u{:04x}", u32::from(c))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Escapes control characters, except for tabs, as one would write them in code.
fn escape(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}');
    if !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_bad(c) { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    Cow::Owned(escaped)
}

/// Returns ANSI's foreground colour.
fn colour(level: Level) -> u8 {
    match level {
        Level::Error => 31,
        Level::Warn => 33,
        Level::Info => 32,
        Level::Debug => 34,
        Level::Trace => 90,
    }
}

/// Returns syslog's severity, as in sd-daemon(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
