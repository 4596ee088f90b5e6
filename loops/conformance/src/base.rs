//! The contract of an event loop: start, stop, calls, drops, restarts, rest. The names of the checks are what they say.

#![allow(missing_docs, reason = "the names are sentences")]

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    sync::{
        Arc, Barrier, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use interloop::{
    CallError, Context, EventLoop, RestartPolicy, ServiceHandle, State, Thread, Timers, Transition, task_fn,
};

use crate::scene::{Drops, Subject, Witness, down, sized, up, watchdog};

/// Waits for this transition.
fn until(handle: &ServiceHandle, long: Duration, what: impl Fn(&Transition) -> bool) {
    let mut watch = handle.watch();
    let begun = Instant::now();
    while begun.elapsed() < long {
        match watch.wait_timeout(long) {
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

pub fn it_starts_gets_ready_and_stops<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
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
    let running = up(service, long);
    assert_eq!(*name.lock().unwrap(), thread_of::<L>("waits"), "its thread has another name");
    assert!(running.is_ready());
    down(running);
}

pub fn a_stop_from_before_the_start_is_heard<L: EventLoop>(subject: &Subject<L>) {
    let _watchdog = watchdog();
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    service.handle().request_shutdown("before");
    let report = service.start().unwrap().join();
    assert_eq!((report.code, report.reason.to_string().as_str()), (0, "before"));
    assert!(remote.post(|_| ()).is_err());
}

pub fn what_was_sent_before_the_loop_ran_is_done<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let early = remote.call(|_| thread::current().name().map(str::to_owned));
    let running = up(service, long);
    assert_eq!(early.wait(long), Ok(Some(L::NAME.to_owned())), "what was sent before the loop ran was not done");
    down(running);
}

pub fn posts_calls_and_futures_come_from_other_threads<L: Timers>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let (slot, list) = service.slot::<RefCell<Vec<u32>>>("list");
    service.task(
        "owner",
        task_fn::<L>(async move |cx| {
            cx.fill(slot, RefCell::default());
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = up(service, long);
    let senders = (0..4).map(|sender| {
        let list = list.clone();
        thread::spawn(move || {
            (0..250).for_each(|n| list.post(move |list| list.borrow_mut().push(sender * 1000 + n)).unwrap())
        })
    });
    senders.collect::<Vec<_>>().into_iter().for_each(|sender| sender.join().unwrap());
    let all = list.call(|list| list.borrow().clone()).wait(long).unwrap();
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
    assert_eq!(later.wait(long), Ok(1000));
    down(running);
}

pub fn a_panic_in_a_job_comes_back_and_the_loop_lives<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let running = up(service, long);
    remote.post(|_| panic!("a post")).unwrap();
    assert_eq!(remote.call(|_| -> u8 { panic!("a call") }).wait(long), Err(CallError::Panicked("a call".into())));
    assert_eq!(
        remote.spawn(|_| async { panic!("a future") }).wait(long),
        Err::<(), _>(CallError::Panicked("a future".into()))
    );
    assert_eq!(remote.call(|_| 7).wait(long), Ok(7));
    down(running);
}

pub fn a_blocking_wait_on_the_loop_is_refused<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let running = up(service, long);
    let itself = remote.clone();
    assert_eq!(remote.call(move |_| itself.call(|_| ()).wait(long)).wait(long), Ok(Err(CallError::WouldBlock)));
    down(running);
}

pub fn a_sleep_is_never_early<L: Timers>(subject: &Subject<L>) {
    let _watchdog = watchdog();
    let mut service = subject.service();
    service.task(
        "sleeper",
        task_fn::<L>(async move |cx| {
            for micros in [0, 1, 300, 999, 1000, 1001, 2500, 7001] {
                let duration = Duration::from_micros(micros);
                let begun = Instant::now();
                cx.sleep(duration).await;
                assert!(begun.elapsed() >= duration, "a sleep of {duration:?} was early: {:?}", begun.elapsed());
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
    subject: &Subject<L>,
    task: impl AsyncFnOnce(Context<L>) -> interloop::Result + Send + 'static,
    code: u8,
) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let drops = Drops::default();
    let (sender, shared) = mpsc::channel();
    let mut service = subject.service();
    let held = drops.clone();
    service
        .task(
            "holder",
            task_fn::<L>(async move |cx| {
                holds(cx.clone(), held, sender).await;
                task(cx).await
            }),
        )
        .stop_timeout(if code == 124 { Duration::from_millis(100) } else { long });
    let running = up(service, long);
    // Held here, beyond the end of all.
    let remote = shared.recv_timeout(long).unwrap();
    let in_future = drops.clone();
    let reply = remote.spawn(move |_| async move {
        let _in_future = Witness::new(&in_future);
        std::future::pending::<()>().await;
    });
    assert_eq!(remote.call(|_| ()).wait(long), Ok(()));
    let report = running.stop();
    assert_eq!(report.code, code, "{report}");
    assert!(report.stuck.is_empty());
    let drops = drops.lock().unwrap();
    assert_eq!(drops.len(), HELD, "what lives on the loop was not dropped there at the end");
    assert!(drops.iter().all(|thread| *thread == drops[0] && *thread != thread::current().id()), "on one thread");
    assert_eq!(reply.wait(long), Err(CallError::Cancelled));
    assert!(remote.post(|_| ()).is_err());
}

pub fn what_is_not_send_is_dropped_on_its_thread_at_a_stop<L: EventLoop>(subject: &Subject<L>) {
    drops_on_the_loop::<L>(subject, async |_| Ok(()), 0);
}

pub fn what_is_not_send_is_dropped_on_its_thread_at_a_cancel<L: EventLoop>(subject: &Subject<L>) {
    drops_on_the_loop::<L>(
        subject,
        async |_| {
            // It doesn't obey.
            std::future::pending::<()>().await;
            Ok(())
        },
        124,
    );
}

pub fn what_is_not_send_is_dropped_on_its_thread_at_a_panic<L: EventLoop>(subject: &Subject<L>) {
    drops_on_the_loop::<L>(subject, async |_| panic!("in the task"), 1);
}

pub fn what_is_not_send_is_dropped_on_its_thread_at_a_restart<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let drops = Drops::default();
    let (sender, shared) = mpsc::channel();
    let mut service = subject.service();
    let held = drops.clone();
    service.task_with("holder", move || {
        let (held, sender) = (held.clone(), sender.clone());
        task_fn::<L>(async move |cx| {
            holds(cx, held, sender).await;
            Ok(())
        })
    });
    let running = up(service, long);
    let mut remotes = Vec::new();
    for incarnation in 2..=4 {
        remotes.push(shared.recv_timeout(long).unwrap());
        running.restart_task("holder").unwrap();
        until(&running, long, |t| t.incarnation == incarnation && t.to == State::Running);
    }
    assert_eq!(drops.lock().unwrap().len(), 3 * (HELD - 1));
    down(running);
    assert_eq!(drops.lock().unwrap().len(), 4 * (HELD - 1));
}

pub fn a_remote_survives_the_restart_of_its_task<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
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
        let seen = number.call(|number| *number).wait(long).unwrap();
        assert!(seen >= last);
        last = seen;
    }
    down(running);
}

pub fn a_flood_of_posts_starves_no_timer<L: Timers>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
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
    let running = up(service, long);
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
    let flooding = flood(jobs.clone());
    let begun = Instant::now();
    while !over.load(Ordering::Acquire) && begun.elapsed() < long {
        thread::sleep(Duration::from_millis(1));
    }
    let starved = !over.swap(true, Ordering::AcqRel);
    flooding.join().unwrap();
    assert!(!starved, "a flood of posts starves the loop's timers");
    assert!(jobs.load(Ordering::Relaxed) > 0);
    down(running);
}

pub fn a_loop_that_blocks_is_left_behind_in_time<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
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
    let running = up(service, long);
    let (entered, waits) = mpsc::channel();
    let waiter = thread::spawn({
        let (remote, shutdown) = (remote.clone(), running.shutdown());
        move || {
            shutdown.wait();
            let reply = remote.spawn(|_| std::future::pending::<()>());
            entered.send(()).unwrap();
            reply.wait(long)
        }
    });
    let begun = Instant::now();
    running.request_shutdown("now");
    waits.recv_timeout(long).unwrap();
    let report = running.join();
    let took = begun.elapsed();
    assert!((Duration::from_millis(100)..Duration::from_secs(4)).contains(&took), "{took:?}");
    assert_eq!((report.code, report.stuck.len()), (124, 1), "{report}");
    let stuck = thread_of::<L>("blocks");
    assert_eq!(&*report.stuck[0].thread, stuck);
    assert_eq!(report.stuck[0].polling, "task blocks");
    let answer = waiter.join().unwrap();
    assert!(matches!(answer, Err(CallError::Stopped | CallError::Cancelled)), "{answer:?}");
    // Let the thread go, and wait for it: other tests count threads, and may need what it holds.
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let begun = Instant::now();
    while has_thread(stuck) && begun.elapsed() < long {
        thread::yield_now();
    }
    assert!(!has_thread(stuck), "the thread that was left behind never ended");
}

