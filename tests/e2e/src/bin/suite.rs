//! The server that `make suites` runs external suites against: a greeting, echoes over WebSockets and health checks, on
//! the loop that the user chooses.
//!
//! `suite --http-loop glib --http-port 8000 --health-port 8001`; with `--http-tls-cert` and `--http-tls-key` over TLS.

use std::process::ExitCode;

use axum::{Router, response::Response, routing::get};
use interloop::{Service, Thread};
use interloop_async_std::AsyncStd;
use interloop_calloop::Calloop;
use interloop_compio::Compio;
use interloop_glib::Glib;
use interloop_http::{HttpServer, WebSocketUpgrade};
use interloop_mio::Mio;
use interloop_smol::Smol;
use interloop_tokio::Tokio;

type Loops = (Tokio, Thread, Glib, Smol, AsyncStd, Compio, Mio, Calloop);

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(64 << 20).max_frame_size(64 << 20).on_upgrade(async |mut socket| {
        while let Some(message) = socket.next().await {
            if socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

fn main() -> ExitCode {
    let mut service = Service::new("suite");
    let router = Router::new().route("/", get(async || "Hello, world")).route("/echo", get(echo));
    service.task_any::<Loops>("http", HttpServer::new(router));
    interloop_http::health(&mut service);
    service.run()
}
