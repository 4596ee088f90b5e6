//! A mailbox on a context that other code drives.

use std::io;

use glib::MainContext;
use interloop::{
    Remote,
    event_loop::{Foreign, ForeignHandle, Mailbox},
};

use crate::{pump::Pump, wake::Wake};

/// Gives other threads access to a context that other code drives: that of a GTK application, for example, which no
/// service owns.
///
/// Other threads reach `value`, which may be `!Send`; it stays on this thread.
///
/// It must be called on the thread that drives the context. The context then takes turns as it does for
/// [`Glib`](crate::Glib): at the default priority for at most 1 ms, then behind layout and redraw.
///
/// ```
/// use std::{cell::Cell, thread, time::Duration};
/// use interloop_glib::{attach, glib};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let main_loop = glib::MainLoop::new(None, false);
/// let (_attached, clicks) = attach(&main_loop.context(), "ui", Cell::new(0))?;
///
/// let quit = main_loop.clone();
/// let other = thread::spawn(move || {
///     let clicked = clicks.call(|clicks| clicks.replace(clicks.get() + 1)).wait_timeout(Duration::from_secs(10));
///     quit.quit();
///     clicked
/// });
/// main_loop.run();
/// assert_eq!(other.join().unwrap(), Ok(0));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// `ResourceBusy` if another thread drives the context; the system's error, if it has no descriptor for the wake.
pub fn attach<T: 'static>(context: &MainContext, name: &str, value: T) -> io::Result<(Attached, Remote<T>)> {
    let owner = context.acquire().map_err(|_| {
        io::Error::new(io::ErrorKind::ResourceBusy, format!("{name}: the context is driven by another thread"))
    })?;
    let wake = Wake::new()?;
    let mailbox = Mailbox::<Foreign>::attach(name);
    let (remote, handle) = (mailbox.share(value), mailbox.handle());
    let pump = Pump::attach(context, wake, mailbox, || {});
    drop(owner);
    Ok((Attached { _pump: pump, handle }, remote))
}

/// A mailbox on a context that other code drives: see [`attach`].
///
/// Dropping it detaches the mailbox: jobs that have not begun are abandoned, their replies resolve as
/// [`Stopped`](interloop::CallError::Stopped), and the value is dropped. It can't leave its thread, and so is dropped
/// there.
#[must_use = "dropping it detaches the mailbox"]
pub struct Attached {
    _pump: Pump<Foreign>,
    handle: ForeignHandle,
}

impl Attached {
    /// Returns a handle that ends it in order, from any thread: accepted jobs run first.
    pub fn handle(&self) -> ForeignHandle {
        self.handle.clone()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // A job of the mailbox may be the caller: the turn that is in progress then takes no further job.
        self.handle.detach();
    }
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Attached").field(&self.handle).finish()
    }
}
