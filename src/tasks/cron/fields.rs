//! The five fields of a cron expression: their syntax, and the dates and times of day that they match. They know
//! nothing of time zones.

use std::ops::RangeInclusive;

use jiff::civil::{Date, DateTime, Time, Weekday};

/// Five parsed fields. Sets are bits: bit `n` stands for the value `n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    minutes: u64,
    hours: u64,
    months: u64,
    days: DaysOfMonth,
    weekdays: DaysOfWeek,
    /// A day must match only one of its two fields: cron's rule if neither of them begins with `*`.
    either_day: bool,
    /// Follows real time when the clocks change: its minute or hour is a wildcard.
    pub(super) is_wildcard: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct DaysOfMonth {
    days: u64,
    /// `L`
    last: bool,
    /// `15W`
    nearest_weekday: u64,
}

/// Days of the week, with Sunday as 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct DaysOfWeek {
    days: u64,
    /// `5L`
    last: u64,
    /// `5#2`: a set for each week of the month.
    nth: [u64; 5],
}

/// A field's name, its values and their names.
struct Field {
    name: &'static str,
    range: RangeInclusive<u8>,
    /// The first name stands for the first value of the range.
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", range: 0..=59, names: &[] };
const HOUR: Field = Field { name: "hour", range: 0..=23, names: &[] };
const DAY: Field = Field { name: "day of the month", range: 1..=31, names: &[] };
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const MONTH: Field = Field { name: "month", range: 1..=12, names: &MONTHS };
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// 7 is Sunday again.
const WEEKDAY: Field = Field { name: "day of the week", range: 0..=7, names: &WEEKDAYS };

impl Fields {
    pub(super) fn read(fields: [&str; 5]) -> Result<Self, String> {
        let [minute, hour, day, month, weekday] = fields;
        let (minutes, hours) = (MINUTE.read(minute)?, HOUR.read(hour)?);
        Ok(Self {
            minutes,
            hours,
            months: MONTH.read(month)?,
            days: DaysOfMonth::read(day)?,
            weekdays: DaysOfWeek::read(weekday)?,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
            is_wildcard: MINUTE.is_wildcard(minute, minutes) || HOUR.is_wildcard(hour, hours),
        })
    }

    /// Whether any day, in any year, matches.
    pub(super) fn ever(&self) -> bool {
        // Each kind of year, leap or not and beginning on any day of the week, occurs once in 28 years.
        let days = std::iter::successors(Some(Date::constant(2000, 1, 1)), |day| day.tomorrow().ok());
        days.take_while(|day| day.year() < 2028).any(|day| self.matches(day))
    }

    /// Returns the first matching time, from this on.
    pub(super) fn first(&self, from: DateTime) -> Option<DateTime> {
        let mut from = from;
        loop {
            if self.months & bit(from.month()) == 0 {
                from = from.date().last_of_month().tomorrow().ok()?.at(0, 0, 0, 0);
                continue;
            }
            if self.matches(from.date())
                && let Some(time) = self.time(from.time())
            {
                return Some(from.date().to_datetime(time));
            }
            from = from.date().tomorrow().ok()?.at(0, 0, 0, 0);
        }
    }

    /// Returns the first matching time of day, from this on.
    fn time(&self, from: Time) -> Option<Time> {
        let is_later = from.second() > 0 || from.subsec_nanosecond() > 0;
        let minute = from.minute() + i8::from(is_later);
        let in_this_hour = next_in(self.minutes, minute).filter(|_| self.hours & bit(from.hour()) != 0);
        if let Some(minute) = in_this_hour {
            return Some(Time::constant(from.hour(), minute, 0, 0));
        }
        let hour = next_in(self.hours, from.hour() + 1)?;
        Some(Time::constant(hour, next_in(self.minutes, 0)?, 0, 0))
    }

    fn matches(&self, date: Date) -> bool {
        if self.months & bit(date.month()) == 0 {
            return false;
        }
        let (day, weekday) = (self.days.matches(date), self.weekdays.matches(date));
        if self.either_day { day || weekday } else { day && weekday }
    }
}

impl DaysOfMonth {
    fn read(text: &str) -> Result<Self, String> {
        let mut days = Self::default();
        for item in text.split(',') {
            if item == "L" {
                days.last = true;
            } else if let Some(day) = item.strip_suffix('W') {
                days.nearest_weekday |= bit(DAY.value(day)?);
            } else {
                days.days |= DAY.item(item)?;
            }
        }
        Ok(days)
    }

    fn matches(&self, date: Date) -> bool {
        self.days & bit(date.day()) != 0
            || self.last && date.day() == date.days_in_month()
            || self.nearest_weekday != 0 && self.is_nearest_weekday(date)
    }

