//! The built-in tasks, as they run on every loop: shared by the tests of tokio and glib.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use interloop::{
    CallError, Service, Thread,
    event_loop::Timers,
    task_fn,
    tasks::{
        Change, DirectoryWatcher, FirstRun, Periodic, Poller, ValueWatch,
        queue::{Queue, WorkError},
    },
    testing::TestService,
};

use crate::{LONG, down, up};

const HOUR: Duration = Duration::from_secs(3600);

/// Inline, async and blocking work on one loop, asked for from another thread.
pub fn periodic_runs_on<L: Timers>() {
    let mut service = Service::new("periodic");
    let here = |expected: fn(&str) -> bool| {
        let name = thread::current().name().unwrap_or_default().to_owned();
        assert!(expected(&name), "{name}");
    };
    let inline = Periodic::new(HOUR, move || here(|name| name == L::NAME));
    let awaited = Periodic::new_async(HOUR, async move || here(|name| name == L::NAME));
    let apart = Periodic::new(HOUR, move || here(|name| name == "apart-1")).blocking();
    let handles = [inline.handle(), awaited.handle(), apart.handle()];
    service.task_on::<L>("inline", inline);
    service.task_on::<L>("awaited", awaited);
    service.task_on::<L>("apart", apart);
    // By the clock.
    let (count, ticks) = (Arc::new(AtomicU64::new(0)), Poller::new(HOUR, || Ok(())));
    let (counts, counted) = (count.clone(), ticks.handle());
    let tick = Periodic::new(HOUR, move || {
        if counts.fetch_add(1, Ordering::AcqRel) == 2 {
            counted.poll_now().detach();
        }
    });
    let told = ticks.handle();
    service.task_on::<L>("tick", tick).set("interval", "1ms");
    service.task_on::<Thread>("ticks", ticks.first_run(FirstRun::AfterInterval));
    let running = up(service);
    for handle in &handles {
        assert_eq!(handle.run_now().wait_timeout(LONG), Ok(Ok(())));
    }
    assert_eq!(told.value_timeout(LONG), Ok(()));
    assert!(count.load(Ordering::Acquire) >= 3);
    down(running);
    assert_eq!(handles[0].run_now().wait_timeout(LONG), Err(CallError::Stopped));
}

/// A poller on one loop, with watchers there, on another loop and on none.
pub fn a_poller_is_watched_on<L: Timers>() {
    let mut service = Service::new("poller");
    let source = Arc::new(AtomicU64::new(1));
    let s = source.clone();
    let poller = Poller::new(HOUR, move || Ok(s.load(Ordering::Acquire))).blocking();
    let handle = poller.handle();
    service.task_on::<L>("poller", poller);
    let (saw, seen) = mpsc::channel();
    let last = async move |mut watch: ValueWatch<u64>, saw: mpsc::Sender<()>| {
        while watch.next().await.ok_or("the poller has stopped")? < 3 {}
        saw.send(()).map_err(interloop::Error::from)
    };
    let (watch, s) = (handle.watch(), saw.clone());
    service.task(
        "here",
        task_fn::<L>(async move |cx| {
            cx.ready();
            last(watch, s).await
        }),
    );
    let watch = handle.watch();
    service.task(
        "there",
        task_fn::<Thread>(async move |cx| {
            cx.ready();
            last(watch, saw).await
        }),
    );
    let running = up(service);
    assert_eq!(handle.value_timeout(LONG), Ok(1));
    for value in [2, 3] {
        source.store(value, Ordering::Release);
        assert_eq!(handle.poll_now().wait_timeout(LONG), Ok(Ok(value)));
    }
    for _ in 0..2 {
        seen.recv_timeout(LONG).expect("both see it");
    }
    down(running);
}

/// A folder watched on one loop, with an async callback there, and followed on another.
pub fn a_folder_is_watched_on<L: Timers>() {
    let folder = tempfile::tempdir().expect("there is room");
    let (tell, told) = mpsc::channel();
    let watcher = DirectoryWatcher::new_async(folder.path(), async move |change: Change| {
        assert_eq!(thread::current().name(), Some(L::NAME));
        tell.send(change.to_string())
    });
    let watcher = watcher.recursive().debounce(Duration::from_millis(10));
    let handle = watcher.handle();
    let mut service = Service::new("folder");
    service.task_on::<L>("files", watcher);
    let (mut changes, uses) = (handle.changes(), handle);
    let (tell, followed) = mpsc::channel();
    let follower = task_fn::<Thread>(async move |cx| {
        cx.ready();
        for _ in 0..2 {
            tell.send(changes.next().await.ok_or("the watcher has stopped")?.to_string())?;
        }
        Ok(())
    });
    service.task("follower", follower).uses(&uses);
    let running = up(service);
    let path = folder.path().join("sub");
    std::fs::create_dir(&path).expect("there is room");
    std::fs::write(path.join("a"), "").expect("there is room");
    for changes in [&told, &followed] {
        for path in [path.clone(), path.join("a")] {
            assert_eq!(changes.recv_timeout(LONG), Ok(format!("created {}", path.display())));
        }
    }
    down(running);
}

/// A day by a fake clock, with a loop beside it that shares the clock; `words` are command-line arguments.
pub fn a_day_has_24_hours_on<L: Timers>(words: &[&str]) {
    let mut service = Service::new("day");
    service.task_on::<L>("inline", Periodic::new(HOUR, || ()));
    service.task_on::<L>("blocking", Periodic::new(HOUR, || thread::sleep(Duration::from_millis(1))).blocking());
    service.task_on::<Thread>("beside", Periodic::new(HOUR, || ()));
    service.task(
        "children",
        task_fn::<L>(async |cx| {
            let hours = cx.counter("hours");
            cx.ready();
            let (mut interval, begun) = (cx.interval(HOUR), cx.now());
            loop {
                assert_eq!(interval.tick().await, 0);
                let (child, hours) = (cx.clone(), hours.clone());
                cx.spawn_local(async move { child.sleep(HOUR / 2).await }).await?;
                cx.spawn(async move { hours.add(1) }).await?;
                assert_eq!((cx.now() - begun).as_secs() % 3600, 1800);
            }
        }),
    );
    let queue = Queue::<L, ()>::new(async |_, work| match work.attempt().number() {
        24 => Ok(()),
        _ => Err(WorkError::later("it is early").after(HOUR)),
    });
    let queue = queue.attempts(24);
    let items = queue.handle();
    service.task("queue", queue);
    let mut test = TestService::new(service).args(words);
    let clock = test.fake_clock();
    let test = test.start();
    items.try_submit(()).expect("there is room").detach();
    clock.advance(24 * HOUR);
    for task in ["inline", "blocking", "beside"] {
        let counts = ["iterations", "missed", "slow_iterations"].map(|name| test.counter(&format!("{task}.{name}")));
        assert_eq!(counts, [24, 0, 0], "{task}");
    }
    assert_eq!((test.counter("children.hours"), test.counter("queue.completed")), (23, 1));
    clock.advance(HOUR / 2);
    assert_eq!((test.counter("children.hours"), test.counter("inline.iterations")), (24, 24));
    test.request_shutdown("enough");
    // It ignores the stop, and is cancelled past its deadline.
    clock.advance(Duration::from_secs(10));
    test.join().assert_code(124);
}
