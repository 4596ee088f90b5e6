//! The broken loop: a thread that parks, with one thing wrong.

use std::{
    cell::{Cell, OnceCell, RefCell},
    future::Future,
    os::fd::OwnedFd,
    panic,
    rc::Rc,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use interloop::{
    Error, EventLoop, NoOptions, Result,
    event_loop::{Mailbox, Timers, Turn},
    net::{Reactor, ReactorLoop},
};
use interloop_conformance::Fire;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::{elsewhere, executor::Executor, faults::Fault};

/// A thread that parks, with one thing wrong.
#[derive(Clone, Copy, Default)]
pub(crate) struct Broken(pub(crate) Fault);

/// Leaks what an incarnation, or a future, with this fault leaves behind.
pub(crate) fn leak(fault: Fault) {
    match fault {
        Fault::LeavesAThread => drop(thread::spawn(|| {
            loop {
                thread::park();
            }
        })),
        Fault::LeavesADescriptor => std::mem::forget(std::fs::File::open("/dev/null")),
        // The memory is written to: otherwise it would not be resident.
        Fault::LeavesMemory => std::mem::forget(vec![1_u8; 4 << 20]),
        _ => {}
    }
}

thread_local! {
    static PANICKED: Cell<bool> = const { Cell::new(false) };
    static NATIVE_TIMERS: RefCell<Vec<(Instant, Fire)>> = const { RefCell::new(Vec::new()) };
}

/// Has threads remember that there was a panic on them.
fn remember_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let _ = PANICKED.try_with(|panicked| panicked.set(true));
            before(info);
        }));
    });
}

/// Sets one of the loop's own timers.
pub(crate) fn set_native_timer(_: &Fault, time: Duration, fire: Fire) {
    NATIVE_TIMERS.with(|timers| timers.borrow_mut().push((Instant::now() + time, fire)));
}

/// Fires the timers that are due; returns how long it is until the next.
fn fire_native_timers() -> Option<Duration> {
    let now = Instant::now();
    let due: Vec<_> = NATIVE_TIMERS.with(|timers| timers.borrow_mut().extract_if(.., |(at, _)| *at <= now).collect());
    due.into_iter().for_each(|(_, fire)| fire());
    NATIVE_TIMERS.with(|timers| timers.borrow().iter().map(|(at, _)| at.saturating_duration_since(now)).min())
}

/// What the thread waits in.
enum Wait {
    Parking,
    /// The wait ignores signals.
    Polling(OwnedFd),
}

impl Wait {
    fn wait(&self, time: Option<Duration>) -> Result {
        match (self, time) {
            (Self::Parking, None) => thread::park(),
            (Self::Parking, Some(time)) => thread::park_timeout(time),
            (Self::Polling(wake), _) => {
                poll(&mut [PollFd::new(wake, PollFlags::IN)], None)?;
                rustix::io::read(wake, &mut [0; 8])?;
            }
        }
        Ok(())
    }
}

impl EventLoop for Broken {
    const NAME: &'static str = "broken";
    type Options = NoOptions;
    type Native = Fault;

    fn drive(self, _: NoOptions, mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, Fault)) -> Result {
        let Self(fault) = self;
        static DRIVEN: AtomicBool = AtomicBool::new(false);
        if DRIVEN.swap(true, Ordering::AcqRel) && fault == Fault::ForgetsTheRestart {
            sleep_for_ever();
        }
        leak(fault);
        if fault == Fault::DiesOfAPanic {
            remember_panics();
        }
        if fault == Fault::DrivenOnAnotherThread {
            return elsewhere::run(Self::NAME, move || turns(fault, mailbox, started));
        }
        turns(fault, mailbox, started)
    }
}

