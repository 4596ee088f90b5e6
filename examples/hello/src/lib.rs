//! The shortest HTTP service: `hello --http-port 8000`, then `curl localhost:8000`.
//!
//! It is a library with a `main` of one line, so that its test, `tests/service.rs`, runs the very same service.

use axum::{Router, routing::get};
use interloop::Service;
use interloop_http::HttpServer;
use interloop_tokio::Tokio;

/// Returns the service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("hello");
    let router = Router::new().route("/", get(async || "Hello, world")).with_state(());
    service.task_on::<Tokio>("http", HttpServer::new(router));
    service
}
