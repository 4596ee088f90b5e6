//! Step 3, the thread becomes a service: it stops in order and on time when the application has ended, and its failure
//! is the program's.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;

use gtk4::prelude::*;
use gtk4::{Application, gio::ApplicationFlags};
use interloop::{Running, Service, task_fn};
use interloop_tokio::Tokio;
use leave_a_thread::{Board, serve};

fn main() -> ExitCode {
    let application = Application::new(None::<&str>, ApplicationFlags::NON_UNIQUE);
    let started = Rc::new(Cell::new(None::<Running>));
    let (attached, keep) = (Cell::new(None), started.clone());
    application.connect_activate(move |application| {
        let context = glib::MainContext::default();
        let (mailbox, board) =
            interloop_glib::attach(&context, "ui", Board::open(application)).expect("this thread drives the context");
        attached.set(Some(mailbox));
        let mut service = Service::new("board");
        let server = task_fn::<Tokio>(async move |cx| {
            // The unchanged server, until the stop.
            cx.ready();
            match cx.run_until_shutdown(serve(board)).await {
                None => Ok(()),
                Some(failed) => Ok(failed?),
            }
        });
        service.task("serve", server);
        keep.set(Some(service.start().expect("the configuration works")));
    });
    application.run();
    match started.take() {
        Some(running) => ExitCode::from(running.stop().code),
        None => ExitCode::FAILURE,
    }
}
