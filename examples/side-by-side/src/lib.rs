//! A glib loop and a tokio HTTP server in one process, which call each other and stop together.
//!
//! The board lives on the glib loop, behind an `Rc<RefCell<..>>` that never leaves it. Handlers on tokio reach it
//! through a `Remote`; at every tenth message the glib side calls back into a task on tokio. `--log-level debug` shows
//! the order in which ^C stops them.
//!
//! The pages, in [`web`], serve any board, whatever loop it lives on: `gtk-counter` has one on GTK's.

mod board;
pub mod web;

use std::{cell::RefCell, time::Duration};

use glib::ControlFlow;
use interloop::{Service, task_fn};
use interloop_glib::Glib;
use interloop_http::HttpServer;
use interloop_tokio::Tokio;

use crate::board::{Board, Herald};

/// Returns the service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("side-by-side");
    service.version(env!("CARGO_PKG_VERSION")).about("A board on a glib loop, served by HTTP on tokio");
    let (board_slot, board) = service.slot::<RefCell<Board>>("board");
    let (herald_slot, herald) = service.slot::<Herald>("herald");

    service.task(
        "herald",
        task_fn::<Tokio>(async move |cx| {
            cx.fill(herald_slot, Herald::new(cx.target()));
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let ticker = task_fn::<Glib>(async move |cx| {
        let board = cx.fill(board_slot, RefCell::new(Board::new(herald)));
        let tick = glib::timeout_add_local(Duration::from_secs(1), move || {
            board.borrow_mut().tick();
            ControlFlow::Continue
        });
        cx.until_shutdown().await;
        // The default context outlives the task, so its source must be removed.
        tick.remove();
        Ok(())
    });
    service.task("ticker", ticker).requires("herald");
    service.task_on::<Tokio>("http", HttpServer::new(web::router(board, service.handle()))).requires("ticker");
    interloop_http::health(&mut service);
    service
}
