//! A GTK 4 window on the main thread beside an HTTP server on tokio.
//!
//! `POST /say` adds a line to the window's list; each click of the button counts, and `GET /board` shows the count.
//! Closing the window stops the service; ^C closes the window.

mod window;

use std::{cell::RefCell, process::ExitCode};

use interloop::{Service, task_fn};
use interloop_glib::Gtk;
use interloop_http::HttpServer;
use interloop_tokio::Tokio;
use side_by_side::web;

use crate::window::Window;

fn main() -> ExitCode {
    let mut service = Service::new("gtk-counter");
    service.version(env!("CARGO_PKG_VERSION")).about("A window on GTK's loop, served by HTTP on tokio");
    let (slot, window) = service.slot::<RefCell<Window>>("window");
    let ui = task_fn::<Gtk>(async move |cx| {
        let window = cx.fill(slot, RefCell::new(Window::new(cx.native().application())));
        window.borrow().present();
        cx.until_shutdown().await;
        // The window is destroyed at the end of its loop.
        Ok(())
    });
    service.task("ui", ui);
    service.task_on::<Tokio>("http", HttpServer::new(web::router(window, service.handle()))).requires("ui");
    interloop_http::health(&mut service);
    service.run()
}
