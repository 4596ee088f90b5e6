//! A mailbox on a loop that other code runs.

use std::{cell::RefCell, fmt, io, rc::Rc};

use calloop::{
    LoopHandle,
    ping::{Ping, make_ping},
};
use interloop::{
    Remote,
    event_loop::{Foreign, ForeignHandle, Mailbox, Turn},
};

/// Gives other threads access to a calloop loop that other code runs, whatever its data: that of a Wayland compositor,
/// for example, which no service owns.
///
/// Other threads reach `value`, which may be `!Send`; it stays on this thread, which must be the loop's.
///
/// Whenever it is woken, the loop then runs the mailbox for at most 1 ms; what is left continues after the other
/// sources have had their turn.
///
/// ```
/// use std::{cell::Cell, thread, time::Duration};
/// use interloop_calloop::{attach, calloop::EventLoop};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A program's own loop, with data of its own.
/// let mut event_loop = EventLoop::<String>::try_new()?;
/// let (_attached, clicks) = attach(&event_loop.handle(), "ui", Cell::new(0))?;
///
/// let signal = event_loop.get_signal();
/// let other = thread::spawn(move || {
///     let clicked = clicks.call(|clicks| clicks.replace(clicks.get() + 1)).wait_timeout(Duration::from_secs(10));
///     signal.stop();
///     signal.wakeup();
///     clicked
/// });
/// event_loop.run(None, &mut String::new(), |_| {})?;
/// assert_eq!(other.join().unwrap(), Ok(0));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// The system's error, if it has no descriptor for the wake.
pub fn attach<T: 'static, D>(handle: &LoopHandle<'_, D>, name: &str, value: T) -> io::Result<(Attached, Remote<T>)> {
    let (ping, source) = make_ping()?;
    let mailbox = Mailbox::<Foreign>::attach(name);
    let (remote, end) = (mailbox.share(value), mailbox.handle());
    let guest = Rc::new(Guest { mailbox: RefCell::default(), ping: RefCell::new(Some(ping.clone())) });
    let woken = guest.clone();
    handle.insert_source(source, move |(), &mut (), _| woken.turn()).map_err(|error| io::Error::other(error.error))?;
    mailbox.set_notify(move || ping.ping());
    *guest.mailbox.borrow_mut() = Some(mailbox);
    Ok((Attached { guest, handle: end }, remote))
}

/// The mailbox, and the ping that wakes the loop for it. calloop removes the source of a ping once all its senders are
/// gone: so both are dropped at the same time.
struct Guest {
    /// Borrowed while it takes a turn.
    mailbox: RefCell<Option<Mailbox<Foreign>>>,
    /// None once it is detached.
    ping: RefCell<Option<Ping>>,
}

impl Guest {
    fn turn(&self) {
        let turn = {
            // It is borrowed if this is a loop inside of a job. The outer turn looks at everything before it ends.
            let Ok(mut mailbox) = self.mailbox.try_borrow_mut() else { return };
            let Some(mailbox) = mailbox.as_mut() else { return };
            mailbox.turn()
        };
        match turn {
            Turn::Stop => self.detach(),
            Turn::Idle => {}
            Turn::Again => {
                if let Some(ping) = &*self.ping.borrow() {
                    ping.ping();
                }
            }
        }
        if self.ping.borrow().is_none() {
            self.detach();
        }
    }

    /// Drops the mailbox, at once if it is not in use, or else after its turn.
    fn detach(&self) {
        self.ping.take();
        // The drop is outside the borrow: it runs user code.
        let mailbox = self.mailbox.try_borrow_mut().ok().and_then(|mut mailbox| mailbox.take());
        drop(mailbox);
    }
}

/// A mailbox on a loop that other code runs: see [`attach`].
///
/// Dropping it detaches the mailbox: jobs that have not begun are abandoned, their replies resolve as
/// [`Stopped`](interloop::CallError::Stopped), and the value is dropped. It can't leave its thread, and so is dropped
/// there.
#[must_use = "dropping it detaches the mailbox"]
pub struct Attached {
    guest: Rc<Guest>,
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
        self.guest.detach();
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attached").field(&self.handle).finish()
    }
}
