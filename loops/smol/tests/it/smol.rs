//! The features that only smol has: its executor, workers, and threads of the process's own.

use interloop_own_process::own_process;
use std::{
    collections::BTreeMap,
    sync::{Arc, Barrier, mpsc},
    thread,
    time::{Duration, Instant},
};

use interloop::{Service, task_fn};
use interloop_loop_tests::{Drops, LONG, Witness, defaults::are_defaults_of_the_option, down, up, watchdog};
use interloop_smol::{Smol, SmolNative, smol};

/// Returns the threads of this process and how often each has gone to rest.
fn threads() -> BTreeMap<String, u64> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let read = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        Some((field("Name:")?, field("voluntary_ctxt_switches:")?.parse().ok()?))
    };
    tasks.filter_map(read).collect()
}

#[test]
fn workers_run_what_is_spawned_and_end_with_the_loop() {
    own_process(|| {
        let _watchdog = watchdog();
        let mut service = Service::new("smol");
        service.event_loop("smol", Smol::default().worker_threads(2));
        service.task(
            "spawns",
            task_fn::<Smol>(async |cx| {
                // Both run at once: each waits for the other.
                let both = Arc::new(Barrier::new(2));
                let waits = || {
                    let both = both.clone();
                    cx.spawn(async move {
                        both.wait();
                        thread::current().name().map(str::to_owned)
                    })
                };
                let (one, two) = (waits(), waits());
                assert_eq!(one.await?.as_deref(), Some("smol-worker"));
                assert_eq!(two.await?.as_deref(), Some("smol-worker"));
                cx.until_shutdown().await;
                Ok(())
            }),
        );
        down(up(service));
        assert!(!threads().contains_key("smol-worker"));
    });
}

#[test]
fn a_plan_says_how_many_workers_there_are_and_the_command_line_goes_before() {
    own_process(|| {
        let _watchdog = watchdog();
        are_defaults_of_the_option(&Smol::default().worker_threads(3), "worker-threads", "3", "0");
        for (words, workers) in [(None, 3), (Some("--smol-worker-threads=1"), 1), (Some("--smol-worker-threads=0"), 0)]
        {
            let mut service = Service::new("smol");
            let smol = service.event_loop("smol", Smol::default().worker_threads(3)).remote();
            service.arguments(words);
            let running = up(service);
            assert_eq!(smol.call(|_| ()).wait_timeout(LONG), Ok(()));
            let count = std::fs::read_dir("/proc/self/task").unwrap().flatten().filter(|task| {
                std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "smol-worker")
            });
            assert_eq!(count.count(), workers);
            down(running);
        }
    });
}

#[test]
fn a_worker_that_blocks_is_left_behind_in_time() {
    let _watchdog = watchdog();
    let mut service = Service::new("smol");
    service.event_loop("smol", Smol::default().worker_threads(1));
    let (let_go, held) = mpsc::channel::<()>();
    let (blocks, blocking) = mpsc::channel();
    service
        .task(
            "spawns",
            task_fn::<Smol>(async move |cx| {
                let blocked = cx.spawn(async move {
                    let _ = blocks.send(());
                    let _ = held.recv();
                });
                blocked.detach();
                cx.until_shutdown().await;
                Ok(())
            }),
        )
        .stop_timeout(Duration::from_millis(100));
    let running = up(service);
    blocking.recv_timeout(LONG).unwrap();
    let begun = Instant::now();
    let report = running.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(report.code, 124, "{report}");
    drop(let_go);
}

#[test]
fn what_is_spawned_on_the_executor_is_dropped_there_at_the_end() {
    let _watchdog = watchdog();
    let drops = Drops::default();
    let (held, late) = (drops.clone(), drops.clone());
    let mut service = Service::new("smol");
    service.task(
        "spawns",
        task_fn::<Smol>(async move |cx| {
            thread_local!(static KEPT: std::cell::RefCell<Option<AtEnd>> = const { std::cell::RefCell::new(None) });
            struct AtEnd(SmolNative, Drops);
            impl Drop for AtEnd {
                fn drop(&mut self) {
                    // The loop has ended: spawned futures are dropped at once.
                    let witness = Witness::new(&self.1);
                    self.0.spawn(async move { drop(witness) }).detach();
                }
            }
            KEPT.with(|kept| *kept.borrow_mut() = Some(AtEnd(cx.native().clone(), late)));
            let witness = Witness::new(&held);
            let pending = async move {
                let _witness = witness;
                std::future::pending::<()>().await;
            };
            cx.native().spawn(pending).detach();
            assert_eq!(cx.native().spawn(async { 7 }).await, 7);
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    down(up(service));
    let begun = Instant::now();
    // The thread itself ends a moment after the service.
    while drops.lock().unwrap().len() < 2 && begun.elapsed() < LONG {
        thread::yield_now();
    }
    assert_eq!(drops.lock().unwrap().len(), 2);
}

/// The README's statement about the threads that smol leaves in the process.
#[test]
fn one_thread_is_left_and_sleeps() {
    own_process(|| {
        let _watchdog = watchdog();
        let before = threads();
        let mut service = Service::new("smol");
        service.task(
            "sleeps",
            task_fn::<Smol>(async |cx| {
                smol::Timer::after(Duration::from_millis(1)).await;
                smol::net::TcpListener::bind(("127.0.0.1", 0)).await?;
                cx.until_shutdown().await;
                Ok(())
            }),
        );
        down(up(service));
        let left = |now: &BTreeMap<String, u64>| -> Vec<_> {
            now.keys().filter(|name| !before.contains_key(*name)).cloned().collect()
        };
        let begun = Instant::now();
        while left(&threads()) != ["async-io"] && begun.elapsed() < LONG {
            thread::yield_now();
        }
        assert_eq!(left(&threads()), ["async-io"]);
        // Within a second of nothing it has not moved; the first time it may still be on its way to rest.
        let woken = (0..3).map(|_| {
            let before = threads()["async-io"];
            thread::sleep(Duration::from_millis(500));
            threads()["async-io"] - before
        });
        assert_eq!(woken.min(), Some(0));
    });
}
