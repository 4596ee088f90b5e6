//! Ticks by hand: a thread that sleeps until the next tick, and tokio's interval.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use super::tokio::current_thread;
use crate::suite::Sample;

/// The documentation of a thread's sleep.
pub const SLEEP: &str = "https://doc.rust-lang.org/std/thread/fn.sleep.html";
/// The documentation of tokio's ticks.
pub const INTERVAL_LINK: &str = "https://docs.rs/tokio/latest/tokio/time/fn.interval.html";

/// The comparisons, and how many threads spin in the meantime.
pub const LATENESS: [(&str, usize); 2] = [("lateness", 0), ("lateness-loaded", 2)];
/// The time between two ticks.
pub const INTERVAL: Duration = Duration::from_millis(5);

/// The start of a series of ticks, and the times at which they came. The first is due one interval after the start, and
/// none is left out.
#[derive(Debug)]
pub struct Ticks {
    /// The time that the ticks are counted from.
    pub begin: Instant,
    /// The time at which each tick came.
    pub came: Vec<Instant>,
}

/// Makes `n` ticks of a thread that sleeps from one to the next.
pub fn sleep(n: u32) -> Ticks {
    let ticks = move || {
        let begin = Instant::now();
        let tick = |place| {
            std::thread::sleep((begin + INTERVAL * place).saturating_duration_since(Instant::now()));
            Instant::now()
        };
        Ticks { begin, came: (1..=n).map(tick).collect() }
    };
    spawn(ticks).join().expect("sleeping doesn't panic")
}

/// Makes `n` ticks of tokio's interval, on a current-thread runtime.
pub fn interval(n: u32) -> Ticks {
    let ticks = async move {
        let begin = Instant::now();
        let mut interval = ::tokio::time::interval_at((begin + INTERVAL).into(), INTERVAL);
        let mut came = Vec::new();
        for _ in 0..n {
            interval.tick().await;
            came.push(Instant::now());
        }
        Ticks { begin, came }
    };
    spawn(move || current_thread().block_on(ticks)).join().expect("the runtime doesn't panic")
}

/// Runs `ticks` while this many threads spin; returns the 50th and the 99th percentile of how late the ticks were.
pub fn measure(load: usize, ticks: impl FnOnce() -> Ticks) -> Sample {
    let load = Load::start(load);
    let Ticks { begin, came } = ticks();
    drop(load);
    let late =
        |(tick, place): (Instant, u32)| tick.saturating_duration_since(begin + INTERVAL * place).as_nanos() as f64;
    let mut late: Vec<f64> = came.into_iter().zip(1..).map(late).collect();
    late.sort_by(f64::total_cmp);
    let percentile = |percent: usize| late[(late.len() * percent).div_ceil(100) - 1];
    Sample::of_two(percentile(50), percentile(99))
}

/// Threads that spin until this is dropped.
struct Load {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(threads: usize) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let spinning = |_| {
            let ends = ends.clone();
            spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    spin_loop();
                }
            })
        };
        let threads = (0..threads).map(spinning).collect();
        Self { ends, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
