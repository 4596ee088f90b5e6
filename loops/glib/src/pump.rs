//! Runs the mailbox's turns from sources of a main context.
//!
//! The mailbox could be a glib future, but isn't: while a glib future is polled, a nested main loop that polls another
//! one ends the process.
//!
//! Three sources call for turns. The first is the descriptor that a ring makes readable, at the default priority. If
//! there is more than a turn may take, the second is an idle source, behind everything that the context must do, above
//! all GTK's redraw; and the third is a timer, in case the context never rests. A fourth source, once a task has
//! sockets, watches the core's reactor.
//!
//! Invariant: while `behind` is set the idle source and the timer are attached, and rings are only noted: the mailbox
//! looks at everything in any turn.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant},
};

use glib::{ControlFlow, MainContext, Priority, Source, thread_guard::ThreadGuard};
use interloop::{
    EventLoop,
    event_loop::{Mailbox, Turn},
};

use crate::{nested::Nested, sources, wake::Wake};

/// How long turns may take, together, before the context's own work comes first.
const SHARE: Duration = Duration::from_millis(1);
/// How long that work may keep the mailbox from its next turns ...
const PATIENCE: Duration = Duration::from_millis(20);
/// ... and how long these may then take together: a tenth of the thread's time.
const LATE_SHARE: Duration = Duration::from_millis(2);

/// The sources and the mailbox; dropping this drops both. The mailbox is dropped as soon as it says stop.
pub(crate) struct Pump<L: EventLoop>(Rc<Inner<L>>);

struct Inner<L: EventLoop> {
    context: MainContext,
    ring: Source,
    /// None once the mailbox has said stop. Borrowed while it takes a turn.
    mailbox: RefCell<Option<Mailbox<L>>>,
    on_stop: RefCell<Option<Box<dyn FnOnce()>>>,
    taken: Cell<Duration>,
    behind: Cell<bool>,
    idle: Cell<Option<Source>>,
    timer: Cell<Option<Source>>,
    nested: Arc<Nested>,
}

impl<L: EventLoop> Pump<L> {
    /// Has the context take the mailbox's turns from now on, on this thread, which must own the context. Calls
    /// `on_stop` there, after the last turn.
    pub(crate) fn attach(
        context: &MainContext,
        wake: Wake,
        mailbox: Mailbox<L>,
        on_stop: impl FnOnce() + 'static,
    ) -> Self {
        let (wake, nested) = (Arc::new(wake), Arc::new(Nested::default()));
        let inner = Rc::new_cyclic(|inner: &Weak<Inner<L>>| {
            let inner = inner.clone();
            let ring = sources::watch(wake.clone(), move |wake| {
                wake.clear();
                if let Some(inner) = inner.upgrade() {
                    inner.rung();
                }
            });
            ring.attach(Some(context));
            Inner {
                context: context.clone(),
                ring,
                mailbox: RefCell::default(),
                on_stop: RefCell::new(Some(Box::new(on_stop))),
                taken: Cell::default(),
                behind: Cell::default(),
                idle: Cell::default(),
                timer: Cell::default(),
                nested: nested.clone(),
            }
        });
        inner.give_sockets(&mailbox);
        let rings = wake.clone();
        mailbox.set_activity(move || nested.look(|| rings.ring()).then(|| "a nested main loop".to_owned()));
        mailbox.set_notify(move || wake.ring());
        *inner.mailbox.borrow_mut() = Some(mailbox);
        Self(inner)
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.0.mailbox.try_borrow().is_ok_and(|mailbox| mailbox.is_none())
    }

    /// Drives the context until the mailbox has said stop.
    pub(crate) fn run(&self, context: &MainContext) {
        while !self.has_stopped() {
            context.iteration(true);
        }
    }
}

impl<L: EventLoop> Drop for Pump<L> {
    fn drop(&mut self) {
        self.0.detach();
    }
}

