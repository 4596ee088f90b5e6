//! A queue of items by hand: an unbounded async-channel, workers that receive from it, and a oneshot for each result.
//!
//! It follows the crate's documentation, <https://docs.rs/async-channel>: the channel allows many consumers too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use ::tokio::sync::oneshot;
use async_channel::{Sender, unbounded};

use super::glib::run_loop;
use super::tokio::current_thread;

/// The number of items that are submitted together, before their results are awaited.
pub const BATCH: u32 = 100;

/// The comparisons whose results are awaited, and their numbers of workers.
pub const QUEUE: [(&str, usize); 2] = [("queue-1", 1), ("queue-4", 4)];
/// The comparisons of items whose results nobody wants, and their numbers of workers.
pub const QUEUE_POST: [(&str, usize); 2] = [("queue-post-1", 1), ("queue-post-4", 4)];

/// Counts the remaining items, and reports when none is left.
#[derive(Debug)]
pub struct Rest {
    left: AtomicU32,
    ended: SyncSender<Instant>,
}

impl Rest {
    /// Makes a counter of `n` items; the receiver gets the time of the last.
    pub fn new(n: u32) -> (Arc<Self>, Receiver<Instant>) {
        let (ended, end) = sync_channel(1);
        (Arc::new(Self { left: AtomicU32::new(n), ended }), end)
    }

    /// Counts one item as done.
    pub fn one(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _ = self.ended.send(Instant::now());
        }
    }
}

/// An item, and a place for its result if one is wanted.
#[derive(Debug)]
pub struct Item {
    value: u64,
    reply: Option<oneshot::Sender<u64>>,
}

impl Item {
    fn work(self, rest: &Rest) {
        match self.reply {
            Some(reply) => _ = reply.send(self.value + 1),
            None => rest.one(),
        }
    }
}

/// The state that workers share.
#[derive(Clone, Debug)]
pub struct Shared {
    items: async_channel::Receiver<Item>,
    rest: Arc<Rest>,
}

impl Shared {
    async fn work(self) {
        while let Ok(item) = self.items.recv().await {
            item.work(&self.rest);
        }
    }
}

/// Starts this many workers; they end with the last sender.
pub type Hire = fn(Shared, usize) -> Vec<JoinHandle<()>>;

/// Starts workers that are threads.
pub fn threads(shared: Shared, workers: usize) -> Vec<JoinHandle<()>> {
    let worker = |_| {
        let Shared { items, rest } = shared.clone();
        spawn(move || {
            while let Ok(item) = items.recv_blocking() {
                item.work(&rest);
            }
        })
    };
    (0..workers).map(worker).collect()
}

/// Starts workers on a current-thread tokio runtime.
pub fn tokio(shared: Shared, workers: usize) -> Vec<JoinHandle<()>> {
    let run = async move {
        let workers: Vec<_> = (0..workers).map(|_| ::tokio::spawn(shared.clone().work())).collect();
        for worker in workers {
            worker.await.expect("a worker doesn't panic");
        }
    };
    vec![spawn(move || current_thread().block_on(run))]
}

/// Starts workers on glib's main loop.
pub fn glib(shared: Shared, workers: usize) -> Vec<JoinHandle<()>> {
    let run = async move {
        let workers: Vec<_> = (0..workers).map(|_| ::glib::spawn_future_local(shared.clone().work())).collect();
        for worker in workers {
            worker.await.expect("a worker doesn't panic");
        }
    };
    vec![spawn(move || run_loop(run))]
}

/// Submits `n` items, and awaits their results, a batch at a time.
pub fn results(hire: Hire, workers: usize, n: u32) -> Duration {
    run(hire, workers, n, |items, _| {
        in_batches(n, |value| {
            let (reply, result) = oneshot::channel();
            items.try_send(Item { value, reply: Some(reply) }).expect("the workers are there");
            move || result.blocking_recv().expect("a worker answers")
        });
        Instant::now()
    })
}

/// Submits `n` items; the time ends when the last was worked on.
pub fn posts(hire: Hire, workers: usize, n: u32) -> Duration {
    run(hire, workers, n, |items, end| {
        for value in 0..u64::from(n) {
            items.try_send(Item { value, reply: None }).expect("the workers are there");
        }
        end.recv().expect("the last item says when")
    })
}

fn run(
    hire: Hire,
    workers: usize,
    n: u32,
    submit: impl FnOnce(&Sender<Item>, Receiver<Instant>) -> Instant,
) -> Duration {
    let (items, receiver) = unbounded();
    let (rest, end) = Rest::new(n);
    let workers = hire(Shared { items: receiver, rest }, workers);
    let began = Instant::now();
    let ended = submit(&items, end);
    drop(items);
    workers.into_iter().for_each(|worker| worker.join().expect("a worker doesn't panic"));
    ended - began
}

/// Submits `n` values, and takes the results of each batch before the next.
pub fn in_batches<W: FnOnce() -> u64>(n: u32, mut submit: impl FnMut(u64) -> W) {
    let mut next = 0;
    while next < n {
        let batch = next..n.min(next + BATCH);
        next = batch.end;
        let waits: Vec<_> = batch.clone().map(|value| submit(u64::from(value))).collect();
        for (value, wait) in batch.zip(waits) {
            assert_eq!(wait(), u64::from(value) + 1);
        }
    }
}
