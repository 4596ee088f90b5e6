//! A producer on a thread of its own, and a queue whose workers run on tokio. Every third parcel is delivered at the
//! second attempt; every fifth is never delivered, and becomes a dead letter. On ^C the producer stops first; the
//! parcels that it has posted are delivered, then the queue ends.
//!
//! `--deliveries-workers 1 --deliveries-max-items 2` makes the producer wait for space; with `--log-level debug` the
//! queue logs more.

use std::time::Duration;

use interloop::{
    Service, Thread, task_fn,
    tasks::queue::{Queue, WorkError},
};
use interloop_tokio::Tokio;

const TICK: Duration = Duration::from_millis(100);

/// Returns the service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("producer-consumer");
    let deliveries = Queue::<Tokio, u64>::new(async |&parcel, work| {
        let attempt = work.attempt();
        work.sleep(TICK / 2).await;
        if parcel % 5 == 0 || (parcel % 3 == 0 && attempt.number() == 1) {
            log::info!(target: work.target(), "parcel {parcel}, attempt {}: nobody is at home", attempt.number());
            return Err(WorkError::later("nobody is at home"));
        }
        log::info!(target: work.target(), "parcel {parcel} is delivered at attempt {}", attempt.number());
        Ok(())
    });
    let deliveries = deliveries.workers(4).max_items(100).attempts(3).backoff(TICK, 10 * TICK);
    let parcels = deliveries.handle();
    service.task("deliveries", deliveries);

    let posts = parcels.clone();
    let shop = task_fn::<Thread>(async move |cx| {
        cx.ready();
        let mut ticks = cx.interval(TICK);
        for parcel in 1.. {
            if cx.run_until_shutdown(ticks.tick()).await.is_none() {
                break;
            }
            // Waits while there is no space. Nobody checks the result: the queue reports dead letters itself.
            posts.post(parcel).await?;
        }
        Ok(())
    });
    service.task("shop", shop).uses(&parcels);
    service
}
