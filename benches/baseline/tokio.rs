//! tokio's channels: an mpsc of questions, each with a oneshot for its answer.
//!
//! It follows "Channels" of tokio's tutorial, <https://tokio.rs/tokio/tutorial/channels>; from a thread without a
//! runtime it follows "Bridging with sync code", <https://tokio.rs/tokio/topics/bridging>: `blocking_send` and
//! `blocking_recv`.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

use super::{Job, Producers, consumer, count_one, time_async_calls, time_calls};
use crate::pin::{Cpus, run_on, spawn_on};

/// The recommendation of the channels.
pub const CHANNELS: &str = "https://tokio.rs/tokio/tutorial/channels";
/// The recommendation for other threads.
pub const BRIDGING: &str = "https://tokio.rs/tokio/topics/bridging";

/// A question with a place for its answer.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) value: u64,
    pub(super) reply: oneshot::Sender<u64>,
}

pub(super) fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}

/// Runs the task that answers, on a runtime of its own; it ends when the last sender is gone.
pub(super) fn answering(mut receiver: mpsc::Receiver<Ask>) {
    current_thread().block_on(async move {
        while let Some(Ask { value, reply }) = receiver.recv().await {
            let _ = reply.send(value + 1);
        }
    });
}

/// Makes `n` calls from a thread without a runtime.
pub fn calls_from_thread(n: u32) -> Duration {
    let cpu = Cpus::get().first;
    let (sender, receiver) = mpsc::channel(32);
    let peer = spawn_on(cpu, move || answering(receiver));
    let elapsed = run_on(cpu, move || {
        time_calls(n, |value| {
            let (reply, answer) = oneshot::channel();
            sender.blocking_send(Ask { value, reply }).expect("the peer is there");
            answer.blocking_recv().expect("the peer answers")
        })
    });
    peer.join().expect("the peer doesn't panic");
    elapsed
}

/// Makes `n` calls from another current-thread runtime.
pub fn calls_from_tokio(n: u32) -> Duration {
    let cpu = Cpus::get().first;
    let (sender, receiver) = mpsc::channel(32);
    let peer = spawn_on(cpu, move || answering(receiver));
    let elapsed =
        run_on(cpu, move || current_thread().block_on(time_async_calls(n, async |value| ask(&sender, value).await)));
    peer.join().expect("the peer doesn't panic");
    elapsed
}

pub(super) async fn ask(sender: &mpsc::Sender<Ask>, value: u64) -> u64 {
    let (reply, answer) = oneshot::channel();
    sender.send(Ask { value, reply }).await.expect("the peer is there");
    answer.await.expect("the peer answers")
}

/// Sends `n` closures through an unbounded mpsc to a current-thread runtime.
pub fn posts(producers: u32, n: u32) -> Duration {
    let cpus = Cpus::get();
    let (sender, mut receiver) = mpsc::unbounded_channel::<Job>();
    let consumer = consumer(producers, cpus.first, move || {
        current_thread().block_on(async move {
            let count = Cell::new(0);
            while count.get() < n {
                let job = receiver.recv().await.expect("all jobs come");
                job(&count);
            }
            Instant::now()
        })
    });
    let producers = Producers::start(producers, n, cpus.second, || {
        let sender = sender.clone();
        move || assert!(sender.send(count_one()).is_ok(), "the consumer is there")
    });
    producers.go(consumer)
}
