//! A service whose `main` goes on when `run` has returned: for the tests of signals, dispositions, masks and panic
//! hooks.
//!
//! The environment says what it does. `STOP`: how its task stops: `at-once`, `asked` (when it can open the FIFO
//! `RELEASE`), or `stuck` (the same, but blocking its loop's thread). `BURNS`: its task panics. `HOOK`: a panic hook is
//! installed before. `HANDLER`: a handler for TERM, too. `RUNS`: the number of services, one after the other. `AFTER`:
//! `main` then waits (`wait`) or panics (`panic`). `LOGGER`: a logger is installed before, which panics depending on
//! the value: `order` (lines with that word), `all` (any line, once the task runs), `enabled` (when it is then asked
//! whether it wants one).

use std::{
    env, fs,
    future::poll_fn,
    panic,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    thread,
};

use interloop::{Service, Thread, task_fn};

fn said(variable: &str) -> String {
    env::var(variable).unwrap_or_default()
}

/// Waits, off the loop's thread, until somebody opens the FIFO.
async fn released() {
    let (done, mut asked) = (Arc::new(AtomicBool::new(false)), false);
    poll_fn(|cx| {
        if done.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut asked, true) {
            let (done, waker) = (done.clone(), cx.waker().clone());
            thread::spawn(move || {
                let _ = fs::read(said("RELEASE"));
                done.store(true, Ordering::SeqCst);
                waker.wake();
            });
        }
        Poll::Pending
    })
    .await;
}

#[inline(never)]
fn burns() {
    panic!("the barn is on fire");
}

/// The host's own logger.
struct Logger(String);

/// It panics from now on.
static OUT_OF_ORDER: AtomicBool = AtomicBool::new(false);

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        assert!(!(self.0 == "enabled" && OUT_OF_ORDER.load(Ordering::SeqCst)), "no question, please");
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        let panics = match &*self.0 {
            "order" => text.starts_with("order"),
            "all" => OUT_OF_ORDER.load(Ordering::SeqCst),
            _ => false,
        };
        assert!(!panics, "the logger is out of order");
        eprintln!("{}: {text}", record.target());
    }

    fn flush(&self) {}
}

fn run() -> ExitCode {
    let mut service = Service::new("surroundings");
    let bystander = task_fn::<Thread>(async |cx| {
        cx.until_shutdown().await;
        println!("the bystander has stopped in order");
        Ok(())
    });
    let task = task_fn::<Thread>(async |cx| {
        cx.ready();
        if !said("LOGGER").is_empty() {
            OUT_OF_ORDER.store(true, Ordering::SeqCst);
            log::error!("order, please");
            if log::log_enabled!(log::Level::Error) {
                log::error!("it is there still");
            }
        }
        if !said("BURNS").is_empty() {
            burns();
        }
        cx.shutdown().requested().await;
        match &*said("STOP") {
            "asked" => released().await,
            "stuck" => drop(fs::read(said("RELEASE"))),
            _ => {}
        }
        log::info!("stopped in order");
        Ok(())
    });
    service.task("barn", task);
    if !said("LOGGER").is_empty() {
        service.task("bystander", bystander);
    }
    service.run()
}

/// Returns the kernel's view of this thread's mask and of the process's ignored signals, except those from 29 on: libc
/// uses some of them.
fn surroundings() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let mask = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        format!("{name} {}", &line[line.len().saturating_sub(7)..])
    };
    format!("{}, {}", mask("SigBlk"), mask("SigIgn"))
}

fn main() -> ExitCode {
    if !said("HOOK").is_empty() {
        panic::set_hook(Box::new(|info| eprintln!("the host's hook: {}", info.payload_as_str().unwrap_or("?"))));
    }
    if !said("LOGGER").is_empty() {
        log::set_boxed_logger(Box::new(Logger(said("LOGGER")))).expect("it is the first");
        log::set_max_level(log::LevelFilter::Info);
    }
    let handled = Arc::new(AtomicBool::new(false));
    if !said("HANDLER").is_empty() {
        signal_hook::flag::register(signal_hook::consts::SIGTERM, handled.clone()).expect("TERM can be handled");
    }
    println!("before: {}", surroundings());
    let runs = said("RUNS").parse().unwrap_or(1);
    let mut code = ExitCode::FAILURE;
    for number in 1..=runs {
        code = run();
        println!("run {number} has returned {code:?}; handled: {}", handled.load(Ordering::SeqCst));
    }
    println!("after: {}", surroundings());
    match &*said("AFTER") {
        "panic" => panic!("main panics"),
        "wait" => loop {
            if handled.swap(false, Ordering::SeqCst) {
                println!("the host has handled TERM");
            }
            thread::sleep(std::time::Duration::from_millis(5));
        },
        _ => code,
    }
}
