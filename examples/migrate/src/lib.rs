//! A guest book with two entrances, an HTTP API and a line-based TCP server, and a job that files the lines: three
//! tasks with a channel between them, all written once. A flag chooses each task's loop:
//!
//! ```sh
//! migrate --http-loop tokio --lines-loop smol --files-loop glib --http-port 8000 --lines-port 8001
//! ```
//!
//! This is how a service moves from one runtime to another: task by task, each step a running program. Only the loops
//! in use are started.

mod api;
mod book;
mod lines;

use interloop::{Service, Thread};
use interloop_async_std::AsyncStd;
use interloop_calloop::Calloop;
use interloop_compio::Compio;
use interloop_glib::Glib;
use interloop_http::HttpServer;
use interloop_mio::Mio;
use interloop_smol::Smol;
use interloop_tokio::Tokio;

/// The loops that each task may run on; the first is the default.
type Loops = (Tokio, AsyncStd, Smol, Compio, Glib, Calloop, Mio, Thread);

/// Returns the service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("migrate");
    service.version(env!("CARGO_PKG_VERSION")).about("A guest book whose every task runs on any loop");
    let (slot, book) = service.slot("book");
    let (said, heard) = async_channel::bounded(100);
    service.task_any::<Loops>("files", book::Files::new(slot, heard));
    let router = api::router(said.clone(), book.clone());
    service.task_any::<Loops>("http", HttpServer::new(router)).requires("files");
    service.task_any::<Loops>("lines", lines::Lines::new(said, book)).requires("files");
    service
}