impl<L: EventLoop> Inner<L> {
    fn rung(self: &Rc<Self>) {
        if self.mailbox.try_borrow_mut().is_err() {
            // This is a main loop inside of a job, or of a future.
            return self.nested.found();
        }
        if !self.behind.get() {
            self.turn();
        }
    }

    /// Has the context take the reactor's turns, at the default priority, once a task has sockets.
    #[cfg(target_os = "linux")]
    fn give_sockets(&self, mailbox: &Mailbox<L>) {
        struct Watched(Source);

        impl Drop for Watched {
            fn drop(&mut self) {
                self.0.destroy();
            }
        }

        let context = self.context.clone();
        mailbox.set_reactor(move |reactor| {
            let source = sources::watch(reactor.clone(), |reactor| {
                if let Err(error) = reactor.turn() {
                    log::error!("the reactor can't look at its sockets: {error}");
                }
            });
            source.attach(Some(&context));
            Ok(Watched(source))
        });
    }

    #[cfg(not(target_os = "linux"))]
    fn give_sockets(&self, _: &Mailbox<L>) {}

    /// Takes a turn; returns whether there is more to do.
    fn turn(self: &Rc<Self>) -> bool {
        let turn = {
            // It is borrowed if this is a main loop inside of a job. The outer turn looks at everything before it ends.
            let Ok(mut mailbox) = self.mailbox.try_borrow_mut() else { return false };
            let Some(mailbox) = mailbox.as_mut() else { return false };
            let began = Instant::now();
            let turn = mailbox.turn();
            self.taken.set(self.taken.get() + began.elapsed());
            turn
        };
        match turn {
            Turn::Stop => {
                self.detach();
                if let Some(on_stop) = self.on_stop.take() {
                    on_stop();
                }
            }
            Turn::Idle if self.taken.get() < SHARE => self.behind.set(false),
            Turn::Again | Turn::Idle => self.fall_behind(),
        }
        turn == Turn::Again
    }

    fn fall_behind(self: &Rc<Self>) {
        self.behind.set(true);
        let idle = self.idle.take().unwrap_or_else(|| {
            let guard = ThreadGuard::new(self.clone());
            let source = glib::idle_source_new(Some("interloop, behind"), Priority::DEFAULT_IDLE, move || {
                guard.get_ref().idle()
            });
            source.attach(Some(&self.context));
            source
        });
        self.idle.set(Some(idle));
        let timer = self.timer.take().unwrap_or_else(|| {
            let guard = ThreadGuard::new(self.clone());
            let due = move || guard.get_ref().due();
            let source = glib::timeout_source_new(PATIENCE, Some("interloop, late"), Priority::DEFAULT, due);
            source.attach(Some(&self.context));
            source
        });
        self.timer.set(Some(timer));
    }

    /// Called when the context has nothing else to do.
    fn idle(self: &Rc<Self>) -> ControlFlow {
        self.taken.set(Duration::ZERO);
        self.behind.set(false);
        self.turn();
        if self.behind.get() {
            return ControlFlow::Continue;
        }
        destroy(&self.timer);
        self.idle.set(None);
        ControlFlow::Break
    }

    /// Called when the context has not been idle for long.
    fn due(self: &Rc<Self>) -> ControlFlow {
        let begun = Instant::now();
        loop {
            let more = self.turn();
            if !more || begun.elapsed() >= LATE_SHARE {
                return ControlFlow::Continue;
            }
        }
    }

    /// Removes the sources, and drops the mailbox if it is not in use right now.
    fn detach(&self) {
        self.behind.set(false);
        self.ring.destroy();
        destroy(&self.idle);
        destroy(&self.timer);
        // The drop is outside the borrow: it runs user code, which may run a main loop.
        let mailbox = self.mailbox.try_borrow_mut().ok().and_then(|mut mailbox| mailbox.take());
        drop(mailbox);
    }
}

fn destroy(source: &Cell<Option<Source>>) {
    if let Some(source) = source.take() {
        source.destroy();
    }
}
