//! A thread that parks, with the core's reactor, and one thing wrong with the sockets.

use std::{
    cell::OnceCell,
    future::{Future, pending},
    io,
    os::fd::OwnedFd,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    thread,
    time::Duration,
};

use interloop::{
    EventLoop, NoOptions, Result,
    event_loop::{Mailbox, Timers, Turn},
    net::{
        Address, Bound, Net, Reactor, ReactorListener, ReactorLoop, ReactorStream, ReactorWatch, Sleep, Socket,
        SocketRef, Watch, WatchFd,
    },
};

use super::{
    fault::{Fault, Shared},
    listener::FaultyListener,
    stream::FaultyStream,
    watch::FaultyWatch,
};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faulty(pub(crate) Fault);

impl EventLoop for Faulty {
    const NAME: &'static str = "faulty";
    type Options = NoOptions;
    type Native = Rc<Shared>;

    fn drive(
        self,
        _: NoOptions,
        mut mailbox: Mailbox<Self>,
        started: impl FnOnce(&Mailbox<Self>, Rc<Shared>),
    ) -> Result {
        let (fault, shared, this) = (self.0, Rc::new(Shared::new(self.0)), thread::current());
        let waker = this.clone();
        mailbox.set_notify(move || waker.unpark());
        let (made, rung) = (Rc::<OnceCell<Reactor>>::default(), Arc::new(AtomicBool::new(false)));
        let (make, ring) = (made.clone(), rung.clone());
        mailbox.set_reactor(move |reactor| {
            let _ = make.set(reactor.clone());
            reactor.ring_from_thread("faulty-sockets", move || {
                ring.store(true, Ordering::Release);
                this.unpark();
            })
        });
        started(&mailbox, shared.clone());
        let look = || {
            if let Some(reactor) = made.get().filter(|_| rung.swap(false, Ordering::AcqRel)) {
                shared.read_in_turn.set(0);
                reactor.turn()?;
            }
            io::Result::Ok(())
        };
        loop {
            look()?;
            let mut turn = mailbox.turn();
            while fault == Fault::StarvesSockets && turn == Turn::Again {
                turn = mailbox.turn();
            }
            match turn {
                Turn::Stop => return Ok(()),
                Turn::Again => {}
                Turn::Idle if fault == Fault::LooksAtSocketsByTime => thread::park_timeout(Duration::from_millis(10)),
                Turn::Idle if fault == Fault::SpinsBesideOpenSockets && made.get().is_some() => {}
                Turn::Idle => thread::park(),
            }
        }
    }
}

impl Timers for Faulty {
    fn sleep(shared: &Rc<Shared>, duration: Duration) -> impl Future<Output = ()> + 'static {
        let moved = shared.moved.get();
        FaultySleep { sleep: reactor_sleep(duration), duration, shared: shared.clone(), moved, number: None }
    }
}

fn reactor_sleep(duration: Duration) -> Sleep {
    Reactor::current().expect("the loop has a reactor").sleep(duration)
}

struct FaultySleep {
    sleep: Sleep,
    duration: Duration,
    shared: Rc<Shared>,
    moved: u64,
    number: Option<u64>,
}

impl Future for FaultySleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shared = self.shared.clone();
        let number = *self.number.get_or_insert_with(|| {
            shared.last_timer.set(shared.last_timer.get() + 1);
            shared.last_timer.get()
        });
        loop {
            ready!(Pin::new(&mut self.sleep).poll(cx));
            let moved = self.shared.moved.get();
            match self.shared.fault {
                Fault::KeepsOneTimer if number != self.shared.last_timer.get() => return Poll::Pending,
                Fault::BeginsTimersAnewBesideSockets if moved != self.moved => {
                    (self.sleep, self.moved) = (reactor_sleep(self.duration), moved);
                }
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl Net for Faulty {
    type Stream = FaultyStream;
    type Listener = FaultyListener;

    fn listener(shared: &Rc<Shared>, socket: Bound) -> io::Result<FaultyListener> {
        let socket = match socket {
            Bound::Unix(listener, file) if shared.has(Fault::LeavesTheUnixSocketsFile) => {
                std::mem::forget(file);
                Bound::Unix(listener, None)
            }
            socket => socket,
        };
        Ok(FaultyListener::new(ReactorListener::new(&Reactor::current()?, socket)?, shared))
    }

    fn stream(shared: &Rc<Shared>, socket: Socket) -> io::Result<FaultyStream> {
        FaultyStream::new(ReactorStream::new(&Reactor::current()?, socket)?, shared)
    }

    fn connect(shared: &Rc<Shared>, address: Address) -> impl Future<Output = io::Result<FaultyStream>> + 'static {
        let (connect, shared) = (Sound::connect(&(), address), shared.clone());
        async move {
            match (connect.await, shared.fault) {
                (Ok(stream), _) => FaultyStream::new(stream, &shared),
                (Err(error), Fault::MisnamesARefusal) => Err(io::Error::other(error)),
                (Err(_), Fault::IsSilentAboutARefusal) => pending().await,
                (Err(error), _) => Err(error),
            }
        }
    }

    fn socket(stream: &FaultyStream) -> SocketRef<'_> {
        stream.socket()
    }

    fn watch_boxed(shared: &Rc<Shared>, fd: OwnedFd) -> io::Result<Box<dyn Watch>> {
        match shared.fault {
            Fault::WatchesNothingForServers => Err(io::ErrorKind::Unsupported.into()),
            _ => Ok(Box::new(Self::watch(shared, fd)?)),
        }
    }
}

impl WatchFd for Faulty {
    type Watch = FaultyWatch;

    fn watch(shared: &Rc<Shared>, fd: OwnedFd) -> io::Result<FaultyWatch> {
        Ok(FaultyWatch::new(ReactorWatch::new(&Reactor::current()?, fd)?, shared))
    }
}

/// Connects, and is never driven: the core's way to connect is that of a loop with its reactor.
#[derive(Clone, Default)]
struct Sound;

impl EventLoop for Sound {
    const NAME: &'static str = "sound";
    type Options = NoOptions;
    type Native = ();

    fn drive(self, _: NoOptions, _: Mailbox<Self>, _: impl FnOnce(&Mailbox<Self>, ())) -> Result {
        unreachable!("it is no service's loop")
    }
}

impl Timers for Sound {
    fn sleep((): &(), duration: Duration) -> impl Future<Output = ()> + 'static {
        reactor_sleep(duration)
    }
}

impl ReactorLoop for Sound {}
