//! Lines by fern, as its documentation recommends, to a file that each line is written to at once:
//! `fern-lines 8 100000 0 log`. It prints their cost in nanoseconds of CPU time.

use std::time::{Duration, SystemTime};

use interloop_benches::log_load::cpu_of_lines;
use interloop_benches::suite::Failure;

fn main() -> Result<(), Failure> {
    let words = std::env::args().skip(1).collect::<Vec<_>>();
    let [threads, count, pause, file] = &words[..] else { return Err("threads, lines, pause, file".into()) };
    fern::Dispatch::new()
        .format(|out, message, record| {
            let time = humantime::format_rfc3339_millis(SystemTime::now());
            out.finish(format_args!("{time} {:<5} {}: {message}", record.level(), record.target()));
        })
        .level(log::LevelFilter::Info)
        .chain(fern::log_file(file)?)
        .apply()?;
    let pause = Some(pause.parse()?).filter(|pause| *pause > 0).map(Duration::from_micros);
    println!("{}", cpu_of_lines(threads.parse()?, count.parse()?, pause)?.as_nanos());
    Ok(())
}
