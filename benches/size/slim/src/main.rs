//! `Hello, world` on tokio, without any default feature of Interloop's: no command line, no log, no counters of time.

use std::process::ExitCode;

use axum::{Router, routing::get};
use interloop::Service;
use interloop_http::HttpServer;
use interloop_tokio::Tokio;

fn main() -> ExitCode {
    let mut service = Service::new("hello");
    let router = Router::new().route("/", get(async || "Hello, world")).with_state(());
    service.task_on::<Tokio>("http", HttpServer::new(router));
    service.run()
}
