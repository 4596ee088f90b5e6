//! What every loop has to keep, by the multi-thread runtime.

mod contract;
mod util;

use interloop::Service;
use interloop_tokio::Tokio;

contract!(Tokio, || {
    let mut service = Service::new("contract");
    service.event_loop("tokio", Tokio::default()).set("worker-threads", 2);
    service
});
