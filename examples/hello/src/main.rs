//! The shortest HTTP service: `hello --http-port 8000`, then `curl localhost:8000`.

use std::process::ExitCode;

use axum::{Router, routing::get};
use interloop::Service;
use interloop_http::HttpServer;
use interloop_tokio::Tokio;

fn main() -> ExitCode {
    let mut service = Service::new("hello");
    let router = Router::new().route("/", get(async || "Hello, world"));
    service.task_on::<Tokio>("http", HttpServer::new(router));
    service.run()
}
