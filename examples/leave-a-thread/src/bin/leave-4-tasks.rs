//! Step 4, the application becomes a task: one ^C stops both, closing the last window stops the service, and there are
//! flags, a log, and a report.

use std::process::ExitCode;

use interloop::{Service, task_fn};
use interloop_glib::Gtk;
use interloop_tokio::Tokio;
use leave_a_thread::{Board, serve};

fn main() -> ExitCode {
    let mut service = Service::new("board");
    let (slot, board) = service.slot::<Board>("board");
    let window = task_fn::<Gtk>(async move |cx| {
        cx.fill(slot, Board::open(cx.native().application()));
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("window", window);
    let server = task_fn::<Tokio>(async move |cx| {
        cx.ready();
        match cx.run_until_shutdown(serve(board)).await {
            None => Ok(()),
            Some(failed) => Ok(failed?),
        }
    });
    service.task("serve", server).requires("window");
    service.run()
}
