//! Start and stop.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use interloop::{CallError, EventLoop, Reason, Running, task_fn};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{consts::SIGUSR2, iterator::Signals};

use crate::{
    process::{SystemThread, has_thread},
    scene::{Hold, Subject, down, expect, up, waits, watchdog},
};

/// Returns the name of this task's thread: its loop's, or its own.
fn thread_of<L: EventLoop>(task: &'static str) -> &'static str {
    if L::THREAD_A_TASK { task } else { L::NAME }
}

pub fn it_starts_gets_ready_and_stops<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let (seen, sees) = mpsc::channel();
    service.task(
        "waits",
        task_fn::<L>(async move |cx| {
            let _ = seen.send((thread::current().name().map(str::to_owned), SystemThread::current()));
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let running = up(service, long);
    let (name, thread) = sees.recv_timeout(long).expect("it has started");
    assert_eq!(name.as_deref(), Some(thread_of::<L>("waits")), "its thread has another name");
    // A loop that can't be at rest is found now.
    thread.with(subject.beat()).wait_for_rest(long);
    if !running.is_ready() {
        panic!("the service does not stay ready: {}", running.stop());
    }
    down(running);
}

/// Checks that the first turn hears a stop that was asked for before the loop takes turns. Some loops don't take their
/// first turn before they are woken.
pub fn a_stop_from_before_the_first_turn_is_heard<L: EventLoop>(subject: &Subject<L>) {
    let _watchdog = watchdog();
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    service.handle().request_shutdown("before");
    let report = service.start().expect("the configuration works").join();
    assert_eq!((report.code, report.reason.to_string().as_str()), (0, "before"), "{report}");
    assert!(remote.post(|_| ()).is_err(), "a loop that never ran took a post");
    for _ in 0..20 {
        let mut service = subject.service();
        let _remote = service.remote_to::<L>();
        let running = service.start().expect("the configuration works");
        // If it were asked any earlier, the loop would not be started.
        let begun = Instant::now();
        while !has_thread(L::NAME) && begun.elapsed() < subject.patience() {
            thread::yield_now();
        }
        running.request_shutdown("at once");
        let report = running.join();
        assert_eq!(report.code, 0, "a stop from before the loop's first turn got lost: {report}");
    }
}

pub fn a_stop_during_the_start_is_heard<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let (begins, begun) = mpsc::channel();
    let starts = task_fn::<L>(async move |cx| {
        let _ = begins.send(());
        // This task never gets ready.
        cx.shutdown().requested().await;
        Ok(())
    });
    service.task("starts", starts);
    let running = service.start().expect("the configuration works");
    assert!(begun.recv_timeout(long).is_ok(), "a task does not begin");
    running.request_shutdown("during the start");
    let report = running.join();
    assert_eq!(report.code, 0, "a stop during the start got lost: {report}");
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
    let report = running.join_timeout(3 * long).unwrap_or_else(|_| panic!("a stop from the loop itself got lost"));
    let said = (report.code, report.reason.to_string());
    assert_eq!(said, (0, "from the loop".to_owned()), "a stop from the loop itself is not one: {report}");
}

/// Starts a service with a task that waits, and a loop that sleeps.
fn asleep<L: EventLoop>(subject: &Subject<L>) -> (Running, SystemThread) {
    let long = subject.patience();
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    service.task("waits", waits::<L>()).on(L::NAME);
    let running = up(service, long);
    let thread = remote.call(|_| SystemThread::current()).wait_timeout(long);
    let thread = thread.unwrap_or_else(|error| panic!("the loop does not answer: {error}"));
    let thread = thread.with(subject.beat());
    thread.wait_for_rest(long);
    (running, thread)
}

pub fn a_stop_wakes_a_sleeping_loop<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let (running, _) = asleep(subject);
    running.request_shutdown("wake up");
    let report = running.join_timeout(3 * long).unwrap_or_else(|_| panic!("a stop does not wake the loop"));
    assert_eq!(report.code, 0, "a stop does not end a sleeping loop in order: {report}");
}

/// Checks that a signal to the loop's own thread, whose wait it interrupts, stops the service. A thread of its own
/// forwards the signal, as in a service that is a process.
pub fn a_signal_interrupts_no_loop_and_stops_it<L: EventLoop>(subject: &Subject<L>) {
    let _watchdog = watchdog();
    let (running, thread) = asleep(subject);
    let mut signals = Signals::new([SIGUSR2]).expect("a signal that is free");
    let (closing, service) = (signals.handle(), running.handle());
    let (begins, begun) = mpsc::channel();
    let forwards = thread::spawn(move || {
        let _ = begins.send(SystemThread::current());
        for signal in signals.forever() {
            service.request_shutdown(Reason::Signal(signal));
        }
    });
    // A thread that is just beginning would take the signal.
    begun.recv_timeout(subject.patience()).expect("it has begun").wait_for_rest(subject.patience());
    let thread = Pid::from_raw(thread.id()).expect("the loop's thread is there");
    kill_process(thread, Signal::USR2).expect("it is one of this process");
    let report = running.join();
    closing.close();
    forwards.join().expect("no panic");
    let said = (report.code, &report.reason);
    assert_eq!(said, (0, &Reason::Signal(SIGUSR2)), "a signal does not stop the loop in order: {report}");
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
                let open = open.lock().unwrap_or_else(PoisonError::into_inner);
                let _open = opened.wait_while(open, |open| !*open);
                Ok(())
            }),
        )
        .on(L::NAME)
        .stop_timeout(Duration::from_millis(100));
    let running = up(service, long);
    let (entered, waits) = mpsc::channel();
    let waiter = thread::spawn({
        let (remote, shutdown) = (remote.clone(), running.shutdown());
        move || {
            shutdown.wait();
            let replies = (remote.spawn(|_| std::future::pending::<()>()), remote.call(|_| ()));
            let _ = entered.send(());
            // The call may have come before the block.
            (replies.0.wait_timeout(10 * long), replies.1.wait_timeout(10 * long))
        }
    });
    let begun = Instant::now();
    running.request_shutdown("now");
    assert!(waits.recv_timeout(long).is_ok(), "a loop that stops is not seen to");
    let report = running.join();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(100), "a loop that blocks was not waited for: {took:?}");
    assert_eq!((report.code, report.stuck.len()), (124, 1), "a loop that blocks is not left behind: {report}");
    assert_eq!(&*report.stuck[0].thread, L::NAME);
    assert_eq!(report.stuck[0].polling, "task blocks", "{report}");
    let (future, call) = waiter.join().expect("no panic");
    let told = |reply: &Result<(), CallError>| matches!(reply, Err(CallError::Stopped | CallError::Cancelled));
    assert!(told(&future), "who waits for a loop that was left behind is not told: {future:?}");
    assert!(call.is_ok() || told(&call), "who waits for a loop that was left behind is not told: {call:?}");
    // Let the thread go, and wait for it: other checks count threads, and may need what it holds.
    *gate.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    gate.1.notify_all();
    let begun = Instant::now();
    while has_thread(L::NAME) && begun.elapsed() < long {
        thread::yield_now();
    }
    assert!(!has_thread(L::NAME), "the thread that was left behind never ends, though nothing holds it");
}

