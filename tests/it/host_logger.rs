//! The host's own logger panics, blocks for ever, or is slow. A process has one logger, so each test has a process of
//! its own.

use std::{
    sync::{
        Mutex, Once,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::util::{Latch, Log, SOON, alone, resident, state_of, up};
use interloop::{Report, Running, Service, State};
use log::{LevelFilter, Log as Logger, Metadata, Record};

/// The names of its services say what it does with their lines.
struct Host;

static RELEASE: Mutex<Option<Latch>> = Mutex::new(None);
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static PANICS: AtomicUsize = AtomicUsize::new(0);

impl Logger for Host {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        match record.target().split('.').next() {
            Some("panics") => {
                PANICS.fetch_add(1, Ordering::SeqCst);
                panic!("no words today");
            }
            Some("blocks" | "returns") => {
                let release = RELEASE.lock().unwrap().clone();
                release.into_iter().for_each(|release| release.wait_for_ever());
            }
            Some("slow") => thread::sleep(Duration::from_millis(400)),
            _ => {}
        }
        LINES.lock().unwrap().push(format!("{}: {}", record.target(), record.args()));
    }

    fn flush(&self) {}
}

fn service(name: &str, log: &Log) -> Service {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        log::set_logger(&Host).unwrap();
        log::set_max_level(LevelFilter::Debug);
    });
    let mut service = Service::new(name);
    service.task("first", resident(log));
    service.task("second", resident(log)).requires("first");
    service
}

fn stops(running: Running, log: &Log) -> Report {
    let begun = Instant::now();
    running.request_shutdown("test");
    let report = running.join_timeout(SOON).unwrap_or_else(|running| panic!("no end: {}", running.status()));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(log.who("stops"), ["second", "first"]);
    assert_eq!((report.code, state_of(&report, "first")), (0, State::Stopped), "{report}");
    report
}

#[test]
fn a_logger_that_panics_costs_its_lines() {
    alone(|| {
        let log = Log::default();
        let running = up(service("panics", &log));
        let begun = Instant::now();
        // The first panic of a process may take a while, with a backtrace, and be reported as stuck meanwhile.
        let wanted = ["the log: it panicked: no words today"];
        while running.warnings().iter().map(ToString::to_string).collect::<Vec<_>>() != wanted {
            assert!(begun.elapsed() < SOON, "{:?}", running.warnings());
            thread::yield_now();
        }
        let report = stops(running, &log);
        assert_eq!(report.to_string(), "stopped gracefully (test)");
        assert!(PANICS.load(Ordering::SeqCst) > 3);
    });
}

#[test]
fn a_logger_that_blocks_is_left_behind_and_named_and_catches_up_when_it_comes_back() {
    alone(|| {
        let (log, release) = (Log::default(), Latch::default());
        *RELEASE.lock().unwrap() = Some(release.clone());
        let report = stops(up(service("blocks", &log)), &log);
        assert!(report.to_string().contains("left behind: the log (and "), "{report}");

        let log = Log::default();
        let running = up(service("returns", &log));
        let begun = Instant::now();
        while running.warnings().is_empty() {
            assert!(begun.elapsed() < SOON);
            thread::yield_now();
        }
        let warning = running.warnings()[0].to_string();
        assert!(warning.starts_with("the log: it has not come back within 500 ms"), "{warning}");
        release.open();
        while !running.warnings().is_empty() {
            assert!(begun.elapsed() < SOON);
            thread::yield_now();
        }
        let report = stops(running, &log);
        assert_eq!(report.to_string(), "stopped gracefully (test)");
        let lines = LINES.lock().unwrap().clone();
        let at = |wanted: &str| {
            let place = lines.iter().position(|line| line.starts_with("returns") && line.contains(wanted));
            place.unwrap_or_else(|| panic!("no {wanted}: {lines:?}"))
        };
        // None is lost, and they are in order.
        let order = ["waiting -> starting", "all tasks started", "the log: it has come back", "stopping: test"];
        assert!(order.map(at).is_sorted(), "{lines:?}");
        assert_eq!(at("stopped gracefully"), lines.iter().rposition(|line| line.starts_with("returns")).unwrap());
    });
}

#[test]
fn a_logger_that_is_slow_holds_up_nobody() {
    alone(|| {
        let log = Log::default();
        let begun = Instant::now();
        let report = stops(up(service("slow", &log)), &log);
        // A dozen lines of 400 ms: the end waits for some of them, for a second.
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}: {report}", begun.elapsed());
    });
}
