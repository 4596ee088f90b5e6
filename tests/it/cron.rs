//! Times by cron expressions: clock changes in 20 time zones, a system clock that is set, and invalid input.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use interloop::{
    Service, Thread,
    tasks::{Cron, FirstRun, MissedTicks, Periodic},
    testing::{self, RunningTest, TestService},
};

use crate::util::watched;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Moments of 2024, in UTC.
const MARCH_30: u64 = 1_711_756_800;
const OCTOBER_26: u64 = 1_729_900_800;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn cron(expression: &str) -> Cron {
    expression.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// Returns its times after one moment, up to another, in seconds.
fn times(expression: &str, after: u64, until: u64) -> Vec<u64> {
    let cron = cron(expression);
    let times = std::iter::successors(cron.after(at(after)), |time| cron.after(*time));
    let seconds = times.map(|time| time.duration_since(UNIX_EPOCH).expect("not before 1970").as_secs());
    seconds.take_while(|time| *time <= until).collect()
}

// --- Changes of the clock ---

/// The results of `scripts/cron_zones.py`, which computes them in another way.
const ZONES: &str = include_str!("cron_zones.txt");

#[test]
fn both_changes_of_the_clock_are_right_in_twenty_time_zones() {
    let mut zones = Vec::new();
    for line in ZONES.lines() {
        let fields: Vec<_> = line.split(';').collect();
        let [zone, first, last, expression, runs] = fields[..] else { panic!("{line}") };
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let runs = runs.split(' ').filter(|run| !run.is_empty()).flat_map(|run| {
            let (start, more) = run.split_once('+').expect("a series");
            let (step, count) = more.split_once('*').expect("a series");
            (0..=number(count)).map(move |index| 60 * (number(start) + number(step) * index))
        });
        let found = times(&format!("{expression} {zone}"), 60 * number(first) - 1, 60 * number(last));
        assert_eq!(found, runs.collect::<Vec<_>>(), "{zone}, {expression}");
        zones.push(zone);
    }
    zones.dedup();
    assert_eq!(zones.len(), 20);
}

#[test]
fn from_any_second_on_the_next_time_is_the_same() {
    for expression in ["30 2 * * * Europe/Berlin", "*/20 * * * * Europe/Berlin", "0 0 * * SAT,SUN America/Nuuk"] {
        for begin in [MARCH_30, OCTOBER_26] {
            let (cron, all) = (cron(expression), times(expression, begin, begin + 4 * 86_400));
            for after in (begin..begin + 3 * 86_400).step_by(97).chain(all.iter().flat_map(|time| [time - 1, *time])) {
                let next = all.iter().copied().find(|time| *time > after).map(at);
                assert_eq!(cron.after(at(after)), next.or_else(|| cron.after(at(after))), "{expression}, {after}");
            }
        }
    }
}

#[test]
fn a_leap_day_is_found_however_far_away() {
    let leap_day = cron("0 0 29 2 * UTC");
    // 2096-03-01 to 2104-02-29: 2100 has none.
    assert_eq!(leap_day.after(at(3_981_312_000)), Some(at(4_233_686_400)));
    // A Sunday: 2032, then 2060.
    let sundays = times("0 0 29 2 */7 UTC", 1_735_689_600, 2_900_000_000);
    assert_eq!(sundays, [1_961_625_600, 2_845_238_400]);
}

/// Runs of a service with a fake clock: the times of day at which they happened.
struct Runs {
    test: RunningTest,
    clock: testing::Clock,
    runs: Arc<Mutex<Vec<u64>>>,
}

impl Runs {
    fn begin(expression: &str, start: u64) -> Self {
        Self::with(expression, start, MissedTicks::Skip, FirstRun::AfterInterval)
    }

    fn with(expression: &str, start: u64, missed: MissedTicks, first: FirstRun) -> Self {
        let runs = Arc::new(Mutex::new(Vec::new()));
        let (noted, seen) = (runs.clone(), Arc::new(Mutex::new(None::<testing::Clock>)));
        let clock = seen.clone();
        let note = move || {
            let now = clock.lock().unwrap().as_ref().expect("set before the start").time_of_day();
            noted.lock().unwrap().push(now.duration_since(UNIX_EPOCH).expect("not before 1970").as_secs());
        };
        let mut service = Service::new("test");
        let job = Periodic::new(HOUR, note).cron(cron(expression));
        service.task_on::<Thread>("job", job.missed_ticks(missed).first_run(first));
        let mut test = TestService::new(service);
        let clock = test.fake_clock();
        clock.set_time_of_day(at(start));
        *seen.lock().unwrap() = Some(clock.clone());
        Self { test: test.start(), clock, runs }
    }

    fn advance(&self, time: Duration) -> Vec<u64> {
        self.clock.advance(time);
        std::mem::take(&mut self.runs.lock().unwrap())
    }

    fn step(&self, seconds: i64) {
        let now = self.clock.time_of_day();
        let by = Duration::from_secs(seconds.unsigned_abs());
        self.clock.set_time_of_day(if seconds < 0 { now - by } else { now + by });
    }

    fn end(self) {
        self.test.stop().assert_clean();
    }
}

#[test]
fn a_job_at_a_fixed_hour_runs_once_on_the_days_when_the_clocks_change() {
    watched(|| {
        let spring = Runs::begin("30 2 * * * Europe/Berlin", MARCH_30);
        // 2:30 CET, then 3:00 CEST right after the gap, then 2:30 CEST.
        assert_eq!(spring.advance(3 * DAY), [1_711_762_200, 1_711_846_800, 1_711_931_400]);
        spring.end();
        let autumn = Runs::begin("30 2 * * * Europe/Berlin", OCTOBER_26);
        // 2:30 CEST, the first 2:30 of two, 2:30 CET.
        assert_eq!(autumn.advance(3 * DAY), [1_729_902_600, 1_729_989_000, 1_730_079_000]);
        autumn.end();
    });
}

#[test]
fn what_has_a_wildcard_goes_on_by_real_time_when_the_clocks_change() {
    watched(|| {
        for start in [MARCH_30, OCTOBER_26] {
            for (expression, seconds) in [("0 * * * * Europe/Berlin", 3600), ("*/15 * * * * Europe/Berlin", 900)] {
                let runs = Runs::begin(expression, start);
                let expected: Vec<_> = (1..=3 * 86_400 / seconds).map(|index| start + index * seconds).collect();
                assert_eq!(runs.advance(3 * DAY), expected, "{expression}");
                runs.end();
            }
        }
    });
}

// --- The system's clock is set ---

#[test]
fn a_clock_set_back_runs_no_job_twice_and_silences_none() {
    watched(|| {
        let noon = MARCH_30 + 12 * 3600;
        let daily = Runs::begin("0 12 * * * UTC", noon - 60);
        assert_eq!(daily.advance(2 * MINUTE), [noon]);
        daily.step(-3600);
        assert_eq!(daily.advance(2 * HOUR), [0; 0], "not twice");
        daily.step(-86_400);
        assert_eq!(daily.advance(23 * HOUR), [noon], "a day after the last");
        assert_eq!(daily.advance(DAY), [noon + 86_400]);
        daily.end();
        for back in [3600, 86_400] {
            let often = Runs::begin("*/15 * * * * UTC", noon - 60);
            assert_eq!(often.advance(2 * MINUTE), [noon]);
            often.step(-back);
            assert_eq!(often.advance(HOUR).len(), 4, "{back}");
            often.end();
        }
    });
}

#[test]
fn a_clock_set_forward_runs_what_was_passed_once() {
    watched(|| {
        for missed in [MissedTicks::Skip, MissedTicks::Burst] {
            let runs = Runs::with("0 * * * * UTC", MARCH_30 + 60, missed, FirstRun::AfterInterval);
            assert_eq!(runs.advance(MINUTE), [0; 0]);
            runs.step(30 * 86_400 + 1800);
            assert_eq!(runs.advance(HOUR).len(), 1, "{missed:?}");
            assert_eq!(runs.advance(10 * HOUR).len(), 10, "{missed:?}");
            runs.end();
        }
    });
}

// --- What is refused ---

fn with_option(expression: &str) -> Service {
    let mut service = Service::new("test");
    service.task_on::<Thread>("job", Periodic::new(HOUR, || ())).set("cron", expression);
    service
}

const NEVER: [&str; 5] =
    ["0 0 31 2 * UTC", "0 0 30 2 * UTC", "0 0 31 4,6,9,11 * UTC", "*/5 * 30,31 FEB * Europe/Berlin", "0 0 31W 6 * UTC"];

#[test]
fn what_would_never_run_is_refused() {
    for never in NEVER {
        let why = never.parse::<Cron>().expect_err(never).to_string();
        assert!(why.contains(never) && why.contains("never run") && !why.contains('\n'), "{why}");
        let in_code = with_option(never).start().expect_err(never);
        let mut with_words = Service::new("test");
        with_words.task_on::<Thread>("job", Periodic::new(HOUR, || ()));
        with_words.arguments(["--job-cron", never]);
        let in_words = with_words.start().expect_err(never);
        for error in [in_code, in_words] {
            let line = error.to_string();
            assert!(error.code() == 78 && line.contains(never) && !line.contains('\n'), "{}: {line}", error.code());
        }
    }
    for sometimes in ["0 0 29 2 * UTC", "0 0 31 2 MON UTC", "0 0 30 2 0-6 UTC", "0 0 31 3,4 * UTC", "0 0 L 2 * UTC"] {
        assert!(cron(sometimes).after(SystemTime::now()).is_some(), "{sometimes}");
    }
}

#[test]
fn an_expression_that_would_never_run_does_not_replace_one_that_does() {
    watched(|| {
        let test = testing::run(with_option("0 3 * * * UTC"));
        let options = test.options();
        let error = options.set("job-cron", "0 0 31 2 * UTC").expect_err("it is refused").to_string();
        assert!(error.contains("0 0 31 2 * UTC"), "{error}");
        options.set("job-cron", "0 0 29 2 * UTC").expect("it is valid");
        test.stop().assert_clean();
    });
}

#[test]
fn what_is_badly_written_is_bad_usage_on_a_command_line() {
    for (wrong, why) in [
        ("61 * * * * UTC", "\"61\" is no minute"),
        ("* * * * * Mars/Crater", "the tz database has no time zone \"Mars/Crater\""),
        ("0 3 * * *", "the time zone is missing"),
        ("0 0 3 * * * UTC", "it has 7 fields, and needs six"),
        ("@reboot UTC", "only @hourly, @daily"),
        ("", "it is empty"),
    ] {
        let mut service = Service::new("test");
        service.task_on::<Thread>("job", Periodic::new(HOUR, || ()));
        service.arguments(["--job-cron", wrong]);
        let error = service.start().expect_err(wrong);
        let line = error.to_string();
        assert!(error.code() == 2 && line.contains(why) && !line.contains('\n'), "{}: {line}", error.code());
    }
}

#[test]
fn names_stand_for_fields() {
    let same = |name: &str, fields: &str| {
        let zone = "Asia/Kathmandu";
        let of = |text: &str| times(&format!("{text} {zone}"), MARCH_30, MARCH_30 + 800 * 86_400);
        assert_eq!(of(name), of(fields), "{name}");
    };
    same("@hourly", "0 * * * *");
    same("@daily", "0 0 * * *");
    same("@midnight", "0 0 * * *");
    same("@weekly", "0 0 * * 0");
    same("@monthly", "0 0 1 * *");
    same("@yearly", "0 0 1 1 *");
    same("@annually", "0 0 1 1 *");
}

#[test]
fn space_around_the_fields_does_not_matter() {
    assert_eq!(
        times("  30\t2 * *  MON-FRI\n Europe/Berlin ", MARCH_30, MARCH_30 + 900_000),
        times("30 2 * * 1-5 Europe/Berlin", MARCH_30, MARCH_30 + 900_000)
    );
}

/// Set for the process that a test starts: itself, which then reports the result for this expression.
const ASKED: &str = "TEST_CRON";

/// Returns what a process without a tz database reports for an expression; with a folder for TZDIR, that database. None
/// if this machine doesn't let the test hide the database.
fn without_database(test: &str, expression: &str, tzdir: Option<&Path>) -> Option<String> {
    let hide = "for dir in /usr/share/zoneinfo /usr/lib/zoneinfo /etc/zoneinfo /usr/share/lib/zoneinfo; do \
                [ ! -e $dir ] || mount -t tmpfs none $dir || exit 9; done; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", hide, "sh"]);
    command.arg(std::env::current_exe().expect("a path")).args(["--exact", test, "--nocapture"]);
    command.env(ASKED, expression).env_remove("TZDIR").stdin(Stdio::null());
    if let Some(tzdir) = tzdir {
        command.env("TZDIR", tzdir);
    }
    let output = command.output().ok().filter(|output| output.status.success());
    let Some(output) = output else {
        eprintln!("left out: unshare can't hide the tz database here");
        return None;
    };
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = output.lines().find_map(|line| line.split_once("asked: ")).expect("it says something").1;
    Some(line.to_owned())
}

