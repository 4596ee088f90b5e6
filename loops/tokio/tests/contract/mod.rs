//! What every loop has to keep, written once: `contract!(Kind, || service)` makes the tests for the loop `Kind` in such a service.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use interloop::{
    CallError, Context, EventLoop, RestartPolicy, Service, ServiceHandle, State, Timers, Transition, task_fn,
};

use crate::util::{Drops, LONG, Witness, down, up, watchdog};

/// Waits for this transition.
fn until(handle: &ServiceHandle, what: impl Fn(&Transition) -> bool) {
    let mut watch = handle.watch();
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        match watch.wait_timeout(LONG) {
            Some(transition) if what(&transition) => return,
            Some(_) => {}
            None => break,
        }
    }
    panic!("it did not come to that: {}", handle.status());
}

/// The threads of this process that have not ended. One that is on its way out counts as gone, as it does for `join`, which returns a moment before the
/// kernel has taken it off its list.
fn threads() -> usize {
    const PF_EXITING: u64 = 4;
    let lives = |stat: &String| {
        // The name, in brackets, may hold anything; the flags are the seventh field behind it.
        let flags = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(6)?.parse::<u64>().ok());
        flags.is_some_and(|flags| flags & PF_EXITING == 0)
    };
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok()).filter(lives).count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

