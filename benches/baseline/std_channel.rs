//! Threads without a loop: a channel of questions, each with a channel of capacity one for its answer.
//!
//! It follows the documentation of std: <https://doc.rust-lang.org/std/sync/mpsc/index.html>

use std::sync::mpsc::{SyncSender, channel, sync_channel};
use std::time::Duration;

use super::time_calls;
use crate::pin::{Cpus, run_on, spawn_on};

/// The recommendation that this follows.
pub const LINK: &str = "https://doc.rust-lang.org/std/sync/mpsc/index.html";

struct Ask {
    value: u64,
    reply: SyncSender<u64>,
}

/// Makes `n` calls from thread to thread.
pub fn calls(n: u32) -> Duration {
    let cpu = Cpus::get().first;
    let (sender, receiver) = channel::<Ask>();
    let peer = spawn_on(cpu, move || {
        for Ask { value, reply } in receiver {
            let _ = reply.send(value + 1);
        }
    });
    let elapsed = run_on(cpu, move || {
        time_calls(n, |value| {
            let (reply, answer) = sync_channel(1);
            sender.send(Ask { value, reply }).expect("the peer is there");
            answer.recv().expect("the peer answers")
        })
    });
    peer.join().expect("the peer doesn't panic");
    elapsed
}
