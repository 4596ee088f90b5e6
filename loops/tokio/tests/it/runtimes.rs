//! Runtimes of the program's own: made by a builder, and existing ones.

use std::{
    future::pending,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use interloop::{Context, Error, Report, RestartPolicy, Result, Service, State, Task, task_fn};
use interloop_loop_tests::{LONG, defaults::are_defaults_of_the_option, down, up, watchdog};
use interloop_tokio::Tokio;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Handle, Runtime},
};

const GONE: &str = "the tokio runtime that it runs on has been shut down";

fn here() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

fn builder(workers: usize) -> Builder {
    let mut builder = match workers {
        0 => Builder::new_current_thread(),
        workers => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
    };
    builder.thread_name("mine");
    builder
}

fn runtime(workers: usize) -> Runtime {
    builder(workers).enable_all().build().unwrap()
}

/// Makes a service with this loop, and these command-line arguments.
fn with(plan: Tokio, words: Option<&str>) -> Service {
    let mut service = Service::new("test");
    service.event_loop("tokio", plan);
    service.arguments(words);
    service
}

/// Makes a task that waits for its end.
fn waits() -> impl Task<Tokio> {
    task_fn::<Tokio>(async |cx| {
        cx.until_shutdown().await;
        Ok(())
    })
}

/// Uses a timer, a socket, a child there and one here.
async fn uses_all(cx: &Context<Tokio>, spawned_on: &str) -> Result {
    assert_eq!(here(), "tokio");
    cx.sleep(Duration::from_millis(1)).await;
    assert_eq!(cx.spawn(async { here() }).await?, spawned_on);
    let not_send = Rc::new(here);
    assert_eq!(cx.spawn_local(async move { not_send() }).await?, "tokio");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let answers = cx.spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        stream.write_all(b"hello").await
    });
    let mut text = String::new();
    TcpStream::connect(address).await?.read_to_string(&mut text).await?;
    assert_eq!(text, "hello");
    answers.await??;
    Ok(())
}

fn task_that_uses_all(spawned_on: &'static str) -> impl Task<Tokio> {
    task_fn::<Tokio>(async move |cx| {
        uses_all(&cx, spawned_on).await?;
        // It is cancelled, and awaited, at the end of the task.
        cx.spawn(pending::<()>()).detach();
        cx.until_shutdown().await;
        Ok(())
    })
}

// --- Workers by the plan ---

#[test]
fn a_plan_says_how_many_workers_there_are_and_the_command_line_goes_before() {
    let _watchdog = watchdog();
    are_defaults_of_the_option(&Tokio::default().worker_threads(3), "worker-threads", "3", "0");
    for (words, workers) in [(None, 3), (Some("--tokio-worker-threads=2"), 2), (Some("--tokio-worker-threads=0"), 1)] {
        let mut service = Service::new("test");
        let tokio = service.event_loop("tokio", Tokio::default().worker_threads(3)).remote();
        service.arguments(words);
        let running = up(service);
        assert_eq!(tokio.call(|handle| handle.metrics().num_workers()).wait_timeout(LONG), Ok(workers));
        down(running);
    }
}

// --- By a builder ---

#[test]
fn a_builder_of_either_kind_makes_the_runtime() {
    let _watchdog = watchdog();
    for (workers, spawned_on) in [(2, "mine"), (0, "tokio")] {
        let mut service = with(Tokio::from_builder(move || builder(workers)), None);
        service.task("uses", task_that_uses_all(spawned_on));
        down(up(service));
    }
}

#[test]
fn a_number_of_workers_goes_before_the_builders_own() {
    let _watchdog = watchdog();
    for (plan, words, workers) in [
        (Tokio::from_builder(|| builder(2)), None, 2),
        (Tokio::from_builder(|| builder(2)).worker_threads(3), None, 3),
        (Tokio::from_builder(|| builder(2)), Some("--tokio-worker-threads=4"), 4),
    ] {
        let mut service = Service::new("test");
        let tokio = service.event_loop("tokio", plan).remote();
        service.arguments(words);
        let running = up(service);
        assert_eq!(tokio.call(|handle| handle.metrics().num_workers()).wait_timeout(LONG), Ok(workers));
        down(running);
    }
}

#[test]
fn a_builder_that_has_no_workers_or_fails_is_an_error_of_the_start() {
    let _watchdog = watchdog();
    for (plan, why) in [
        (
            Tokio::from_builder(Builder::new_current_thread).worker_threads(2),
            "worker-threads is 2, but the runtime of its builder is a current-thread one",
        ),
        (Tokio::from_builder(|| panic!("no builder today")), "panicked: no builder today"),
    ] {
        let mut service = with(plan, None);
        service.task("waits", waits());
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 1);
        assert!(report.to_string().contains(why), "{report}");
    }
}

