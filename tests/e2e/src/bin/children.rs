//! A service with child processes, as `CHILDREN` says, of the shell script in `SCRIPT`: for the tests of their fate.

use std::{process::ExitCode, sync::mpsc, thread, time::Duration};

use interloop::{
    Context, Error, Result, Service, Thread, task_fn,
    tasks::{
        FirstRun, Periodic,
        command::{Command, Commands, Process},
        command::{CommandError, CommandHandle},
    },
};

/// How many children the threads of its own have.
const OWN: usize = 200;

fn main() -> ExitCode {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    if let Some(number) = std::env::var_os("REAPER").filter(|reaper| !reaper.is_empty()) {
        eprintln!("reaper: {number:?}");
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("Linux can do it");
    }
    let script = variable("SCRIPT");
    let run = move || Command::new("sh").args(["-c", &*script]);
    let mut service = Service::new("children");
    let commands = Commands::new();
    let runs = commands.handle();
    let kind = variable("CHILDREN");
    match &*kind {
        // The script is the task.
        "task" => drop(service.task_on::<Thread>("one", Process::new(run()))),
        // The same, and the script gets the terminal; the service goes on without it.
        "foreground" => {
            service.task_on::<Thread>("one", Process::new(run().foreground()));
            service.task("idle", task_fn::<Thread>(async |cx| idle(cx).await));
        }
        // One that has the terminal, and one that wants it.
        "two-foreground" => {
            service.task_on::<Thread>("one", Process::new(run().foreground()));
            service.task_on::<Thread>("commands", commands);
            let second = task_fn::<Thread>(async move |cx| second(cx, runs.clone(), run()).await);
            service.task("second", second).requires("one");
        }
        // The service runs and only reports its environment.
        "none" => drop(service.task("idle", task_fn::<Thread>(async |cx| idle(cx).await))),
        "no-init" => {
            service.set("init", "no");
            service.task("idle", task_fn::<Thread>(async |cx| idle(cx).await));
        }
        // Another thread exists before the service.
        "threads" => {
            let (begins, begun) = mpsc::channel();
            thread::spawn(move || {
                let _ = begins.send(());
                loop {
                    thread::park();
                }
            });
            let _ = begun.recv();
            service.task("idle", task_fn::<Thread>(async |cx| idle(cx).await));
        }
        // The script each 100 ms, beside the program's own children; after 20 runs it reports how often it ran.
        "often" => {
            service.task_on::<Thread>("commands", commands);
            let asks = runs.clone();
            let mut times = 0;
            let job = move || {
                let child = asks.run(run());
                times += 1;
                let number = times;
                async move {
                    let status = child.status().await?;
                    log::info!("ran {number} times: {status}");
                    Ok::<_, CommandError>(())
                }
            };
            let often = Periodic::new_async(Duration::from_millis(100), job).first_run(FirstRun::AtOnce);
            service.task_on::<Thread>("often", often).uses(&runs);
            service.task("own", task_fn::<Thread>(async |cx| own_children(cx).await));
        }
        // The exit status of the script, as seen by commands and by a child of the program's own.
        "status" => {
            service.task_on::<Thread>("commands", commands);
            let task = task_fn::<Thread>(async move |_| status(runs.clone(), run()).await);
            service.task("status", task);
        }
        kind => {
            eprintln!("there is no kind {kind:?}");
            return ExitCode::FAILURE;
        }
    }
    service.run()
}

async fn idle(cx: Context<Thread>) -> Result {
    for name in ["LISTEN_PID", "LISTEN_FDS", "NOTIFY_SOCKET", "WATCHDOG_PID", "INTERLOOP_PIDS_ARE_OF_INIT"] {
        if let Ok(value) = std::env::var(name) {
            log::info!(target: cx.target(), "{name}={value}");
        }
    }
    let arguments = std::env::args().collect::<Vec<_>>().join(" ");
    let foreground = rustix::termios::tcgetpgrp(std::io::stdin()).map(rustix::process::Pid::as_raw_pid);
    log::info!(target: cx.target(), "arguments: {arguments}");
    log::info!(target: cx.target(), "pid {}, foreground {foreground:?}", std::process::id());
    let third = std::fs::read_link("/proc/self/fd/3");
    log::info!(target: cx.target(), "third: {third:?}");
    cx.until_shutdown().await;
    Ok(())
}

async fn second(cx: Context<Thread>, runs: CommandHandle, run: Command) -> Result {
    if let Err(error) = runs.run(run.foreground()).status().await {
        log::info!(target: cx.target(), "{error}");
    }
    cx.until_shutdown().await;
    Ok(())
}

async fn status(runs: CommandHandle, run: Command) -> Result {
    let ended = runs.run(run).output().await?;
    log::info!("by commands: {}", ended.status);
    let own = std::process::Command::new("sh").args(["-c", "exit 5"]).status()?;
    log::info!("by itself: {own}");
    Ok(())
}

/// Starts the program's own children, from three threads, each of which exits with a number of its own; the first is
/// waited for last.
async fn own_children(cx: Context<Thread>) -> Result {
    let (says, said) = mpsc::channel();
    let wait = |child: &mut std::process::Child, code: usize| {
        let status = child.wait();
        match status.as_ref().map(std::process::ExitStatus::code) {
            Ok(Some(is)) if is == (code % 256) as i32 => Ok(()),
            _ => Err(format!("child {code} ended with {status:?}")),
        }
    };
    let start = |code: usize| {
        let script = format!("exit {}", code % 256);
        std::process::Command::new("sh").args(["-c", &script]).spawn().map_err(|error| error.to_string())
    };
    for thread in 0..3 {
        let says = says.clone();
        thread::spawn(move || {
            let all = || {
                let mut first = start(thread)?;
                for code in (thread + 3..OWN).step_by(3) {
                    wait(&mut start(code)?, code)?;
                }
                // It ended long ago.
                wait(&mut first, thread)
            };
            let _ = says.send(all());
        });
    }
    for _ in 0..3 {
        said.recv().map_err(|_| Error::new("a thread has died"))?.map_err(Error::new)?;
    }
    log::info!(target: cx.target(), "all {OWN} have their own status");
    cx.until_shutdown().await;
    Ok(())
}
