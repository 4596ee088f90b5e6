//! The built-in queue on tokio: on its thread, on its workers, and on threads of its own.

use std::{
    collections::BTreeSet,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use interloop::{
    CallError, Service, Thread, task_fn,
    tasks::queue::{Queue, WorkError},
};
use interloop_loop_tests::{LONG, down, up, watchdog};
use interloop_tokio::Tokio;
use tokio::sync::Barrier;

fn here() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

#[test]
fn its_workers_wait_for_tokio_at_the_same_time() {
    let _watchdog = watchdog();
    let mut service = Service::new("queue");
    // Nobody passes before all four are there.
    let barrier = Arc::new(Barrier::new(4));
    let queue = Queue::<Tokio, u32, u32>::new(async move |item, work| {
        let not_send = Rc::new(*item);
        if work.attempt().number() == 1 {
            barrier.wait().await;
            return Err(WorkError::later("once more").after(Duration::from_millis(1)));
        }
        assert_eq!(here(), "tokio");
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(*not_send * 10)
    });
    let items = queue.handle();
    service.task("queue", queue.workers(4).max_items(1));
    let asks = items.clone();
    let user = task_fn::<Thread>(async move |cx| {
        cx.ready();
        let answers = asks.map(1..=40).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        assert_eq!(answers, (10..=400).step_by(10).collect::<Vec<_>>());
        Ok(())
    });
    service.task("user", user).uses(&items);
    let running = up(service);
    while running.status().tasks[1].state != interloop::State::Stopped {
        thread::yield_now();
    }
    assert_eq!(items.depth(), 0);
    down(running);
}

#[test]
fn work_that_is_send_runs_on_the_workers_and_its_panic_is_its_own() {
    let _watchdog = watchdog();
    let mut service = Service::new("queue");
    service.event_loop("tokio", Tokio::default()).set("worker-threads", 2);
    let queue = Queue::<Tokio, bool, String>::on_workers(|panics, _| async move {
        tokio::task::yield_now().await;
        assert!(!panics, "as asked");
        Ok(here())
    });
    let items = queue.handle();
    service.task("queue", queue.workers(2));
    let running = up(service);
    assert_eq!(items.try_submit(false).unwrap().wait_timeout(LONG), Ok("tokio-worker".to_owned()));
    assert_eq!(items.try_submit(true).unwrap().wait_timeout(LONG), Err(CallError::Panicked("as asked".into())));
    assert_eq!(items.try_submit(false).unwrap().wait_timeout(LONG), Ok("tokio-worker".to_owned()));
    down(running);
}

#[test]
fn work_that_blocks_leaves_the_loop_alone() {
    let _watchdog = watchdog();
    let mut service = Service::new("queue");
    let (arrived, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Barrier::new(3)));
    let (a, barrier) = (arrived.clone(), all.clone());
    let queue = Queue::<Tokio, (), String>::blocking(move |(), _| {
        a.fetch_add(1, Ordering::Relaxed);
        barrier.wait();
        Ok(here())
    });
    let items = queue.handle();
    let remote = service.remote_to::<Tokio>();
    service.task("queue", queue.workers(2));
    let running = up(service);
    let replies = [(), ()].map(|()| items.try_submit(()).unwrap());
    while arrived.load(Ordering::Relaxed) < 2 {
        thread::yield_now();
    }
    assert_eq!(remote.call(|_| here()).wait_timeout(LONG), Ok("tokio".to_owned()), "both block, and the loop answers");
    all.wait();
    let names = replies.map(|reply| reply.wait_timeout(LONG).unwrap()).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(names, ["queue-1", "queue-2"].map(str::to_owned).into());
    down(running);
}
