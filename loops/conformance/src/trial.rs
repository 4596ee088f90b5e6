//! What checks of sockets are made of: a task on the loop, with little patience and words for each thing that may go wrong.

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

/// After which what should have happened has not: well before the check as a whole is given up.
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
    /// What this comes to: soon, and without an error. Else the loop fails the check in these words.
    pub(crate) async fn must<T>(&self, wrong: &str, future: impl Future<Output = io::Result<T>>) -> T {
        let begun = Instant::now();
        match self.cx.timeout(self.soon, future).await {
            Ok(Err(error)) => panic!("{wrong}: {error}"),
            // What is there only when the timeout has it looked at is late: its wake was lost.
            Ok(Ok(value)) if begun.elapsed() < self.soon => value,
            _ => panic!("{wrong} within {:?}", self.soon),
        }
    }

    /// A socket that listens on a port, in the loop.
    pub(crate) fn listen(&self) -> (L::Listener, SocketAddr) {
        let bound = Bound::tcp((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let listener = self.cx.listen(bound).unwrap_or_else(|error| panic!("a listening socket is not taken: {error}"));
        let address = listener.address().tcp().expect("it listens on TCP");
        (listener, address)
    }

    /// Both ends of a connection, in the loop.
    pub(crate) async fn pair(&self) -> (L::Stream, L::Stream) {
        let (mut listener, address) = self.listen();
        let both = try_join(self.cx.connect(address), listener.accept());
        let (client, (server, _)) = self.must("a client of the same loop is not connected", both).await;
        (client, server)
    }

    /// Lets the children that were spawned before come to where they wait.
    pub(crate) async fn let_others_run(&self) {
        let child = self.cx.spawn_local(async {});
        self.must("a child does not end", ended(child)).await;
    }

    /// Sleeps; how long it took. Whether a timer got lost is found out without one.
    pub(crate) async fn sleep(&self, time: Duration) -> Duration {
        let begun = Instant::now();
        self.unless_lost(time, self.cx.sleep(time)).await;
        let took = begun.elapsed();
        assert!(took >= time, "a timer of {time:?} is early: it rings after {took:?}");
        took
    }

    /// Waits for what comes of a timer, with an alarm that is none.
    pub(crate) async fn unless_lost<T>(&self, time: Duration, future: impl Future<Output = T>) -> T {
        let (begun, mut alarm) = (Instant::now(), Alarm::new(self));
        match select(pin!(future), pin!(alarm.rings())).await {
            Either::Left((value, _)) if begun.elapsed() < self.soon => value,
            _ => panic!("a timer of {time:?} is lost: it does not ring within {:?}", self.soon),
        }
    }
}

/// What a child came to.
pub(crate) async fn ended<T>(child: Reply<T>) -> io::Result<T> {
    child.await.map_err(io::Error::other)
}

/// Rings by a thread and a socket.
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
