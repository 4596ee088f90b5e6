//! A task's view of its surroundings: children, values, options, timers, the status.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use crate::util::{Latch, Log, SOON, alone, cause_of, quiet_resident, state_of, up, watched};
use interloop::{
    CallError, Context, NoOptions, RestartPolicy, Service, State, Task, Thread, clap, task::Elapsed, task_fn,
};

/// Logs its own drop.
struct Farewell(Log, &'static str);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.say(self.1);
    }
}

#[test]
fn children_are_cancelled_and_awaited_when_their_task_ends() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let l = log.clone();
        let parent = task_fn::<Thread>(async move |cx| {
            let (first, second) = (Farewell(l.clone(), "local child"), Farewell(l.clone(), "child"));
            cx.spawn_local(async move {
                let _first = first;
                std::future::pending::<()>().await;
            })
            .detach();
            cx.spawn(async move {
                let _second = second;
                std::future::pending::<()>().await;
            })
            .detach();
            cx.until_shutdown().await;
            l.say("parent");
            Ok(())
        });
        service.task("parent", parent);
        // It stops after the parent, which has ended only when its children have.
        let l = log.clone();
        let base = task_fn::<Thread>(async move |cx| {
            cx.until_shutdown().await;
            l.say("base");
            Ok(())
        });
        service.task("base", base);
        service.task("over", quiet_resident::<Thread>()).requires("parent");
        let report = up(service).stop();
        assert_eq!(report.code, 0, "{report}");
        let lines = log.lines().into_iter().filter(|line| line != "base").collect::<Vec<_>>();
        assert_eq!(lines[0], "parent");
        assert_eq!(lines.len(), 3);
    });
}

#[test]
fn the_reply_of_a_child_brings_what_it_returns() {
    watched(|| {
        let mut service = Service::new("test");
        let parent = task_fn::<Thread>(async |cx| {
            // It may return a `!Send` value, as the child itself may be.
            let value = Rc::new(Cell::new(1));
            let inner = value.clone();
            let child = cx.spawn_local(async move {
                inner.set(2);
                inner
            });
            assert!(Rc::ptr_eq(&child.await.unwrap(), &value));
            assert_eq!(value.get(), 2);
            assert_eq!(cx.spawn(async { 7 }).await, Ok(7));
            Ok(())
        });
        service.task("parent", parent);
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 0, "{report}");
    });
}

#[test]
fn a_child_of_a_child_belongs_to_the_task() {
    watched(|| {
        let (mut service, log, begun) = (Service::new("test"), Log::default(), Latch::default());
        let (l, b) = (log.clone(), begun.clone());
        let parent = task_fn::<Thread>(async move |cx| {
            let inner = cx.clone();
            cx.spawn_local(async move {
                let farewell = Farewell(l, "grandchild");
                inner
                    .spawn_local(async move {
                        let _farewell = farewell;
                        b.open();
                        std::future::pending::<()>().await;
                    })
                    .detach();
            })
            .detach();
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("parent", parent);
        let running = up(service);
        begun.wait();
        assert_eq!(running.stop().code, 0);
        assert_eq!(log.lines(), ["grandchild"]);
    });
}

#[test]
fn a_child_that_is_cancelled_by_its_reply_ends_alone() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let l = log.clone();
        let parent = task_fn::<Thread>(async move |cx| {
            let farewell = Farewell(l.clone(), "child");
            let child = cx.spawn_local(async move {
                let _farewell = farewell;
                std::future::pending::<()>().await;
            });
            child.cancel();
            let sibling = cx.spawn_local(async {});
            assert_eq!(sibling.await, Ok(()));
            l.say("parent goes on");
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("parent", parent);
        assert_eq!(up(service).stop().code, 0);
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, ["child", "parent goes on"]);
    });
}