/// Checks that every accepted request is answered; one that can no longer be done is told why.
pub fn every_reply_resolves<L: EventLoop>(subject: &Subject<L>) {
    let (_watchdog, long) = (watchdog(), subject.patience());
    let mut service = subject.service();
    let remote = service.remote_to::<L>();
    let (_slot, unfilled) = service.slot::<u8>("unfilled");
    let running = up(service, long);
    let (never, waits) = (unfilled.call(|_| ()), unfilled.spawn(|_| async {}));
    let futures: Vec<_> = (0..4).map(|_| remote.spawn(|_| std::future::pending::<()>())).collect();
    expect(remote.call(|_| 1).wait_timeout(long), Ok(1), "a call from another thread is not answered");
    let hold = Hold::of(&remote, long);
    let queued = (remote.call(|_| 2), remote.spawn(|_| async { 3 }));
    running.request_shutdown("with replies");
    hold.release();
    expect(queued.0.wait_timeout(long), Ok(2), "a call that was accepted before the stop is not answered");
    let queued = queued.1.wait_timeout(long);
    assert!(matches!(queued, Ok(3) | Err(CallError::Cancelled)), "a future from before the stop is lost: {queued:?}");
    let report = running.join();
    for future in futures {
        let words = "the Reply of a future that the stop cancels is not told so";
        expect(future.wait_timeout(long), Err(CallError::Cancelled), words);
    }
    let words = "the Reply of what was never there is not told so";
    expect(never.wait_timeout(long), Err(CallError::Stopped), words);
    expect(waits.wait_timeout(long), Err(CallError::Stopped), words);
    expect(remote.call(|_| ()).wait_timeout(long), Err(CallError::Stopped), "a loop that has ended took a call");
    assert_eq!(report.code, 0, "the service does not stop in order: {report}");
}
