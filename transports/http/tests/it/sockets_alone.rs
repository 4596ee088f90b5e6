//! A loop that has sockets but watches no descriptors: the server enforces its time limits with the loop's timers, and
//! does without anything that only a watched descriptor shows.

use std::{
    future::{Future, ready},
    io,
    time::Duration,
};

use interloop::{
    EventLoop, NoOptions, Result,
    event_loop::{Mailbox, Timers, Turn},
    net::{Address, Bound, Net, Reactor, ReactorListener, ReactorStream, Socket, SocketRef},
};
use interloop_http::HttpServer;

use crate::util::{connect, hi, host, watchdog};

/// Waits in the core's reactor, and doesn't implement [`WatchFd`](interloop::net::WatchFd).
#[derive(Clone, Debug, Default)]
struct SocketsAlone;

impl EventLoop for SocketsAlone {
    const NAME: &'static str = "sockets-alone";
    type Options = NoOptions;
    type Native = Reactor;

    fn drive(self, _: NoOptions, mut mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, Reactor)) -> Result {
        let reactor = Reactor::new()?;
        let waker = reactor.waker()?;
        mailbox.set_notify(move || waker.wake());
        mailbox.use_reactor(&reactor);
        started(&mailbox, reactor.clone());
        loop {
            match mailbox.turn() {
                Turn::Stop => return Ok(()),
                Turn::Again => reactor.turn()?,
                Turn::Idle => reactor.wait(None)?,
            }
        }
    }
}

impl Timers for SocketsAlone {
    fn sleep(reactor: &Reactor, duration: Duration) -> impl Future<Output = ()> + 'static {
        reactor.sleep(duration)
    }
}

impl Net for SocketsAlone {
    type Stream = ReactorStream;
    type Listener = ReactorListener;

    fn listener(reactor: &Reactor, socket: Bound) -> io::Result<ReactorListener> {
        ReactorListener::new(reactor, socket)
    }

    fn stream(reactor: &Reactor, socket: Socket) -> io::Result<ReactorStream> {
        ReactorStream::new(reactor, socket)
    }

    fn connect(_: &Reactor, address: Address) -> impl Future<Output = io::Result<ReactorStream>> + 'static {
        ready(Err(io::Error::new(io::ErrorKind::Unsupported, format!("can't connect to {address}"))))
    }

    fn socket(stream: &ReactorStream) -> SocketRef<'_> {
        stream.socket().into()
    }
}

#[test]
fn requests_are_served_and_time_limits_kept() {
    let _watchdog = watchdog();
    let server = HttpServer::new(hi()).idle_timeout(Duration::from_millis(200)).header_timeout(Duration::from_secs(1));
    let hosting = host::<SocketsAlone, _>(server, &[]);
    let mut client = connect(hosting.port());
    for _ in 0..3 {
        assert_eq!(client.get("/").body, "hi");
    }
    // Idle, and slow to begin: a timer of the loop closes each, the second after the first.
    let mut slow = connect(hosting.port());
    slow.send("GET / HT");
    assert_eq!(client.closed(), "");
    assert_eq!(slow.closed(), "");
    hosting.stop();
}

#[test]
fn a_descriptor_is_refused_by_name() {
    let reactor = Reactor::new().expect("a reactor");
    let (end, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let Err(error) = SocketsAlone::watch_boxed(&reactor, end.into()) else { panic!("it is watched") };
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "the loop sockets-alone watches no descriptors");
}