#[test]
fn a_child_that_is_born_too_late_is_cancelled_at_once() {
    watched(|| {
        struct Late(Context<Thread>, Log);
        impl Drop for Late {
            fn drop(&mut self) {
                let child = self.0.spawn_local(async {});
                let answer = crate::util::block_on(child);
                self.1.say(format!("{answer:?}"));
            }
        }
        let (mut service, log) = (Service::new("test"), Log::default());
        let l = log.clone();
        let parent = task_fn::<Thread>(async move |cx| {
            let inner = Late(cx.clone(), l);
            // It is dropped after the task has ended.
            cx.spawn_local(async move {
                let _inner = inner;
                std::future::pending::<()>().await;
            })
            .detach();
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("parent", parent);
        assert_eq!(up(service).stop().code, 0);
        assert_eq!(log.lines(), [format!("{:?}", Err::<(), _>(CallError::Cancelled))]);
    });
}

#[test]
fn a_child_that_ignores_the_end_of_its_task_does_not_hold_it_up() {
    watched(|| {
        let mut service = Service::new("test");
        let parent = task_fn::<Thread>(async |cx| {
            cx.spawn_local(async {
                loop {
                    std::future::pending::<()>().await;
                }
            })
            .detach();
            Ok(())
        });
        service.task("parent", parent);
        let began = Instant::now();
        assert_eq!(service.start().unwrap().join().code, 0);
        assert!(began.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn exports_and_counters_show_in_the_status() {
    watched(|| {
        let mut service = Service::new("test");
        service.version("1.2.3");
        let task = task_fn::<Thread>(async |cx| {
            assert_eq!((cx.name(), cx.target(), cx.incarnation()), ("http", "test.http", 1));
            assert_eq!(cx.service().name(), "test");
            cx.export("address", "127.0.0.1:80");
            let requests = cx.counter("requests");
            requests.add(1);
            cx.counter("requests").add(1);
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("http", task);
        let running = up(service);
        let status = running.status();
        assert_eq!(status.tasks[0].exports["address"], "127.0.0.1:80");
        assert_eq!(status.tasks[0].counters["requests"], 2);
        assert_eq!((status.version.as_deref(), status.tasks[0].state), (Some("1.2.3"), State::Running));
        let table = status.to_string();
        assert!(table.contains("task http             running    on http") && table.contains("requests 2"), "{table}");
        assert_eq!(running.stop().code, 0);
    });
}

#[derive(clap::Args, Clone, Debug)]
struct PortOptions {
    #[arg(long, default_value_t = 80)]
    port: u16,
    #[arg(long)]
    host: Option<String>,
}

struct Server(Log);

impl Task<Thread> for Server {
    type Options = PortOptions;

    async fn run(&mut self, cx: Context<Thread, PortOptions>) -> interloop::Result {
        let PortOptions { port, host } = cx.options();
        self.0.say(format!("{} {host:?} {port}", cx.name()));
        Ok(())
    }
}

#[test]
fn options_are_prefixed_by_the_task_and_can_be_set_in_code() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        service.task("a", Server(log.clone()));
        service.task("b", Server(log.clone())).set("port", 81).set("host", "b.example");
        service.task("c", Server(log.clone())).set("port", 82);
        service.arguments(["--c-port", "83", "--a-host=a.example"]);
        assert_eq!(service.start().unwrap().join().code, 0);
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, ["a Some(\"a.example\") 80", "b Some(\"b.example\") 81", "c None 83"]);
    });
}

#[test]
fn the_service_may_have_options_of_its_own() {
    watched(|| {
        let mut service = Service::new("test");
        service.options::<PortOptions>().arguments(["--port", "7"]);
        let handle = service.handle();
        assert!(handle.own_options::<PortOptions>().is_none());
        let running = up(service);
        assert_eq!(handle.own_options::<PortOptions>().unwrap().port, 7);
        assert_eq!(running.stop().code, 0);
    });
}

struct Anywhere;

impl<L: interloop::EventLoop> Task<L> for Anywhere {
    type Options = NoOptions;

    async fn run(&mut self, cx: Context<L>) -> interloop::Result {
        cx.export("kind", L::NAME);
        cx.until_shutdown().await;
        Ok(())
    }
}

#[test]
fn a_task_for_any_loop_is_given_one_by_an_option() {
    watched(|| {
        for (arguments, kind) in [(&[][..], "thread"), (&["--task-loop", "mortal"][..], "mortal")] {
            let mut service = Service::new("test");
            service.task_any::<(Thread, crate::util::Mortal)>("task", Anywhere);
            service.arguments(arguments);
            let running = up(service);
            assert_eq!(running.status().tasks[0].exports["kind"], kind);
            assert_eq!(running.status().loops.len(), 1);
            assert_eq!(running.stop().code, 0);
        }
    });
}

#[test]
fn a_task_for_any_loop_that_can_be_made_anew_is_restarted_on_the_loop_it_was_given() {
    watched(|| {
        let mut service = Service::new("test");
        service
            .task_any_with::<(Thread, crate::util::Mortal)>("task", || Anywhere)
            .restart(RestartPolicy::on_failure());
        service.arguments(["--task-loop", "mortal"]);
        let running = up(service);
        let mut watch = running.watch();
        for incarnation in 2..5 {
            running.restart_task("task").unwrap();
            crate::util::reach(&mut watch, "task", incarnation, State::Running);
            assert_eq!(running.status().tasks[0].exports["kind"], "mortal");
        }
        assert_eq!(running.stop().code, 0);
    });
}

#[cfg(feature = "net")]
#[test]
fn hosts_are_looked_up_by_name_and_addresses_are_themselves() {
    alone(|| {
        let is_asked = || {
            let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
            threads
                .filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok())
                .any(|name| name == "resolve\n")
        };
        let asked = async move |cx: Context<Thread>| {
            for (host, address) in [("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80"), ("[::1]", "[::1]:80")] {
                assert_eq!(cx.resolve(host, 80).await?, [address.parse()?], "{host}");
                assert!(!is_asked(), "an address needs no thread");
            }
            let local = cx.resolve("localhost", 80).await?;
            assert!(!local.is_empty() && local.iter().all(|address| address.ip().is_loopback()), "{local:?}");
            assert!(cx.resolve("no-such-host.invalid", 80).await.is_err());
            // Nobody waits for the answer.
            drop(cx.resolve("localhost", 80));
            Ok(())
        };
        let mut service = Service::new("test");
        service.task("task", task_fn::<Thread>(asked));
        let report = up(service).join();
        assert_eq!(report.code, 0, "{report}");
    });
}

#[test]
fn sleeps_last_as_long_as_they_are_told_and_wake_in_order() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let l = log.clone();
        let task = task_fn::<Thread>(async move |cx| {
            let mut children = Vec::new();
            for ms in [30, 10, 20, 0] {
                let (log, context) = (l.clone(), cx.clone());
                children.push(cx.spawn_local(async move {
                    let began = Instant::now();
                    context.sleep(Duration::from_millis(ms)).await;
                    assert!(began.elapsed() >= Duration::from_millis(ms));
                    log.say(ms.to_string());
                }));
            }
            for child in children {
                child.await?;
            }
            Ok(())
        });
        service.task("task", task);
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 0, "{report}");
        assert_eq!(log.lines(), ["0", "10", "20", "30"]);
    });
}

