//! An axum program that keeps its `#[tokio::main]` and its `axum::serve`, with a service beside it.

use std::{net::SocketAddr, pin::pin};

use axum::{Router, routing::get};
use interloop::{Report, Running, Service};
use interloop_http::HttpServer;
use interloop_tokio::Tokio;
use tokio::{net::TcpListener, runtime::Handle, sync::oneshot};

use crate::util::{connect, hi, watchdog};

/// Returns the answer to a client on another thread, so that the runtime isn't blocked.
async fn answer(address: SocketAddr) -> String {
    tokio::task::spawn_blocking(move || connect(address).get("/").body).await.expect("an answer")
}

/// A main: axum's server, unchanged, and a server of the service, on the same runtime.
async fn main() -> Report {
    let mut service = Service::new("part");
    service.event_loop("tokio", Tokio::from_handle(Handle::current()));
    let server = HttpServer::new(hi());
    let addresses = server.addresses();
    service.task_on::<Tokio>("http", server);
    let running = service.start().expect("the configuration works");
    assert!(running.started().await);

    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let own = listener.local_addr().expect("it listens");
    let ended = running.ended();
    let router = Router::new().route("/", get(async || "axum's own"));
    let serves = axum::serve(listener, router).with_graceful_shutdown(async move { drop(ended.await) });
    let serves = tokio::spawn(serves.into_future());

    assert_eq!(answer(own).await, "axum's own");
    let address = addresses.tcp().expect("it listens on a port");
    assert_eq!(answer(address).await, "hi");
    let report = ends(running).await;
    serves.await.expect("no panic").expect("it served to its end");
    report
}

/// Waits for the end in vain, asks for it, and waits again.
async fn ends(running: Running) -> Report {
    let (over, is_over) = oneshot::channel::<()>();
    drop(over);
    tokio::select! {
        biased;
        report = running.ended() => panic!("it has ended by itself: {report}"),
        _ = is_over => {}
    }
    let mut ended = pin!(running.ended());
    running.request_shutdown("enough");
    ended.as_mut().await
}

#[test]
fn an_axum_main_keeps_its_runtime_and_its_server_beside_a_service() {
    #[tokio::main(flavor = "multi_thread", worker_threads = 1)]
    async fn multi_thread() -> Report {
        // On its one worker.
        tokio::spawn(main()).await.expect("no panic")
    }

    #[tokio::main(flavor = "current_thread")]
    async fn current_thread() -> Report {
        main().await
    }

    let _watchdog = watchdog();
    for report in [multi_thread(), current_thread()] {
        assert_eq!(report.code, 0, "{report}");
    }
}