pub(crate) fn it_starts_gets_ready_and_stops<L: EventLoop>(new: fn() -> Service) {
    let _watchdog = watchdog();
    let mut service = new();
    let name = Arc::new(Mutex::new(String::new()));
    let seen = name.clone();
    service.task(
        "waits",
        task_fn::<L>(async move |cx| {
            *seen.lock().unwrap() = thread::current().name().unwrap_or_default().to_owned();
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = up(service);
    assert_eq!(*name.lock().unwrap(), L::NAME);
    assert!(running.is_ready());
    down(running);
}

pub(crate) fn a_stop_from_before_the_start_is_heard<L: EventLoop>(new: fn() -> Service) {
    let _watchdog = watchdog();
    let mut service = new();
    let remote = service.remote_to::<L>();
    service.handle().request_shutdown("before");
    let report = service.start().unwrap().join();
    assert_eq!((report.code, report.reason.to_string().as_str()), (0, "before"));
    assert!(remote.post(|_| ()).is_err());
}

pub(crate) fn what_was_sent_before_the_loop_ran_is_done<L: EventLoop>(new: fn() -> Service) {
    let _watchdog = watchdog();
    let mut service = new();
    let remote = service.remote_to::<L>();
    let early = remote.call(|_| thread::current().name().map(str::to_owned));
    let running = up(service);
    assert_eq!(early.wait(LONG), Ok(Some(L::NAME.to_owned())));
    down(running);
}

pub(crate) fn posts_calls_and_futures_come_from_other_threads<L: Timers>(new: fn() -> Service) {
    let _watchdog = watchdog();
    let mut service = new();
    let (slot, list) = service.slot::<RefCell<Vec<u32>>>("list");
    service.task(
        "owner",
        task_fn::<L>(async move |cx| {
            cx.fill(slot, RefCell::default());
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = up(service);
    let senders = (0..4).map(|sender| {
        let list = list.clone();
        thread::spawn(move || {
            (0..250).for_each(|n| list.post(move |list| list.borrow_mut().push(sender * 1000 + n)).unwrap())
        })
    });
    senders.collect::<Vec<_>>().into_iter().for_each(|sender| sender.join().unwrap());
    let all = list.call(|list| list.borrow().clone()).wait(LONG).unwrap();
    assert_eq!(all.len(), 1000);
    for sender in 0..4 {
        let of_one = all.iter().filter(|n| **n / 1000 == sender).collect::<Vec<_>>();
        assert!(of_one.is_sorted(), "in the order of their sender");
    }
    // A future that is not `Send`, and goes to sleep between two looks.
    let later = list.spawn(|list: Rc<RefCell<Vec<u32>>>| async move {
        let mut polled = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(());
            }
            let waker = cx.waker().clone();
            thread::spawn(move || waker.wake());
            Poll::Pending
        })
        .await;
        list.borrow().len()
    });
    assert_eq!(later.wait(LONG), Ok(1000));
    down(running);
}

pub(crate) fn a_panic_in_a_job_comes_back_and_the_loop_lives<L: EventLoop>(new: fn() -> Service) {
    let _watchdog = watchdog();
    let mut service = new();
    let remote = service.remote_to::<L>();
    let running = up(service);
    remote.post(|_| panic!("a post")).unwrap();
    assert_eq!(remote.call(|_| -> u8 { panic!("a call") }).wait(LONG), Err(CallError::Panicked("a call".into())));
    assert_eq!(
        remote.spawn(|_| async { panic!("a future") }).wait(LONG),
        Err::<(), _>(CallError::Panicked("a future".into()))
    );
    assert_eq!(remote.call(|_| 7).wait(LONG), Ok(7));
    down(running);
}

pub(crate) fn a_blocking_wait_on_the_loop_is_refused<L: EventLoop>(new: fn() -> Service) {
    let _watchdog = watchdog();
    let mut service = new();
    let remote = service.remote_to::<L>();
    let running = up(service);
    let itself = remote.clone();
    assert_eq!(remote.call(move |_| itself.call(|_| ()).wait(LONG)).wait(LONG), Ok(Err(CallError::WouldBlock)));
    down(running);
}

pub(crate) fn a_sleep_is_never_early<L: Timers>(new: fn() -> Service) {
    let _watchdog = watchdog();
    let mut service = new();
    service.task(
        "sleeper",
        task_fn::<L>(async move |cx| {
            for micros in [0, 1, 300, 999, 1000, 1001, 2500, 7001] {
                let duration = Duration::from_micros(micros);
                let begun = Instant::now();
                cx.sleep(duration).await;
                assert!(begun.elapsed() >= duration, "{duration:?} took {:?}", begun.elapsed());
            }
            assert!(cx.timeout(Duration::from_millis(1), cx.sleep(Duration::MAX)).await.is_err());
            Ok(())
        }),
    );
    let report = service.start().unwrap().join();
    assert_eq!(report.code, 0, "{report}");
}

/// Children, values and futures that are not `Send`, in a task; a Context of it is kept beyond its end, by the thread.
async fn holds<L: EventLoop>(cx: Context<L>, drops: Drops, shared: mpsc::Sender<interloop::Remote<Witness>>) {
    thread_local!(static KEPT: RefCell<Vec<Box<dyn std::any::Any>>> = const { RefCell::new(Vec::new()) });
    KEPT.with(|kept| kept.borrow_mut().push(Box::new(cx.clone())));
    let in_child = Witness::new(&drops);
    cx.spawn_local(async move {
        let _in_child = in_child;
        std::future::pending::<()>().await;
    })
    .detach();
    shared.send(cx.share(Witness::new(&drops))).unwrap();
    let _in_task = Witness::new(&drops);
    cx.until_shutdown().await;
}

/// 1 in the task, 1 in its child, 1 shared, 1 in a future sent there.
const HELD: usize = 4;

fn drops_on_the_loop<L: EventLoop>(
    new: fn() -> Service,
    task: impl AsyncFnOnce(Context<L>) -> interloop::Result + Send + 'static,
    code: u8,
) {
    let _watchdog = watchdog();
    let drops = Drops::default();
    let (sender, shared) = mpsc::channel();
    let mut service = new();
    let held = drops.clone();
    service
        .task(
            "holder",
            task_fn::<L>(async move |cx| {
                holds(cx.clone(), held, sender).await;
                task(cx).await
            }),
        )
        .stop_timeout(if code == 124 { Duration::from_millis(100) } else { LONG });
    let running = up(service);
    // Held here, beyond the end of all.
    let remote = shared.recv_timeout(LONG).unwrap();
    let in_future = drops.clone();
    let reply = remote.spawn(move |_| async move {
        let _in_future = Witness::new(&in_future);
        std::future::pending::<()>().await;
    });
    assert_eq!(remote.call(|_| ()).wait(LONG), Ok(()));
    let report = running.stop();
    assert_eq!(report.code, code, "{report}");
    assert!(report.stuck.is_empty());
    let drops = drops.lock().unwrap();
    assert_eq!(drops.len(), HELD, "all are dropped");
    assert!(drops.iter().all(|thread| *thread == drops[0] && *thread != thread::current().id()), "on one thread");
    assert_eq!(reply.wait(LONG), Err(CallError::Cancelled));
    assert!(remote.post(|_| ()).is_err());
}

pub(crate) fn what_is_not_send_is_dropped_on_its_thread_at_a_stop<L: EventLoop>(new: fn() -> Service) {
    drops_on_the_loop::<L>(new, async |_| Ok(()), 0);
}

pub(crate) fn what_is_not_send_is_dropped_on_its_thread_at_a_cancel<L: EventLoop>(new: fn() -> Service) {
    drops_on_the_loop::<L>(
        new,
        async |_| {
            // It doesn't obey.
            std::future::pending::<()>().await;
            Ok(())
        },
        124,
    );
}

pub(crate) fn what_is_not_send_is_dropped_on_its_thread_at_a_panic<L: EventLoop>(new: fn() -> Service) {
    drops_on_the_loop::<L>(new, async |_| panic!("in the task"), 1);
}

pub(crate) fn what_is_not_send_is_dropped_on_its_thread_at_a_restart<L: EventLoop>(new: fn() -> Service) {
    let _watchdog = watchdog();
    let drops = Drops::default();
    let (sender, shared) = mpsc::channel();
    let mut service = new();
    let held = drops.clone();
    service.task_with("holder", move || {
        let (held, sender) = (held.clone(), sender.clone());
        task_fn::<L>(async move |cx| {
            holds(cx, held, sender).await;
            Ok(())
        })
    });
    let running = up(service);
    let mut remotes = Vec::new();
    for incarnation in 2..=4 {
        remotes.push(shared.recv_timeout(LONG).unwrap());
        running.restart_task("holder").unwrap();
        until(&running, |t| t.incarnation == incarnation && t.to == State::Running);
    }
    assert_eq!(drops.lock().unwrap().len(), 3 * (HELD - 1));
    down(running);
    assert_eq!(drops.lock().unwrap().len(), 4 * (HELD - 1));
}

pub(crate) fn a_remote_survives_the_restart_of_its_task<L: EventLoop>(new: fn() -> Service) {
    let _watchdog = watchdog();
    let mut service = new();
    let (slot, number) = service.slot::<u32>("number");
    service
        .task_with("owner", move || {
            let slot = slot.clone();
            task_fn::<L>(async move |cx| {
                cx.fill(slot, cx.incarnation());
                let failing = cx.incarnation() < 3;
                cx.ready();
                if failing {
                    return Err(interloop::Error::new("again"));
                }
                cx.until_shutdown().await;
                Ok(())
            })
        })
        .restart(RestartPolicy::on_failure().backoff(Duration::from_millis(1), Duration::from_millis(2)));
    let running = service.start().unwrap();
    let mut last = 0;
    while last < 3 {
        let seen = number.call(|number| *number).wait(LONG).unwrap();
        assert!(seen >= last);
        last = seen;
    }
    down(running);
}

pub(crate) fn a_flood_of_posts_starves_no_timer<L: Timers>(new: fn() -> Service) {
    let _watchdog = watchdog();
    let mut service = new();
    let remote = service.remote_to::<L>();
    let over = Arc::new(AtomicBool::new(false));
    let done = over.clone();
    service.task(
        "ticks",
        task_fn::<L>(async move |cx| {
            cx.ready();
            for _ in 0..50 {
                cx.sleep(Duration::from_millis(1)).await;
            }
            done.store(true, Ordering::Release);
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = up(service);
    let jobs = Arc::new(AtomicUsize::new(0));
    let flood = |jobs: Arc<AtomicUsize>| {
        let (remote, over) = (remote.clone(), over.clone());
        thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                let jobs = jobs.clone();
                // Full, now and then: it is faster than the loop.
                let _ = remote.post(move |_| {
                    jobs.fetch_add(1, Ordering::Relaxed);
                });
            }
        })
    };
    let begun = Instant::now();
    flood(jobs.clone()).join().unwrap();
    assert!(begun.elapsed() < LONG);
    assert!(jobs.load(Ordering::Relaxed) > 0);
    down(running);
}

pub(crate) fn a_loop_that_blocks_is_left_behind_in_time<L: EventLoop>(new: fn() -> Service) {
    let _watchdog = watchdog();
    let mut service = new();
    let remote = service.remote_to::<L>();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let held = gate.clone();
    service
        .task(
            "blocks",
            task_fn::<L>(async move |cx| {
                cx.until_shutdown().await;
                let (open, opened) = &*held;
                let _open = opened.wait_while(open.lock().unwrap(), |open| !*open);
                Ok(())
            }),
        )
        .stop_timeout(Duration::from_millis(100));
    let running = up(service);
    let (entered, waits) = mpsc::channel();
    let waiter = thread::spawn({
        let (remote, shutdown) = (remote.clone(), running.shutdown());
        move || {
            shutdown.wait();
            let reply = remote.spawn(|_| std::future::pending::<()>());
            entered.send(()).unwrap();
            reply.wait(LONG)
        }
    });
    let begun = Instant::now();
    running.request_shutdown("now");
    waits.recv_timeout(LONG).unwrap();
    let report = running.join();
    let took = begun.elapsed();
    assert!((Duration::from_millis(100)..Duration::from_secs(4)).contains(&took), "{took:?}");
    assert_eq!((report.code, report.stuck.len()), (124, 1), "{report}");
    assert_eq!(&*report.stuck[0].thread, L::NAME);
    assert_eq!(report.stuck[0].polling, "task blocks");
    let answer = waiter.join().unwrap();
    assert!(matches!(answer, Err(CallError::Stopped | CallError::Cancelled)), "{answer:?}");
    // Let the thread go, and wait for it: other tests count threads, and may need what it holds.
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let begun = Instant::now();
    while has_thread(L::NAME) && begun.elapsed() < LONG {
        thread::yield_now();
    }
    assert!(!has_thread(L::NAME), "the thread that was left behind never ended");
}

fn has_thread(name: &str) -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok()).any(|comm| comm.trim_end() == name)
}

pub(crate) fn twenty_starts_leave_no_thread_and_no_descriptor<L: EventLoop>(new: fn() -> Service) {
    let _watchdog = watchdog();
    let once = || {
        let mut service = new();
        let remote = service.remote_to::<L>();
        service.task(
            "waits",
            task_fn::<L>(async |cx| {
                cx.until_shutdown().await;
                Ok(())
            }),
        );
        let running = up(service);
        assert_eq!(remote.call(|_| 1).wait(LONG), Ok(1));
        down(running);
    };
    // What is made once a process is made now.
    once();
    let before = (threads(), descriptors());
    for _ in 0..20 {
        once();
        assert_eq!((threads(), descriptors()), before);
    }
}

pub(crate) fn twenty_restarts_leave_no_thread_and_no_descriptor<L: EventLoop>(new: fn() -> Service) {
    let _watchdog = watchdog();
    let mut service = new();
    service.task_with("waits", || {
        task_fn::<L>(async |cx| {
            cx.until_shutdown().await;
            Ok(())
        })
    });
    let running = up(service);
    let before = (threads(), descriptors());
    for incarnation in 2..=21 {
        running.restart_task("waits").unwrap();
        until(&running, |t| t.incarnation == incarnation && t.to == State::Running);
    }
    assert_eq!((threads(), descriptors()), before);
    down(running);
}

/// How often this process's threads, but for this one, went to sleep.
fn sleeps() -> u64 {
    let of = |status: &str| {
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let own =
        std::fs::read_link("/proc/thread-self").ok().and_then(|path| path.file_name().map(std::ffi::OsStr::to_owned));
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let others = tasks.filter(|task| Some(task.file_name()) != own);
    others.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok()).map(|status| of(&status)).sum()
}

pub(crate) fn idle_means_idle<L: EventLoop>(new: fn() -> Service) {
    let _watchdog = watchdog();
    let mut service = new();
    let remote = service.remote_to::<L>();
    service.task(
        "waits",
        task_fn::<L>(async |cx| {
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = up(service);
    assert_eq!(remote.call(|_| 1).wait(LONG), Ok(1));
    // The first time they may still be on their way to sleep.
    let idle = (0..3).any(|_| {
        let before = sleeps();
        // What is looked for is that nothing happens in a time.
        thread::sleep(Duration::from_millis(500));
        sleeps() == before
    });
    assert!(idle, "somebody wakes up");
    down(running);
}

/// The tests of one kind of loop.
#[macro_export]
macro_rules! contract {
    ($event_loop:ty, $service:expr) => {
        $crate::contract! { $event_loop, $service;
            it_starts_gets_ready_and_stops
            a_stop_from_before_the_start_is_heard
            what_was_sent_before_the_loop_ran_is_done
            posts_calls_and_futures_come_from_other_threads
            a_panic_in_a_job_comes_back_and_the_loop_lives
            a_blocking_wait_on_the_loop_is_refused
            a_sleep_is_never_early
            what_is_not_send_is_dropped_on_its_thread_at_a_stop
            what_is_not_send_is_dropped_on_its_thread_at_a_cancel
            what_is_not_send_is_dropped_on_its_thread_at_a_panic
            what_is_not_send_is_dropped_on_its_thread_at_a_restart
            a_remote_survives_the_restart_of_its_task
            a_flood_of_posts_starves_no_timer
            a_loop_that_blocks_is_left_behind_in_time
            idle_means_idle
            twenty_starts_leave_no_thread_and_no_descriptor
            twenty_restarts_leave_no_thread_and_no_descriptor
        }
    };
    ($event_loop:ty, $service:expr; $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $crate::contract::$name::<$event_loop>($service);
        })*
    };
}