fn turns(fault: Fault, mut mailbox: Mailbox<Broken>, started: impl FnOnce(&Mailbox<Broken>, Fault)) -> Result {
    let this = thread::current();
    let is_too_late = fault == Fault::WaitsBeforeItsFirstLook && is_stopped_soon(&mailbox);
    let wait = set_notify(fault, &mailbox)?;
    let (made, rung) = (Rc::<OnceCell<Reactor>>::default(), Arc::new(AtomicBool::new(false)));
    let (make, ring, rings) = (made.clone(), rung.clone(), this.clone());
    mailbox.set_reactor(move |reactor| {
        let _ = make.set(reactor.clone());
        reactor.ring_from_thread("broken-sockets", move || {
            ring.store(true, Ordering::Release);
            rings.unpark();
        })
    });
    let executor = fault.is_of_executor().then(|| Rc::new(Executor::new(fault, this)));
    if let Some(executor) = executor.clone() {
        mailbox.set_spawner(move |future| executor.spawn(future));
    }
    if fault != Fault::NeverSaysStarted {
        started(&mailbox, fault);
    }
    if fault == Fault::LosesTheFirstWake || is_too_late {
        // The token of the wake that was due is gone.
        thread::park();
        thread::park();
    }
    let shutdown = mailbox.shutdown();
    let (mut looks, mut longest) = (0, Duration::ZERO);
    loop {
        if let Some(reactor) = made.get().filter(|_| rung.swap(false, Ordering::AcqRel)) {
            looks += 1;
            if fault != Fault::LooksAtSocketsOnce || looks <= 1 {
                reactor.turn()?;
            }
        }
        if fault == Fault::LeavesWithoutALastTurn && shutdown.is_requested() {
            // The others continue for a while.
            thread::sleep(Duration::from_millis(2));
            return Ok(());
        }
        let begun = Instant::now();
        let mut turn = mailbox.turn();
        while fault == Fault::StarvesEvents && turn == Turn::Again {
            turn = mailbox.turn();
        }
        longest = longest.max(begun.elapsed());
        if fault == Fault::DiesOfAPanic && PANICKED.take() {
            return Err(Error::new("somebody panicked"));
        }
        let time = if fault == Fault::NativeTimersNeverFire { None } else { fire_native_timers() };
        let is_ready = executor.as_ref().is_some_and(|executor| executor.run());
        match turn {
            Turn::Stop if fault == Fault::NeverStops => sleep_for_ever(),
            Turn::Stop if fault == Fault::FailsAtTheStop => return Err(Error::new("the brake is worn")),
            Turn::Stop if fault == Fault::HangsWhenLeftBehind && longest > Duration::from_millis(800) => {
                sleep_for_ever()
            }
            Turn::Stop => return Ok(()),
            Turn::Again if fault == Fault::RestsWithJobsLeft => thread::park(),
            Turn::Again => {}
            Turn::Idle if is_ready || fault == Fault::SpinsWhenIdle => {}
            Turn::Idle if fault == Fault::WakesByTime => wait.wait(Some(Duration::from_millis(10)))?,
            Turn::Idle if fault == Fault::EndsWhenIdle => return Ok(()),
            Turn::Idle => wait.wait(time)?,
        }
    }
}

fn set_notify(fault: Fault, mailbox: &Mailbox<Broken>) -> Result<Wait> {
    if fault == Fault::DiesOfASignal {
        let wake = eventfd(0, EventfdFlags::CLOEXEC)?;
        let rings = wake.try_clone()?;
        mailbox.set_notify(move || {
            let _ = rustix::io::write(&rings, &1_u64.to_ne_bytes());
        });
        return Ok(Wait::Polling(wake));
    }
    let (this, wakes) = (thread::current(), AtomicU32::new(0));
    mailbox.set_notify(move || {
        let number = wakes.fetch_add(1, Ordering::AcqRel);
        let current = thread::current();
        let is_deaf = match fault {
            Fault::LosesAWakeNowAndThen => number % 4 == 3,
            Fault::DeafToItself => number > 0 && current.id() == this.id(),
            Fault::DeafToOtherLoops => current.name() == Some("there"),
            _ => false,
        };
        if !is_deaf {
            this.unpark();
        }
    });
    Ok(Wait::Parking)
}

/// Whether a stop comes before the first turn, for which it is given time. This looks from time to time, since a wait
/// would leave a token.
fn is_stopped_soon(mailbox: &Mailbox<Broken>) -> bool {
    let shutdown = mailbox.shutdown();
    (0..100).any(|_| {
        thread::sleep(Duration::from_millis(1));
        shutdown.is_requested()
    })
}

fn sleep_for_ever() -> ! {
    loop {
        thread::park();
    }
}

impl Timers for Broken {
    fn sleep(fault: &Fault, time: Duration) -> impl Future<Output = ()> + 'static {
        const LATEST: Duration = Duration::from_millis(60);
        let time = match *fault {
            Fault::SleepsTooShort => time / 2,
            Fault::SleepsTooLong => time.saturating_mul(10),
            Fault::SleepsOutOfOrder => time.saturating_add(2 * LATEST.saturating_sub(time)),
            _ => time,
        };
        Reactor::current().expect("the loop has a reactor").sleep(time)
    }
}

impl ReactorLoop for Broken {}
