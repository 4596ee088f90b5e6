//! A service on a custom loop: a server that echoes its input, and a job that logs that all is well.
//!
//! ```sh
//! custom-loop --alive-interval 2s
//! ```

use std::time::Duration;

use futures_util::AsyncReadExt;
use interloop::net::{Accept, Bound};
use interloop::{Context, Result, Service, task_fn, tasks::Periodic};

use crate::Epoll;

async fn echo(cx: Context<Epoll>) -> Result {
    let mut listener = cx.listen(Bound::tcp(([127, 0, 0, 1], 0).into())?)?;
    cx.bound(listener.address().clone());
    log::info!(target: cx.target(), "server started on {}", listener.address());
    let served = cx.counter("served");
    cx.ready();
    while let Some(accepted) = cx.run_until_shutdown(listener.accept()).await {
        let (reader, mut writer) = accepted?.0.split();
        served.add(1);
        cx.spawn_local(async move { futures_util::io::copy(reader, &mut writer).await }).detach();
    }
    Ok(())
}

/// Returns the service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("custom-loop");
    service.task("echo", task_fn::<Epoll>(echo));
    let alive = || log::info!("all is well");
    service.task_on::<Epoll>("alive", Periodic::new(Duration::from_secs(10), alive));
    service
}
