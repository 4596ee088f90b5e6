//! glib's main loop, and GTK's, as event loops of Interloop.
//!
//! [`Glib`] drives the process's default `MainContext`, on a thread of its own: `glib::timeout_add_local`,
//! `idle_add_local`, gio and all that is built on them work in its tasks as they do in any glib program.
//! [`Glib::private()`] drives a context of its own beside it. With the feature `gtk4`, `Gtk` runs a `gtk4::Application`
//! on the main thread.
//!
//! ```
//! use std::{cell::Cell, rc::Rc, time::Duration};
//! use glib::ControlFlow;
//! use interloop::{Service, task_fn};
//! use interloop_glib::Glib;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut service = Service::new("ticks");
//! let (slot, ticks) = service.slot::<Cell<u32>>("ticks");
//! service.task("ticker", task_fn::<Glib>(async move |cx| {
//!     let ticks: Rc<Cell<u32>> = cx.fill(slot, Cell::new(0));
//!     let source = glib::timeout_add_local(Duration::from_millis(1), move || {
//!         ticks.set(ticks.get() + 1);
//!         ControlFlow::Continue
//!     });
//!     cx.until_shutdown().await;
//!     source.remove();
//!     Ok(())
//! }));
//!
//! let running = service.start()?;
//! // From any thread: a closure that runs on glib's.
//! while ticks.call(Cell::get).wait_timeout(Duration::from_secs(10))? < 3 {}
//! assert_eq!(running.stop().code, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Priorities
//!
//! Jobs and futures of Interloop run at glib's default priority, for at most 1 ms; what is left continues at idle
//! priority, behind GTK's layout and redraw. If those leave no idle moment, Interloop still gets 2 ms in every 20, so
//! that a stop is heard in time.
//!
//! # The end
//!
//! Tasks must remove what they attach to the default context themselves (timeouts, idle sources, `spawn_local`): the
//! context outlives the loop. A source left behind there would be run by whichever thread drives the context next; if
//! the source was made by a `_local` function, on another thread, that ends the process. A private context is cleared
//! by its loop: all its sources are destroyed on its thread.
//!
//! # A context that other code drives
//!
//! [`attach`] gives other threads a [`Remote`](interloop::Remote) into it, without a service that owns the context.
//!
//! # Limits
//!
//! glib ends the process when a closure that was given to it directly panics, in its call or its drop, and when a
//! `JoinHandle` of its `spawn_local` is dropped last on another thread. While a job or a future runs a main loop of its
//! own (`MainLoop::run`, `MainContext::block_on`), the mailbox waits.

// One module does with sources what the bindings can't.
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod attach;
#[cfg(feature = "gtk4")]
mod gtk;
mod nested;
mod pump;
mod sources;
mod timer;
mod wake;

use std::{future::Future, time::Duration};

use glib::MainContext;
use interloop::{
    Error, EventLoop, NoOptions, Result,
    event_loop::{Mailbox, Timers},
};

pub use crate::attach::{Attached, attach};
#[cfg(feature = "gtk4")]
pub use crate::gtk::{Gtk, GtkNative};
pub use glib;
#[cfg(feature = "gtk4")]
pub use gtk4;

use crate::{pump::Pump, wake::Wake};

/// A resource that only one loop of a process can drive.
const DEFAULT_CONTEXT: &str = "glib's default main context";

/// glib's main loop, on a thread of its own.
///
/// By default it drives the process's default `MainContext`, of which there is one: a service can have one such loop.
/// [`private`](Self::private) makes further ones. See the [crate's documentation](crate).
#[derive(Clone, Debug, Default)]
pub struct Glib {
    private: bool,
    main_thread: bool,
}

impl Glib {
    /// Makes a loop with a `MainContext` of its own, which is the thread-default one on its thread.
    ///
    /// These ignore it, and always use the **default** context, where they never fire if nothing drives that context:
    /// `glib::timeout_add*`, `timeout_add_local*`, `timeout_add_seconds*`, `idle_add*`, `idle_add_local*`,
    /// `child_watch_add*` and `SourceId::remove`; glib-unix's `unix_fd_add*` and `unix_signal_add*`; all of GTK.
    ///
    /// These use it, on its thread: `glib::spawn_future_local`, `timeout_future` and gio's asynchronous functions;
    /// `spawn_local` of the loop's [`native`](interloop::Context::native) context; `Source::attach` to that context;
    /// [`Context::sleep`](interloop::Context::sleep) and [`interval`](interloop::Context::interval).
    pub fn private() -> Self {
        Self { private: true, main_thread: false }
    }

    /// Has the process's main thread drive this loop: [`Service::run`](interloop::Service::run) gives it that thread.
    #[must_use]
    pub fn on_main_thread(self) -> Self {
        Self { main_thread: true, ..self }
    }
}

impl EventLoop for Glib {
    const NAME: &'static str = "glib";
    type Options = NoOptions;
    type Native = MainContext;

    fn needs_main_thread(&self) -> bool {
        self.main_thread
    }

    fn claims(&self) -> Option<&'static str> {
        if self.private { None } else { Some(DEFAULT_CONTEXT) }
    }

    fn drive(self, _: NoOptions, mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, MainContext)) -> Result {
        let context = if self.private { MainContext::new() } else { MainContext::default() };
        // This comes before anything can fail after `started`.
        let wake = Wake::new()?;
        let driven = context.with_thread_default(|| {
            // This is dropped last, whatever happens below: nothing of this thread's may be left to another thread that
            // drops the context.
            let _clear = self.private.then(|| sources::Clear(&context));
            started(&mailbox, context.clone());
            let pump = Pump::attach(&context, wake, mailbox, || {});
            pump.run(&context);
        });
        driven.map_err(|_| {
            Error::new(format!(
                "{DEFAULT_CONTEXT} is driven by another thread already; Glib::private() makes one of its own"
            ))
        })
    }
}

#[cfg(target_os = "linux")]
impl interloop::net::ReactorLoop for Glib {}

impl Timers for Glib {
    fn sleep(native: &MainContext, duration: Duration) -> impl Future<Output = ()> + 'static {
        timer::sleep(native, duration)
    }
}

/// The README's program compiles.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