/// Returns whether this is such a process.
fn is_asked() -> bool {
    let Ok(expression) = std::env::var(ASKED) else { return false };
    match with_option(&expression).start() {
        Ok(running) => println!("\nasked: {} {}", running.stop().code, cron(&expression)),
        Err(error) => println!("\nasked: {} {error}", error.code()),
    }
    true
}

#[test]
fn utc_and_offsets_need_no_tz_database() {
    if is_asked() {
        return;
    }
    for zone in ["UTC", "utc", "Etc/UTC", "GMT", "Z", "+05:30", "-03:00"] {
        let expression = format!("0 3 * * * {zone}");
        let Some(said) = without_database("cron::utc_and_offsets_need_no_tz_database", &expression, None) else {
            return;
        };
        assert_eq!(said, format!("0 {expression}"));
    }
}

#[test]
fn a_zone_without_a_tz_database_is_told_from_an_unknown_one() {
    if is_asked() {
        return;
    }
    let ask = |zone: &str, tzdir| {
        let name = "cron::a_zone_without_a_tz_database_is_told_from_an_unknown_one";
        without_database(name, &format!("0 3 * * * {zone}"), tzdir)
    };
    let empty = tempfile::tempdir().expect("a folder");
    for tzdir in [None, Some(empty.path()), Some(Path::new("/nonexistent"))] {
        let Some(said) = ask("Europe/Berlin", tzdir) else { return };
        let names = ["78 test: ", "\"Europe/Berlin\" needs the tz database, and there is none", "tzdata", "TZDIR"];
        assert!(names.iter().all(|name| said.contains(name)), "{said}");
    }
    // A database that TZDIR names is used, with just its zones.
    let some = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(some.path().join("Europe")).expect("a folder");
    std::fs::copy("/usr/share/zoneinfo/Europe/Berlin", some.path().join("Europe/Berlin")).expect("a zone");
    assert_eq!(ask("Europe/Berlin", Some(some.path())).as_deref(), Some("0 0 3 * * * Europe/Berlin"));
    let said = ask("Europe/Paris", Some(some.path())).expect("it ran before");
    assert!(said.starts_with("78 ") && said.contains("has no time zone \"Europe/Paris\""), "{said}");
}

