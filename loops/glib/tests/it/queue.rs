//! The built-in queue on glib, filled from tokio: work runs on the loop's thread, by glib's own futures.

use interloop_own_process::own_process;
use std::{cell::Cell, rc::Rc, time::Duration};

use interloop::{
    CallError, Error, Service, task_fn,
    tasks::queue::{Queue, WorkError},
};
use interloop_glib::Glib;
use interloop_loop_tests::{LONG, down, up, watchdog};
use interloop_tokio::Tokio;

#[test]
fn items_from_tokio_are_worked_on_in_order_by_glib() {
    own_process(|| {
        let _watchdog = watchdog();
        let mut service = Service::new("queue");
        let queue = Queue::<Glib, u32, u32>::new(async |item, work| {
            assert!(work.native().is_owner());
            let seen = Rc::new(Cell::new(0));
            let timer = seen.clone();
            let (tick, ticked) = tokio::sync::oneshot::channel();
            let mut tick = Some(tick);
            glib::timeout_add_local(Duration::from_millis(1), move || {
                timer.set(1);
                let _ = tick.take().map(|tick| tick.send(()));
                glib::ControlFlow::Break
            });
            ticked.await?;
            assert_eq!(seen.get(), 1);
            match (*item, work.attempt().number()) {
                (7, 1) => Err(WorkError::later("again")),
                (8, _) => Err(Error::new("no"))?,
                _ => Ok(*item + work.attempt().number()),
            }
        });
        let queue = queue.backoff(Duration::from_millis(1), Duration::from_millis(1)).max_items(2);
        let items = queue.handle();
        service.task("queue", queue);
        let asks = items.clone();
        let user = task_fn::<Tokio>(async move |cx| {
            for item in 0..5 {
                assert_eq!(asks.submit(item).await?.await?, item + 1);
            }
            assert_eq!(asks.submit(7).await?.await?, 9);
            assert_eq!(asks.submit(8).await?.await, Err(CallError::Failed("no".into())));
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("user", user).uses(&items);
        let running = up(service);
        let last = items.try_submit(20).unwrap();
        down(running);
        assert_eq!(last.wait_timeout(LONG), Ok(21), "the stop has waited for it");
    });
}
