//! A service with a task that logs, as its options say: for the tests of the log. Measurements go to stdout.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use interloop::{Context, Result, Service, Task, Thread, clap, event_loop::Timers, options::duration, task_fn};

#[derive(clap::Args, Clone, Debug)]
struct Options {
    /// What to do after the lines
    #[arg(long, value_enum, default_value = "wait")]
    then: Then,
    /// Log so many lines at once, by so many threads
    #[arg(long, default_value_t = 0)]
    lines: u64,
    #[arg(long, default_value_t = 1)]
    threads: u64,
    /// How long each is, in bytes
    #[arg(long, default_value_t = 20)]
    length: usize,
    /// The pause between two lines
    #[arg(long, value_parser = duration)]
    pause: Option<Duration>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Then {
    /// Waits to be asked to stop.
    Wait,
    /// Logs without end, until it is asked to stop.
    Flood,
    /// Writes to stderr itself, without end.
    Print,
    /// Logs a line every millisecond, and says by how much that was late.
    Tick,
    Exit,
    Abort,
    Panic,
}

struct Chat;

impl<L: Timers> Task<L> for Chat {
    type Options = Options;

    async fn run(&mut self, cx: Context<L, Options>) -> Result {
        let Options { then, lines, threads, length, pause } = cx.options().clone();
        let words = "x".repeat(length);
        let rereads = AtomicU64::new(0);
        // Comes behind the log file's reopening.
        let _rereads = cx.on_reload(|| Ok(()), move |()| println!("reread {}", rereads.fetch_add(1, SeqCst) + 1));
        cx.ready();
        let begun = Instant::now();
        let log = |thread: u64| {
            for n in 0..lines {
                log::info!(target: "chatty.chat", "{thread}: line {n} {words}");
                pause.into_iter().for_each(thread::sleep);
            }
        };
        thread::scope(|scope| {
            (1..threads).for_each(|n| drop(scope.spawn(move || log(n))));
            log(0);
        });
        println!("logged in {} us", begun.elapsed().as_micros());
        match then {
            Then::Wait => cx.until_shutdown().await,
            Then::Flood => {
                while !cx.shutdown().is_requested() {
                    log::info!(target: "chatty.chat", "on and on {words}");
                    cx.sleep(Duration::from_micros(10)).await;
                }
            }
            Then::Print => loop {
                eprintln!("I write to stderr myself {words}");
                cx.sleep(Duration::ZERO).await;
            },
            Then::Tick => tick(&cx, &words).await,
            Then::Exit => std::process::exit(3),
            Then::Abort => std::process::abort(),
            Then::Panic => panic!("no more words"),
        }
        Ok(())
    }
}

async fn tick<L: Timers>(cx: &Context<L, Options>, words: &str) {
    let mut lates = Vec::new();
    let mut due = Instant::now();
    while !cx.shutdown().is_requested() {
        due += Duration::from_millis(1);
        cx.sleep(due.saturating_duration_since(Instant::now())).await;
        let late = Instant::now().saturating_duration_since(due);
        lates.push(late);
        // One delay must not make all later ticks late.
        due += late;
        log::info!(target: "chatty.chat", "tick {words}");
    }
    lates.sort();
    if let (Some(worst), Some(median)) = (lates.last(), lates.get(lates.len() / 2)) {
        println!(
            "of {} ticks half are late by less than {} us, the worst by {} us",
            lates.len(),
            median.as_micros(),
            worst.as_micros()
        );
    }
}

fn main() -> ExitCode {
    let mut service = Service::new("chatty");
    let bystander = task_fn::<Thread>(async |cx| {
        cx.until_shutdown().await;
        // Lines that are still on their way are not lost yet.
        log::logger().flush();
        println!("the bystander was asked; lost lines {}", cx.service().status().lost_lines);
        Ok(())
    });
    service.task("bystander", bystander);
    service.task_on::<Thread>("chat", Chat);
    let code = service.run();
    log::info!("behind the end");
    code
}
