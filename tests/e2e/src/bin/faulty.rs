//! A service with a task that does wrong, as its option says: for the tests of signals and exit codes.

use std::{process::ExitCode, time::Duration};

use interloop::{Context, Error, EventLoop, Result, Service, Task, Thread, clap, task_fn};

#[derive(clap::Args, Clone, Debug)]
struct Options {
    /// What to do
    #[arg(long, value_enum, default_value = "none")]
    kind: Kind,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    None,
    /// Ok, after ready.
    Done,
    /// Err, before ready.
    FailStart,
    /// Err, after ready.
    Fail,
    /// A panic, after ready.
    Panic,
    /// A panic when asked to stop.
    PanicStopping,
    /// A panic in the task's Drop.
    PanicDrop,
    /// Ok, without ready.
    OneShot,
    /// Neither ready nor an end.
    NeverReady,
    /// Doesn't look at its shutdown.
    Ignore,
    /// Blocks its loop's thread for a minute once it is asked to stop.
    Block,
    /// Has a gauge that blocks.
    BlockGauge,
    /// Writes to stderr itself, on and on.
    Print,
}

struct Fault {
    panics_in_drop: bool,
}

impl<L: EventLoop> Task<L> for Fault {
    type Options = Options;

    async fn run(&mut self, cx: Context<L, Options>) -> Result {
        match cx.options().kind {
            Kind::OneShot => return Ok(()),
            Kind::FailStart => return Err(Error::new("no such queue")),
            Kind::NeverReady => std::future::pending().await,
            _ => cx.ready(),
        }
        match cx.options().kind {
            Kind::Done => return Ok(()),
            Kind::Fail => return Err(Error::new("the queue is gone")),
            Kind::Panic => panic!("the queue is on fire"),
            Kind::Ignore => std::future::pending().await,
            Kind::PanicDrop => self.panics_in_drop = true,
            Kind::BlockGauge => cx.gauge_from("depth", || {
                std::thread::sleep(Duration::from_secs(60));
                0.0
            }),
            Kind::Print => loop {
                eprintln!("a line that nobody reads");
            },
            _ => {}
        }
        cx.until_shutdown().await;
        match cx.options().kind {
            Kind::PanicStopping => panic!("no way out"),
            Kind::Block => std::thread::sleep(Duration::from_secs(60)),
            _ => {}
        }
        Ok(())
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        assert!(!self.panics_in_drop, "it does not want to go");
    }
}

fn main() -> ExitCode {
    let mut service = Service::new("faulty");
    let bystander = task_fn::<Thread>(async |cx| {
        cx.until_shutdown().await;
        log::info!("the bystander has stopped");
        Ok(())
    });
    service.task("bystander", bystander);
    let stop = std::env::var("STOP_TIMEOUT_MS").ok().and_then(|ms| ms.parse().ok()).unwrap_or(10_000);
    let fault = service.task_on::<Thread>("fault", Fault { panics_in_drop: false });
    fault.requires("bystander").stop_timeout(Duration::from_millis(stop)).start_timeout(Duration::from_millis(500));
    service.run()
}
