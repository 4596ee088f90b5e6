//! Child processes: how many run in a second, and how soon many are stopped.

use std::process::{self, Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use interloop::tasks::command::{Command, CommandHandle, Commands};
use interloop::{Running, Service, Thread};
use rustix::process::{Pid, Signal, kill_process};

use crate::suite::{Failure, Sample, Suite};

const SOON: Duration = Duration::from_secs(20);
/// How many run at once.
const AT_ONCE: u32 = 8;

pub(super) fn register(suite: &mut Suite) {
    suite
        .compare(
            "commands",
            200,
            "A child process, from its start until its output is there: each has a guard beside it.",
        )
        .add_fallible("std::process, one by one", |n| bare_runs(n, 1))
        .add_fallible("std::process, eight at once", |n| bare_runs(n, AT_ONCE))
        .add_fallible("interloop: one by one", |n| our_runs(n, 1))
        .add_fallible("interloop: eight at once", |n| our_runs(n, AT_ONCE));
    suite
        .compare("stop-commands", 100, "A child process less, when all are stopped: TERM, and waiting for each.")
        .add_fallible("std::process", bare_stop)
        .add_fallible("interloop", our_stop);
}

fn bare_runs(n: u32, at_once: u32) -> Result<Sample, Failure> {
    let began = Instant::now();
    for _ in 0..n / at_once {
        let start = |_| {
            process::Command::new("true").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        };
        for child in (0..at_once).map(start).collect::<Result<Vec<_>, _>>()? {
            child.wait_with_output()?;
        }
    }
    Ok(Sample::of(n / at_once * at_once, began.elapsed()))
}

fn our_runs(n: u32, at_once: u32) -> Result<Sample, Failure> {
    let (running, commands) = up()?;
    let began = Instant::now();
    for _ in 0..n / at_once {
        for child in (0..at_once).map(|_| commands.run("true")).collect::<Vec<_>>() {
            child.output_timeout(SOON)?;
        }
    }
    let sample = Sample::of(n / at_once * at_once, began.elapsed());
    running.stop();
    Ok(sample)
}

fn bare_stop(n: u32) -> Result<Sample, Failure> {
    let mut children: Vec<Child> =
        (0..n).map(|_| process::Command::new("sleep").arg("1000").spawn()).collect::<Result<_, _>>()?;
    let began = Instant::now();
    for child in &children {
        kill_process(Pid::from_child(child), Signal::TERM)?;
    }
    for child in &mut children {
        child.wait()?;
    }
    Ok(Sample::of(n, began.elapsed()))
}

fn our_stop(n: u32) -> Result<Sample, Failure> {
    let (running, commands) = up()?;
    let (says, said) = mpsc::channel();
    for _ in 0..n {
        let says = says.clone();
        // A child that writes something runs.
        let run = Command::new("sh").args(["-c", "echo; exec sleep 1000"]).on_stdout_line(move |_| _ = says.send(()));
        drop(commands.run(run));
    }
    (0..n).try_for_each(|_| said.recv_timeout(SOON))?;
    let began = Instant::now();
    running.stop();
    Ok(Sample::of(n, began.elapsed()))
}

fn up() -> Result<(Running, CommandHandle), Failure> {
    let mut service = Service::new("commands");
    let commands = Commands::new();
    let handle = commands.handle();
    service.task_on::<Thread>("commands", commands);
    let running = service.start()?;
    if running.wait_started_timeout(SOON) { Ok((running, handle)) } else { Err("it has not started".into()) }
}
