//! Items through a [`Queue`].

use std::time::{Duration, Instant};

use interloop::tasks::queue::{Queue, QueueHandle};
use interloop::{Service, Thread, event_loop::Timers};
use interloop_glib::Glib;
use interloop_tokio::Tokio;

use super::hosting::PATIENCE;
use crate::baseline::queue::{QUEUE, QUEUE_POST, Rest, in_batches};
use crate::suite::Suite;

pub(super) fn register(suite: &mut Suite) {
    for (id, workers) in QUEUE {
        suite
            .comparison(id)
            .add("interloop: threads", move |n| results(Thread, Queue::blocking(|v, _| Ok(v + 1)), workers, n))
            .add("interloop: on Thread", move |n| results(Thread, Queue::new(async |v, _| Ok(v + 1)), workers, n))
            .add("interloop: on Tokio", move |n| {
                results(Tokio::default(), Queue::new(async |v, _| Ok(v + 1)), workers, n)
            })
            .add("interloop: on Glib", move |n| {
                results(Glib::private(), Queue::new(async |v, _| Ok(v + 1)), workers, n)
            });
    }
    for (id, workers) in QUEUE_POST {
        suite
            .comparison(id)
            .add("interloop: threads", move |n| {
                let (rest, end) = Rest::new(n);
                let queue = Queue::blocking(move |_, _| {
                    rest.one();
                    Ok(0)
                });
                posts(Thread, queue, workers, n, || end.recv().expect("the last item says when"))
            })
            .add("interloop: on Thread", move |n| posts_on(Thread, workers, n))
            .add("interloop: on Tokio", move |n| posts_on(Tokio::default(), workers, n))
            .add("interloop: on Glib", move |n| posts_on(Glib::private(), workers, n));
    }
}

fn results<L: Timers>(plan: L, queue: Queue<L, u64, u64>, workers: usize, n: u32) -> Duration {
    run(plan, queue, workers, |items| {
        in_batches(n, |value| {
            let reply = items.try_submit(value).expect("there is room");
            move || reply.wait_timeout(PATIENCE).expect("the work is done")
        });
        Instant::now()
    })
}

fn posts_on<L: Timers>(plan: L, workers: usize, n: u32) -> Duration {
    let (rest, end) = Rest::new(n);
    let queue = Queue::new(async move |_: &u64, _| {
        rest.one();
        Ok(0)
    });
    posts(plan, queue, workers, n, || end.recv().expect("the last item says when"))
}

fn posts<L: Timers>(
    plan: L,
    queue: Queue<L, u64, u64>,
    workers: usize,
    n: u32,
    ended: impl FnOnce() -> Instant,
) -> Duration {
    run(plan, queue, workers, |items| {
        for value in 0..u64::from(n) {
            items.try_post(value).expect("there is room");
        }
        ended()
    })
}

fn run<L: Timers>(
    plan: L,
    queue: Queue<L, u64, u64>,
    workers: usize,
    submit: impl FnOnce(&QueueHandle<u64, u64>) -> Instant,
) -> Duration {
    let items = queue.handle();
    let mut service = Service::new("bench");
    service.event_loop("loop", plan);
    service.task("items", queue.workers(workers)).on("loop");
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started_timeout(PATIENCE), "the service starts");
    let began = Instant::now();
    let ended = submit(&items);
    assert_eq!(running.stop().code, 0, "the service stops");
    ended - began
}