#[test]
fn a_loop_that_is_restarted_has_a_new_runtime_of_its_builder() {
    let _watchdog = watchdog();
    let (made, dies) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let make = {
        let (made, dies) = (made.clone(), dies.clone());
        move || {
            made.fetch_add(1, Ordering::SeqCst);
            let dies = dies.clone();
            let mut builder = builder(0);
            // The loop's thread parks in here: its panic is that of the loop.
            builder.on_thread_park(move || assert!(!dies.swap(false, Ordering::SeqCst), "the wheel came off"));
            builder
        }
    };
    let mut service = Service::new("test");
    let mut settings = service.event_loop("tokio", Tokio::from_builder(make));
    settings.restart(RestartPolicy::on_failure());
    let tokio = settings.remote();
    let (says, said) = mpsc::channel();
    service
        .task_with::<Tokio>("uses", move || {
            let says = says.clone();
            task_fn::<Tokio>(async move |cx| {
                uses_all(&cx, "tokio").await?;
                let _ = says.send(());
                cx.until_shutdown().await;
                Ok(())
            })
        })
        .restart(RestartPolicy::on_failure());
    let running = up(service);
    said.recv_timeout(LONG).unwrap();
    dies.store(true, Ordering::SeqCst);
    // The thread parks again after this.
    let _ = tokio.call(|_| ()).wait_timeout(LONG);
    said.recv_timeout(LONG).expect("the task is back, on another runtime");
    assert_eq!(made.load(Ordering::SeqCst), 2);
    down(running);
}

// --- An existing runtime ---

#[test]
fn a_loop_runs_on_a_runtime_that_is_there_and_leaves_it_there() {
    let _watchdog = watchdog();
    let runtime = runtime(2);
    let (stays, stayed) = mpsc::channel();
    for _ in 0..2 {
        let mut service = with(Tokio::from_handle(runtime.handle().clone()), None);
        let tokio = service.remote_to::<Tokio>();
        service.task("uses", task_that_uses_all("mine"));
        let running = up(service);
        assert_eq!(tokio.call(|_| here()).wait_timeout(LONG), Ok("tokio".to_owned()));
        assert_eq!(tokio.spawn(|_| async { here() }).wait_timeout(LONG), Ok("tokio".to_owned()));
        let stays = stays.clone();
        tokio
            .call(move |runtime| {
                runtime.spawn(async move {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let _ = stays.send(here());
                })
            })
            .wait_timeout(LONG)
            .unwrap();
        down(running);
    }
    // Futures given to the runtime itself outlive the loops, and nothing of the loops' does.
    assert_eq!(stayed.recv_timeout(LONG).as_deref(), Ok("mine"));
    assert_eq!(stayed.recv_timeout(LONG).as_deref(), Ok("mine"));
    let begun = Instant::now();
    while runtime.metrics().num_alive_tasks() > 0 {
        assert!(begun.elapsed() < LONG, "{} tasks are left", runtime.metrics().num_alive_tasks());
        thread::yield_now();
    }
    runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
}

#[test]
fn a_main_of_tokio_runs_a_service_on_its_own_runtime_and_awaits_its_end() {
    async fn main(spawned_on: &'static str) -> Report {
        let mut service = with(Tokio::from_handle(Handle::current()), None);
        service.task("uses", task_that_uses_all(spawned_on));
        let running = service.start().unwrap();
        assert!(running.started().await);
        // This blocks no thread: not even the only one of a runtime.
        running.request_shutdown("enough");
        running.ended().await
    }

    #[tokio::main(flavor = "multi_thread", worker_threads = 1)]
    async fn multi_thread() -> Report {
        // This runs on the one worker, which a `join` would block.
        tokio::spawn(main("tokio-rt-worker")).await.unwrap()
    }

    #[tokio::main(flavor = "current_thread")]
    async fn current_thread() -> Report {
        let thread = here().leak();
        main(thread).await
    }

    let _watchdog = watchdog();
    for report in [multi_thread(), current_thread()] {
        assert_eq!(report.code, 0, "{report}");
    }
}

/// The state of a service when its runtime goes.
#[derive(Clone, Copy, Debug)]
enum At {
    Rest,
    Timers,
    Sockets,
    Children,
}

