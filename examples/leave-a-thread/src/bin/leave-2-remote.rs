//! Step 2, typed access to the window: `attach` replaces the channel, the loop over it, and the messages.

use std::cell::Cell;
use std::thread;

use gtk4::prelude::*;
use gtk4::{Application, gio::ApplicationFlags};
use leave_a_thread::{Board, serve};

fn main() -> glib::ExitCode {
    let application = Application::new(None::<&str>, ApplicationFlags::NON_UNIQUE);
    let attached = Cell::new(None);
    application.connect_activate(move |application| {
        let context = glib::MainContext::default();
        let (mailbox, board) =
            interloop_glib::attach(&context, "ui", Board::open(application)).expect("this thread drives the context");
        // As long as it is kept, calls are answered.
        attached.set(Some(mailbox));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(board))
        });
    });
    application.run()
}
