//! Posts through a [`Remote`](interloop::Remote).

use std::cell::Cell;
use std::sync::mpsc::{SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use interloop::{EventLoop, Thread};
use interloop_glib::Glib;
use interloop_tokio::Tokio;

use super::hosting::Hosted;
use crate::baseline::{ASYNC_CHANNEL, INVOKE, POST, POST_8, Producers, consumer};
use crate::pin::Cpus;
use crate::suite::{Bound, Suite};

pub(super) fn register(suite: &mut Suite) {
    for (id, producers) in [(POST, 1), (POST_8, 8)] {
        suite
            .comparison(id)
            .add("interloop: to Thread", move |n| posts(producers, n, Thread))
            .add("interloop: to Tokio", move |n| posts(producers, n, Tokio::default()))
            .add("interloop: to Glib", move |n| posts(producers, n, Glib::default()))
            .add("interloop: to Glib::private", move |n| posts(producers, n, Glib::private()))
            .claim("interloop: to Thread", ASYNC_CHANNEL, Bound::SpeedAtLeast(0.9))
            .claim("interloop: to Tokio", "async-channel to tokio", Bound::SpeedAtLeast(0.9))
            .claim("interloop: to Glib", "async-channel to glib", Bound::SpeedAtLeast(0.9))
            .claim("interloop: to Glib", INVOKE, Bound::SpeedAtLeast(15.0));
    }
}

/// The value that the jobs change.
struct Count {
    count: Cell<u32>,
    n: u32,
    ended: SyncSender<Instant>,
}

impl Count {
    fn one(&self) {
        self.count.set(self.count.get() + 1);
        if self.count.get() == self.n {
            let _ = self.ended.send(Instant::now());
        }
    }
}

/// Posts `n` closures to a loop; all of them fit into its mailbox.
fn posts<L: EventLoop>(producers: u32, n: u32, plan: L) -> Duration {
    let cpus = Cpus::get();
    let (ready, is_ready) = channel();
    let consumer = consumer(producers, cpus.first, move || {
        let (ended, end) = sync_channel(1);
        let peer = Hosted::start(plan, move || Count { count: Cell::new(0), n, ended });
        ready.send(peer.remote.clone()).expect("the benchmark waits for it");
        end.recv().expect("the last job says when")
    });
    let remote = is_ready.recv().expect("the service runs");
    let producers = Producers::start(producers, n, cpus.second, || {
        let remote = remote.clone();
        move || remote.post(Count::one).expect("the loop is there")
    });
    producers.go(consumer)
}