/// The thread of this task: its loop's, or its own.
fn thread_of<L: EventLoop>(task: &'static str) -> &'static str {
    if L::THREAD_A_TASK { task } else { L::NAME }
}

fn has_thread(name: &str) -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok()).any(|comm| comm.trim_end() == name)
}

pub fn twenty_starts_leave_no_thread_and_no_descriptor<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let once = || {
        let mut service = subject.service();
        let remote = service.remote_to::<L>();
        service.task(
            "waits",
            task_fn::<L>(async |cx| {
                cx.until_shutdown().await;
                Ok(())
            }),
        );
        let running = up(service, long);
        assert_eq!(remote.call(|_| 1).wait(long), Ok(1));
        down(running);
    };
    // What is made once a process is made now.
    once();
    let before = (threads(), descriptors());
    for _ in 0..20 {
        once();
        assert_eq!((threads(), descriptors()), before, "threads, or descriptors, were left behind");
    }
}

pub fn twenty_restarts_leave_no_thread_and_no_descriptor<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    service.task_with("waits", || {
        task_fn::<L>(async |cx| {
            cx.until_shutdown().await;
            Ok(())
        })
    });
    let running = up(service, long);
    let before = (threads(), descriptors());
    for incarnation in 2..=21 {
        running.restart_task("waits").unwrap();
        until(&running, long, |t| t.incarnation == incarnation && t.to == State::Running);
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

/// How long this process's threads were busy so far.
fn busy() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let times = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    let nanoseconds = times.filter_map(|times| times.split_whitespace().next()?.parse::<u64>().ok());
    Duration::from_nanos(nanoseconds.sum())
}

