//! Lines of a log, by one thread or several, and their cost for the threads that log.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::suite::Failure;

/// Logs `n` lines from several threads, which begin at once, and rest for `pause` after each line. Returns the CPU time
/// of all calls, without that of the pauses.
pub fn cpu_of_lines(threads: u32, n: u32, pause: Option<Duration>) -> Result<Duration, Failure> {
    let (start, each) = (Barrier::new(threads as usize), n / threads);
    let run = || {
        start.wait();
        let Some(pause) = pause else {
            let before = cpu_time()?;
            (0..each).for_each(line);
            return Ok(cpu_time()? - before);
        };
        let mut sum = Duration::ZERO;
        for n in 0..each {
            let before = cpu_time()?;
            line(n);
            sum += cpu_time()? - before;
            thread::sleep(pause);
        }
        Ok::<_, Failure>(sum)
    };
    thread::scope(|scope| {
        let threads = (0..threads).map(|_| scope.spawn(run)).collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().expect("logging doesn't panic")).sum()
    })
}

fn line(n: u32) {
    log::info!(target: "hello.http", "GET /some/page/or/other {n}: 200 in 1.2 ms");
}

/// Returns the CPU time that this thread has used.
pub(crate) fn cpu_time() -> Result<Duration, Failure> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