    /// Whether the date is the weekday (Monday to Friday) nearest to one of the given days, in the same month.
    fn is_nearest_weekday(&self, date: Date) -> bool {
        let last = date.days_in_month();
        (1..=last).filter(|day| self.nearest_weekday & bit(*day) != 0).any(|day| {
            let weekday = Date::constant(date.year(), date.month(), day).weekday();
            let nearest = match weekday {
                Weekday::Saturday if day == 1 => 3,
                Weekday::Saturday => day - 1,
                Weekday::Sunday if day == last => day - 2,
                Weekday::Sunday => day + 1,
                _ => day,
            };
            nearest == date.day()
        })
    }
}

impl DaysOfWeek {
    fn read(text: &str) -> Result<Self, String> {
        let mut days = Self::default();
        for item in text.split(',') {
            if let Some(day) = item.strip_suffix('L').filter(|day| !day.is_empty()) {
                days.last |= bit(WEEKDAY.value(day)? % 7);
            } else if let Some((day, week)) = item.split_once('#') {
                let week = number(week).filter(|week| (1..=5).contains(week));
                let week = week.ok_or_else(|| format!("\"{item}\" in the day of the week: 1 to 5 may follow the #"))?;
                days.nth[usize::from(week) - 1] |= bit(WEEKDAY.value(day)? % 7);
            } else {
                days.days |= WEEKDAY.item(item)?;
            }
        }
        days.days |= days.days >> 7 & 1;
        Ok(days)
    }

    fn matches(&self, date: Date) -> bool {
        let this = bit(date.weekday().to_sunday_zero_offset());
        let week = (date.day() - 1) / 7;
        let is_last = date.day() + 7 > date.days_in_month();
        self.days & this != 0
            || is_last && self.last & this != 0
            || self.nth[usize::from(week.unsigned_abs())] & this != 0
    }
}

impl Field {
    fn read(&self, text: &str) -> Result<u64, String> {
        text.split(',').try_fold(0, |all, item| Ok(all | self.item(item)?))
    }

    /// Parses one item of a list: `*`, `5`, `1-5`, each with a step or without.
    fn item(&self, item: &str) -> Result<u64, String> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let (values, step) = match item.split_once('/') {
            Some((values, step)) => (values, Some(step)),
            None => (item, None),
        };
        let (from, to) = match values.split_once('-') {
            None if values == "*" => (first, last),
            None => {
                let value = self.value(values)?;
                (value, if step.is_some() { last } else { value })
            }
            Some((from, to)) => (self.value(from)?, self.value(to)?),
        };
        if from > to {
            return Err(format!("\"{item}\" in the {}: a range must not go backwards", self.name));
        }
        let step = match step {
            None => 1,
            Some(step) => number(step)
                .filter(|step| (1..=last).contains(step))
                .ok_or_else(|| format!("\"{item}\" in the {}: a step must be a number from 1 to {last}", self.name))?,
        };
        Ok((from..=to).step_by(usize::from(step)).fold(0, |all, value| all | bit(value)))
    }

    fn value(&self, text: &str) -> Result<u8, String> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|place| u8::try_from(place).ok()).map(|place| first + place);
        named.or_else(|| number(text).filter(|value| self.range.contains(value))).ok_or_else(|| {
            let names = if self.names.is_empty() { "" } else { ", or a name's first three letters" };
            format!("\"{text}\" is no {}: it must be a number from {first} to {last}{names}", self.name)
        })
    }

    /// Whether the field means "any": by a `*`, or by all its values.
    fn is_wildcard(&self, text: &str, values: u64) -> bool {
        text.contains('*') || self.range.clone().all(|value| values & bit(value) != 0)
    }
}

