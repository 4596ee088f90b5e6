//! One service, answered by Thrift over sockets and over HTTP.
//!
//! ```sh
//! http-thrift --thrift-port 9090 --http-port 8000 --thrift-allow-control
//! ```
//!
//! fb303 is what Thrift has for every service: its status, its counters, its options. Here it is on a plain thread, by itself, and at `/thrift` of an HTTP
//! server on tokio, beside a page for people. Over HTTP it may be read, and changes nothing.

use axum::{Router, routing::get};
use interloop::{Service, Thread};
use interloop_fb303::{Base, Fb303, Fb303Server};
use interloop_http::HttpServer;
use interloop_thrift::ThriftRoute;
use interloop_tokio::Tokio;

/// The service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("http-thrift");
    service.version(env!("CARGO_PKG_VERSION"));
    let base = Base::new(service.handle());
    let page = get(async move || format!("{} is {}\n", base.name(), base.status()));
    let fb303 = ThriftRoute::new(Fb303::new(service.handle()));
    let router = Router::new().route("/", page).route_service("/thrift", fb303);
    service.task_on::<Tokio>("http", HttpServer::new(router));
    service.task_on::<Thread>("thrift", Fb303Server::new());
    service
}
