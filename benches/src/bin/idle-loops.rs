//! Starts a number of idle loops of a kind, and prints the resident bytes of this process that belong to no file, and
//! its number of threads.

use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::Duration;

use interloop::{EventLoop, Service, Thread, task_fn};
use interloop_async_std::AsyncStd;
use interloop_benches::baseline::idle;
use interloop_calloop::Calloop;
use interloop_compio::Compio;
use interloop_glib::Glib;
use interloop_mio::Mio;
use interloop_smol::Smol;
use interloop_tokio::Tokio;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let kind = words.next().unwrap_or_default();
    let Some(loops) = words.next().and_then(|n| n.parse().ok()) else {
        eprintln!("usage: idle-loops KIND N");
        return ExitCode::from(2);
    };
    let resident = match kind.as_str() {
        "bare-thread" => with_bare(loops, idle::thread),
        "bare-tokio" => with_bare(loops, idle::tokio),
        "bare-glib" => with_bare(loops, idle::glib),
        "thread" => with_service(loops, || Thread),
        "tokio" => with_service(loops, Tokio::default),
        "smol" => with_service(loops, Smol::default),
        "async-std" => with_service(loops, AsyncStd::default),
        "compio" => with_service(loops, Compio::default),
        "glib" => with_service(loops, Glib::private),
        "calloop" => with_service(loops, Calloop::default),
        "mio" => with_service(loops, Mio::default),
        _ => Err(format!("unknown kind: {kind}").into()),
    };
    match resident {
        Ok((bytes, threads)) => {
            println!("{bytes} {threads}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs bare loops, which end with the process.
fn with_bare(loops: u32, idle: fn(&dyn Fn())) -> Result<(u64, usize), Box<dyn Error>> {
    let (ready, is_ready) = channel();
    for _ in 0..loops {
        let ready = ready.clone();
        std::thread::spawn(move || idle(&|| ready.send(()).expect("main waits for it")));
    }
    is_ready.iter().take(loops as usize).for_each(drop);
    resident()
}

fn with_service<L: EventLoop>(loops: u32, plan: impl Fn() -> L) -> Result<(u64, usize), Box<dyn Error>> {
    let mut service = Service::new("idle-loops");
    for number in 0..loops {
        service.event_loop(format!("loop-{number}"), plan());
        let task = task_fn::<L>(async |cx| {
            cx.until_shutdown().await;
            Ok(())
        });
        service.task(format!("task-{number}"), task).on(format!("loop-{number}"));
    }
    let running = service.start()?;
    if !running.wait_started_timeout(Duration::from_secs(60)) {
        return Err("the service doesn't start".into());
    }
    let resident = resident();
    running.stop();
    resident
}

fn resident() -> Result<(u64, usize), Box<dyn Error>> {
    // This is counted page by page, unlike VmRSS; and without the pages of the program's file, which come and go.
    let rollup = fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).ok_or("no Anonymous")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok((kibibytes * 1024, fs::read_dir("/proc/self/task")?.count()))
}
