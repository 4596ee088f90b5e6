//! A service whose tasks take their time to stop, on four kinds of loops. `docs/stop.svg` shows its stop.
//!
//! ```sh
//! stop-in-order --http-port 8000 --drain-delay 200ms --log-level debug
//! curl http://127.0.0.1:8000/slow & sleep 0.1; pkill -TERM stop-in-order
//! ```
//!
//! The tasks stop in reverse order of their start: `http` first, which still answers the request, then `board` and
//! `mail`, then `store`. `mail` doesn't react, and is cancelled when its time is over.

use std::{future, thread, time::Duration};

use axum::{Router, routing::get};
use interloop::{Service, Thread, task_fn};
use interloop_glib::Glib;
use interloop_http::HttpServer;
use interloop_smol::Smol;
use interloop_tokio::Tokio;

/// Returns the service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("stop-in-order");
    service.version(env!("CARGO_PKG_VERSION")).about("Tasks that take their time to stop");
    // On a thread of its own, which it may block: it writes what it has.
    let store = task_fn::<Thread>(async |cx| {
        cx.until_shutdown().await;
        thread::sleep(Duration::from_millis(120));
        Ok(())
    });
    service.task("store", store);
    // It finishes what it has begun.
    let board = task_fn::<Glib>(async |cx| {
        cx.until_shutdown().await;
        glib::timeout_future(Duration::from_millis(150)).await;
        Ok(())
    });
    service.task("board", board).requires("store");
    // It is ready, and doesn't look whether it must stop.
    let mail = task_fn::<Smol>(async |cx| {
        cx.ready();
        future::pending().await
    });
    service.task("mail", mail).requires("store").stop_timeout(Duration::from_millis(300));
    // An answer that takes its time.
    let slow = get(async || {
        log::info!(target: "stop-in-order.http", "asked");
        tokio::time::sleep(Duration::from_millis(500)).await;
        "done\n"
    });
    let http = service.task_on::<Tokio>("http", HttpServer::new(Router::new().route("/slow", slow)));
    http.requires("board").requires("mail");
    interloop_http::health(&mut service);
    service
}
