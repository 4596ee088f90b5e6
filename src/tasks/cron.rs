//! Cron expressions: times by the calendar.

mod fields;
mod option;
mod ticks;

use std::{fmt, str::FromStr, time::SystemTime};

use jiff::{
    Timestamp, ToSpan,
    civil::DateTime,
    fmt::temporal::DateTimeParser,
    tz::{Offset, TimeZone},
};

use self::fields::Fields;
pub(super) use self::{
    option::ByCron,
    ticks::{CronTicks, Now},
};

/// Times given by a cron expression in a time zone.
///
/// The expression has five fields, minute, hour, day of the month, month and day of the week, followed by the zone.
///
/// * A field is `*`, a value, a range (`1-5`), one of these with a step (`*/15`, `0-30/10`; `5/20` is `5-59/20`), or a
///   list of them. Months and days of the week have names: `JAN`, `mon`. Sunday is 0 and 7. Ranges don't wrap around.
/// * A day of the month may be `L`, the last one, or `15W`, the weekday (Monday to Friday) nearest to the 15th in the
///   same month. A day of the week may be `5L`, the last Friday of the month, or `5#2`, the second.
/// * As in cron, if neither of the two day fields begins with `*`, a day must match only one of them; otherwise both.
/// * `@hourly`, `@daily` (`@midnight`), `@weekly`, `@monthly` and `@yearly` (`@annually`) stand for five fields:
///   `@daily Europe/Berlin`.
/// * The zone is a name of the tz database, `UTC`, or an offset such as `+05:30`. There is no default.
///
/// # When the clocks change
///
/// The rules are those of cron(8). A **wildcard** has a `*` in its minute or hour field, or all values of the field, as
/// in `0 * * * *` and `*/15 * * * *`. It follows real time: it fires whenever the zone's clock shows a matching time.
/// So it fires twice in an hour that occurs twice, and never in an hour that is skipped.
///
/// All other expressions have **fixed times**, such as `30 2 * * *`, and each of these fires once on each matching day.
/// If the clocks are put forward past it, it fires right after the gap; several times in one gap fire as one. If the
/// clocks are put back, so that it occurs twice, it fires the first time. If a zone skips a whole day, nothing of that
/// day fires.
///
/// The zone's rules are read together with the expression: a process must be restarted to see newer ones.
///
/// # When the system's clock is set
///
/// See [`Periodic::cron`](super::Periodic::cron).
///
/// ```
/// use interloop::tasks::Cron;
///
/// # fn main() -> Result<(), interloop::tasks::CronError> {
/// let nightly: Cron = "30 3 * * MON-FRI Europe/Berlin".parse()?;
/// assert_eq!(nightly.to_string(), "30 3 * * MON-FRI Europe/Berlin");
/// let error = "30 3 * * *".parse::<Cron>().unwrap_err();
/// assert!(error.to_string().contains("time zone"), "{error}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cron {
    text: Box<str>,
    fields: Fields,
    zone: TimeZone,
}

impl Cron {
    /// Returns the first of its times that is later than this one; None if the calendar ends before (with the year
    /// 9999).
    pub fn after(&self, time: SystemTime) -> Option<SystemTime> {
        self.next(Timestamp::try_from(time).ok()?).map(SystemTime::from)
    }

    /// Goes through the periods in which the zone's offset is constant: within each of them plain arithmetic will do.
    fn next(&self, time: Timestamp) -> Option<Timestamp> {
        let mut offset = self.zone.to_offset(time);
        let mut from = offset.to_datetime(time).checked_add(1.nanosecond()).ok()?;
        let is_fixed = !self.fields.is_wildcard;
        if is_fixed && let Some(shown) = self.shown_before(time, offset) {
            from = from.max(shown);
        }
        let mut after = time;
        loop {
            let change = self.zone.following(after).find(|change| change.offset() != offset);
            let change = change.map(|change| (change.timestamp(), change.offset()));
            let first = self.fields.first(from);
            let Some((at, next)) = change else { return offset.to_timestamp(first?).ok() };
            let (end, begin) = (offset.to_datetime(at), next.to_datetime(at));
            if let Some(first) = first.filter(|first| *first < end) {
                return offset.to_timestamp(first).ok();
            }
            if is_fixed && self.is_skipped(end, begin) {
                return Some(at);
            }
            from = if is_fixed { begin.max(end) } else { begin };
            (after, offset) = (at, next);
        }
    }

