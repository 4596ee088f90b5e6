//! Without a subscriber the events of the crate `tracing` are records of `log`. A separate binary: no subscriber may
//! ever have been set in its process.

use std::sync::{Mutex, PoisonError};

use crate::util::{SOON, alone, up};
use interloop::{Service, Thread, task_fn};
use log::{LevelFilter, Log, Metadata, Record};

struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}: {}", record.level(), record.target(), record.args());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn flush(&self) {}
}

#[test]
fn without_a_subscriber_events_are_records_of_log_and_spans_are_nothing() {
    alone(|| {
        log::set_logger(&LINES).unwrap();
        log::set_max_level(LevelFilter::Trace);
        let mut service = Service::new("test");
        let (slot, remote) = service.slot::<u8>("number");
        let keeper = task_fn::<Thread>(async move |cx| {
            cx.fill(slot, 7);
            tracing::warn!(target: "keeper", "it is filled");
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("keeper", keeper);
        let running = up(service);
        assert_eq!(remote.call(|number| *number).wait_timeout(SOON), Ok(7));
        assert_eq!(remote.spawn(async |number| *number).wait_timeout(SOON), Ok(7));
        assert_eq!(running.stop().code, 0);
        let lines = LINES.0.lock().unwrap();
        assert!(lines.iter().any(|line| line == "WARN keeper: it is filled"), "{lines:?}");
        let spans = lines.iter().filter(|line| line.contains("incarnation=") || line.contains("tracing::span"));
        assert_eq!(spans.collect::<Vec<_>>(), Vec::<&String>::new());
    });
}
