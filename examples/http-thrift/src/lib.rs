//! One service, answered by Thrift over sockets and over HTTP.
//!
//! ```sh
//! http-thrift --thrift-port 9090 --http-port 8000 --thrift-allow-control
//! ```
//!
//! fb303 is what Thrift offers for every service: its status, its counters, its options. Here it runs on a plain
//! thread, by itself, and at `/thrift` of an HTTP server on tokio, beside a page for people. Over HTTP it is read-only.
//! `/flame-graph` samples for two seconds what the process is busy with, and draws that; `getCpuProfile` returns the
//! same as text.

use std::time::Duration;

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use interloop::{Service, Thread};
use interloop_fb303::{Base, Fb303, Fb303Server};
use interloop_http::HttpServer;
use interloop_thrift::ThriftRoute;
use interloop_tokio::Tokio;
use tokio::task::spawn_blocking;

/// Returns the service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("http-thrift");
    service.version(env!("CARGO_PKG_VERSION"));
    let base = Base::new(service.handle());
    let profiled = base.clone();
    let page = get(async move || format!("{} is {}\n", base.name(), base.status()));
    let graph = get(async move || flame_graph(profiled).await);
    let fb303 = ThriftRoute::new(Fb303::new(service.handle()));
    let router = Router::new().route("/", page).route("/flame-graph", graph).route_service("/thrift", fb303);
    service.task_on::<Tokio>("http", HttpServer::new(router));
    service.task_on::<Thread>("thrift", Fb303Server::new());
    service
}

/// Draws a flame graph. A profile takes time, so it runs on a thread that may block.
async fn flame_graph(base: Base) -> Response {
    let draw = move || base.cpu_profile(Duration::from_secs(2))?.flame_graph(base.name());
    match spawn_blocking(draw).await {
        Ok(Ok(svg)) => ([(CONTENT_TYPE, "image/svg+xml")], svg).into_response(),
        Ok(Err(refused)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{refused}\n")).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
