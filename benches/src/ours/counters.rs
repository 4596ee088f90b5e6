//! Adds to one counter.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use interloop::counters::Counter;

use crate::log_load::cpu_time;
use crate::suite::{Bound, Failure, Sample, Suite};

const ATOMIC: &str = "one thread: AtomicU64";

pub(super) fn register(suite: &mut Suite) {
    let atomic = |threads| {
        move |n| {
            let number = AtomicU64::new(0);
            let add = || {
                black_box(&number).fetch_add(1, Ordering::Relaxed);
            };
            adds(threads, n, add)
        }
    };
    let ours = |threads| {
        move |n| {
            let counter = Counter::default();
            adds(threads, n, || black_box(&counter).add(1))
        }
    };
    suite
        .compare("counter", 40_000_000, "An add to one counter, in CPU time, by one thread and by eight at once.")
        .add_fallible(ATOMIC, atomic(1))
        .add_fallible("eight threads: AtomicU64", atomic(8))
        .add_fallible("interloop: one thread", ours(1))
        .add_fallible("interloop: eight threads", ours(8))
        .claim("interloop: one thread", ATOMIC, Bound::CostAtMost(1.5))
        .claim("interloop: eight threads", ATOMIC, Bound::CostAtMost(2.0));
}

/// Makes `n` adds from several threads, which begin at once.
fn adds(threads: u32, n: u32, add: impl Fn() + Sync) -> Result<Sample, Failure> {
    let (start, each) = (Barrier::new(threads as usize), n / threads);
    let began = Instant::now();
    let times = thread::scope(|scope| {
        let run = || {
            start.wait();
            let before = cpu_time()?;
            (0..each).for_each(|_| add());
            Ok::<_, Failure>(cpu_time()? - before)
        };
        let threads = (0..threads).map(|_| scope.spawn(run)).collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().expect("adding doesn't panic")).collect::<Result<Vec<_>, _>>()
    })?;
    Ok(Sample::of_cpu(each * threads, times.iter().sum(), began.elapsed()))
}
