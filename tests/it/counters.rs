//! Counters, gauges, samples, exports and warnings: of tasks, of the service, of the core itself.
#![cfg(feature = "metrics")]

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::util::{Latch, quiet_resident, reach, up, watched};
use interloop::{
    NoOptions, Service, State, Task, Thread,
    counters::{Counter, Histogram, Reading},
    task_fn,
};

const WINDOWS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(3600)];

/// A task that keeps one of each.
fn keeper() -> impl Task<Thread, Options = NoOptions> {
    task_fn::<Thread>(async |cx| {
        cx.counter("taken").add(3);
        cx.gauge("open").set(1.5);
        cx.gauge_from("asked", || 42.0);
        let sizes = cx.histogram("sizes", &WINDOWS);
        [1.0, 2.0, 6.0].into_iter().for_each(|size| sizes.record(size));
        cx.meter().label("way", "by \"mail\"").counter("orders").add(7);
        cx.until_shutdown().await;
        Ok(())
    })
}

#[test]
fn all_can_be_read_at_once_one_by_one_and_by_pattern() {
    watched(|| {
        let mut service = Service::new("shop");
        service.task("till", keeper());
        service.task("other", quiet_resident::<Thread>());
        let running = up(service);
        running.meter().counter("visits").add(1);
        let counters = running.counters();
        assert_eq!(counters.get("till.taken"), Some(Reading::Counter(3)));
        assert_eq!(counters.get("till.open"), Some(Reading::Gauge(1.5)));
        assert_eq!(counters.get("till.asked"), Some(Reading::Gauge(42.0)));
        assert_eq!(counters.get("visits"), Some(Reading::Counter(1)));
        assert_eq!(counters.get("till.gone"), None);
        let Some(Reading::Histogram(sizes)) = counters.get("till.sizes") else { panic!("they are samples") };
        assert_eq!((sizes.count, sizes.sum, sizes.average), (3, 9.0, Some(3.0)));
        assert_eq!((sizes.min, sizes.max), (Some(1.0), Some(6.0)));
        assert_eq!(sizes.windows.iter().map(|window| window.window).collect::<Vec<_>>(), [60.0, 3600.0]);
        assert!((sizes.windows[1].p50.unwrap() - 2.0).abs() < 0.02, "{sizes:?}");

        let of_till = counters.matching("^till\\.(taken|orders)").unwrap();
        let names = of_till.keys().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(names, ["till.orders{way=\"by \\\"mail\\\"\"}", "till.taken"]);
        assert!(counters.matching("(").unwrap_err().to_string().starts_with("not a regular expression"));

        let all = counters.all();
        for name in ["till.taken", "till.restarts", "other.children", "loop.other.turns", "loop.till.latency", "ready"]
        {
            assert!(all.contains_key(name), "{name} of {all:?}");
        }
        let numbers = counters.numbers();
        assert_eq!((numbers["till.sizes.count"], numbers["till.sizes.max.3600"]), (3.0, 6.0));
        assert_eq!((numbers["till.taken"], numbers["ready"]), (3.0, 1.0));

        let status = running.status();
        let till = status.tasks.iter().find(|task| task.name == "till").unwrap();
        assert_eq!((till.counters["taken"], till.gauges["open"], till.histograms["sizes"].count), (3, 1.5, 3));
        assert_eq!(status.counters["visits"], 1);
        let table = status.to_string();
        assert!(table.contains("taken 3") && table.contains("open 1.5") && table.contains("sizes 3 ("), "{table}");
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn counters_and_samples_begin_anew_and_gauges_go_on() {
    watched(|| {
        let mut service = Service::new("shop");
        service.task("till", keeper());
        let running = up(service);
        let counters = running.counters();
        assert!(counters.reset("till.taken"));
        assert_eq!(counters.get("till.taken"), Some(Reading::Counter(0)));
        assert!(counters.numbers()["till.sizes.count"] > 0.0);
        for name in ["till.open", "till.asked", "till.restarts", "till.gone"] {
            assert!(!counters.reset(name), "{name}");
        }
        counters.reset_all();
        let numbers = counters.numbers();
        assert_eq!((numbers["till.sizes.count"], numbers["till.sizes.count.60"]), (0.0, 0.0));
        assert_eq!((numbers["till.open"], numbers["till.asked"]), (1.5, 42.0));
        assert!(!numbers.contains_key("till.sizes.max"));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn eight_threads_add_to_one_counter_and_none_is_lost_or_torn() {
    watched(|| {
        let (counter, over) = (Counter::default(), AtomicBool::new(false));
        // With an upper half, so that a torn read would show.
        let step = (1 << 32) + 1;
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut last = 0;
                while !over.load(Ordering::Acquire) {
                    let now = counter.get();
                    assert!(now >= last, "{now} after {last}");
                    assert_eq!(now >> 32, now & 0xffff_ffff, "torn: {now:x}");
                    last = now;
                }
            });
            let adders =
                (0..8).map(|_| scope.spawn(|| (0..50_000).for_each(|_| counter.add(step)))).collect::<Vec<_>>();
            adders.into_iter().for_each(|adder| adder.join().unwrap());
            over.store(true, Ordering::Release);
            reader.join().unwrap();
        });
        assert_eq!(counter.get(), 400_000 * step);
    });
}

#[test]
fn a_duration_is_taken_in_seconds_whichever_way() {
    let (samples, began) = (Histogram::new(&WINDOWS), Instant::now());
    samples.record_since(began - Duration::from_secs(5));
    samples.record_duration(Duration::from_millis(2_500));
    let reading = samples.read();
    assert_eq!((reading.count, reading.windows[0].count, reading.min), (2, 2, Some(2.5)));
    let most = reading.max.unwrap() - 5.0;
    assert!((0.0..=began.elapsed().as_secs_f64()).contains(&most), "{most}");
}

#[test]
fn what_is_read_of_samples_belongs_together() {
    watched(|| {
        let (samples, over) = (Histogram::new(&WINDOWS), AtomicBool::new(false));
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    let reading = samples.read();
                    assert_eq!(reading.sum, reading.count as f64 * 2.0);
                    assert!(reading.min.is_none_or(|min| min == 2.0) && reading.max == reading.min);
                    for window in &reading.windows {
                        assert_eq!(window.sum, window.count as f64 * 2.0);
                        assert_eq!((window.p99, window.average), (window.max, window.max));
                    }
                }
            });
            let adders = (0..8).map(|_| scope.spawn(|| (0..250).for_each(|_| samples.record(2.0)))).collect::<Vec<_>>();
            adders.into_iter().for_each(|adder| adder.join().unwrap());
            over.store(true, Ordering::Release);
            reader.join().unwrap();
        });
        assert_eq!(samples.read().count, 2_000);
    });
}

