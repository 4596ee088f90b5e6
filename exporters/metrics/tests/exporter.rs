//! Tests of what a recorder of the facade is told.

use std::{
    collections::BTreeMap,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use interloop::{Service, Thread, task_fn};
use interloop_metrics::Exporter;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

const SOON: Duration = Duration::from_secs(10);

/// Ends the process if the test takes longer than a minute.
fn watchdog() -> mpsc::Sender<()> {
    let (over, wait) = mpsc::channel();
    thread::spawn(move || {
        if wait.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("watchdog: not through after 60 s");
            std::process::abort();
        }
    });
    over
}

/// Returns the increments since the last look, by name and labels, and the values of gauges.
fn look(snapshotter: &Snapshotter) -> BTreeMap<String, (f64, String)> {
    let told = snapshotter.snapshot().into_vec().into_iter().map(|(key, unit, help, value)| {
        let mut labels = key.key().labels().map(|l| format!("{}={}", l.key(), l.value())).collect::<Vec<_>>();
        labels.sort_unstable();
        let value = match value {
            DebugValue::Counter(value) => value as f64,
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(_) => panic!("a histogram"),
        };
        let words = format!("{} {}", unit.map_or("", |unit| unit.as_str()), help.unwrap_or_default());
        (format!("{} {}", key.key().name(), labels.join(" ")), (value, words.trim().to_owned()))
    });
    told.collect()
}

#[test]
fn counters_gauges_and_samples_are_told_with_names_labels_units_and_words() {
    let _over = watchdog();
    let mut service = Service::new("shop");
    let till = task_fn::<Thread>(async |cx| {
        let meter = cx.meter();
        meter.describe("taken", "bytes", "What was taken.");
        cx.counter("orders").add(3);
        meter.label("way", "mail").counter("taken").add(4);
        cx.gauge("waiting").set(2.5);
        cx.gauge_from("broken", || panic!("no idea"));
        let amounts = cx.histogram("amounts", &[Duration::from_secs(60)]);
        amounts.record(1.0);
        amounts.record(3.0);
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("till", till);
    let running = service.start().unwrap();
    assert!(running.wait_started_timeout(SOON));

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let mut exporter = Exporter::new(&running);
    let mut export = || metrics::with_local_recorder(&recorder, || exporter.export());
    export();
    let told = look(&snapshotter);
    let of = |name: &str, more: &str| format!("{name} loop=till service=shop {more}task=till").trim_end().to_owned();
    let value = |key: &str| told.get(key).unwrap_or_else(|| panic!("no {key}: {told:#?}")).0;
    assert_eq!(value(&of("shop_orders", "")), 3.0);
    let taken = "shop_taken loop=till service=shop task=till way=mail";
    assert_eq!(told[taken], (4.0, "bytes What was taken.".to_owned()));
    assert_eq!(value(&of("shop_waiting", "")), 2.5);
    assert!(!told.contains_key(&of("shop_broken", "")));
    assert_eq!(value(&of("shop_amounts_count", "")), 2.0);
    assert_eq!(value(&of("shop_amounts_sum", "")), 4.0);
    for (stat, wanted) in [("average", 2.0), ("min", 1.0), ("max", 3.0)] {
        let key = format!("shop_amounts_window loop=till service=shop stat={stat} task=till window=60");
        assert_eq!(value(&key), wanted, "{stat}");
    }
    assert_eq!(value("interloop_ready service=shop"), 1.0);
    assert!(value("interloop_loop_turns kind=thread loop=till service=shop") > 0.0);

    // Only the increment is added; and the whole value, once the counter has restarted.
    let sold = running.meter().counter("sold");
    for (adds, resets) in [(3, false), (2, false), (0, false), (1, true)] {
        if resets {
            assert!(running.counters().reset("sold"));
        }
        sold.add(adds);
        export();
        assert_eq!(look(&snapshotter)["shop_sold service=shop"].0, adds as f64);
    }
    assert_eq!(running.stop().code, 0);
}

#[test]
fn as_a_task_it_exports_every_so_often_and_once_more_when_all_others_have_ended() {
    let _over = watchdog();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().expect("nobody else installs one");
    let mut service = Service::new("bar");
    let keeper = task_fn::<Thread>(async |cx| {
        let rounds = cx.counter("rounds");
        rounds.add(1);
        cx.until_shutdown().await;
        rounds.add(5);
        Ok(())
    });
    service.task("keeper", keeper);
    let exporter = Exporter::new(&service.handle());
    service.task_on::<Thread>("metrics", exporter).last();
    service.arguments(["--metrics-interval", "5ms"]);
    let running = service.start().unwrap();
    let mut rounds = 0.0;
    let mut look = || {
        rounds += look(&snapshotter).get("bar_rounds loop=keeper service=bar task=keeper").map_or(0.0, |told| told.0);
        rounds
    };
    let begun = Instant::now();
    // A recorder provides no event to wait for.
    while look() < 1.0 {
        assert!(begun.elapsed() < SOON, "nothing was exported");
        thread::yield_now();
    }
    assert_eq!(running.stop().code, 0);
    assert_eq!(look(), 6.0);
}

#[test]
fn an_interval_set_in_code_is_shown_as_a_default() {
    let mut service = Service::new("shop");
    let exporter = Exporter::new(&service.handle()).interval(Duration::from_secs(7));
    service.task_on::<Thread>("metrics", exporter);
    service.arguments(["--dry-run"]);
    let shown = service.start().expect_err("a dry run starts nothing").to_string();
    assert!(shown.contains("# interval = 7s # code") || shown.contains("# interval = \"7s\" # code"), "{shown}");
}
