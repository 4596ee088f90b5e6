//! glib's main loop: an async-channel into a future on the loop, with a oneshot back.
//!
//! It follows "The Main Event Loop" of the gtk-rs book,
//! <https://gtk-rs.org/gtk4-rs/stable/latest/book/main_event_loop.html>: another thread or runtime sends into an
//! `async_channel::bounded(1)`, and a future given to `glib::spawn_future_local` receives. Calls to tokio follow
//! tokio's own documentation: see [`tokio`](super::tokio).
//!
//! [`invokes`] is glib's own way to post,
//! <https://gtk-rs.org/gtk-rs-core/stable/latest/docs/glib/struct.MainContext.html#method.invoke>.

use std::cell::Cell;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use async_channel::Receiver;
use glib::{MainContext, MainLoop};
use tokio::sync::{mpsc, oneshot};

use super::tokio::{Ask, answering, ask, current_thread};
use super::{Producers, consumer, time_async_calls, time_calls};
use crate::pin::{Cpus, run_on, spawn_on};

/// The recommendation of the channels.
pub const BOOK: &str = "https://gtk-rs.org/gtk4-rs/stable/latest/book/main_event_loop.html";
/// The documentation of `invoke`.
pub const INVOKE_LINK: &str =
    "https://gtk-rs.org/gtk-rs-core/stable/latest/docs/glib/struct.MainContext.html#method.invoke";

/// Runs `future` on a main loop of this thread until the future ends.
pub(super) fn run_loop<R: 'static>(future: impl Future<Output = R> + 'static) -> R {
    let context = MainContext::new();
    let main_loop = MainLoop::new(Some(&context), false);
    context
        .with_thread_default(|| {
            let (sender, receiver) = channel();
            let quit = main_loop.clone();
            glib::spawn_future_local(async move {
                let _ = sender.send(future.await);
                quit.quit();
            });
            main_loop.run();
            receiver.recv().expect("the future has ended")
        })
        .expect("nobody else has the new context")
}

async fn answer(receiver: Receiver<Ask>) {
    while let Ok(Ask { value, reply }) = receiver.recv().await {
        let _ = reply.send(value + 1);
    }
}

/// Makes `n` calls from a thread without a loop.
pub fn calls_from_thread(n: u32) -> Duration {
    let cpu = Cpus::get().first;
    let (sender, receiver) = async_channel::bounded(1);
    let peer = spawn_on(cpu, move || run_loop(answer(receiver)));
    let elapsed = run_on(cpu, move || {
        time_calls(n, |value| {
            let (reply, answer) = oneshot::channel();
            sender.send_blocking(Ask { value, reply }).expect("the peer is there");
            answer.blocking_recv().expect("the peer answers")
        })
    });
    peer.join().expect("the peer doesn't panic");
    elapsed
}

/// Makes `n` calls from a current-thread tokio runtime.
pub fn calls_from_tokio(n: u32) -> Duration {
    let cpu = Cpus::get().first;
    let (sender, receiver) = async_channel::bounded(1);
    let peer = spawn_on(cpu, move || run_loop(answer(receiver)));
    let elapsed = run_on(cpu, move || {
        current_thread().block_on(time_async_calls(n, async |value| {
            let (reply, answer) = oneshot::channel();
            sender.send(Ask { value, reply }).await.expect("the peer is there");
            answer.await.expect("the peer answers")
        }))
    });
    peer.join().expect("the peer doesn't panic");
    elapsed
}

/// Makes `n` calls from a future on glib to a current-thread tokio runtime.
pub fn calls_to_tokio(n: u32) -> Duration {
    let cpu = Cpus::get().first;
    let (sender, receiver) = mpsc::channel(32);
    let peer = spawn_on(cpu, move || answering(receiver));
    let elapsed = run_on(cpu, move || {
        run_loop(async move { time_async_calls(n, async |value| ask(&sender, value).await).await })
    });
    peer.join().expect("the peer doesn't panic");
    elapsed
}

/// Gives `n` closures to `MainContext::invoke`.
pub fn invokes(producers: u32, n: u32) -> Duration {
    thread_local!(static COUNT: Cell<u32> = const { Cell::new(0) });
    let cpus = Cpus::get();
    let (ready, is_ready) = channel();
    let consumer = consumer(producers, cpus.first, move || {
        let (ended, end) = async_channel::bounded(1);
        run_loop(async move {
            // Only now does the context belong to this thread: before, `invoke` would run the closure on its caller's.
            let context = MainContext::ref_thread_default();
            ready.send((context, ended)).expect("the benchmark waits for it");
            end.recv().await.expect("the last job says when")
        })
    });
    let (context, ended) = is_ready.recv().expect("the loop runs");
    let producers = Producers::start(producers, n, cpus.second, || {
        let (context, ended) = (context.clone(), ended.clone());
        move || {
            let ended = ended.clone();
            context.invoke(move || {
                COUNT.set(COUNT.get() + 1);
                if COUNT.get() == n {
                    let _ = ended.try_send(Instant::now());
                }
            });
        }
    });
    producers.go(consumer)
}
