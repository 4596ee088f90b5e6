//! Sockets for tasks: the core's reactor, whose descriptor the context watches.

use interloop::{EventLoop, Mailbox};

/// The context takes the reactor's turns, at the default priority, once a task has sockets.
#[cfg(target_os = "linux")]
pub(crate) fn give<L: EventLoop>(mailbox: &Mailbox<L>, context: &glib::MainContext) {
    use std::os::fd::{AsFd, AsRawFd};

    use glib::{ControlFlow, IOCondition, Priority, thread_guard::ThreadGuard};

    struct Watched(glib::Source);

    impl Drop for Watched {
        fn drop(&mut self) {
            self.0.destroy();
        }
    }

    let context = context.clone();
    mailbox.set_reactor(move |reactor| {
        let fd = reactor.as_fd().as_raw_fd();
        let reactor = ThreadGuard::new(reactor.clone());
        let turn = move |_, _| {
            if let Err(error) = reactor.get_ref().turn() {
                log::error!("the reactor can't look at its sockets: {error}");
            }
            ControlFlow::Continue
        };
        let source = glib_unix::fd_source_new(fd, IOCondition::IN, Some("interloop, sockets"), Priority::DEFAULT, turn);
        source.attach(Some(&context));
        Ok(Watched(source))
    });
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn give<L: EventLoop>(_: &Mailbox<L>, _: &glib::MainContext) {}
