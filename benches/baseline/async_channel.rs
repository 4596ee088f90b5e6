//! Closures through an unbounded async-channel: the channel that the gtk-rs book recommends, used as a queue of jobs.
//!
//! It follows the crate's documentation, <https://docs.rs/async-channel>, and for glib "The Main Event Loop" of the
//! gtk-rs book, <https://gtk-rs.org/gtk4-rs/stable/latest/book/main_event_loop.html>.

use std::cell::Cell;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_channel::{Receiver, unbounded};

use super::glib::run_loop;
use super::tokio::current_thread;
use super::{Job, Producers, consumer, count_one};
use crate::pin::Cpus;

/// The channel's documentation.
pub const LINK: &str = "https://docs.rs/async-channel";

/// Sends `n` closures to a thread without a loop.
pub fn posts(producers: u32, n: u32) -> Duration {
    run(producers, n, |cpu, receiver| {
        consumer(producers, cpu, move || {
            let count = Cell::new(0);
            while count.get() < n {
                let job = receiver.recv_blocking().expect("all jobs come");
                job(&count);
            }
            Instant::now()
        })
    })
}

/// Sends `n` closures to a current-thread tokio runtime.
pub fn posts_to_tokio(producers: u32, n: u32) -> Duration {
    run(producers, n, |cpu, receiver| consumer(producers, cpu, move || current_thread().block_on(jobs(receiver, n))))
}

/// Sends `n` closures to a future on glib's main loop.
pub fn posts_to_glib(producers: u32, n: u32) -> Duration {
    run(producers, n, |cpu, receiver| consumer(producers, cpu, move || run_loop(jobs(receiver, n))))
}

async fn jobs(receiver: Receiver<Job>, n: u32) -> Instant {
    let count = Cell::new(0);
    while count.get() < n {
        let job = receiver.recv().await.expect("all jobs come");
        job(&count);
    }
    Instant::now()
}

fn run(producers: u32, n: u32, consume: impl FnOnce(usize, Receiver<Job>) -> JoinHandle<Instant>) -> Duration {
    let cpus = Cpus::get();
    let (sender, receiver) = unbounded();
    let consumer = consume(cpus.first, receiver);
    let producers = Producers::start(producers, n, cpus.second, || {
        let sender = sender.clone();
        move || assert!(sender.try_send(count_one()).is_ok(), "the consumer is there")
    });
    producers.go(consumer)
}
