//! `Hello, world` on any loop: `hello-on --http-loop smol --http-port 8000`.

use std::process::ExitCode;

use axum::Router;
use axum::routing::get;
use interloop::{Service, Thread};
use interloop_async_std::AsyncStd;
use interloop_calloop::Calloop;
use interloop_compio::Compio;
use interloop_glib::Glib;
use interloop_http::HttpServer;
use interloop_mio::Mio;
use interloop_smol::Smol;
use interloop_tokio::Tokio;

type Loops = (Tokio, AsyncStd, Smol, Compio, Glib, Calloop, Mio, Thread);

fn main() -> ExitCode {
    let mut service = Service::new("hello-on");
    let router = Router::new().route("/", get(async || "Hello, world")).with_state(());
    service.task_any::<Loops>("http", HttpServer::new(router));
    service.run()
}
