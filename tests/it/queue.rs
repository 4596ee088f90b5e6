//! The built-in queue: order, capacity, ends of items, stop, restart.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use crate::util::{Grenade, Latch, Log, SOON, alone, block_on, cause_of, quiet_resident, reach, state_of, up, watched};
use interloop::{
    CallError, Cause, Error, Reason, RestartPolicy, Service, ServiceHandle, State, Thread,
    task::TaskHandle,
    task_fn,
    tasks::{
        queue::{MapError, SubmitError},
        queue::{Queue, QueueHandle, WorkError},
    },
};
use proptest::prelude::*;

pub(crate) type On<T, R = ()> = Queue<Thread, T, R>;

/// Returns a service with only this queue.
pub(crate) fn service_of<T: Send + 'static, R: Send + 'static>(queue: On<T, R>) -> (Service, QueueHandle<T, R>) {
    let (mut service, handle) = (Service::new("test"), queue.handle());
    service.task("queue", queue);
    (service, handle)
}

pub(crate) fn counter(service: &ServiceHandle, name: &str) -> u64 {
    let status = service.status();
    let task = status.tasks.iter().find(|task| &*task.name == "queue").unwrap();
    task.counters.iter().find(|(known, _)| **known == *name).map_or(0, |(_, count)| *count)
}

/// Returns the gauge: how many items wait.
fn depth(service: &ServiceHandle) -> f64 {
    service.status().tasks.iter().find(|task| &*task.name == "queue").unwrap().gauges["depth"]
}

/// Waits until a counter has this value.
pub(crate) fn counted(service: &ServiceHandle, name: &str, count: u64) {
    let begun = Instant::now();
    while counter(service, name) != count {
        assert!(begun.elapsed() < SOON, "{name} is {}, not {count}", counter(service, name));
        thread::yield_now();
    }
}

/// Waits until no item waits.
fn emptied(service: &ServiceHandle) {
    let begun = Instant::now();
    while depth(service) > 0.0 {
        assert!(begun.elapsed() < SOON, "{} items wait", depth(service));
        thread::yield_now();
    }
}

pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Work that reports its beginning, then waits for its gate.
struct Gated {
    begun: mpsc::Receiver<u32>,
    gate: Latch,
}

fn gated() -> (On<u32, u32>, Gated) {
    let (begins, begun) = mpsc::channel();
    let gate = Latch::default();
    let opened = gate.clone();
    let queue = Queue::new(async move |item: &u32, _| {
        begins.send(*item).unwrap();
        opened.opened().await;
        Ok(*item)
    });
    (queue, Gated { begun, gate })
}

impl Gated {
    fn begins(&self) -> u32 {
        self.begun.recv_timeout(SOON).unwrap()
    }
}

// --- Submit ---

