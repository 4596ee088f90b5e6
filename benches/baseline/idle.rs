//! Threads and loops that have nothing to do: what a further one takes.

use std::future::pending;

use glib::{MainContext, MainLoop};

/// A thread that parks; it never returns.
pub fn thread(ready: &dyn Fn()) {
    ready();
    loop {
        std::thread::park();
    }
}

/// A current-thread tokio runtime; it never returns.
pub fn tokio(ready: &dyn Fn()) {
    super::tokio::current_thread().block_on(async {
        ready();
        pending().await
    })
}

/// A main loop on a context of its own; it never returns.
pub fn glib(ready: &dyn Fn()) {
    let context = MainContext::new();
    let main_loop = MainLoop::new(Some(&context), false);
    context
        .with_thread_default(|| {
            ready();
            main_loop.run();
        })
        .expect("nobody else has the new context");
}
