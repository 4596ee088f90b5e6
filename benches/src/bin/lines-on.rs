//! Lines by the log of a service: `lines-on --lines-threads 8 --lines-count 100000 --log-file log`. It prints their
//! cost in nanoseconds of CPU time.

use std::process::ExitCode;
use std::time::Duration;

use interloop::{Context, Error, Result, Service, Task, Thread, clap};
use interloop_benches::log_load::cpu_of_lines;

#[derive(clap::Args, Clone, Debug)]
struct Options {
    /// By so many threads
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// So many lines
    #[arg(long, default_value_t = 1000)]
    count: u32,
    /// So many microseconds between two
    #[arg(long)]
    pause: Option<u64>,
}

struct Lines;

impl Task<Thread> for Lines {
    type Options = Options;

    async fn run(&mut self, cx: Context<Thread, Options>) -> Result {
        let Options { threads, count, pause } = *cx.options();
        let cpu = cpu_of_lines(threads, count, pause.map(Duration::from_micros))
            .map_err(|error| Error::new(error.to_string()))?;
        match cx.service().status().lost_lines {
            0 => println!("{}", cpu.as_nanos()),
            lost => return Err(Error::new(format!("{lost} lines were lost"))),
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let mut service = Service::new("lines-on");
    service.task("lines", Lines);
    service.run()
}