// --- A peer ---

#[test]
fn systemd_comes_to_the_same_times() {
    let peer = |calendar: &str, zone: &str, base: &str| -> Option<Vec<String>> {
        let mut command = Command::new("systemd-analyze");
        command.args(["calendar", "--iterations", "40", "--base-time", base, &format!("{calendar} {zone}")]);
        let output =
            command.env("TZ", "UTC").env("LC_ALL", "C").output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let times = text.lines().filter(|line| line.contains("Next elapse:") || line.contains("Iter. #"));
        let words = |line: &str| line.split_whitespace().rev().take(3).map(str::to_owned).collect::<Vec<_>>();
        Some(times.map(words).map(|words| format!("{} {}", words[2], words[1])).collect())
    };
    // systemd 252 leaves out times in a gap, and an hour's wildcards where the hour exists twice: those days are not
    // requested.
    for (expression, calendar) in [
        ("30 2 * * *", "*-*-* 02:30:00"),
        ("0 0 29 2 *", "*-02-29 00:00:00"),
        ("15,45 9-17/2 * * MON-FRI", "Mon..Fri *-*-* 09..17/2:15,45:00"),
        ("0 12 13 * *", "*-*-13 12:00:00"),
        ("0 12 */13 * 5", "Fri *-*-01,14,27 12:00:00"),
        ("5 4 31 * *", "*-*-31 04:05:00"),
        ("0 6 1 1,4,7,10 *", "*-1,4,7,10-1 06:00:00"),
        ("0 22 L * *", "*-*~01 22:00:00"),
        ("0 22 * * 5L", "Fri *-*~07/1 22:00:00"),
    ] {
        for (zone, base, begin) in [
            ("UTC", "2024-05-01 00:00:00 UTC", 1_714_521_600),
            ("Europe/Berlin", "2024-10-20 00:00:00 UTC", 1_729_382_400),
            ("Asia/Kathmandu", "2024-05-01 00:00:00 UTC", 1_714_521_600),
        ] {
            let Some(theirs) = peer(calendar, zone, base) else {
                eprintln!("left out: there is no systemd-analyze");
                return;
            };
            let cron = cron(&format!("{expression} {zone}"));
            let ours = std::iter::successors(cron.after(at(begin - 1)), |time| cron.after(*time)).take(theirs.len());
            let ours: Vec<_> = ours.map(shown).collect();
            assert_eq!(ours, theirs, "{expression} {zone}");
        }
    }
}

/// Formats it as systemd does, in UTC.
fn shown(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}

#[test]
fn a_first_run_at_once_is_one_run() {
    watched(|| {
        let runs = Runs::with("0 3 * * * UTC", MARCH_30, MissedTicks::Skip, FirstRun::AtOnce);
        assert_eq!(runs.advance(DAY), [MARCH_30, MARCH_30 + 3 * 3600]);
        runs.end();
    });
}

#[test]
fn a_run_by_cron_that_fails_is_counted_and_the_next_is_at_its_time() {
    watched(|| {
        let hourly = Periodic::new(Duration::from_secs(60), || -> std::result::Result<(), interloop::Error> {
            Err(interloop::Error::new("no dust"))
        });
        let hourly = hourly.cron("0 * * * * UTC".parse().unwrap()).count_failures();
        let mut service = Service::new("test");
        service.task_on::<Thread>("work", hourly);
        let mut test = TestService::new(service);
        let clock = test.fake_clock();
        let test = test.start();
        clock.advance(Duration::from_secs(3 * 3600));
        assert_eq!(test.counter("work.failures"), 3);
        assert_eq!(test.counter("work.iterations"), 0);
        test.stop().assert_clean();
    });
}