#[test]
fn what_is_submitted_before_the_start_is_worked_on_in_order() {
    watched(|| {
        let log = Log::default();
        let l = log.clone();
        let (service, queue) = service_of(On::<u32, u32>::new(async move |item, _| {
            l.say(item.to_string());
            Ok(item * 2)
        }));
        let replies = [1, 2, 3].map(|item| queue.try_submit(item).unwrap());
        assert_eq!(queue.depth(), 3);
        let running = up(service);
        let answers = replies.map(|reply| reply.wait_timeout(SOON).unwrap());
        assert_eq!((answers, log.lines()), ([2, 4, 6], ["1", "2", "3"].map(str::to_owned).to_vec()));
        counted(&running, "completed", 3);
        assert_eq!((depth(&running), counter(&running, "unhandled")), (0.0, 0));
        let status = running.status();
        let samples = &status.tasks[0].histograms;
        for name in ["wait_duration", "execute_duration"] {
            assert_eq!(samples[name].windows.iter().map(|window| window.count).collect::<Vec<_>>(), [3, 3], "{name}");
        }
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn it_takes_items_from_any_thread_and_loop() {
    watched(|| {
        let (mut service, queue) = service_of(On::<u32, u32>::new(async |item, _| Ok(item + 1)).workers(3));
        let q = queue.clone();
        let user = task_fn::<Thread>(async move |cx| {
            cx.ready();
            for item in 0..100 {
                assert_eq!(q.submit(item).await?.await?, item + 1);
            }
            // On the reference loop a call may block for another loop.
            assert_eq!(q.submit(7).await?.wait_timeout(SOON)?, 8);
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("user", user).uses(&queue);
        let running = up(service);
        let threads = [1000, 2000, 3000].map(|base| {
            let queue = queue.clone();
            thread::spawn(move || {
                for item in base..base + 100 {
                    assert_eq!(queue.try_submit(item).unwrap().wait_timeout(SOON), Ok(item + 1));
                }
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        counted(&running, "completed", 401);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn map_brings_the_results_in_order() {
    watched(|| {
        let queue =
            On::<u32, u32>::new(async |item, _| if *item == 2 { Err(Error::new("odd"))? } else { Ok(item * 10) });
        let (service, queue) = service_of(queue.workers(4).max_items(2));
        let running = up(service);
        let mut results = block_on(queue.map(0..100));
        let bad = results.remove(2);
        assert!(matches!(bad, Err(MapError::Failed(CallError::Failed(why))) if why == "odd"));
        let results = results.into_iter().map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(results, (0..100).filter(|item| *item != 2).map(|item| item * 10).collect::<Vec<_>>());
        assert_eq!(running.stop().code, 0);
        assert!(matches!(&block_on(queue.map([1]))[..], [Err(MapError::Refused(SubmitError::Stopped(1)))]));
    });
}

#[test]
fn after_the_end_it_gives_the_item_back() {
    watched(|| {
        let (service, queue) = service_of(On::<String>::new(async |_, _| Ok(())));
        assert_eq!(up(service).stop().code, 0);
        assert!(matches!(queue.try_submit("a".into()), Err(SubmitError::Stopped(item)) if item == "a"));
        assert!(matches!(block_on(queue.submit("b".into())), Err(SubmitError::Stopped(item)) if item == "b"));
    });
}

#[test]
fn a_queue_that_never_starts_says_so_and_gives_back_what_it_holds() {
    watched(|| {
        // The service is dropped, its start fails, its task is not selected.
        let (service, dropped) = service_of(On::<u32, u32>::new(async |item, _| Ok(*item)));
        let waits = dropped.try_submit(1).unwrap();
        drop(service);
        assert_eq!((waits.wait_timeout(SOON), dropped.take_left()), (Err(CallError::Stopped), vec![1]));

        let (mut service, failed) = service_of(On::<u32, u32>::new(async |item, _| Ok(*item)));
        service.task("bad", task_fn::<Thread>(async |_| Err(Error::new("no"))));
        service.task("after", On::<u32>::new(async |_, _| Ok(()))).requires("bad");
        let waits = failed.try_submit(1);
        assert_eq!(service.start().unwrap().join().code, 1);
        assert!(matches!(waits.unwrap().wait_timeout(SOON), Ok(1) | Err(CallError::Stopped)));
        assert!(matches!(failed.try_submit(2), Err(SubmitError::Stopped(2))));

        let (mut service, unselected) = service_of(On::<u32, u32>::new(async |item, _| Ok(*item)));
        service.task("other", quiet_resident::<Thread>());
        service.arguments(["--tasks", "other"]);
        let waits = unselected.try_submit(1).unwrap();
        let running = up(service);
        assert_eq!((waits.wait_timeout(SOON), unselected.take_left()), (Err(CallError::Stopped), vec![1]));
        assert!(matches!(unselected.try_submit(2), Err(SubmitError::Stopped(2))));
        assert_eq!(running.stop().code, 0);
    });
}

// --- Capacity ---

#[test]
fn without_room_submit_waits_in_turn_and_try_submit_gives_the_item_back() {
    watched(|| {
        let log = Log::default();
        let l = log.clone();
        let (service, queue) = service_of(
            On::<u32>::new(async move |item, _| {
                l.say(item.to_string());
                Ok(())
            })
            .max_items(1),
        );
        let first = queue.try_submit(1).unwrap();
        assert!(queue.try_submit(0).unwrap_err().is_full());
        let (mut second, mut third) = (pin!(queue.submit(2)), pin!(queue.submit(3)));
        let mut fourth = pin!(queue.submit(4));
        assert!(poll_once(second.as_mut()).is_pending());
        assert!(poll_once(third.as_mut()).is_pending());
        assert!(poll_once(fourth.as_mut()).is_pending());
        let running = up(service);
        // In whatever order they are asked.
        let turns = block_on(async {
            let mut replies = [None, None, None];
            poll_fn(|cx| {
                for (reply, future) in replies.iter_mut().zip([fourth.as_mut(), third.as_mut(), second.as_mut()]) {
                    if reply.is_none()
                        && let Poll::Ready(accepted) = future.poll(cx)
                    {
                        *reply = Some(accepted.unwrap());
                    }
                }
                if replies.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            replies
        });
        for reply in turns.into_iter().flatten().chain([first]) {
            reply.wait_timeout(SOON).unwrap();
        }
        assert_eq!(log.lines(), ["1", "2", "3", "4"]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn who_is_gone_from_the_row_blocks_nobody() {
    watched(|| {
        let (service, queue) = service_of(On::<u32, u32>::new(async |item, _| Ok(*item)).max_items(1));
        let first = queue.try_submit(1).unwrap();
        let mut gone = Box::pin(queue.submit(2));
        let mut stays = pin!(queue.submit(3));
        assert!(poll_once(gone.as_mut()).is_pending() && poll_once(stays.as_mut()).is_pending());
        drop(gone);
        let running = up(service);
        assert_eq!(block_on(async { stays.await.unwrap().await }), Ok(3));
        assert_eq!(first.wait_timeout(SOON), Ok(1));
        counted(&running, "completed", 2);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn who_waits_for_room_is_told_of_the_stop() {
    watched(|| {
        let (queue, work) = gated();
        let (service, queue) = service_of(queue.max_items(1));
        let running = up(service);
        let at_work = queue.try_submit(1).unwrap();
        assert_eq!(work.begins(), 1);
        let waits = queue.try_submit(2).unwrap();
        let row = queue.clone();
        let told = thread::spawn(move || block_on(row.submit(3)));
        running.request_shutdown("enough");
        assert!(matches!(told.join().unwrap(), Err(SubmitError::Stopped(3))));
        work.gate.open();
        assert_eq!((at_work.wait_timeout(SOON), waits.wait_timeout(SOON)), (Ok(1), Ok(2)), "what waited is worked on");
        assert_eq!(running.join().code, 0);
    });
}

#[test]
fn the_options_bound_it_and_set_the_workers_and_attempts() {
    watched(|| {
        let (begins, begun) = mpsc::channel();
        let gate = Latch::default();
        let opened = gate.clone();
        let queue = On::<u32>::new(async move |_, work| {
            begins.send(work.attempt().is_last()).unwrap();
            opened.opened().await;
            Ok(())
        });
        let (mut service, queue) = service_of(queue);
        service.arguments(["--queue-workers", "3", "--queue-max-items", "2", "--queue-attempts", "1"]);
        let running = up(service);
        let replies = [1, 2, 3].map(|item| {
            let reply = queue.try_submit(item).unwrap();
            assert!(begun.recv_timeout(SOON).unwrap(), "the only attempt is the last");
            reply
        });
        let more = [4, 5].map(|item| queue.try_submit(item).unwrap());
        assert!(queue.try_submit(6).unwrap_err().is_full());
        assert_eq!(depth(&running), 2.0);
        gate.open();
        replies.into_iter().chain(more).for_each(|reply| reply.wait_timeout(SOON).unwrap());
        assert_eq!(running.stop().code, 0);
    });
}

// --- Order and duplicates ---

#[test]
fn the_highest_priority_goes_first_and_among_equals_the_oldest() {
    watched(|| {
        let log = Log::default();
        let l = log.clone();
        let queue = On::<(i64, &str)>::new(async move |item, _| {
            l.say(item.1);
            Ok(())
        });
        let (service, queue) = service_of(queue.priority(|item| item.0));
        let items = [(0, "d"), (5, "b"), (9, "a"), (5, "c"), (-1, "e")];
        let replies = items.map(|item| queue.try_submit(item).unwrap());
        let running = up(service);
        replies.into_iter().for_each(|reply| reply.wait_timeout(SOON).unwrap());
        assert_eq!(log.lines(), ["a", "b", "c", "d", "e"]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_duplicate_joins_the_first_until_that_is_done() {
    watched(|| {
        let (queue, work) = gated();
        let (service, queue) = service_of(queue.join_duplicates(|item| item.to_string()));
        // One while it waits, before the start; one while it is processed.
        let (first, waiting) = (queue.try_submit(1).unwrap(), queue.try_submit(1).unwrap());
        let running = up(service);
        assert_eq!(work.begins(), 1);
        let in_work = block_on(queue.submit(1)).unwrap();
        let other = queue.try_submit(2).unwrap();
        work.gate.open();
        for reply in [first, waiting, in_work] {
            assert_eq!(reply.wait_timeout(SOON), Ok(1));
        }
        assert_eq!(other.wait_timeout(SOON), Ok(2));
        assert_eq!(queue.try_submit(1).unwrap().wait_timeout(SOON), Ok(1), "it may come again");
        counted(&running, "completed", 3);
        assert_eq!(counter(&running, "discarded"), 2);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_duplicate_is_refused_until_the_first_is_done() {
    watched(|| {
        let (queue, work) = gated();
        let (service, queue) = service_of(queue.refuse_duplicates(|item| item.to_string()));
        let running = up(service);
        let first = queue.try_submit(1).unwrap();
        assert_eq!(work.begins(), 1);
        assert!(matches!(queue.try_submit(1), Err(SubmitError::Duplicate(1))));
        assert!(matches!(block_on(queue.submit(1)), Err(SubmitError::Duplicate(1))));
        work.gate.open();
        assert_eq!(first.wait_timeout(SOON), Ok(1));
        assert_eq!(queue.try_submit(1).unwrap().wait_timeout(SOON), Ok(1));
        assert_eq!(counter(&running, "discarded"), 2);
        assert_eq!(running.stop().code, 0);
    });
}

// --- Ends ---

#[test]
fn an_item_that_is_to_be_tried_later_is_until_its_last_attempt() {
    watched(|| {
        let tries = Arc::new(Mutex::new(Vec::new()));
        let t = tries.clone();
        let queue = On::<u32, u32>::new(async move |item, work| {
            t.lock().unwrap().push((*item, work.attempt().number()));
            match (*item, work.attempt().number()) {
                (1, 3) => Ok(3),
                (3, 1) => Err(WorkError::later("a while").after(Duration::from_millis(1))),
                (3, _) => Ok(9),
                _ => Err(WorkError::later("busy")),
            }
        });
        let (service, queue) =
            service_of(queue.attempts(3).backoff(Duration::from_millis(1), Duration::from_millis(2)).workers(2));
        let running = up(service);
        let replies = [1, 2, 3].map(|item| queue.try_submit(item).unwrap());
        let [first, second, third] = replies.map(|reply| reply.wait_timeout(SOON));
        assert_eq!((first, third), (Ok(3), Ok(9)));
        assert_eq!(second, Err(CallError::Failed("given up after 3 attempts: busy".into())));
        let tries_of =
            |item| tries.lock().unwrap().iter().filter(|(of, _)| *of == item).map(|(_, n)| *n).collect::<Vec<_>>();
        assert_eq!((tries_of(1), tries_of(2), tries_of(3)), (vec![1, 2, 3], vec![1, 2, 3], vec![1, 2]));
        let dead = queue.take_dead_letters();
        assert_eq!(dead.iter().map(|dead| (dead.item, dead.attempts)).collect::<Vec<_>>(), [(2, 3)]);
        assert_eq!(dead[0].why, "given up after 3 attempts: busy");
        counted(&running, "completed", 2);
        assert_eq!((counter(&running, "try_later"), counter(&running, "dead_letters")), (5, 1));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_failure_that_nobody_is_told_of_stops_the_service() {
    watched(|| {
        let (service, queue) = service_of(On::<u32>::new(async |item, _| Err(Error::new(format!("no {item}")))?));
        let running = up(service);
        assert_eq!(queue.try_submit(1).unwrap().wait_timeout(SOON), Err(CallError::Failed("no 1".into())));
        assert!(running.is_ready(), "that was told");
        assert!(queue.take_dead_letters().is_empty());
        queue.try_post(2).unwrap();
        let report = running.join_timeout(SOON).unwrap();
        assert_eq!((report.code, &report.reason), (1, &Reason::TaskFailed("queue".into())));
        let why = "item 2, which nobody waits for: the work failed: no 2";
        assert_eq!(cause_of(&report, "queue"), Cause::Error(why.into()));
        let dead = queue.take_dead_letters();
        assert_eq!((dead[0].item, &*dead[0].why), (2, "the work failed: no 2"));
    });
}

#[test]
fn when_its_task_has_failed_nobody_waits_for_the_end_of_the_service() {
    watched(|| {
        let (queue, slow) = (On::<u32, u32>::new(async |_, _| Err(Error::new("no"))?), Latch::default());
        let (mut service, queue) = service_of(queue);
        let opened = slow.clone();
        let other = task_fn::<Thread>(async move |cx| {
            cx.until_shutdown().await;
            opened.opened().await;
            Ok(())
        });
        service.task("slow", other);
        queue.try_post(1).unwrap();
        let waits = queue.try_submit(2).unwrap();
        let running = service.start().unwrap();
        assert_eq!(waits.wait_timeout(SOON), Err(CallError::Stopped));
        assert_eq!(queue.take_left(), [2]);
        assert!(matches!(queue.try_submit(3), Err(SubmitError::Stopped(3))));
        slow.open();
        assert_eq!(running.join().code, 1);
    });
}

#[test]
fn an_item_that_is_due_earlier_is_not_late_for_another() {
    watched(|| {
        let queue = On::<u64>::new(async |after, work| match work.attempt().number() {
            1 => Err(WorkError::later("in a while").after(Duration::from_millis(*after))),
            _ => Ok(()),
        });
        let (service, queue) = service_of(queue.workers(2));
        let running = up(service);
        // One worker waits for the item due in an hour, and the other then tries the one due at once.
        queue.try_post(3_600_000).unwrap();
        counted(&running, "try_later", 1);
        for _ in 0..10 {
            assert_eq!(queue.try_submit(1).unwrap().wait_timeout(SOON), Ok(()));
        }
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_failure_whose_replies_are_all_dropped_unread_stops_the_service() {
    watched(|| {
        let gate = Latch::default();
        let g = gate.clone();
        let queue = On::<u32, u32>::new(async move |item, _| {
            g.opened().await;
            Err(Error::new(format!("no {item}")))?
        });
        let (service, queue) = service_of(queue.join_duplicates(|item| item.to_string()));
        let running = up(service);
        let twice = |item| [queue.try_submit(item).unwrap(), queue.try_submit(item).unwrap()];
        let ([read, unread], [one, other]) = (twice(1), twice(3));
        let cancelled = queue.try_submit(2).unwrap();
        gate.open();
        assert_eq!(read.wait_timeout(SOON), Err(CallError::Failed("no 1".into())));
        drop(unread);
        // Cancelling it affects nobody; the answer is there already.
        counted(&running, "failed", 3);
        cancelled.cancel();
        drop(one);
        assert_eq!(counter(&running, "unhandled"), 0);
        drop(other);
        let report = running.join_timeout(SOON).unwrap();
        let Cause::Error(why) = cause_of(&report, "queue") else { panic!("{report}") };
        assert!(why.ends_with("whose reply nobody has read: the work failed: no 3"), "{why}");
    });
}

#[test]
fn a_failure_that_nobody_is_told_of_is_counted_where_that_is_asked_for() {
    watched(|| {
        let queue =
            On::<u32>::new(async |item, _| if *item == 1 { Err(Error::new("no"))? } else { panic!("at {item}") });
        let (service, queue) = service_of(queue.count_failures());
        let running = up(service);
        queue.try_post(1).unwrap();
        block_on(queue.post(2)).unwrap();
        assert_eq!(queue.try_submit(3).unwrap().wait_timeout(SOON), Err(CallError::Panicked("at 3".into())));
        assert_eq!((counter(&running, "failed"), counter(&running, "unhandled")), (3, 3));
        assert_eq!(queue.take_dead_letters().into_iter().map(|dead| dead.item).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_panic_that_nobody_is_told_of_stops_the_service_and_the_others_finish() {
    watched(|| {
        let (begun, gate) = (Latch::default(), Latch::default());
        let (b, g) = (begun.clone(), gate.clone());
        let queue = On::<u32, u32>::new(async move |item, work| {
            if *item == 2 {
                panic!("two");
            }
            b.open();
            g.opened().await;
            // Longer than the end of a task that doesn't wait for this.
            work.sleep(Duration::from_millis(50)).await;
            Ok(*item)
        });
        let (service, queue) = service_of(queue.workers(2));
        let running = up(service);
        let slow = queue.try_submit(1).unwrap();
        begun.wait();
        queue.try_post(2).unwrap();
        counted(&running, "unhandled", 1);
        gate.open();
        assert_eq!(slow.wait_timeout(SOON), Ok(1));
        let report = running.join_timeout(SOON).unwrap();
        assert_eq!((report.code, state_of(&report, "queue")), (1, State::Failed));
    });
}

#[test]
fn panics_of_drops_hurt_nobody() {
    watched(|| {
        // Drops of the item, of a future in work, of a cancelled one.
        let begun = Latch::default();
        let b = begun.clone();
        let items = On::<Grenade>::new(async |_, _| Ok(()));
        let results = On::<u32, Grenade>::new(async move |item, _| {
            let _in_work = [1, 3].contains(item).then(|| Grenade("in work"));
            if *item == 3 {
                b.open();
                std::future::pending::<()>().await;
            }
            Ok(Grenade("result"))
        });
        let mut service = Service::new("test");
        let (items_in, results_in) = (items.handle(), results.handle());
        service.task("items", items);
        service.task("results", results);
        let running = up(service);
        assert_eq!(items_in.try_submit(Grenade("item")).unwrap().wait_timeout(SOON), Ok(()));
        assert_eq!(items_in.try_submit(Grenade("item")).unwrap().wait_timeout(SOON), Ok(()));
        let panicked = results_in.try_submit(1).unwrap().wait_timeout(SOON).map(std::mem::forget);
        assert_eq!(panicked, Err(CallError::Panicked("in work".into())));
        let in_work = results_in.try_submit(3).unwrap();
        begun.wait();
        in_work.cancel();
        assert!(results_in.try_submit(2).unwrap().wait_timeout(SOON).map(std::mem::forget).is_ok());
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn what_is_cancelled_is_not_worked_on_or_no_further() {
    watched(|| {
        let (queue, work) = gated();
        let (service, queue) = service_of(queue.join_duplicates(|item| item.to_string()));
        let running = up(service);
        let at_work = queue.try_submit(1).unwrap();
        assert_eq!(work.begins(), 1);
        let waits = queue.try_submit(2).unwrap();
        // Two wait for it, so one alone can't cancel it.
        let (one, other) = (queue.try_submit(3).unwrap(), queue.try_submit(3).unwrap());
        waits.cancel();
        one.cancel();
        at_work.cancel();
        assert_eq!(work.begins(), 3, "neither is in the way");
        work.gate.open();
        assert_eq!(other.wait_timeout(SOON), Ok(3));
        counted(&running, "cancelled", 2);
        assert_eq!(running.stop().code, 0);
        assert!(queue.take_dead_letters().is_empty() && queue.take_left().is_empty());
    });
}

// --- Threads, workers of a runtime ---

#[test]
fn work_that_blocks_has_threads_of_its_own() {
    alone(|| {
        let (names, named) = mpsc::channel();
        let gate = Arc::new((Latch::default(), AtomicUsize::new(0)));
        let g = gate.clone();
        let queue = On::<u32, u32>::blocking(move |item, attempt| {
            if *item == 7 {
                panic!("seven");
            }
            if *item == 8 && !attempt.is_last() {
                return Err(WorkError::later("again"));
            }
            names.send(thread::current().name().unwrap().to_owned()).unwrap();
            g.0.wait();
            Ok(item + 1)
        });
        let queue = queue.workers(2).attempts(2).backoff(Duration::ZERO, Duration::ZERO);
        let (service, queue) = service_of(queue);
        let before = crate::util::threads();
        let running = up(service);
        let replies = [1, 2].map(|item| queue.try_submit(item).unwrap());
        let mut seen = [named.recv_timeout(SOON).unwrap(), named.recv_timeout(SOON).unwrap()];
        seen.sort();
        assert_eq!(seen, ["queue-1", "queue-2"]);
        queue.try_submit(6).unwrap().cancel();
        gate.0.open();
        assert_eq!(replies.map(|reply| reply.wait_timeout(SOON)), [Ok(2), Ok(3)]);
        assert_eq!(queue.try_submit(7).unwrap().wait_timeout(SOON), Err(CallError::Panicked("seven".into())));
        assert_eq!(queue.try_submit(8).unwrap().wait_timeout(SOON), Ok(9));
        assert_eq!(running.stop().code, 0);
        assert!(crate::util::threads() <= before, "the threads are gone");
        assert_eq!(named.try_iter().count(), 1, "what was cancelled did not run");
    });
}

#[test]
fn blocking_work_is_awaited_at_the_stop_and_left_at_the_deadline() {
    watched(|| {
        let (begun, gate) = (Latch::default(), Latch::default());
        let (b, g) = (begun.clone(), gate.clone());
        let stops = |timeout: Duration| {
            let (b, g) = (b.clone(), g.clone());
            let queue = On::<u32, u32>::blocking(move |item, attempt| {
                b.open();
                if *item == 1 {
                    attempt.shutdown().wait();
                } else {
                    g.wait();
                }
                Ok(*item)
            });
            let (mut service, handle) = (Service::new("test"), queue.handle());
            service.task("queue", queue).stop_timeout(timeout);
            (up(service), handle)
        };
        let (running, queue) = stops(SOON);
        let reply = queue.try_submit(1).unwrap();
        begun.wait();
        assert_eq!(running.stop().code, 0);
        assert_eq!(reply.wait_timeout(SOON), Ok(1), "it was awaited");

        let (running, queue) = stops(Duration::from_millis(50));
        let reply = queue.try_submit(2).unwrap();
        emptied(&running);
        let report = running.stop();
        assert_eq!((report.code, state_of(&report, "queue")), (124, State::Cancelled));
        assert_eq!(reply.wait_timeout(SOON), Err(CallError::Stopped));
        gate.open();
    });
}

#[test]
fn futures_that_are_send_get_clones() {
    watched(|| {
        let queue = On::<String, String>::on_workers(|item, attempt| async move {
            match (&*item, attempt.number()) {
                ("later", 1) => Err(WorkError::later("later")),
                ("panic", _) => panic!("as asked"),
                _ => Ok(item),
            }
        });
        let (service, queue) = service_of(queue.workers(2).backoff(Duration::ZERO, Duration::ZERO));
        let running = up(service);
        let ask = |item: &str| queue.try_submit(item.into()).unwrap().wait_timeout(SOON);
        assert_eq!(ask("now"), Ok("now".into()));
        assert_eq!(ask("later"), Ok("later".into()));
        assert_eq!(ask("panic"), Err(CallError::Panicked("as asked".into())));
        assert_eq!(ask("on"), Ok("on".into()));
        assert_eq!(running.stop().code, 0);
    });
}

// --- Stop ---

#[test]
fn what_waits_is_given_back_at_the_stop_where_that_is_asked_for() {
    watched(|| {
        let (queue, work) = gated();
        let (service, queue) = service_of(queue.give_back_at_stop());
        let running = up(service);
        let at_work = queue.try_submit(1).unwrap();
        assert_eq!(work.begins(), 1);
        let waits = [2, 3].map(|item| queue.try_submit(item).unwrap());
        running.request_shutdown("enough");
        let closed = std::iter::repeat_with(|| queue.try_submit(4)).find_map(Result::err);
        assert!(matches!(closed, Some(SubmitError::Stopped(4))));
        work.gate.open();
        let report = running.join();
        assert_eq!((report.code, at_work.wait_timeout(SOON)), (0, Ok(1)));
        let left = queue.take_left();
        assert_eq!(left[..2], [2, 3]);
        assert!(left[2..].iter().all(|item| *item == 4), "{left:?}");
        assert!(waits.into_iter().all(|reply| reply.wait_timeout(SOON) == Err(CallError::Stopped)));
    });
}

#[test]
fn the_drain_ends_before_the_deadline_and_waits_for_nothing_beyond() {
    watched(|| {
        let queue = On::<u64>::new(async |after, work| match work.attempt().number() {
            1 => Err(WorkError::later("in a while").after(Duration::from_millis(*after))),
            _ => Ok(()),
        });
        let (service, queue) = service_of(queue);
        let running = up(service);
        // One is due long after the deadline, one before.
        let (never, soon) = (queue.try_submit(3_600_000).unwrap(), queue.try_submit(100).unwrap());
        counted(&running, "try_later", 2);
        let begun = Instant::now();
        assert_eq!(running.stop().code, 0);
        assert!(begun.elapsed() < Duration::from_secs(8), "it did not wait for the deadline");
        assert_eq!((soon.wait_timeout(SOON), never.wait_timeout(SOON)), (Ok(()), Err(CallError::Stopped)));
        assert_eq!(queue.take_left(), [3_600_000]);
    });
}

#[test]
fn a_queue_too_long_for_the_deadline_is_given_back_in_good_order() {
    watched(|| {
        let gate = Latch::default();
        let opened = gate.clone();
        let queue = On::<u32>::new(async move |_, work| {
            opened.opened().await;
            work.sleep(Duration::from_millis(50)).await;
            Ok(())
        });
        let (mut service, handle) = (Service::new("test"), queue.handle());
        service.task("queue", queue).stop_timeout(Duration::from_secs(1));
        let replies = (0..100).map(|item| handle.try_submit(item).unwrap()).collect::<Vec<_>>();
        let running = up(service);
        gate.open();
        let report = running.stop();
        // Not cancelled: it took no more in time (unless the machine was asleep for that long).
        let done = replies.into_iter().map(|reply| reply.wait_timeout(SOON)).filter(Result::is_ok).count();
        assert!(done < 100 && done + handle.take_left().len() + handle.take_dead_letters().len() == 100);
        assert!([0, 124].contains(&report.code), "{report}");
    });
}

#[test]
fn what_is_cut_short_by_the_deadline_is_a_dead_letter() {
    watched(|| {
        let (queue, work) = gated();
        let (mut service, handle) = (Service::new("test"), queue.handle());
        service.task("queue", queue).stop_timeout(Duration::from_millis(20));
        let running = up(service);
        let reply = handle.try_submit(1).unwrap();
        assert_eq!(work.begins(), 1);
        assert_eq!(running.stop().code, 124);
        assert_eq!(reply.wait_timeout(SOON), Err(CallError::Cancelled));
        assert_eq!(handle.take_dead_letters()[0].item, 1);
    });
}

// --- Restart ---

/// A stop timeout for tasks that are cut short.
pub(crate) const SHORT: Duration = Duration::from_millis(50);

/// Returns a queue that is recreated: the first incarnation waits at its item for ever, or fails.
pub(crate) fn phoenix(
    handle: &QueueHandle<u32, u32>,
    begins: mpsc::Sender<(u32, u32)>,
    stop_timeout: Duration,
) -> Service {
    let mut service = Service::new("test");
    let made = handle.clone();
    let make = move || {
        let begins = begins.clone();
        On::<u32, u32>::new(async move |item, work| {
            begins.send((*item, work.incarnation())).unwrap();
            match item {
                0 if work.incarnation() == 1 => return Err(Error::new("the first").into()),
                1 if work.incarnation() == 1 => std::future::pending().await,
                2 if work.incarnation() == 1 => work.shutdown().requested().await,
                _ => {}
            }
            Ok(work.incarnation())
        })
        .with_handle(&made)
    };
    let policy = RestartPolicy::on_failure().backoff(Duration::from_millis(1), Duration::from_millis(1));
    service.task_with("queue", make).offers(handle).restart(policy).stop_timeout(stop_timeout);
    service
}

#[test]
fn after_a_failure_what_waits_waits_for_the_next_incarnation() {
    watched(|| {
        let (begins, begun) = mpsc::channel();
        let queue = QueueHandle::new();
        let service = phoenix(&queue, begins, SOON);
        queue.try_post(0).unwrap();
        let waits = queue.try_submit(5).unwrap();
        let running = up(service);
        assert_eq!(waits.wait_timeout(SOON), Ok(2));
        assert_eq!(begun.try_iter().collect::<Vec<_>>(), [(0, 1), (5, 2)]);
        assert_eq!(queue.take_dead_letters()[0].item, 0);
        assert_eq!(running.stop().code, 0);
        assert!(matches!(queue.try_submit(1), Err(SubmitError::Stopped(1))));
    });
}

#[test]
fn a_stop_that_begins_a_restart_ends_what_is_in_work_and_drains_nothing() {
    watched(|| {
        let (begins, begun) = mpsc::channel();
        let queue = QueueHandle::new();
        let running = up(phoenix(&queue, begins, SOON));
        let at_work = queue.try_submit(2).unwrap();
        assert_eq!(begun.recv_timeout(SOON), Ok((2, 1)));
        let waits = queue.try_submit(5).unwrap();
        running.restart_task("queue").unwrap();
        assert_eq!((at_work.wait_timeout(SOON), waits.wait_timeout(SOON)), (Ok(1), Ok(2)));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn what_a_dead_incarnation_was_at_is_not_run_again_from_memory() {
    watched(|| {
        let (begins, begun) = mpsc::channel();
        let queue = QueueHandle::new();
        let running = up(phoenix(&queue, begins, SHORT));
        let mut watch = running.watch();
        let at_work = queue.try_submit(1).unwrap();
        assert_eq!(begun.recv_timeout(SOON), Ok((1, 1)));
        let waits = queue.try_submit(5).unwrap();
        running.restart_task("queue").unwrap();
        assert_eq!(at_work.wait_timeout(SOON), Err(CallError::Cancelled));
        assert_eq!(waits.wait_timeout(SOON), Ok(2));
        reach(&mut watch, "queue", 2, State::Running);
        assert_eq!(queue.take_dead_letters()[0].item, 1);
        // An operator's stop is an end; a new beginning may follow.
        running.stop_task("queue").unwrap();
        reach(&mut watch, "queue", 2, State::Stopped);
        let stopped = std::iter::repeat_with(|| queue.try_submit(6)).find_map(Result::err);
        assert!(matches!(stopped, Some(SubmitError::Stopped(6))));
        running.restart_task("queue").unwrap();
        reach(&mut watch, "queue", 3, State::Running);
        assert_eq!(queue.try_submit(7).unwrap().wait_timeout(SOON), Ok(3));
        running.stop();
    });
}

// --- Properties ---

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the work does, and whenever the service stops, each item has an answer, and is in one place.
    #[test]
    fn no_item_is_lost(
        kinds in proptest::collection::vec(0..5u8, 1..40), workers in 1..4usize, drains: bool, stop_after in 0..40usize,
    ) {
        watched(|| {
            let done = Arc::new(AtomicUsize::new(0));
            let (d, tired) = (done.clone(), Arc::new(AtomicBool::new(false)));
            let queue = On::<u8, u8>::new(async move |kind, work| {
                match (*kind, work.attempt().number()) {
                    (1, 1) | (2, _) => return Err(WorkError::later("later")),
                    (3, _) => return Err(Error::new("no").into()),
                    (4, _) => panic!("at four"),
                    _ => {}
                }
                if tired.swap(true, Ordering::Relaxed) {
                    work.sleep(Duration::from_micros(100)).await;
                }
                d.fetch_add(1, Ordering::Relaxed);
                Ok(*kind)
            });
            let queue = queue.workers(workers).attempts(2).backoff(Duration::ZERO, Duration::ZERO).max_items(3).count_failures();
            let (service, queue) = service_of(if drains { queue } else { queue.give_back_at_stop() });
            let running = up(service);
            let (mut replies, mut refused) = (Vec::new(), 0);
            for (index, kind) in kinds.iter().enumerate() {
                if index == stop_after {
                    running.request_shutdown("enough");
                }
                match block_on(queue.submit(*kind)) {
                    Ok(reply) => replies.push((*kind, reply)),
                    Err(SubmitError::Stopped(_)) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            prop_assert_eq!(running.stop().code, 0);
            let (mut completed, mut stopped, mut dead) = (0, 0, 0);
            for (kind, reply) in replies {
                match (kind, reply.wait_timeout(SOON)) {
                    (0 | 1, Ok(_)) => completed += 1,
                    (_, Err(CallError::Stopped)) => stopped += 1,
                    (2, Err(CallError::Failed(_))) => dead += 1,
                    (3, Err(CallError::Failed(_))) | (4, Err(CallError::Panicked(_))) => {}
                    (kind, answer) => panic!("{kind}: {answer:?}"),
                }
            }
            prop_assert_eq!(done.load(Ordering::Relaxed), completed);
            prop_assert_eq!(queue.take_left().len(), stopped);
            prop_assert_eq!(queue.take_dead_letters().len(), dead);
            prop_assert!(stop_after < kinds.len() || (refused == 0 && (!drains || stopped == 0)));
            Ok(())
        })?;
    }
}

#[test]
fn handles_can_be_shared_between_threads_and_say_where_they_lead() {
    fn assert_handle<H: TaskHandle>(_: &H) {}
    let (service, queue) =
        service_of(On::<std::cell::Cell<u32>, std::cell::Cell<u32>>::new(async |item, _| Ok(item.clone())));
    assert_handle(&queue);
    assert_eq!(queue.task().name(), Some("queue"));
    assert!(format!("{queue:?}").contains("depth: 0"));
    let by_name: QueueHandle<std::cell::Cell<u32>, std::cell::Cell<u32>> =
        service.handle().task_handle("queue").unwrap();
    drop(by_name);
}
