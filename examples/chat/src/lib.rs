//! The parts of the chat, and how they find each other; `main.rs` describes what they do.

mod notify;
mod room;
mod web;
mod window;

use std::cell::RefCell;

use interloop::{Service, clap, task_fn};
use interloop_glib::Gtk;
use interloop_http::HttpServer;
use interloop_smol::Smol;
use interloop_tokio::Tokio;

use crate::{
    notify::Notifier,
    room::{MEMBERS, Room},
    window::Window,
};

#[derive(clap::Args, Clone, Debug)]
struct Options {
    /// The name of the person at the window
    #[arg(long, default_value = "Window")]
    name: String,

    /// Also admit pages of this origin, such as https://chat.example.org; the server's own, at an address or at
    /// localhost, always may
    #[arg(long)]
    origin: Vec<String>,
}

/// Returns the service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("chat");
    service.version(env!("CARGO_PKG_VERSION")).about("A chat between web pages and a window").options::<Options>();
    let handle = service.handle();
    // Each slot exists from now on, for any thread; its value comes later, on a thread of its own.
    let (room_slot, room) = service.slot::<RefCell<Room>>("room");
    let (window_slot, window) = service.slot::<Window>("window");
    let (notifier_slot, notifier) = service.slot::<Notifier>("notifier");

    let keep = task_fn::<Tokio>(async move |cx| {
        cx.fill(room_slot, RefCell::new(Room::new(cx.counter("said"), cx.gauge("members"))));
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("room", keep);

    let server = HttpServer::new(web::router(room.clone(), handle)).max_connections(2 * MEMBERS);
    service.task_on::<Tokio>("http", server).requires("room");

    let ui = {
        let window = window.clone();
        task_fn::<Gtk>(async move |cx| window::run(cx, window_slot, window, room, notifier).await)
    };
    service.task("window", ui).requires("room");

    let notify = task_fn::<Smol>(async move |cx| notify::run(cx, notifier_slot, window).await);
    service.task("notify", notify);
    service
}
