//! A hanging start is reported: which task hangs, and which ones wait for it.

use std::{cell::Cell, time::Duration};

use interloop::{
    Context, EventLoop, NoOptions, RestartPolicy, Result, Service, State, Task, Thread, task_fn, testing::TestService,
};

use crate::util::{Latch, alone, quiet_resident, warnings};

const S: Duration = Duration::from_secs(1);
const JUST: Duration = Duration::from_nanos(1);

/// A task that forgets to report that it is ready, until it is opened.
fn forgetful(go: &Latch) -> impl Task<Thread> + use<> {
    let go = go.clone();
    task_fn::<Thread>(async move |cx| {
        go.opened().await;
        cx.until_shutdown().await;
        Ok(())
    })
}

#[test]
fn a_task_that_does_not_get_ready_is_told_once_with_those_that_wait_for_it() {
    alone(|| {
        let (lines, go) = (warnings(), Latch::default());
        let mut service = Service::new("test");
        let (slot, board) = service.slot::<Cell<u8>>("board");
        service.task("db", forgetful(&go)).start_timeout(3600 * S);
        service.task("http", quiet_resident::<Thread>()).requires("db");
        service.task("page", quiet_resident::<Thread>()).requires("http");
        service.task("cache", quiet_resident::<Thread>()).after("db");
        service.task("aside", quiet_resident::<Thread>());
        let calls = [board.call(Cell::get), board.call(Cell::get)];
        let mut test = TestService::new(service);
        let clock = test.fake_clock();
        let test = test.launch();
        clock.advance(5 * S - JUST);
        assert!(lines.lock().unwrap().is_empty());
        clock.advance(JUST);
        let said = "WARN test.db: task db is not ready: no cx.ready() within 5 s; tasks http, page, cache wait for it; \
                    2 calls wait for slot board, which has not been filled";
        assert_eq!(said_so_far(&clock, 1), [said]);
        // Once.
        clock.advance(600 * S);
        assert_eq!(lines.lock().unwrap().len(), 1);
        go.open();
        test.wait_started();
        drop((calls, slot));
        test.stop().assert_clean();
    });
}

#[test]
fn what_a_slow_start_is_doing_is_told_in_its_own_words() {
    alone(|| {
        let lines = warnings();
        let mut service = Service::new("test");
        let task = task_fn::<Thread>(async move |cx| {
            cx.starting("it reads the index");
            std::future::pending().await
        });
        service.task("db", task).start_timeout(7 * S);
        let mut test = TestService::new(service);
        let clock = test.fake_clock();
        let test = test.launch();
        clock.advance(5 * S);
        let said = "WARN test.db: task db is not ready after 5 s: it reads the index";
        assert_eq!(said_so_far(&clock, 1), [said]);
        clock.advance(2 * S);
        assert_eq!(test.join().code, 1);
        assert_eq!(lines.lock().unwrap()[1], "ERROR test.db: task db: no cx.ready() within 7 s: it reads the index");
    });
}

/// The log has its own thread: waits until this many lines are there.
fn said_so_far(clock: &interloop::testing::Clock, count: usize) -> Vec<String> {
    clock.settle();
    let begun = std::time::Instant::now();
    loop {
        let lines = crate::util::warned();
        if lines.len() >= count {
            return lines;
        }
        assert!(begun.elapsed() < crate::util::SOON, "{lines:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_task_whose_start_fails_by_then_or_that_is_ready_in_time_is_not_told() {
    alone(|| {
        let (lines, go) = (warnings(), Latch::default());
        let mut service = Service::new("test");
        service.task("brief", forgetful(&go)).start_timeout(5 * S);
        service.task("quick", quiet_resident::<Thread>());
        let mut test = TestService::new(service);
        let clock = test.fake_clock();
        let test = test.launch();
        clock.advance(5 * S);
        let report = test.join();
        assert_eq!(report.code, 1);
        let lines = lines.lock().unwrap();
        assert!(!lines.iter().any(|line| line.contains("is not ready")), "{lines:?}");
    });
}

/// Fills its slot, and is ready, in its first run; in the next it forgets both.
struct Keeper(interloop::Slot<Cell<u8>>);

impl<L: EventLoop> Task<L> for Keeper {
    type Options = NoOptions;

    async fn run(&mut self, cx: Context<L>) -> Result {
        if cx.incarnation() == 1 {
            cx.fill(self.0.clone(), Cell::new(1));
            cx.ready();
        }
        cx.shutdown().requested().await;
        Ok(())
    }
}

#[test]
fn a_restart_is_a_start_and_the_slot_that_was_filled_before_is_named() {
    alone(|| {
        warnings();
        let mut service = Service::new("test");
        let (slot, board) = service.slot::<Cell<u8>>("board");
        service.task_with::<Thread>("keeper", move || Keeper(slot.clone())).restart(RestartPolicy::on_failure());
        let mut test = TestService::new(service);
        let clock = test.fake_clock();
        let test = test.start();
        test.restart_task("keeper").unwrap();
        clock.settle();
        let call = board.call(Cell::get);
        clock.advance(5 * S);
        let said = "WARN test.keeper: task keeper is not ready: no cx.ready() within 5 s; \
                    1 call waits for slot board, which has not been filled";
        // The first is the restart.
        assert_eq!(said_so_far(&clock, 2)[1..], [said]);
        drop(call);
        test.stop().assert_clean();
    });
}

#[test]
fn a_slot_that_nobody_fills_though_all_tasks_have_started_is_told() {
    alone(|| {
        let lines = warnings();
        let mut service = Service::new("test");
        let (slot, board) = service.slot::<Cell<u8>>("board");
        let (_unused, _unasked) = service.slot::<Cell<u8>>("unasked");
        let keeper = task_fn::<Thread>(async move |cx| {
            let _slot = slot;
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("keeper", keeper);
        let mut test = TestService::new(service);
        let clock = test.fake_clock();
        let test = test.start();
        assert_eq!(test.task_state("keeper"), Some(State::Running));
        let call = board.call(Cell::get);
        clock.advance(5 * S - JUST);
        assert!(lines.lock().unwrap().is_empty());
        clock.advance(JUST);
        let said = "WARN test: slot board has not been filled, though all tasks have started: 1 call waits for it; \
                    see cx.fill()";
        assert_eq!(said_so_far(&clock, 1), [said]);
        clock.advance(600 * S);
        assert_eq!(lines.lock().unwrap().len(), 1);
        drop(call);
        test.stop().assert_clean();
    });
}

#[test]
fn a_task_that_blocks_its_loop_before_it_is_ready_is_told_with_its_thread() {
    alone(|| {
        warnings();
        let mut service = Service::new("test");
        service.event_loop("io", Thread);
        let go = Latch::default();
        let opens = go.clone();
        let blocks = task_fn::<Thread>(async move |cx| {
            go.wait_for_ever();
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("blocks", blocks).on("io");
        let begun = std::time::Instant::now();
        let running = service.start().unwrap();
        // Uses the real clock: the time of threads.
        while crate::util::warned().is_empty() {
            assert!(begun.elapsed() < crate::util::SOON);
            std::thread::sleep(Duration::from_millis(20));
        }
        let lines = crate::util::warned();
        let said = "WARN test.blocks: task blocks is not ready: no cx.ready() within 5 s; \
                    thread io has been in task blocks for ";
        assert!(lines[0].starts_with(said) && lines.len() == 1, "{lines:?}");
        opens.open();
        assert!(running.wait_started_timeout(crate::util::SOON));
        assert_eq!(running.stop().code, 0);
    });
}