/// Parses digits only: no sign.
fn number(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn bit(value: impl TryInto<u32>) -> u64 {
    value.try_into().map_or(0, |value| 1 << value)
}

/// Returns the least value of a set from this one on.
fn next_in(set: u64, from: i8) -> Option<i8> {
    let left = set >> from << from;
    (left != 0).then(|| left.trailing_zeros() as i8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Fields, String> {
        let fields: Vec<_> = text.split(' ').collect();
        Fields::read(fields.try_into().expect("five fields"))
    }

    /// Returns the first few matching days, from the start of 2024 on.
    fn days(day: &str, month: &str, weekday: &str) -> Vec<String> {
        let fields = fields(&format!("0 0 {day} {month} {weekday}")).expect("it is right");
        let first = |from: &DateTime| fields.first(*from);
        let next = |time: &DateTime| first(&time.date().tomorrow().ok()?.at(0, 0, 0, 0));
        let times = std::iter::successors(first(&Date::constant(2024, 1, 1).at(0, 0, 0, 0)), next);
        times.take(4).map(|time| time.date().to_string()).collect()
    }

    #[test]
    fn the_last_day_of_a_month_is_there_in_december_too() {
        assert_eq!(days("L", "11-12,2", "*"), ["2024-02-29", "2024-11-30", "2024-12-31", "2025-02-28"]);
        assert_eq!(days("*", "dec", "5L"), ["2024-12-27", "2025-12-26", "2026-12-25", "2027-12-31"]);
    }

    #[test]
    fn a_day_matches_one_of_its_fields_unless_one_begins_with_a_star() {
        assert_eq!(days("13", "*", "FRI"), ["2024-01-05", "2024-01-12", "2024-01-13", "2024-01-19"]);
        assert_eq!(days("*/13", "*", "fri"), ["2024-03-01", "2024-06-14", "2024-09-27", "2024-11-01"]);
        assert_eq!(days("*,10", "*", "2"), ["2024-01-02", "2024-01-09", "2024-01-16", "2024-01-23"]);
        assert_eq!(days("10,*", "*", "2"), ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"]);
    }

    #[test]
    fn sunday_has_two_numbers_and_a_name() {
        let sundays = days("*", "*", "0");
        assert_eq!(sundays, ["2024-01-07", "2024-01-14", "2024-01-21", "2024-01-28"]);
        for sunday in ["7", "Sun", "SUN", "07", "7/7", "0,7"] {
            assert_eq!(days("*", "*", sunday), sundays, "{sunday}");
        }
        assert_eq!(days("*", "*", "5-7"), ["2024-01-05", "2024-01-06", "2024-01-07", "2024-01-12"]);
        assert_eq!(days("*", "*", "7#1,0L"), ["2024-01-07", "2024-01-28", "2024-02-04", "2024-02-25"]);
    }

    #[test]
    fn the_nearest_weekday_stays_in_its_month() {
        // Saturday, 2024-06-01; Sunday, 2024-06-30.
        assert_eq!(days("1W,30W", "6", "*"), ["2024-06-03", "2024-06-28", "2025-06-02", "2025-06-30"]);
        assert_eq!(days("15W", "6", "*"), ["2024-06-14", "2025-06-16", "2026-06-15", "2027-06-15"]);
        assert_eq!(days("31W", "*", "*"), ["2024-01-31", "2024-03-29", "2024-05-31", "2024-07-31"]);
    }

    #[test]
    fn days_of_the_month_count_weeks_from_the_first() {
        assert_eq!(days("*", "*", "FRI#5"), ["2024-03-29", "2024-05-31", "2024-08-30", "2024-11-29"]);
        assert_eq!(days("*", "*", "1#1,1#3"), ["2024-01-01", "2024-01-15", "2024-02-05", "2024-02-19"]);
    }

    #[test]
    fn which_fields_go_on_by_real_time() {
        for wildcard in ["0 *", "*/15 *", "* 2", "*/15 2", "30 */2", "0,*/30 4", "0 0-23", "0-59 2"] {
            assert!(fields(&format!("{wildcard} 1 1 1")).expect("right").is_wildcard, "{wildcard}");
        }
        for fixed in ["30 2", "0,15,30,45 2", "0 0-22", "0 1/2", "0-58 2"] {
            assert!(!fields(&format!("{fixed} * * *")).expect("right").is_wildcard, "{fixed}");
        }
    }

    #[test]
    fn some_days_never_come() {
        for never in ["30 2 *", "31 2 *", "31 4,6,9,11 *", "30-31 feb *", "31W 6 *", "30 2 */2"] {
            assert!(!fields(&format!("0 0 {never}")).expect("right").ever(), "{never}");
        }
        for sometimes in ["29 2 *", "30 2 MON", "31 4,5 *", "L 2 *", "29 2 */6", "* 2 0#5", "31W 7 *"] {
            assert!(fields(&format!("0 0 {sometimes}")).expect("right").ever(), "{sometimes}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (wrong, why) in [
            ("60 * * * *", "\"60\" is no minute"),
            ("-1 * * * *", "\"\" is no minute"),
            ("+1 * * * *", "\"+1\" is no minute"),
            ("* 24 * * *", "\"24\" is no hour"),
            ("* * 0 * *", "\"0\" is no day of the month"),
            ("* * 32 * *", "\"32\" is no day of the month"),
            ("* * * 13 *", "\"13\" is no month"),
            ("* * * january *", "\"january\" is no month"),
            ("* * * * 8", "\"8\" is no day of the week"),
            ("* * * * L", "\"L\" is no day of the week"),
            ("* * * * 5#6", "1 to 5 may follow the #"),
            ("* * * * 5#", "1 to 5 may follow the #"),
            ("* * LW * *", "\"L\" is no day of the month"),
            ("* * ? * *", "\"?\" is no day of the month"),
            ("5-1 * * * *", "\"5-1\" in the minute: a range must not go backwards"),
            ("* * * * FRI-MON", "\"FRI-MON\" in the day of the week: a range must not go backwards"),
            ("*/0 * * * *", "a step must be a number from 1 to 59"),
            ("*/60 * * * *", "a step must be a number from 1 to 59"),
            ("*/ * * * *", "a step must be a number from 1 to 59"),
            ("1-2-3 * * * *", "\"2-3\" is no minute"),
            ("1,,2 * * * *", "\"\" is no minute"),
            (", * * * *", "\"\" is no minute"),
            ("*5 * * * *", "\"*5\" is no minute"),
            ("99999999999999999999 * * * *", "is no minute"),
            ("H * * * *", "\"H\" is no minute"),
        ] {
            let error = fields(wrong).expect_err(wrong);
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
