//! A service whose task misbehaves, as its option says: for the tests of signals and exit codes.

use std::{
    cell::Cell,
    process::{Command, ExitCode},
    rc::Rc,
    time::Duration,
};

use interloop::{
    Context, Error, EventLoop, NoOptions, Result, Service, Task, Thread, clap,
    event_loop::{Mailbox, Turn},
    task_fn,
};

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
    /// A panic, before ready.
    PanicStart,
    /// A panic of a child, after ready.
    PanicChild,
    /// A panic of a thread of its own, which the task returns as its error.
    PanicThread,
    /// A panic that the task catches, as a server catches its handlers'.
    PanicCaught,
    /// A panic in a posted job; the task stops the service when the job is done.
    PanicJob,
    /// A panic in a job that the task awaits.
    PanicCall,
    /// A call to tokio on a loop that isn't tokio's.
    Tokio,
    /// A program of its own that fails.
    Program,
    /// Its loop returns an error.
    LoopFails,
    /// Its loop panics.
    LoopPanics,
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
    /// Ignores its shutdown.
    Ignore,
    /// Blocks its loop's thread for a minute once it is asked to stop.
    Block,
    /// Has a gauge that blocks.
    BlockGauge,
    /// Writes to stderr itself, without end.
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
            Kind::PanicStart => panic!("no matches"),
            _ => cx.ready(),
        }
        match cx.options().kind {
            Kind::Done => return Ok(()),
            Kind::Fail => return Err(Error::new("the queue is gone")),
            Kind::Panic => panic!("the queue is on fire"),
            Kind::PanicChild => {
                cx.spawn_local(async { panic!("the child is on fire") }).detach();
                std::future::pending().await
            }
            Kind::PanicThread => cx.thread("sums", || panic!("a bad sum"))?.await?,
            Kind::PanicCaught => {
                let caught = std::panic::catch_unwind(|| panic!("a bad request")).expect_err("it panics");
                interloop::task::log_panic(cx.target(), "a handler", caught);
                cx.service().request_shutdown("the panic was caught");
            }
            Kind::PanicJob => {
                let number = cx.share(7);
                number.post(|_| panic!("a bad job"))?;
                number.call(|_| ()).await?;
                cx.service().request_shutdown("the job is done");
            }
            Kind::PanicCall => cx.share(7).call(|_| -> () { panic!("a bad call") }).await?,
            Kind::Tokio => drop(tokio::spawn(async {})),
            Kind::Program => Err(Error::exited("sh", Command::new("sh").args(["-c", "exit 3"]).status()?))?,
            Kind::LoopFails => cx.service().remote::<Fate>("wheel")?.post(|fate| fate.set(Some(false)))?,
            Kind::LoopPanics => cx.service().remote::<Fate>("wheel")?.post(|fate| fate.set(Some(true)))?,
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

/// How the wheel breaks: by a panic, or by an error.
type Fate = Rc<Cell<Option<bool>>>;

/// A loop that breaks.
#[derive(Clone, Default)]
struct Wheel;

impl EventLoop for Wheel {
    const NAME: &'static str = "wheel";
    type Options = NoOptions;
    type Native = Fate;

    fn drive(self, _: NoOptions, mut mailbox: Mailbox<Self>, started: impl FnOnce(&Mailbox<Self>, Fate)) -> Result {
        let thread = std::thread::current();
        mailbox.set_notify(move || thread.unpark());
        let fate = Fate::default();
        started(&mailbox, fate.clone());
        loop {
            let turn = mailbox.turn();
            match fate.take() {
                Some(true) => panic!("the wheel came off"),
                Some(false) => return Err(Error::new("the wheel came off")),
                None => {}
            }
            match turn {
                Turn::Stop => return Ok(()),
                Turn::Again => {}
                Turn::Idle => std::thread::park(),
            }
        }
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
    if std::env::var_os("WHEEL").is_some() {
        for name in ["rider", "pillion"] {
            let rider = task_fn::<Wheel>(async |cx| {
                cx.until_shutdown().await;
                Ok(())
            });
            service.task(name, rider);
        }
    }
    let stop = std::env::var("STOP_TIMEOUT_MS").ok().and_then(|ms| ms.parse().ok()).unwrap_or(10_000);
    let fault = service.task_on::<Thread>("fault", Fault { panics_in_drop: false });
    if std::env::var_os("WHEEL").is_some() {
        fault.requires("rider").requires("pillion");
    }
    fault.requires("bystander").stop_timeout(Duration::from_millis(stop)).start_timeout(Duration::from_millis(500));
    service.run()
}
