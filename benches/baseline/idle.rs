//! Idle threads and loops: the cost of a further one.

use std::future::pending;

use glib::{MainContext, MainLoop};

/// Runs a thread that parks; it never returns.
pub fn thread(ready: &dyn Fn()) {
    ready();
    loop {
        std::thread::park();
    }
}

/// Runs a current-thread tokio runtime; it never returns.
pub fn tokio(ready: &dyn Fn()) {
    super::tokio::current_thread().block_on(async {
        ready();
        pending().await
    })
}

/// Runs a main loop on a context of its own; it never returns.
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
