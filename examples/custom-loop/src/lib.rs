//! A custom event loop: raw epoll, and a timer wheel. It is a full member: tasks, calls, sockets, timers, restarts, and
//! the whole conformance kit.

pub mod echo;
mod wheel;

use std::{cell::OnceCell, future::Future, mem::MaybeUninit, rc::Rc, time::Duration};

use interloop::event_loop::{Mailbox, Timers, Turn};
use interloop::{EventLoop, NoOptions, Result, net::ReactorLoop};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

pub use wheel::Wheel;

/// A loop that waits in an epoll instance of its own.
#[derive(Clone, Debug, Default)]
pub struct Epoll;

impl EventLoop for Epoll {
    const NAME: &'static str = "epoll";
    type Options = NoOptions;
    type Native = Rc<Wheel>;

    fn drive(
        self,
        _: NoOptions,
        mut mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, Rc<Wheel>),
    ) -> Result {
        let epoll = Rc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        // Other threads wake the loop through a descriptor that becomes readable; edge-triggered, it need never be
        // read.
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(0), edges)?;
        mailbox.set_notify(move || {
            let _ = rustix::io::write(&wake, &1_u64.to_ne_bytes());
        });
        // Sockets: one more descriptor to watch, once a task asks for some.
        let sockets = Rc::new(OnceCell::new());
        let (watches, made) = (epoll.clone(), sockets.clone());
        mailbox.set_reactor(move |reactor| {
            epoll::add(&watches, reactor, epoll::EventData::new_u64(1), epoll::EventFlags::IN)?;
            let _ = made.set(reactor.clone());
            Ok(())
        });
        let wheel = Rc::new(Wheel::default());
        started(&mailbox, wheel.clone());
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 8];
        loop {
            wheel.turn();
            let timeout = match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => Some(Duration::ZERO),
                Turn::Idle => wheel.timeout(),
            };
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            match epoll::wait(&*epoll, &mut events, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(reactor) = sockets.get() {
                reactor.turn()?;
            }
        }
    }
}

impl Timers for Epoll {
    fn sleep(wheel: &Rc<Wheel>, duration: Duration) -> impl Future<Output = ()> + 'static {
        wheel.sleep(duration)
    }
}

impl ReactorLoop for Epoll {}