    /// Returns the time up to which fixed times have already occurred: what the clocks showed when this period began.
    fn shown_before(&self, time: Timestamp, offset: Offset) -> Option<DateTime> {
        let changes = self.zone.preceding(time.checked_add(1.nanosecond()).ok()?);
        // There is no need to look farther back: no clock was ever put back by more than a day.
        let mut near = changes.take_while(|change| time.duration_since(change.timestamp()).as_hours() < 48);
        near.find_map(|change| {
            let before = self.zone.to_offset(change.timestamp().checked_sub(1.nanosecond()).ok()?);
            (before != offset).then(|| before.to_datetime(change.timestamp()))
        })
    }

    /// Whether one of these times, which the zone's clocks don't show, is on a day that they do show.
    fn is_skipped(&self, begin: DateTime, end: DateTime) -> bool {
        let mut from = begin;
        while let Some(time) = self.fields.first(from).filter(|time| *time < end) {
            let Ok(tomorrow) = time.date().tomorrow() else { return false };
            let (midnight, next_midnight) = (time.date().at(0, 0, 0, 0), tomorrow.at(0, 0, 0, 0));
            if midnight < begin || end < next_midnight {
                return true;
            }
            from = next_midnight;
        }
        false
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let words: Vec<_> = text.split_ascii_whitespace().collect();
        let error = |why| CronError { text: shown(&words.join(" ")).into(), why };
        let (fields, zone) = match words[..] {
            [minute, hour, day, month, weekday, zone] => ([minute, hour, day, month, weekday], zone),
            [name, zone] if name.starts_with('@') => (named(name).ok_or_else(|| error(Why::Name))?, zone),
            [_, _, _, _, _] => return Err(error(Why::NoZone)),
            [name] if name.starts_with('@') => return Err(error(Why::NoZone)),
            _ => return Err(error(Why::Count(words.len()))),
        };
        let fields = Fields::read(fields).map_err(|why| error(Why::Field(shown(&why))))?;
        let zone = zone_of(zone).map_err(error)?;
        if !fields.ever() {
            return Err(error(Why::Never));
        }
        Ok(Self { text: text.into(), fields, zone })
    }
}

/// Returns the text in a form that fits into one line.
fn shown(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

fn named(name: &str) -> Option<[&'static str; 5]> {
    Some(match name {
        "@hourly" => ["0", "*", "*", "*", "*"],
        "@daily" | "@midnight" => ["0", "0", "*", "*", "*"],
        "@weekly" => ["0", "0", "*", "*", "0"],
        "@monthly" => ["0", "0", "1", "*", "*"],
        "@yearly" | "@annually" => ["0", "0", "1", "1", "*"],
        _ => return None,
    })
}

fn zone_of(name: &str) -> Result<TimeZone, Why> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    // These zones need no database.
    if ["UTC", "Etc/UTC", "GMT", "Etc/GMT", "Z", "Zulu"].iter().any(|utc| utc.eq_ignore_ascii_case(name)) {
        return Ok(TimeZone::UTC);
    }
    match PARSER.parse_time_zone(name) {
        Ok(zone) if !zone.is_unknown() => Ok(zone),
        _ if jiff::tz::db().is_definitively_empty() => Err(Why::NoDatabase(shown(name))),
        _ => Err(Why::UnknownZone(shown(name))),
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cron").field(&self.text).finish()
    }
}

/// The error for a text that is no valid [`Cron`] expression, or for one that can't work.
///
/// An expression can't work if its day never comes, or if its time zone needs a tz database and there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronError {
    text: Box<str>,
    why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    Count(usize),
    Name,
    NoZone,
    /// A description in whole words.
    Field(String),
    UnknownZone(String),
    NoDatabase(String),
    Never,
}

impl CronError {
    /// Whether the expression is written correctly.
    pub(super) fn is_well_formed(&self) -> bool {
        matches!(self.why, Why::NoDatabase(_) | Why::Never)
    }
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, why } = self;
        if !self.is_well_formed() {
            write!(f, "no cron expression such as \"0 3 * * * Europe/Berlin\": ")?;
        }
        write!(f, "\"{text}\": ")?;
        match why {
            Why::Count(0) => f.write_str("it is empty"),
            Why::Count(count) => write!(
                f,
                "it has {count} fields, and needs six: minute, hour, day of the month, month, day of the week, time zone"
            ),
            Why::Name => f.write_str("only @hourly, @daily, @weekly, @monthly and @yearly stand for fields"),
            Why::NoZone => f.write_str("the time zone is missing at its end, such as UTC or Europe/Berlin"),
            Why::Field(why) => f.write_str(why),
            Why::UnknownZone(name) => write!(f, "the tz database has no time zone \"{name}\""),
            Why::NoDatabase(name) => write!(
                f,
                "the time zone \"{name}\" needs the tz database, and there is none: install it (the package tzdata), or set TZDIR to \
                 where it is; UTC works without"
            ),
            Why::Never => f.write_str("there is no such day in any year, so it would never run"),
        }
    }
}

impl std::error::Error for CronError {}
