//! The built-in tasks for child processes on glib, asked from tokio: callbacks run on the loop's thread, which watches
//! no descriptor for them.
#![cfg(target_os = "linux")]

use interloop_own_process::own_process;
use std::sync::mpsc;

use interloop::{
    Service, task_fn,
    tasks::command::{Command, Commands, Process},
};
use interloop_glib::Glib;
use interloop_loop_tests::{LONG, down, up, watchdog};
use interloop_tokio::Tokio;

#[test]
fn commands_run_on_glib_and_are_awaited_on_tokio() {
    own_process(|| {
        let _watchdog = watchdog();
        let mut service = Service::new("command");
        let commands = Commands::new();
        let runs = commands.handle();
        service.task_on::<Glib>("commands", commands);
        let asks = runs.clone();
        let user = task_fn::<Tokio>(async move |cx| {
            let sorted = asks.run(Command::new("sort").stdin("b\na\n")).output().await?;
            assert_eq!(sorted.stdout, b"a\nb\n");
            let (says, said) = mpsc::channel();
            let run = Command::new("sh").args(["-c", "echo one; echo two"]).on_stdout_line(move |line| {
                assert!(glib::MainContext::default().is_owner());
                drop(says.send(line.to_owned()));
            });
            assert!(asks.run(run).status().await?.success());
            assert_eq!(said.try_iter().collect::<Vec<_>>(), ["one", "two"]);
            cx.until_shutdown().await;
            Ok(())
        });
        service.task("user", user).uses(&runs);
        let (says, said) = mpsc::channel();
        let polite =
            Command::new("sh").args(["-c", "trap 'echo bye; exit' TERM; sh -c 'echo up; exec sleep 1000' & wait"]);
        let polite = polite.on_stdout_line(move |line| drop(says.send(line.to_owned())));
        service.task_on::<Glib>("polite", Process::new(polite));
        let running = up(service);
        assert_eq!(said.recv_timeout(LONG).unwrap(), "up");
        down(running);
        assert_eq!(said.try_iter().collect::<Vec<_>>(), ["bye"]);
    });
}