#[test]
fn a_sleep_that_is_dropped_wakes_nobody_and_one_without_end_ends_with_its_task() {
    watched(|| {
        let mut service = Service::new("test");
        let task = task_fn::<Thread>(async |cx| {
            {
                let mut long = std::pin::pin!(cx.sleep(Duration::from_secs(60)));
                let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(long.as_mut().poll(cx))).await;
                assert!(polled.is_pending());
            }
            cx.ready();
            cx.sleep(Duration::MAX).await;
            Ok(())
        });
        service.task("task", task).stop_timeout(Duration::from_millis(20));
        let began = Instant::now();
        let report = up(service).stop();
        assert_eq!(state_of(&report, "task"), State::Cancelled);
        assert!(began.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn a_timeout_drops_what_took_too_long() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let l = log.clone();
        let task = task_fn::<Thread>(async move |cx| {
            assert_eq!(cx.timeout(SOON, async { 7 }).await, Ok(7));
            let farewell = Farewell(l.clone(), "dropped");
            let slow = async move {
                let _farewell = farewell;
                std::future::pending::<()>().await;
            };
            let elapsed: Elapsed = cx.timeout(Duration::from_millis(10), slow).await.unwrap_err();
            l.say(elapsed.to_string());
            Ok(())
        });
        service.task("task", task);
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 0, "{report}");
        assert_eq!(log.lines(), ["dropped", "not done within 10 ms"]);
    });
}

#[test]
fn a_future_runs_until_the_shutdown_which_wins() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let l = log.clone();
        let task = task_fn::<Thread>(async move |cx| {
            assert_eq!(cx.run_until_shutdown(async { 7 }).await, Some(7));
            cx.ready();
            let farewell = Farewell(l.clone(), "dropped");
            let endless = async move {
                let _farewell = farewell;
                std::future::pending::<()>().await;
            };
            assert_eq!(cx.run_until_shutdown(endless).await, None);
            l.say("stops");
            assert_eq!(cx.run_until_shutdown(async { 7 }).await, None);
            Ok(())
        });
        service.task("task", task);
        let report = up(service).stop();
        assert_eq!(report.code, 0, "{report}");
        assert_eq!(log.lines(), ["dropped", "stops"]);
    });
}

#[test]
fn an_error_is_a_warning_until_the_next_value() {
    watched(|| {
        let mut service = Service::new("test");
        let task = task_fn::<Thread>(async |cx| {
            let warnings = || cx.service().warnings().iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(cx.ok_or_warn("post", Err::<u32, _>("nobody is at home")), None);
            assert_eq!(warnings(), ["task.post: nobody is at home"]);
            assert_eq!(cx.ok_or_warn("paper", Ok::<_, &str>(1)), Some(1));
            assert_eq!(warnings().len(), 1);
            assert_eq!(cx.ok_or_warn("post", Ok::<_, &str>(2)), Some(2));
            assert_eq!(warnings().len(), 0);
            Ok(())
        });
        service.task("task", task);
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 0, "{report}");
    });
}

