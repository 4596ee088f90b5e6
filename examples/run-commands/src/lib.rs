//! Runs the given commands, all at once, and logs their output. It ends when all have ended, with 1 if one has failed.
//!
//! ```sh
//! run-commands --runner-run 'ping -c 3 localhost' --runner-run 'ls /nowhere' --commands-kill-timeout 2s
//! ```
//!
//! `--commands-max-running 2` runs two at a time. On ^C they get TERM, and KILL after the kill timeout. However the
//! service ends, even by `kill -9`, nothing of them is left: try `--runner-run 'sleep 1000 & sleep 1000'`.

use interloop::{
    Context, Error, EventLoop, Result, Service, Task, Thread, clap,
    tasks::command::{Command, CommandHandle, Commands},
};

/// Runs all commands, and counts.
struct Runner {
    commands: CommandHandle,
}

#[derive(clap::Args)]
struct RunnerOptions {
    /// A command for the shell; may be given several times
    #[arg(long, value_name = "COMMAND")]
    run: Vec<String>,
}

impl<L: EventLoop> Task<L> for Runner {
    type Options = RunnerOptions;

    async fn run(&mut self, cx: Context<L, RunnerOptions>) -> Result {
        cx.ready();
        let (lines, failed) = (cx.counter("lines"), cx.counter("failed"));
        let start = |command: &String| {
            let hear = |stream: &'static str| {
                let (target, lines) = (cx.target().to_owned(), lines.clone());
                move |line: &str| {
                    lines.add(1);
                    log::info!(target: &target, "{stream}: {line}");
                }
            };
            let run = Command::new("sh").args(["-c", command]);
            self.commands.run(run.on_stdout_line(hear("out")).on_stderr_line(hear("err")))
        };
        let children: Vec<_> = cx.options().run.iter().map(|command| (command, start(command))).collect();
        for (command, child) in children {
            // At a stop, the task that runs them is asked next, and makes sure that all end.
            let Some(status) = cx.run_until_shutdown(child.status()).await else { return Ok(()) };
            let status = status?;
            log::info!(target: cx.target(), "{command:?} has ended: {status}");
            if !status.success() {
                failed.add(1);
            }
        }
        match failed.get() {
            0 => Ok(()),
            count => Err(Error::new(format!("{count} failed"))),
        }
    }
}

/// Returns the service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("run-commands");
    let commands = Commands::new();
    let handle = commands.handle();
    // It doesn't keep the service alive, and serves the tasks that do to the end.
    service.task_on::<Thread>("commands", commands).last();
    service.task_on::<Thread>("runner", Runner { commands: handle.clone() }).uses(&handle);
    service
}
