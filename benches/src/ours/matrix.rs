//! Calls and posts from every loop to every loop.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use interloop::{EventLoop, Remote, Service, Thread, task_fn};
use interloop_async_std::AsyncStd;
use interloop_calloop::Calloop;
use interloop_compio::Compio;
use interloop_glib::Glib;
use interloop_mio::Mio;
use interloop_smol::Smol;
use interloop_tokio::Tokio;

use super::calls::from_loop;
use super::hosting::host;
use crate::baseline::{self, FUTEX};
use crate::suite::Suite;

/// Adds a contestant for each pair.
macro_rules! pairs {
    ($comparison:ident, $measure:ident; $($from:expr),+) => {
        $(pairs!(@to $comparison, $measure, $from; Thread, Tokio::default(), AsyncStd::default(), Smol::default(),
            Compio::default(), Glib::private(), Calloop::default(), Mio::default());)+
    };
    (@to $comparison:ident, $measure:ident, $from:expr; $($to:expr),+) => {
        $($comparison.add(name(&$from, &$to), |n| $measure(n, $from, $to));)+
    };
}

macro_rules! all_pairs {
    ($comparison:ident, $measure:ident) => {
        pairs!($comparison, $measure; Thread, Tokio::default(), AsyncStd::default(), Smol::default(),
            Compio::default(), Glib::private(), Calloop::default(), Mio::default())
    };
}

/// Returns a name that lives as long as the suite, which is the process.
fn name<A: EventLoop, B: EventLoop>(_: &A, _: &B) -> &'static str {
    format!("{} to {}", A::NAME, B::NAME).leak()
}

pub(super) fn register(suite: &mut Suite) {
    let calls = suite.compare(
        "call-matrix",
        4_000,
        "A call and its answer from a task on one loop to another loop, one at a time, both on one CPU: cost by that of a bare futex round trip.",
    );
    calls.matrix().add(FUTEX, baseline::futex::calls);
    all_pairs!(calls, from_loop);
    let posts = suite.compare(
        "post-matrix",
        50_000,
        "Closures posted by a task on one loop to another loop, each on any CPU: cost by that from thread to thread.",
    );
    posts.matrix();
    all_pairs!(posts, posts_of);
}

/// The value that the jobs change.
struct Count {
    count: Cell<u32>,
    n: u32,
    ended: SyncSender<Instant>,
}

/// Measures from the first post to the run of the last.
fn posts_of<From: EventLoop, To: EventLoop>(n: u32, from: From, to: To) -> Duration {
    let mut service = Service::new("bench");
    let (remote, end) = counted(&mut service, to, n);
    posted_from(service, from, n, remote, &end)
}

/// Adds the value that the jobs change, on its loop.
fn counted<To: EventLoop>(service: &mut Service, to: To, n: u32) -> (Remote<Count>, Receiver<Instant>) {
    let (ended, end) = sync_channel(1);
    (host(service, to, move || Count { count: Cell::new(0), n, ended }), end)
}

/// Knows only one of the two loops: else it would be compiled for each pair of them.
fn posted_from<From: EventLoop>(
    mut service: Service,
    from: From,
    n: u32,
    remote: Remote<Count>,
    end: &Receiver<Instant>,
) -> Duration {
    let (begin, began) = channel();
    service.event_loop("caller", from);
    let task = task_fn::<From>(async move |cx| {
        cx.ready();
        begin.send(Instant::now())?;
        for _ in 0..n {
            let one = |count: &Count| {
                count.count.set(count.count.get() + 1);
                if count.count.get() == count.n {
                    let _ = count.ended.send(Instant::now());
                }
            };
            // All of them fit into its mailbox.
            remote.post(one).expect("the loop is there");
        }
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("caller", task).on("caller").requires("host");
    let running = service.start().expect("the configuration works");
    let (began, ended) = (began.recv().expect("the caller begins"), end.recv().expect("the last job says when"));
    assert_eq!(running.stop().code, 0, "the service stops");
    ended - began
}