#[test]
fn an_interval_skips_what_it_missed_and_keeps_its_grid() {
    watched(|| {
        const PERIOD: Duration = Duration::from_millis(20);
        let mut service = Service::new("test");
        let task = task_fn::<Thread>(async |cx| {
            let began = Instant::now();
            let mut ticks = cx.interval(PERIOD);
            ticks.tick().await;
            assert!(began.elapsed() >= PERIOD);
            // Late by two and a half ticks.
            std::thread::sleep(PERIOD * 5 / 2);
            let missed = ticks.tick().await;
            assert!(missed >= 1, "{missed}");
            // The next one is on the grid: not a whole period away from now.
            let ticks_before = 2 + missed as u32;
            ticks.tick().await;
            assert!(began.elapsed() >= PERIOD * (ticks_before + 1));
            Ok(())
        });
        service.task("task", task);
        let report = service.start().unwrap().join();
        assert_eq!(report.code, 0, "{report}");
    });
}

#[test]
fn an_interval_of_nothing_is_refused() {
    watched(|| {
        let mut service = Service::new("test");
        let task = task_fn::<Thread>(async |cx| {
            drop(cx.interval(Duration::ZERO));
            Ok(())
        });
        service.task("task", task);
        let report = service.start().unwrap().join();
        assert!(cause_of(&report, "task").to_string().contains("must not be zero"), "{report}");
    });
}

#[test]
fn periodic_work_is_done_until_the_stop() {
    watched(|| {
        let (mut service, three) = (Service::new("test"), Latch::default());
        let (t, mut count) = (three.clone(), 0);
        let work = move || {
            count += 1;
            if count == 3 {
                t.open();
            }
        };
        service.task_on::<Thread>("tick", interloop::tasks::Periodic::new(SOON, work)).set("interval", "5ms");
        let running = up(service);
        three.wait();
        let status = running.status();
        assert!(status.tasks[0].counters["iterations"] >= 2, "{status}");
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn what_was_shared_is_dropped_behind_the_jobs_that_were_accepted_for_it() {
    watched(|| {
        let (mut service, log) = (Service::new("test"), Log::default());
        let (slot, remotes) = service.slot::<RefCell<Option<interloop::Remote<Farewell>>>>("remotes");
        let l = log.clone();
        let task = task_fn::<Thread>(async move |cx| {
            let shared = cx.share(Farewell(l, "value"));
            cx.fill(slot, RefCell::new(Some(shared.clone())));
            cx.until_shutdown().await;
            // Accepted while the task still runs.
            for _ in 0..3 {
                shared.post(|value| value.0.say("job")).unwrap();
            }
            Ok(())
        });
        service.task("task", task);
        let running = up(service);
        let shared = remotes.call(RefCell::take).wait_timeout(SOON).unwrap().unwrap();
        assert_eq!(running.stop().code, 0);
        assert_eq!(log.lines(), ["job", "job", "job", "value"]);
        assert_eq!(shared.call(|_| ()).wait_timeout(SOON), Err(CallError::Stopped));
    });
}

#[derive(clap::Args)]
struct Places {
    #[arg(long, value_delimiter = ',')]
    place: Vec<String>,
    #[arg(long)]
    refuse: bool,
}

fn placed() -> Service {
    let mut service = Service::new("test");
    service.configure(|service, options: Places| {
        if options.refuse {
            return Err(interloop::Error::new("there is no such place"));
        }
        for place in options.place {
            service.task(place, crate::util::quiet_resident::<Thread>());
        }
        Ok(())
    });
    service
}

#[test]
fn the_service_s_own_options_say_which_tasks_there_are() {
    watched(|| {
        let start = |words: &[&str]| {
            let mut service = placed();
            service.arguments(words);
            service.start()
        };
        let running = start(&["--tasks", "barn,mill", "--place", "barn,mill,shed"]).unwrap();
        let tasks = running.status().tasks.into_iter().map(|task| task.name).collect::<Vec<_>>();
        assert_eq!(tasks, ["barn", "mill"]);
        assert_eq!(running.own_options::<Places>().unwrap().place.len(), 3);
        assert_eq!(running.stop().code, 0);
        let stopped = |words: &[&str]| {
            let stop = start(words).map(drop).unwrap_err();
            (stop.code(), stop.to_string())
        };
        assert_eq!(stopped(&["--refuse"]), (78, "test: there is no such place".into()));
        let (code, tasks) = stopped(&["--place", "barn", "--list-tasks"]);
        assert!(code == 0 && tasks.contains("barn"), "{tasks}");
        let (code, wrong) = stopped(&["--place", "barn", "--barn-x"]);
        assert!(code == 2 && wrong.contains("--barn-x"), "{wrong}");
        let (code, wrong) = stopped(&["--place"]);
        assert!(code == 2 && wrong.contains("--place"), "{wrong}");
    });
}