#[test]
fn a_gauge_can_be_added_to_by_many() {
    watched(|| {
        let gauge = interloop::counters::Gauge::default();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        gauge.add(1.5);
                        gauge.sub(0.5);
                    }
                });
            }
        });
        assert_eq!(gauge.get(), 80_000.0);
    });
}

#[test]
fn a_gauge_that_is_asked_may_ask_the_service_and_may_panic() {
    watched(|| {
        let mut service = Service::new("shop");
        let task = task_fn::<Thread>(async |cx| {
            let handle = cx.service().clone();
            cx.counter("taken").add(4);
            // Under a lock of the service this would never return.
            cx.gauge_from("twice", move || match handle.counters().get("till.taken") {
                Some(Reading::Counter(taken)) if handle.is_ready() && handle.warnings().len() < 2 => 2.0 * taken as f64,
                other => panic!("{other:?}"),
            });
            cx.gauge_from("broken", || panic!("no number today"));
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("till", task);
        let running = up(service);
        let numbers = running.counters().numbers();
        assert_eq!(numbers["till.twice"], 8.0);
        assert_eq!(numbers.get("till.broken"), None);
        assert!(running.warnings()[0].to_string().starts_with("till.gauge broken: it "), "{:?}", running.warnings());
        assert_eq!(running.status().tasks[0].gauges["twice"], 8.0);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_gauge_that_is_asked_is_forgotten_when_its_task_ends_and_counters_are_not() {
    watched(|| {
        let mut service = Service::new("shop");
        let alive = Arc::new(());
        let held = alive.clone();
        let make = move || {
            let held = held.clone();
            task_fn::<Thread>(async move |cx| {
                let held = held.clone();
                cx.gauge_from("held", move || Arc::strong_count(&held) as f64);
                cx.counter("runs").add(1);
                cx.until_shutdown().await;
                Ok(())
            })
        };
        service.task_with("till", make);
        service.task("other", quiet_resident::<Thread>());
        let running = up(service);
        let mut watch = running.watch();
        reach(&mut watch, "till", 1, State::Running);
        assert!(running.counters().get("till.held").is_some());
        running.restart_task("till").unwrap();
        reach(&mut watch, "till", 2, State::Running);
        assert!(running.counters().get("till.held").is_some());
        assert_eq!(running.counters().get("till.restarts"), Some(Reading::Counter(1)));
        running.stop_task("till").unwrap();
        reach(&mut watch, "till", 2, State::Stopped);
        assert_eq!(running.counters().get("till.held"), None);
        assert_eq!(running.counters().get("till.runs"), Some(Reading::Counter(2)));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn one_name_is_one_kind() {
    watched(|| {
        let service = Service::new("shop");
        let meter = service.handle().meter();
        meter.counter("orders").add(1);
        // With other labels it is another one.
        meter.label("way", "mail").gauge("orders").set(1.0);
        let refused = |f: &dyn Fn()| {
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_err();
            panic.downcast_ref::<String>().unwrap().clone()
        };
        assert_eq!(refused(&|| drop(meter.gauge("orders"))), "orders is a counter already");
        assert_eq!(refused(&|| meter.gauge_from("orders", || 0.0)), "orders is a counter already");
        meter.gauge("open").set(1.0);
        assert_eq!(refused(&|| drop(meter.histogram("open", &[]))), "open is a gauge already");
        assert_eq!(meter.counter("orders").get(), 1);
    });
}

#[test]
fn warnings_show_until_they_are_cleared() {
    watched(|| {
        let mut service = Service::new("shop");
        let (cleared, clear) = (Latch::default(), Latch::default());
        let (said, wait) = (cleared.clone(), clear.clone());
        let task = task_fn::<Thread>(async move |cx| {
            cx.warn("disk", "90 % full");
            cx.warn("disk", "91 % full");
            cx.warn("door", "open");
            cx.ready();
            wait.opened().await;
            assert!(cx.clear_warning("disk") && !cx.clear_warning("disk"));
            said.open();
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("till", task);
        let running = up(service);
        running.warn("weather", "rain");
        let shown = || running.status().warnings.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(), ["weather: rain", "till.disk: 91 % full", "till.door: open"]);
        assert!(running.status().to_string().contains("\n  warning till.disk: 91 % full"));
        clear.open();
        cleared.wait();
        assert!(running.clear_warning("weather") && !running.clear_warning("till.disk"));
        assert_eq!(running.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(), ["till.door: open"]);
        assert!(running.clear_warning("till.door"));
        running.warn("weather", "rain");
        running.clear_warnings();
        assert!(shown().is_empty());
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn exports_of_tasks_and_service_can_be_read_and_taken_back() {
    watched(|| {
        let mut service = Service::new("shop");
        let task = task_fn::<Thread>(async |cx| {
            cx.export("address", "127.0.0.1:80");
            cx.export("motto", "none");
            assert!(cx.unexport("motto") && !cx.unexport("motto"));
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("till", task);
        let running = up(service);
        running.export("build", 7);
        let exports = running.counters().exports().into_iter().collect::<Vec<_>>();
        assert_eq!(exports, [("build".into(), "7".into()), ("till.address".into(), "127.0.0.1:80".into())]);
        assert_eq!(running.status().exports["build"], "7");
        assert!(running.unexport("build"));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn loops_and_tasks_count_by_themselves() {
    watched(|| {
        let mut service = Service::new("shop");
        let (slot, till) = service.slot::<Cell<u32>>("till");
        let end = Latch::default();
        let wait = end.clone();
        let task = task_fn::<Thread>(async move |cx| {
            cx.fill(slot.clone(), Cell::new(0));
            let opened = wait.opened();
            let child = cx.spawn_local(opened);
            cx.spawn(std::future::pending::<()>()).detach();
            cx.ready();
            child.await.unwrap();
            cx.counter("child_ended").add(1);
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("till", task);
        let running = up(service);
        let number = |name: &str| running.counters().numbers()[name];
        let jobs = number("loop.till.jobs");
        for _ in 0..10 {
            till.call(|cell| cell.set(cell.get() + 1)).wait_timeout(crate::util::SOON).unwrap();
        }
        assert_eq!(number("loop.till.jobs") - jobs, 10.0);
        // One turn may have done everything, if the calls came quickly enough.
        assert!(number("loop.till.turns") >= 1.0 && number("loop.till.running") == 1.0);
        assert!(number("loop.till.depth_most") >= 1.0 && number("loop.till.depth") == 0.0);
        // The latency is measured whenever a call finds the loop at rest. On a busy machine none of the calls so far
        // may have.
        while number("loop.till.latency.count") < 1.0 {
            till.call(|_| ()).wait_timeout(crate::util::SOON).unwrap();
            thread::yield_now();
        }
        let (count, max) = (number("loop.till.latency.count"), number("loop.till.latency.max"));
        assert!(count >= 1.0 && max > 0.0 && max < 20.0, "{count} {max}");
        assert_eq!((number("till.children"), number("till.spawned")), (2.0, 2.0));
        end.open();
        while running.counters().get("till.child_ended").is_none() {
            thread::yield_now();
        }
        assert_eq!((number("till.children"), number("till.spawned")), (1.0, 2.0));
        assert_eq!((number("till.restarts"), number("till.running")), (0.0, 1.0));
        let status = running.status();
        assert_eq!(status.tasks[0].children, 1);
        assert!(status.loops[0].latency.count >= 1);
        assert_eq!(running.stop().code, 0);
    });
}
