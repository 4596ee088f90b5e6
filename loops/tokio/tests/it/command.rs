//! The built-in tasks for child processes on tokio: callbacks, streams, the stop.
#![cfg(target_os = "linux")]

use std::{os::unix::process::ExitStatusExt, time::Duration};

use interloop::{
    Service, task_fn,
    tasks::{
        command::{Command, Commands, Process},
        command::{CommandError, CommandHandle},
    },
};
use interloop_loop_tests::{down, up, watchdog};
use interloop_tokio::Tokio;

#[test]
fn commands_run_on_tokio_and_are_awaited_there() {
    let _watchdog = watchdog();
    let mut service = Service::new("command");
    let commands = Commands::new();
    let runs = commands.handle();
    service.task_on::<Tokio>("commands", commands);
    let asks = runs.clone();
    let user = task_fn::<Tokio>(async move |cx| {
        let (says, mut said) = tokio::sync::mpsc::unbounded_channel();
        let run = Command::new("sh").args(["-c", "cat; echo end >&2"]).stdin_piped();
        let mut child = asks.run(run.on_stdout_line(move |line| {
            // This runs on tokio, and may use what needs it.
            tokio::runtime::Handle::current();
            drop(says.send(line.to_owned()));
        }));
        let (mut stdin, mut stderr) = (child.take_stdin().unwrap(), child.take_stderr().unwrap());
        for line in ["one", "two"] {
            stdin.write(format!("{line}\n").as_bytes()).await?;
            assert_eq!(said.recv().await.as_deref(), Some(line));
        }
        drop(stdin);
        assert_eq!(stderr.line().await.as_deref(), Some("end"));
        assert!(child.status().await?.success());
        let slow = asks.run(Command::new("sleep").arg("1000").kill_on_drop());
        assert!(tokio::time::timeout(Duration::from_millis(1), slow.output()).await.is_err());
        assert!(matches!(asks.run("no-such-program").output().await, Err(CommandError::NotStarted { .. })));
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("user", user).uses(&runs);
    service.task_on::<Tokio>("sleeper", Process::new(Command::new("sleep").arg("1000")));
    let running = up(service);
    let handle: CommandHandle = running.task_handle("commands").unwrap();
    let child = handle.run(Command::new("sleep").arg("1000"));
    let waits = tokio::runtime::Builder::new_current_thread().build().unwrap();
    waits.block_on(child.started()).unwrap();
    down(running);
    assert_eq!(waits.block_on(child.status()).unwrap().signal(), Some(15));
}
