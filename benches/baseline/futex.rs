//! The floor: one word, two threads, a futex. A round trip costs two wakes and two waits and nothing else.
//!
//! It follows futex(2): <https://man7.org/linux/man-pages/man2/futex.2.html>

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::{Flags, wait, wake};

use super::time_calls;
use crate::pin::{Cpus, run_on, spawn_on};

/// The description of futexes.
pub const LINK: &str = "https://man7.org/linux/man-pages/man2/futex.2.html";

const ANSWERED: u32 = 0;
const ASKED: u32 = 1;
const END: u32 = 2;

/// Makes `n` round trips between two threads on one CPU.
pub fn calls(n: u32) -> Duration {
    let cpu = Cpus::get().first;
    let word = Arc::new(AtomicU32::new(ANSWERED));
    let peer = spawn_on(cpu, {
        let word = word.clone();
        move || {
            loop {
                wait_while(&word, ANSWERED);
                if word.load(Ordering::Acquire) == END {
                    break;
                }
                word.store(ANSWERED, Ordering::Release);
                wake_one(&word);
            }
        }
    });
    let elapsed = run_on(cpu, move || {
        let elapsed = time_calls(n, |i| {
            word.store(ASKED, Ordering::Release);
            wake_one(&word);
            wait_while(&word, ASKED);
            i + 1
        });
        word.store(END, Ordering::Release);
        wake_one(&word);
        elapsed
    });
    peer.join().expect("the peer doesn't panic");
    elapsed
}

fn wait_while(word: &AtomicU32, value: u32) {
    while word.load(Ordering::Acquire) == value {
        match wait(word, Flags::PRIVATE, value, None) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => panic!("futex: {error}"),
        }
    }
}

fn wake_one(word: &AtomicU32) {
    wake(word, Flags::PRIVATE, 1).expect("a wake of our own word doesn't fail");
}
