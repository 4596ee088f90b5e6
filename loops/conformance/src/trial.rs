//! The parts of checks of sockets: a task on the loop, with little patience and words for each thing that may go wrong.

use std::{
    future::Future,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixStream,
    pin::pin,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use futures_util::{
    AsyncReadExt,
    future::{Either, select, try_join},
};
use interloop::{
    Context, EventLoop, Reply,
    net::{Accept, Bound, Net},
};

use crate::{Subject, on_loop};

/// Returns the time after which something overdue counts as missing: well before the check as a whole is given up.
pub(crate) fn soon<L: EventLoop>(subject: &Subject<L>) -> Duration {
    subject.patience() / 2
}

/// Runs this in a task on the loop.
pub(crate) fn on<L: Net, R: Send + 'static>(
    subject: &Subject<L>,
    check: impl AsyncFnOnce(Trial<L>) -> R + Send + 'static,
) -> R {
    let soon = soon(subject);
    on_loop(subject, async move |cx| check(Trial { cx, soon }).await)
}

/// The task of a check.
pub(crate) struct Trial<L: Net> {
    pub(crate) cx: Context<L>,
    pub(crate) soon: Duration,
}

impl<L: Net> Trial<L> {
    /// Returns the output of this future, if it comes soon and without an error. Otherwise the loop fails the check
    /// with these words.
    pub(crate) async fn must<T>(&self, wrong: &str, future: impl Future<Output = io::Result<T>>) -> T {
        let begun = Instant::now();
        match self.cx.timeout(self.soon, future).await {
            Ok(Err(error)) => panic!("{wrong}: {error}"),
            // An output that is there only because the timeout has the future polled is late: its wake was lost.
            Ok(Ok(value)) if begun.elapsed() < self.soon => value,
            _ => panic!("{wrong} within {:?}", self.soon),
        }
    }

    /// Makes a socket that listens on a port, in the loop.
    pub(crate) fn listen(&self) -> (L::Listener, SocketAddr) {
        let bound = Bound::tcp((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let listener = self.cx.listen(bound).unwrap_or_else(|error| panic!("a listening socket is not taken: {error}"));
        let address = listener.address().tcp().expect("it listens on TCP");
        (listener, address)
    }

    /// Makes both ends of a connection, in the loop.
    pub(crate) async fn pair(&self) -> (L::Stream, L::Stream) {
        let (mut listener, address) = self.listen();
        let both = try_join(self.cx.connect(address), listener.accept());
        let (client, (server, _)) = self.must("a client of the same loop is not connected", both).await;
        (client, server)
    }

    /// Lets the children that were spawned before run until they wait.
    pub(crate) async fn let_others_run(&self) {
        let child = self.cx.spawn_local(async {});
        self.must("a child does not end", ended(child)).await;
    }

    /// Sleeps; returns how long it took. A lost timer is detected without a timer.
    pub(crate) async fn sleep(&self, time: Duration) -> Duration {
        let begun = Instant::now();
        self.unless_lost(time, self.cx.sleep(time)).await;
        let took = begun.elapsed();
        assert!(took >= time, "a timer of {time:?} is early: it rings after {took:?}");
        took
    }

    /// Awaits a future that depends on a timer, with an alarm that uses none.
    pub(crate) async fn unless_lost<T>(&self, time: Duration, future: impl Future<Output = T>) -> T {
        let (begun, mut alarm) = (Instant::now(), Alarm::new(self));
        match select(pin!(future), pin!(alarm.rings())).await {
            Either::Left((value, _)) if begun.elapsed() < self.soon => value,
            _ => panic!("a timer of {time:?} is lost: it does not ring within {:?}", self.soon),
        }
    }
}

/// Returns the output of a child.
pub(crate) async fn ended<T>(child: Reply<T>) -> io::Result<T> {
    child.await.map_err(io::Error::other)
}

/// An alarm that rings by a thread and a socket.
struct Alarm<S> {
    stream: S,
    over: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl<S: interloop::net::AsyncRead + Unpin> Alarm<S> {
    fn new<L: Net<Stream = S>>(trial: &Trial<L>) -> Self {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let stream = trial.cx.stream(ours).unwrap_or_else(|error| panic!("a socket is not taken: {error}"));
        let (over, wait) = mpsc::channel::<()>();
        let soon = trial.soon;
        let thread = thread::spawn(move || {
            if wait.recv_timeout(soon) == Err(RecvTimeoutError::Timeout) {
                let _ = theirs.write_all(&[1]);
            }
        });
        Self { stream, over: Some(over), thread: Some(thread) }
    }

    async fn rings(&mut self) {
        let _ = self.stream.read(&mut [0; 1]).await;
    }
}

impl<S> Drop for Alarm<S> {
    fn drop(&mut self) {
        self.over.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