pub fn idle_means_idle<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    service.task(
        "waits",
        task_fn::<L>(async |cx| {
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = up(service, long);
    assert_eq!(remote.call(|_| 1).wait(long), Ok(1));
    // The first time they may still be on their way to sleep.
    let found: Vec<_> = (0..3)
        .map(|_| {
            let before = (sleeps(), busy());
            // What is looked for is that nothing happens in a time.
            thread::sleep(Duration::from_millis(500));
            (sleeps().saturating_sub(before.0), busy().saturating_sub(before.1))
        })
        .collect();
    let idle = found.iter().map(|(sleeps, _)| *sleeps).min();
    let busy = found.iter().map(|(_, busy)| *busy).min().unwrap_or_default();
    assert!(busy < Duration::from_millis(100), "an idle loop spins: it was busy for {busy:?} of 500 ms");
    assert_eq!(idle, Some(0), "an idle loop wakes up");
    down(running);
}

/// A task that waits for its stop.
fn waits<L: EventLoop>() -> impl interloop::Task<L, Options = interloop::NoOptions> {
    task_fn::<L>(async |cx| {
        cx.until_shutdown().await;
        Ok(())
    })
}

pub fn a_stop_during_the_start_is_heard<L: EventLoop>(subject: &Subject<L>) {
    let _watchdog = watchdog();
    for _ in 0..20 {
        let mut service = subject.service();
        service.task("waits", waits::<L>());
        let running = service.start().expect("the configuration works");
        running.request_shutdown("at once");
        let report = running.join();
        assert_eq!(report.code, 0, "a stop during the start got lost: {report}");
    }
}

pub fn a_stop_from_the_loop_itself_and_another_are_one<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let stops = task_fn::<L>(async move |cx| {
        cx.ready();
        cx.service().request_shutdown("from the loop");
        cx.service().request_shutdown("once more");
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("stops", stops);
    let running = service.start().expect("the configuration works");
    let report = running.join_timeout(long).unwrap_or_else(|_| panic!("a stop from the loop itself got lost"));
    assert_eq!((report.code, report.reason.to_string().as_str()), (0, "from the loop"), "{report}");
}

pub fn a_stop_wakes_a_sleeping_loop<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    service.task("waits", waits::<L>());
    let running = up(service, long);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(50) {
        // Long enough for any loop to go to sleep.
        thread::sleep(Duration::from_millis(10));
    }
    let begun = Instant::now();
    down(running);
    assert!(begun.elapsed() < Duration::from_secs(1), "a stop did not wake the loop: {:?}", begun.elapsed());
}

pub fn a_call_from_the_loop_to_itself_is_answered<L: EventLoop>(subject: &Subject<L>) {
    crate::on_loop(subject, async |cx: Context<L>| {
        let remote = cx.share(7);
        let inner = remote.clone();
        assert_eq!(remote.call(|seven| *seven).await, Ok(7));
        // A call within a call.
        let nested = remote.spawn(move |seven| async move { inner.call(|seven| *seven).await.map(|n| n + *seven) });
        assert_eq!(nested.await, Ok(Ok(14)));
    });
}

pub fn a_call_there_and_back_is_answered<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let (mine, here) = service.slot::<u32>("here");
    let (yours, there) = service.slot::<u32>("there");
    service.task(
        "here",
        task_fn::<L>(async move |cx| {
            cx.fill(mine, 1);
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    service.task(
        "there",
        task_fn::<Thread>(async move |cx| {
            cx.fill(yours, 2);
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = up(service, long);
    let (ask, back) = (there.clone(), here.clone());
    // From here to there and back to here, while here waits.
    let sum = here.spawn(move |one| async move {
        let sum = ask.spawn(move |two| async move { back.call(|one| *one).await.map(|one| one + *two) });
        sum.await.map(|sum| sum.map(|sum| sum + *one))
    });
    assert_eq!(sum.wait(long), Ok(Ok(Ok(4))), "a call there and back got lost");
    down(running);
}

pub fn posts_of_eight_senders_all_run_each_senders_in_order<L: EventLoop>(subject: &Subject<L>) {
    const SENDERS: usize = 8;
    let (_watchdog, long) = (watchdog(), subject.patience());
    let each = sized(5_000, 125_000);
    let mut service = subject.service();
    let (slot, lasts) = service.slot::<RefCell<[usize; SENDERS]>>("lasts");
    service.task(
        "owner",
        task_fn::<L>(async move |cx| {
            cx.fill(slot, RefCell::default());
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = up(service, long);
    let senders = (0..SENDERS).map(|sender| {
        let lasts = lasts.clone();
        thread::spawn(move || {
            for number in 1..=each {
                let mut job = move |lasts: &RefCell<[usize; SENDERS]>| {
                    let last = &mut lasts.borrow_mut()[sender];
                    // A gap, or a step back, shows in the sum.
                    *last = if *last + 1 == number { number } else { usize::MAX / 2 };
                };
                while let Err(refused) = lasts.post(job) {
                    assert!(refused.is_full(), "the loop has stopped");
                    job = refused.into_inner();
                    thread::yield_now();
                }
            }
        })
    });
    senders.collect::<Vec<_>>().into_iter().for_each(|sender| sender.join().expect("a sender doesn't panic"));
    let lasts = lasts.call(|lasts| *lasts.borrow()).wait(long);
    assert_eq!(lasts, Ok([each; SENDERS]), "posts got lost, or out of order");
    down(running);
}

pub fn posts_that_race_with_the_stop_run_or_come_back<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    for round in 0..sized(30, 10_000) {
        let mut service = subject.service();
        let remote = service.remote_to::<L>();
        let running = up(service, long);
        let ran = Arc::new(AtomicUsize::new(0));
        let (counted, begun) = (ran.clone(), Arc::new(Barrier::new(2)));
        let begins = begun.clone();
        let sender = thread::spawn(move || {
            begins.wait();
            let mut accepted = 0;
            loop {
                let counted = counted.clone();
                let post = remote.post(move |_| {
                    counted.fetch_add(1, Ordering::Relaxed);
                });
                match post {
                    Ok(()) => accepted += 1,
                    Err(refused) if refused.is_full() => thread::yield_now(),
                    Err(_) => return accepted,
                }
            }
        });
        begun.wait();
        down(running);
        let accepted = sender.join().expect("the sender doesn't panic");
        assert_eq!(ran.load(Ordering::Relaxed), accepted, "accepted posts did not run: round {round}");
    }
}

pub fn a_full_mailbox_gives_back<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service_with(|settings| {
        settings.mailbox_capacity(4);
    });
    let remote = service.remote_to::<L>();
    let running = up(service, long);
    let (held, hold) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (h, r) = (held.clone(), hold.clone());
    remote
        .post(move |_| {
            h.wait();
            r.wait();
        })
        .expect("it is empty");
    held.wait();
    let accepted = (0..10).take_while(|_| remote.post(|_| ()).is_ok()).count();
    let refused = remote.post(|_| ());
    hold.wait();
    assert_eq!(accepted, 4, "a mailbox of 4 took {accepted}");
    assert!(refused.is_err_and(|refused| refused.is_full()), "a full mailbox did not say so");
    let begun = Instant::now();
    while let Err(error) = remote.call(|_| ()).wait(long) {
        assert_eq!(error, CallError::Full);
        assert!(begun.elapsed() < long, "a mailbox that was full takes no more");
        thread::yield_now();
    }
    down(running);
}

pub fn a_panic_in_a_child_fails_its_task<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    service.task(
        "parent",
        task_fn::<L>(async |cx| {
            cx.ready();
            cx.spawn_local(async { panic!("the child fell") }).detach();
            std::future::pending().await
        }),
    );
    let running = service.start().expect("the configuration works");
    let report = running.join_timeout(long).unwrap_or_else(|_| panic!("a child's panic got lost"));
    assert_eq!(report.code, 1, "a child's panic did not fail its task: {report}");
}

pub fn a_reply_that_is_dropped_lets_the_job_run<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let running = up(service, long);
    let (sender, ran) = mpsc::channel();
    let says = sender.clone();
    drop(remote.call(move |_| says.send("call")));
    drop(remote.spawn(move |_| async move { sender.send("future") }));
    let mut both = [ran.recv_timeout(long).unwrap_or("none"), ran.recv_timeout(long).unwrap_or("none")];
    both.sort_unstable();
    assert_eq!(both, ["call", "future"], "what nobody awaits did not run");
    down(running);
}

pub fn ten_thousand_futures_are_spawned_and_woken<L: EventLoop>(subject: &Subject<L>) {
    const FUTURES: usize = 10_000;
    crate::on_loop(subject, async |cx: Context<L>| {
        let (wakers, go) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let futures = (0..FUTURES).map(|number| {
            let (wakers, go) = (wakers.clone(), go.clone());
            cx.spawn_local(poll_fn(move |cx| {
                if go.load(Ordering::Acquire) {
                    return Poll::Ready(number);
                }
                wakers.lock().unwrap_or_else(PoisonError::into_inner).push(cx.waker().clone());
                Poll::Pending
            }))
        });
        let futures: Vec<_> = futures.collect();
        let waking = {
            let (wakers, go) = (wakers.clone(), go.clone());
            thread::spawn(move || {
                let lock = || wakers.lock().unwrap_or_else(PoisonError::into_inner);
                while lock().len() < FUTURES {
                    thread::yield_now();
                }
                go.store(true, Ordering::Release);
                // Each twice: a wake too many does no harm.
                let all = std::mem::take(&mut *lock());
                all.iter().for_each(std::task::Waker::wake_by_ref);
                all.into_iter().for_each(std::task::Waker::wake);
            })
        };
        for (number, future) in futures.into_iter().enumerate() {
            assert_eq!(future.await, Ok(number), "a future was not woken");
        }
        waking.join().expect("no panic");
    });
}
