//! A service for the tests of service managers: `KIND` says what it does.

use std::{process::ExitCode, thread, time::Duration};

use interloop::{
    Context, Error, Result, Service, Thread, clap,
    net::Net,
    service::PhaseChange,
    task_fn,
    tasks::command::{Command, Commands, Process},
};
use interloop_tokio::Tokio;

#[derive(clap::Args)]
struct Own {
    /// Something that a file can have
    #[arg(long, default_value_t = 0)]
    number: u32,
}

fn main() -> ExitCode {
    let kind = std::env::var("KIND").unwrap_or_default();
    let mut service = Service::new("supervised");
    service.options::<Own>();
    let mut follower = None;
    match &*kind {
        // Ready at once, and idle.
        "idle" => drop(service.task("idle", task_fn::<Tokio>(idle))),
        // Ready after a while.
        "slow" => {
            service.task(
                "db",
                task_fn::<Tokio>(async |cx| {
                    cx.sleep(Duration::from_secs(2)).await;
                    idle(cx).await
                }),
            );
        }
        // Its start may take longer than a manager expects.
        "slower" => {
            let db = task_fn::<Tokio>(async |cx| {
                cx.sleep(Duration::from_secs(5)).await;
                idle(cx).await
            });
            service.task("db", db).start_timeout(Duration::from_secs(60));
        }
        // Its start fails.
        "fails" => {
            service.task("db", task_fn::<Tokio>(async |_| Err(Error::new("there is no database"))));
        }
        // All of it is done at once.
        "once" => drop(service.task("once", task_fn::<Tokio>(async |_| Ok(())))),
        // A task on a thread of its own rightly blocks; health checks are beside it.
        "blocks" => {
            interloop_http::health(&mut service);
            service.task(
                "worker",
                task_fn::<Thread>(async |cx| {
                    cx.ready();
                    while !cx.shutdown().wait_timeout(Duration::from_millis(10)) {
                        thread::sleep(Duration::from_secs(20));
                    }
                    Ok(())
                }),
            );
            service.task("idle", task_fn::<Tokio>(idle));
        }
        // A task blocks a loop that isn't its own.
        "stuck" => {
            service.task(
                "stuck",
                task_fn::<Tokio>(async |cx| {
                    cx.ready();
                    cx.sleep(Duration::from_millis(500)).await;
                    the_culprit();
                    Ok(())
                }),
            );
        }
        // A child process is a task.
        "child" => {
            service.task_on::<Tokio>("child", Process::new(Command::new("sleep").arg("1000")));
            service.task("idle", task_fn::<Tokio>(idle));
        }
        // What a child process inherits.
        "env" => {
            let commands = Commands::new();
            let runs = commands.handle();
            service.task_on::<Tokio>("commands", commands);
            let env = task_fn::<Tokio>(async move |cx| {
                let bare = runs.run(Command::new("env")).output().await?;
                let by_hand = runs.run(Command::new("env").env("NOTIFY_SOCKET", "/by-hand")).output().await?;
                let open = runs.run(Command::new("ls").args(["-l", "/proc/self/fd"])).output().await?;
                for (what, output) in [("bare", bare), ("by hand", by_hand), ("open", open)] {
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    text.lines().for_each(|line| log::info!("{what}: {line}"));
                    log::info!("{what} is over");
                }
                idle(cx).await
            });
            service.task("env", env);
        }
        // Another follower of the phases.
        "follower" => {
            service.task("idle", task_fn::<Tokio>(idle));
            let mut changes = service.handle().watch_phases();
            follower = Some(thread::spawn(move || {
                while let Some(change) = changes.wait() {
                    match change {
                        PhaseChange::Deadline(_) => eprintln!("follower: deadline"),
                        change => eprintln!("follower: {change:?}"),
                    }
                }
                eprintln!("follower: end");
            }));
        }
        kind => {
            eprintln!("there is no kind {kind:?}");
            return ExitCode::FAILURE;
        }
    }
    let code = service.run();
    follower.into_iter().for_each(|follower| follower.join().expect("it doesn't panic"));
    code
}

async fn idle<L: Net>(cx: Context<L>) -> Result {
    cx.until_shutdown().await;
    Ok(())
}

#[inline(never)]
fn the_culprit() {
    thread::sleep(Duration::from_secs(60));
}
