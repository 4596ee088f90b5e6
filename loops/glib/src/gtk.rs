//! A `gtk4::Application` on the main thread.

use std::{cell::Cell, future::Future, rc::Rc, time::Duration};

use glib::{MainContext, object::ObjectExt};
use gtk4::{
    Application,
    gio::ApplicationFlags,
    prelude::{ApplicationExt, ApplicationExtManual, GtkApplicationExt, GtkWindowExt},
};
use interloop::{
    Error, EventLoop, NoOptions, Result,
    event_loop::{Mailbox, Timers},
};

use crate::{DEFAULT_CONTEXT, pump::Pump, timer, wake::Wake};

/// GTK 4, on the main thread: a new [`Application`] each time it is driven.
///
/// Its tasks start when the application is first activated. The application runs until the last of them has ended, with
/// or without windows; then the remaining windows are destroyed. When the last window is removed, the service is asked
/// to stop, with the reason `last window closed`. The application's `quit()` asks for a stop too, with the reason
/// `application quit`: the tasks still have their time to end.
///
/// GTK can only be used from one thread: the main one, which only [`Service::run`](interloop::Service::run) can give
/// it. If the display is lost, GTK ends the process (exit code 1).
#[derive(Clone, Debug)]
pub struct Gtk {
    application_id: Option<String>,
    unique: bool,
    stop_with_last_window: bool,
}

impl Default for Gtk {
    fn default() -> Self {
        Self { application_id: None, unique: false, stop_with_last_window: true }
    }
}

impl Gtk {
    /// Sets the application's id, such as `org.example.Counter`; none by default.
    #[must_use]
    pub fn application_id(self, id: impl Into<String>) -> Self {
        Self { application_id: Some(id.into()), ..self }
    }

    /// Allows one process for each application id and session: a second one shows the window of the first, and then
    /// fails to start. This needs an [id](Self::application_id) and a session bus.
    #[must_use]
    pub fn unique(self) -> Self {
        Self { unique: true, ..self }
    }

    /// Keeps the service running when the last window is closed.
    #[must_use]
    pub fn stay_without_windows(self) -> Self {
        Self { stop_with_last_window: false, ..self }
    }
}

/// A task's view of GTK's loop.
#[derive(Clone, Debug)]
pub struct GtkNative {
    application: Application,
    context: MainContext,
}

impl GtkNative {
    /// Returns the application, for making windows: `ApplicationWindow::new(cx.native().application())`.
    pub fn application(&self) -> &Application {
        &self.application
    }

    /// Returns glib's default context.
    pub fn context(&self) -> &MainContext {
        &self.context
    }
}

impl EventLoop for Gtk {
    const NAME: &'static str = "gtk";
    type Options = NoOptions;
    type Native = GtkNative;

    fn needs_main_thread(&self) -> bool {
        true
    }

    fn claims(&self) -> Option<&'static str> {
        Some(DEFAULT_CONTEXT)
    }

    fn drive(
        self,
        _: NoOptions,
        mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, GtkNative) + 'static,
    ) -> Result {
        gtk4::init().map_err(|error| {
            Error::new(format!("can't start GTK: {error}; is there a display (DISPLAY, WAYLAND_DISPLAY)?"))
        })?;
        let wake = Wake::new()?;
        let context = MainContext::default();
        let flags = if self.unique { ApplicationFlags::empty() } else { ApplicationFlags::NON_UNIQUE };
        let application = Application::new(self.application_id.as_deref(), flags);
        let service = mailbox.service().clone();

        let stopping = Rc::new(Cell::new(false));
        if self.stop_with_last_window {
            let (service, stopping) = (service.clone(), stopping.clone());
            application.connect_window_removed(move |application, _| {
                if !stopping.get() && application.windows().is_empty() {
                    service.request_shutdown("last window closed");
                }
            });
        }

        let waiting = Rc::new(Cell::new(Some((wake, mailbox, started))));
        let pump = Rc::new(Cell::new(None));
        application.connect_activate({
            let (waiting, pump, context) = (waiting.clone(), pump.clone(), context.clone());
            move |application| {
                let Some((wake, mailbox, started)) = waiting.take() else {
                    // A second process has asked for its window.
                    if let Some(window) = application.active_window() {
                        window.present();
                    }
                    return;
                };
                started(&mailbox, GtkNative { application: application.clone(), context: context.clone() });
                let hold = application.hold();
                let (application, stopping) = (application.downgrade(), stopping.clone());
                let on_stop = move || {
                    stopping.set(true);
                    if let Some(application) = application.upgrade() {
                        application.windows().iter().for_each(|window| window.destroy());
                        application.quit();
                    }
                    drop(hold);
                };
                pump.set(Some(Pump::attach(&context, wake, mailbox, on_stop)));
            }
        });
        // GTK gets no arguments: the process's arguments are the service's.
        let _ = application.run_with_args::<&str>(&[]);

        if waiting.take().is_some() {
            return Err(Error::new(
                "the application was not activated: it runs in another process, or has no session bus",
            ));
        }
        if let Some(pump) = pump.take()
            && !pump.has_stopped()
        {
            service.request_shutdown("application quit");
            pump.run(&context);
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
impl interloop::net::ReactorLoop for Gtk {}

impl Timers for Gtk {
    fn sleep(native: &GtkNative, duration: Duration) -> impl Future<Output = ()> + 'static {
        timer::sleep(&native.context, duration)
    }
}