/// Shuts the runtime down under a service in this state; returns what becomes of the service.
fn without_its_runtime(runtime: Runtime, at: At, shut_down: impl FnOnce(Runtime)) -> Report {
    let mut service = with(Tokio::from_handle(runtime.handle().clone()), None);
    let tokio = service.remote_to::<Tokio>();
    service.task(
        "uses",
        task_fn::<Tokio>(async move |cx| {
            cx.ready();
            match at {
                At::Rest => cx.until_shutdown().await,
                At::Timers => loop {
                    cx.sleep(Duration::from_secs(3600)).await;
                },
                At::Sockets => {
                    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
                    listener.accept().await?;
                }
                At::Children => {
                    cx.spawn_local(pending::<()>()).detach();
                    cx.spawn(pending::<()>()).await?;
                }
            }
            Ok(())
        }),
    );
    let running = up(service);
    // This is a turn after the one in which it was ready: it waits by now.
    tokio.call(|_| ()).wait_timeout(LONG).unwrap();
    shut_down(runtime);
    let report = running.join_timeout(LONG).unwrap_or_else(|running| panic!("{at:?}: {}", running.status()));
    assert!(tokio.call(|_| ()).wait_timeout(LONG).is_err());
    report
}

#[test]
fn a_loop_whose_runtime_is_shut_down_ends_and_says_so() {
    let _watchdog = watchdog();
    for at in [At::Rest, At::Timers, At::Sockets, At::Children] {
        let reports = [
            without_its_runtime(runtime(2), at, drop),
            without_its_runtime(runtime(2), at, Runtime::shutdown_background),
            without_its_runtime(runtime(2), at, |runtime| runtime.shutdown_timeout(Duration::from_millis(10))),
            without_its_runtime(runtime(0), at, drop),
        ];
        for report in reports {
            assert_eq!(report.code, 1, "{at:?}: {report}");
            assert!(report.to_string().contains(GONE), "{at:?}: {report}");
            assert!(report.left_behind.is_empty(), "{at:?}: {report}");
        }
    }
}

#[test]
fn a_loop_on_a_runtime_that_is_gone_does_not_start_nor_restart() {
    let _watchdog = watchdog();
    let handle = runtime(1).handle().clone();
    let mut service = with(Tokio::from_handle(handle.clone()), None);
    service.task("waits", waits());
    let report = service.start().unwrap().join();
    assert_eq!(report.code, 1);
    assert!(report.to_string().contains(GONE), "{report}");

    let runtime = runtime(1);
    let mut service = Service::new("test");
    let policy = RestartPolicy::on_failure().limit(3, LONG);
    service.event_loop("tokio", Tokio::from_handle(runtime.handle().clone())).restart(policy.clone());
    service.task_with::<Tokio>("waits", waits).restart(policy);
    let running = up(service);
    drop(runtime);
    let report = running.join_timeout(LONG).unwrap_or_else(|running| panic!("{}", running.status()));
    assert_eq!(report.code, 1, "{report}");
    assert!(report.to_string().contains(GONE), "{report}");
}

#[test]
fn a_stop_before_the_runtimes_end_is_a_stop() {
    let _watchdog = watchdog();
    for _ in 0..20 {
        let runtime = runtime(1);
        let mut service = with(Tokio::from_handle(runtime.handle().clone()), None);
        service.task("waits", waits());
        let report = up(service).stop();
        drop(runtime);
        assert_eq!(report.code, 0, "{report}");
    }
}

#[test]
fn a_task_on_a_runtime_that_is_there_is_restarted_there() {
    let _watchdog = watchdog();
    let runtime = runtime(1);
    let mut service = with(Tokio::from_handle(runtime.handle().clone()), None);
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    service
        .task_with::<Tokio>("fails", move || {
            let runs = counted.clone();
            task_fn::<Tokio>(async move |cx| {
                uses_all(&cx, "mine").await?;
                if runs.fetch_add(1, Ordering::SeqCst) < 2 {
                    return Err(Error::new("not yet"));
                }
                cx.until_shutdown().await;
                Ok(())
            })
        })
        .restart(RestartPolicy::on_failure());
    let running = service.start().unwrap();
    let begun = Instant::now();
    while runs.load(Ordering::SeqCst) < 3 {
        assert!(begun.elapsed() < LONG, "{}", running.status());
        thread::yield_now();
    }
    let report = running.stop();
    assert_eq!((report.code, report.tasks[0].state), (0, State::Stopped), "{report}");
}

#[test]
fn workers_of_a_runtime_that_is_there_are_refused_before_the_start() {
    let _watchdog = watchdog();
    let runtime = runtime(1);
    let plan = || Tokio::from_handle(runtime.handle().clone());
    for (plan, words) in [(plan().worker_threads(2), None), (plan(), Some("--tokio-worker-threads=2"))] {
        let mut service = with(plan, words);
        service.task("waits", waits());
        let error = service.start().map(drop).unwrap_err();
        let why = "test: loop tokio: it runs on a runtime that is already there, whose worker-threads it can't choose: they \
                   must be 0";
        assert_eq!((error.code(), error.to_string().as_str()), (78, why));
    }
}
