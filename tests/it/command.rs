//! The built-in tasks for child processes: their input, their output, their ends; and that nothing of them is left.
#![cfg(all(feature = "command", target_os = "linux"))]

use std::{
    fs,
    future::{Future, poll_fn},
    io,
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt, process::ExitStatusExt},
    },
    pin::{Pin, pin},
    sync::mpsc,
    task::{Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use crate::util::{Latch, SOON, alone, block_on, cause_of, descriptors, reach, state_of, threads, up, watched};
use futures_util::{
    AsyncReadExt, AsyncWriteExt,
    io::{AllowStdIo, Cursor},
};
use interloop::{
    Cause, Context, RestartPolicy, Result, Running, Service, ServiceHandle, State, Task, Thread,
    counters::Reading,
    task_fn,
    tasks::command::{Child, Command, CommandError, CommandHandle, Commands, CommandsOptions, Output, Process},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, getpgrp, pidfd_open},
};

const SIGKILL: rustix::process::Signal = rustix::process::Signal::KILL;
/// Longer than any test waits.
const NEVER: Duration = Duration::from_secs(1000);

/// A service that runs commands, and nothing else.
fn commands(commands: Commands) -> (Running, CommandHandle) {
    let mut service = Service::new("test");
    let handle = commands.handle();
    service.task_on::<Thread>("commands", commands);
    (up(service), handle)
}

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

fn output(child: Child) -> Output {
    child.output_timeout(SOON).unwrap()
}

fn counter(running: &ServiceHandle, name: &str) -> u64 {
    let status = running.status();
    let task = status.tasks.iter().find(|task| &*task.name == "commands").unwrap();
    task.counters.iter().find(|(known, _)| **known == *name).map_or(0, |(_, count)| *count)
}

fn counted(running: &ServiceHandle, name: &str, count: u64) {
    let begun = Instant::now();
    while counter(running, name) != count {
        assert!(begun.elapsed() < SOON, "{name} is {}, not {count}", counter(running, name));
        thread::yield_now();
    }
}

/// Returns the children of this process, dead or alive. (Each test is a process of its own, or runs alone.)
fn children() -> Vec<String> {
    let stats = fs::read_dir("/proc").unwrap();
    let stats = stats.filter_map(|process| fs::read_to_string(process.unwrap().path().join("stat")).ok());
    let parent = |stat: &String| stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).map(str::to_owned);
    stats.filter(|stat| parent(stat) == Some(std::process::id().to_string())).collect()
}

#[track_caller]
fn no_child_is_left() {
    assert_eq!(children(), Vec::<String>::new());
}

/// Returns a callback, and the lines that it gets.
fn lines() -> (impl FnMut(&str) + Send + 'static, mpsc::Receiver<String>) {
    let (says, said) = mpsc::channel();
    (move |line: &str| drop(says.send(line.to_owned())), said)
}

/// Polls it once.
fn is_pending<F: Future>(future: Pin<&mut F>) -> bool {
    future.poll(&mut std::task::Context::from_waker(Waker::noop())).is_pending()
}

fn next(said: &mpsc::Receiver<String>) -> String {
    said.recv_timeout(SOON).unwrap()
}

/// A process that can be waited for, whoever's child it is.
struct Held(OwnedFd);

impl Held {
    /// Returns this one, which is alive.
    fn of(pid: &str) -> Self {
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        Self(pidfd_open(pid, PidfdFlags::empty()).unwrap())
    }

    fn has_ended(&self, within: Duration) -> bool {
        let timeout = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: within.subsec_nanos().into() };
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    }

    #[track_caller]
    fn ends(&self) {
        assert!(self.has_ended(SOON), "a process is left");
    }
}

// --- Results ---

#[test]
fn a_command_brings_its_status_and_what_it_wrote() {
    alone(|| {
        let (running, runs) = commands(Commands::new());
        let done = output(runs.run(sh("printf out; printf err >&2; exit 3")));
        assert_eq!(done.status.code(), Some(3));
        assert_eq!((&*done.stdout, &*done.stderr), (&b"out"[..], &b"err"[..]));
        no_child_is_left();
        assert_eq!((counter(&running, "started"), counter(&running, "finished")), (1, 1));
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_command_has_arguments_an_environment_and_a_directory() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        let folder = std::env::temp_dir().canonicalize().unwrap();
        let run = sh("echo $1 $ONE $TWO $HOME; pwd").args(["sh", "argument"]);
        let run = run.env("ONE", "1").env("TWO", "2").env_remove("TWO").env_remove("HOME").current_dir(&folder);
        let said = format!("argument 1\n{}\n", folder.display());
        assert_eq!(String::from_utf8(output(runs.run(run)).stdout).unwrap(), said);
        let bare = output(runs.run(Command::new("/usr/bin/env").env_clear().env("A", "b")));
        assert_eq!(bare.stdout, b"A=b\n");
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn what_can_not_be_started_is_named() {
    alone(|| {
        let (running, runs) = commands(Commands::new());
        let said = |run: Command| runs.run(run).output_timeout(SOON).unwrap_err().to_string();
        assert_eq!(said("no-such-program".into()), "can't run no-such-program: there is no such program");
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        fs::write(&script, "#!/no/such/shell\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let missing = format!("can't run {}: the program that is to interpret it is missing", script.display());
        assert_eq!(said(Command::new(&script)), missing);
        let homeless = sh("true").current_dir("/no/such/directory");
        assert_eq!(said(homeless), "can't run sh: there is no directory /no/such/directory");
        assert_eq!(said("/etc/passwd".into()), "can't run /etc/passwd: Permission denied (os error 13)");
        let child = runs.run("no-such-program");
        assert!(matches!(block_on(child.started()), Err(CommandError::NotStarted { .. })));
        assert!(matches!(block_on(child.status()), Err(CommandError::NotStarted { .. })));
        assert_eq!((counter(&running, "spawn_failures"), counter(&running, "started")), (5, 0));
        no_child_is_left();
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn what_no_system_takes_is_one_error_that_says_where() {
    alone(|| {
        let (running, runs) = commands(Commands::new());
        let said = |run: Command| runs.run(run).output_timeout(SOON).unwrap_err().to_string();
        let nul = "there is a NUL in";
        assert_eq!(said(Command::new("cat").args(["-", "a\0b", "c\0"])), format!("can't run cat: {nul} argument 2"));
        assert_eq!(said(Command::new("cat").env("KEY", "a\0b")), format!("can't run cat: {nul} variable KEY"));
        assert_eq!(said(Command::new("cat").env("K\0", "b")), format!("can't run cat: {nul} variable K\\0"));
        assert_eq!(said(Command::new("cat").current_dir("/\0")), format!("can't run cat: {nul} its directory"));
        assert!(said(Command::new("c\0t")).ends_with(&format!("{nul} its name")));
        for name in ["", "A=B"] {
            let why = format!("can't run cat: variable {name} can't have this name");
            assert_eq!(said(Command::new("cat").env(name, "c")), why);
        }
        let much = said(Command::new("cat").env("MUCH", "x".repeat(4 << 20)));
        assert_eq!(much, "can't run cat: Argument list too long (os error 7)");
        assert_eq!((counter(&running, "spawn_failures"), counter(&running, "started")), (8, 0));
        no_child_is_left();
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn words_reach_the_child_as_they_are() {
    alone(|| {
        let (running, runs) = commands(Commands::new());
        let words = ["-e", "--", "a\nb", "'\"\\$(id)`id`; kill 0 &", "", " ", "\u{1b}[0m", "*"];
        let said = output(runs.run(Command::new("printf").arg("%s\\0").args(words)));
        assert_eq!(said.stdout, (words.join("\0") + "\0").into_bytes());
        let large = "x".repeat(100_000);
        let said = output(runs.run(sh("echo ${#MUCH}").env("MUCH", &large)));
        assert_eq!(said.stdout, b"100000\n");
        no_child_is_left();
        assert_eq!(running.stop().code, 0);
    });
}

// --- How many at once ---

fn waiting(running: &ServiceHandle) -> f64 {
    match running.counters().get("commands.waiting") {
        Some(Reading::Gauge(waiting)) => waiting,
        other => panic!("{other:?}"),
    }
}

/// Runs until its input ends.
fn reader() -> Command {
    Command::new("cat").stdin_piped()
}

#[test]
fn those_that_are_too_many_wait_and_are_started_in_their_order() {
    alone(|| {
        let (running, runs) = commands(Commands::new().max_running(2));
        let mut children: Vec<Child> = (0..6).map(|_| runs.run(reader())).collect();
        for child in &children[..2] {
            block_on(child.started()).unwrap();
        }
        assert_eq!(waiting(&running), 4.0);
        // A waiting one is told, and another one is next.
        let killed = children.remove(2);
        killed.kill();
        assert_eq!(block_on(killed.status()), Err(CommandError::Stopped));
        for ended in 0..4 {
            assert_eq!(counter(&running, "started"), (ended + 2).min(5));
            let first = children.remove(0);
            if let Some(next) = children.get(1) {
                assert_eq!((next.id(), waiting(&running)), (None, children.len() as f64 - 1.0));
                drop(first.output_timeout(SOON).unwrap());
                block_on(next.started()).unwrap();
            } else {
                drop(first.output_timeout(SOON).unwrap());
            }
        }
        children.pop().unwrap().output_timeout(SOON).unwrap();
        assert_eq!((waiting(&running), counter(&running, "finished")), (0.0, 5));
        no_child_is_left();
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn what_can_not_be_started_makes_room_for_the_next() {
    watched(|| {
        let mut service = Service::new("test");
        let commands = Commands::new().max_running(7);
        let runs = commands.handle();
        service.task_on::<Thread>("commands", commands).set("max-running", "1");
        // All requested before the start, and nobody sends the task anything from then on.
        let refused: Vec<Child> = (0..3).map(|_| runs.run(Command::new("cat").arg("\0"))).collect();
        let (missing, echo) = (runs.run("no-such-program"), runs.run(sh("echo up")));
        let running = up(service);
        assert_eq!(output(echo).stdout, b"up\n");
        for child in refused.into_iter().chain([missing]) {
            assert!(matches!(child.output_timeout(SOON), Err(CommandError::NotStarted { .. })));
        }
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn what_waits_for_room_at_the_stop_is_told() {
    alone(|| {
        let (running, runs) = commands(Commands::new().max_running(1));
        let (runs_on, waits) = (runs.run(Command::new("sleep").arg("1000")), runs.run("true"));
        block_on(runs_on.started()).unwrap();
        assert_eq!(running.stop().code, 0);
        assert_eq!(block_on(waits.status()), Err(CommandError::Stopped));
        assert_eq!(block_on(runs_on.status()).unwrap().signal(), Some(15));
        no_child_is_left();
    });
}

#[test]
fn a_child_leads_no_group_of_ours_and_is_watched_by_its_number() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        let mut child = runs.run(Command::new("cat").stdin_piped());
        let pid = block_on(child.started()).unwrap();
        assert_eq!(child.id(), Some(pid));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let group = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(2).unwrap();
        assert_ne!(group, getpgrp().as_raw_pid().to_string());
        drop(child.take_stdin());
        assert!(block_on(child.status()).unwrap().success());
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn another_task_on_a_loop_awaits_commands() {
    watched(|| {
        let mut service = Service::new("test");
        let commands = Commands::new();
        let runs = commands.handle();
        service.task_on::<Thread>("commands", commands);
        let asks = runs.clone();
        let asker = task_fn::<Thread>(async move |_| {
            let (one, two) = (asks.run(sh("echo one")), asks.run(sh("echo two")));
            assert_eq!((&*two.output().await?.stdout, &*one.output().await?.stdout), (&b"two\n"[..], &b"one\n"[..]));
            Ok(())
        });
        service.task("asker", asker).uses(&runs);
        let running = up(service);
        let by_name = running.task_handle::<CommandHandle>("commands").unwrap();
        assert!(block_on(by_name.run("true").status()).unwrap().success());
        let report = running.stop();
        assert_eq!((report.code, state_of(&report, "asker")), (0, State::Stopped));
    });
}

#[test]
fn many_at_once_need_one_thread_and_leave_nothing() {
    alone(|| {
        let before = (threads(), descriptors());
        let (running, runs) = commands(Commands::new());
        let idle = (threads(), descriptors());
        let children = (0..30).map(|number| runs.run(sh(&format!("cat; echo {number}")).stdin_piped()));
        let mut children: Vec<_> = children.collect();
        for child in &children {
            block_on(child.started()).unwrap();
        }
        assert_eq!(threads(), idle.0);
        for child in &mut children {
            drop(child.take_stdin());
        }
        for (number, child) in children.into_iter().enumerate() {
            assert_eq!(output(child).stdout, format!("{number}\n").into_bytes());
        }
        assert_eq!(descriptors(), idle.1);
        no_child_is_left();
        assert_eq!(running.stop().code, 0);
        assert_eq!((threads(), descriptors()), before);
    });
}

// --- Input ---

const MUCH: usize = 1_000_000;

fn much() -> Vec<u8> {
    (0..MUCH).map(|number| (number % 251) as u8).collect()
}

#[test]
fn a_child_reads_the_bytes_that_it_was_given() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        assert!(output(runs.run(Command::new("cat").stdin(much()))).stdout == much());
        assert!(output(runs.run(Command::new("cat"))).stdout.is_empty(), "nothing by default");
        assert!(output(runs.run(Command::new("true").stdin(much()))).status.success(), "it need not read them");
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_child_reads_from_a_stream() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        assert!(output(runs.run(Command::new("cat").stdin_from(Cursor::new(much())))).stdout == much());
        let endless = AllowStdIo::new(io::repeat(b'x'));
        assert_eq!(output(runs.run(Command::new("head").args(["-c", "3"]).stdin_from(endless))).stdout, b"xxx");
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_child_is_talked_to() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        let mut child = runs.run(Command::new("cat").stdin_piped());
        let (mut stdin, mut stdout) = (child.take_stdin().unwrap(), child.take_stdout().unwrap());
        block_on(async {
            for line in ["one", "two"] {
                stdin.write(format!("{line}\n").as_bytes()).await.unwrap();
                assert_eq!(stdout.line().await.unwrap(), line);
            }
            // Like std's traits, but waiting.
            stdin.write_all(b"three").await.unwrap();
            AsyncWriteExt::close(&mut stdin).await.unwrap();
            let mut rest = String::new();
            stdout.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "three");
            assert!(child.status().await.unwrap().success());
            let broken = stdin.write_all(b"four").await.unwrap_err();
            assert_eq!(broken.kind(), io::ErrorKind::BrokenPipe);
        });
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn who_writes_to_a_child_that_has_ended_is_told() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        let mut child = runs.run(Command::new("true").stdin_piped());
        let mut stdin = child.take_stdin().unwrap();
        let error = block_on(async {
            loop {
                if let Err(error) = stdin.write(&[0; 4096]).await {
                    return error;
                }
            }
        });
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(running.stop().code, 0);
    });
}

// --- Outputs ---

#[test]
fn callbacks_hear_lines_before_the_status_is_known() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        let ((out, outs), (err, errs)) = (lines(), lines());
        let run = sh("echo one; echo two >&2; printf 'three\n\nfo\\377ur'").on_stdout_line(out).on_stderr_line(err);
        let done = output(runs.run(run));
        assert!(done.stdout.is_empty() && done.stderr.is_empty(), "they have heard it");
        assert_eq!(outs.try_iter().collect::<Vec<_>>(), ["one", "three", "", "fo\u{fffd}ur"]);
        assert_eq!(errs.try_iter().collect::<Vec<_>>(), ["two"]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_status_waits_for_callbacks_that_have_not_heard_everything() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        let (go, goes) = mpsc::channel();
        // A thread of its own may block.
        let run = sh("echo one").on_stdout_line(move |_| goes.recv_timeout(SOON).unwrap());
        let mut status = Box::pin(runs.run(run).status());
        counted(&running, "finished", 1);
        assert!(is_pending(status.as_mut()));
        go.send(()).unwrap();
        assert!(block_on(status).unwrap().success());
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn callbacks_hear_bytes_as_they_come() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        let (says, said) = mpsc::channel();
        let run = Command::new("cat").stdin_piped().on_stdout(move |bytes| drop(says.send(bytes.to_owned())));
        let mut child = runs.run(run);
        let mut stdin = child.take_stdin().unwrap();
        for part in [&b"o"[..], b"ne\ntwo", b"\xff"] {
            block_on(stdin.write(part)).unwrap();
            assert_eq!(said.recv_timeout(SOON).unwrap(), part);
        }
        drop(stdin);
        assert!(child.take_stdout().is_none());
        assert!(block_on(child.status()).unwrap().success());
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_long_line_comes_in_parts() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        let (out, outs) = lines();
        let line = "x".repeat(200_000);
        let run = Command::new("cat").stdin(format!("{line}\nshort")).on_stdout_line(out);
        assert!(block_on(runs.run(run).status()).unwrap().success());
        let mut parts: Vec<String> = outs.try_iter().collect();
        assert_eq!(parts.pop().unwrap(), "short");
        assert!(parts.len() >= 4 && parts.iter().all(|part| part.len() <= 64 * 1024));
        assert_eq!(parts.concat(), line);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_callback_that_panics_fails_the_task() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        let child = runs.run(sh("echo one; exec sleep 1000").on_stdout_line(|line| panic!("no {line}")));
        let report = running.join();
        assert_eq!((report.code, state_of(&report, "commands")), (1, State::Failed));
        // By KILL, since nobody is left to wait for it, or by TERM.
        assert!(block_on(child.status()).is_ok_and(|status| status.signal().is_some()));
    });
}

#[test]
fn a_child_waits_for_whoever_reads_it() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        let mut child = runs.run(Command::new("head").args(["-c", &MUCH.to_string(), "/dev/zero"]));
        let pid = block_on(child.started()).unwrap();
        // Until it sleeps, which it does only if it can't write, or has ended.
        let is_busy = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('R'))
        };
        while is_busy() {
            thread::yield_now();
        }
        let mut stdout = child.take_stdout().unwrap();
        let mut total = 0;
        while let Some(chunk) = block_on(stdout.chunk()) {
            // The pipe's content at the end is added.
            assert!(chunk.len() <= 2 * 64 * 1024, "{} bytes were held", chunk.len());
            total += chunk.len();
        }
        assert_eq!(total, MUCH);
        assert!(block_on(child.status()).unwrap().success());
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn what_nobody_wants_is_dropped() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        assert!(block_on(runs.run(sh("head -c 1000000 /dev/zero; echo end >&2")).status()).unwrap().success());
        let mut child = runs.run(sh("head -c 1000000 /dev/zero; echo end >&2"));
        let mut stderr = child.take_stderr().unwrap();
        drop(child);
        assert_eq!(block_on(stderr.line()).unwrap(), "end");
        assert_eq!(block_on(stderr.line()), None);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn children_that_never_end_to_speak_leave_others_their_turn() {
    watched(|| {
        let (running, runs) = commands(Commands::new().kill_timeout(NEVER));
        let (first, heard) = mpsc::channel();
        // One has a callback on the loop, another has none, a third gets input.
        let loud = runs.run(Command::new("yes").on_stdout_line(move |_| _ = first.send(())));
        heard.recv_timeout(SOON).unwrap();
        let unheard = runs.run("yes");
        block_on(unheard.started()).unwrap();
        drop(unheard);
        let fed = runs.run(sh("exec cat >/dev/null").stdin_from(AllowStdIo::new(io::repeat(b'x'))));
        block_on(fed.started()).unwrap();
        assert_eq!(output(runs.run(sh("echo one"))).stdout, b"one\n");
        let (out, outs) = lines();
        assert!(block_on(runs.run(sh("echo two").on_stdout_line(out)).status()).unwrap().success());
        assert_eq!(next(&outs), "two");
        assert_eq!(running.stop().code, 0);
        assert_eq!(block_on(loud.status()).unwrap().signal(), Some(15));
    });
}

#[test]
fn a_child_that_says_too_much_is_killed() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        let child = runs.run(Command::new("yes").limit(100_000));
        let process = Held::of(&block_on(child.started()).unwrap().to_string());
        let error = block_on(child.output()).unwrap_err();
        assert_eq!(error.to_string(), "yes wrote more than 100000 bytes");
        process.ends();
        let exact = runs.run(Command::new("head").args(["-c", "5", "/dev/zero"]).limit(5));
        assert_eq!(output(exact).stdout, [0; 5]);
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_loop_is_not_blocked_on_a_child() {
    watched(|| {
        let mut service = Service::new("test");
        let commands = Commands::new();
        let runs = commands.handle();
        service.task_on::<Thread>("commands", commands);
        let (says, said) = mpsc::channel();
        let asks = runs.clone();
        let run = sh("echo one").on_stdout_line(move |_| {
            says.send(asks.run("true").output_timeout(SOON)).unwrap();
        });
        let running = up(service);
        output(runs.run(run));
        assert_eq!(said.recv_timeout(SOON).unwrap(), Err(CommandError::WouldBlock));
        assert_eq!(running.stop().code, 0);
    });
}

// --- Ends ---

#[test]
fn a_command_is_killed_when_nobody_waits_any_more() {
    watched(|| {
        let (running, runs) = commands(Commands::new());
        let sleeper = || Command::new("sleep").arg("1000");
        let number = |child: &Child| Held::of(&block_on(child.started()).unwrap().to_string());

        let child = runs.run(sleeper());
        let process = number(&child);
        assert_eq!(child.output_timeout(Duration::from_millis(1)), Err(CommandError::TimedOut));
        process.ends();

        let child = runs.run(sleeper().kill_on_drop());
        let process = number(&child);
        let mut output = Box::pin(child.output());
        assert!(is_pending(output.as_mut()));
        drop(output);
        process.ends();

        let child = runs.run(sleeper());
        let process = number(&child);
        drop(child);
        assert!(!process.has_ended(Duration::from_millis(1)), "it goes on");
        assert_eq!(running.stop().code, 0);
        process.ends();
    });
}

#[test]
fn a_child_is_told_to_end_or_killed() {
    alone(|| {
        let (running, runs) = commands(Commands::new().kill_timeout(NEVER));
        let child = runs.run(Command::new("sleep").arg("1000"));
        block_on(child.started()).unwrap();
        child.terminate();
        assert_eq!(block_on(child.status()).unwrap().signal(), Some(15));
        let mut child = runs.run(sh("trap '' TERM; echo deaf; while :; do sleep 1000; done"));
        let mut stdout = child.take_stdout().unwrap();
        assert_eq!(block_on(stdout.line()).unwrap(), "deaf");
        child.terminate();
        child.kill();
        child.kill();
        assert_eq!(block_on(child.status()).unwrap().signal(), Some(9));
        counted(&running, "killed", 1);
        no_child_is_left();
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_child_that_was_stopped_hears_a_term() {
    alone(|| {
        let (running, runs) = commands(Commands::new().kill_timeout(NEVER));
        // It stops itself and all of its group, including the guard.
        let mut child = runs.run(sh("sleep 1000 & echo $!; kill -STOP 0; wait"));
        let mut stdout = child.take_stdout().unwrap();
        let sleeper = Held::of(&block_on(stdout.line()).unwrap());
        child.terminate();
        assert_eq!(block_on(child.status()).unwrap().signal(), Some(15));
        sleeper.ends();
        assert_eq!(counter(&running, "killed"), 0);
        no_child_is_left();
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_child_without_descriptors_and_in_a_session_of_its_own_ends_at_the_stop() {
    alone(|| {
        let (running, runs) = commands(Commands::new().kill_timeout(NEVER));
        let closed =
            "echo $$; exec <&- >&- 2>&-; for fd in 3 4 5 6 7 8 9; do eval \"exec $fd>&-\"; done; exec sleep 1000";
        let mut bare = runs.run(sh(closed));
        let mut session = runs.run(Command::new("setsid").args(["sh", "-c", closed]));
        let [one, two] = [&mut bare, &mut session].map(|child| {
            let mut stdout = child.take_stdout().unwrap();
            let process = Held::of(&block_on(stdout.line()).unwrap());
            assert_eq!(block_on(stdout.line()), None);
            process
        });
        let ends = [bare.status(), session.status()];
        assert_eq!(running.stop().code, 0);
        [one, two].iter().for_each(Held::ends);
        ends.into_iter().for_each(|end| assert_eq!(block_on(end).unwrap().signal(), Some(15)));
        no_child_is_left();
    });
}

#[test]
fn what_a_child_leaves_behind_ends_with_it() {
    alone(|| {
        let (running, runs) = commands(Commands::new().kill_timeout(NEVER));
        // One that holds the output gets TERM. One that doesn't gets KILL.
        for script in ["sleep 1000 & echo $!", "sleep 1000 >/dev/null 2>&1 & echo $!"] {
            let mut child = runs.run(sh(&format!("{script}; read -r go")).stdin_piped());
            let mut stdout = child.take_stdout().unwrap();
            let left = Held::of(&block_on(stdout.line()).unwrap());
            drop(child.take_stdin());
            assert_eq!(block_on(child.status()).unwrap().code(), Some(1));
            left.ends();
        }
        assert_eq!(counter(&running, "killed"), 0);
        no_child_is_left();
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn whoever_is_left_has_time_to_end_too() {
    watched(|| {
        let (running, runs) = commands(Commands::new().kill_timeout(NEVER));
        // It keeps the child's output, and writes something at its end.
        let left = "(trap 'echo bye; exit' TERM; sh -c 'echo up; exec sleep 1000' & wait) & read -r go";
        let mut child = runs.run(sh(left).stdin_piped());
        let mut stdout = child.take_stdout().unwrap();
        assert_eq!(block_on(stdout.line()).unwrap(), "up");
        drop(child.take_stdin());
        assert_eq!(block_on(stdout.line()).unwrap(), "bye");
        block_on(child.status()).unwrap();
        assert_eq!(running.stop().code, 0);
    });
}

#[test]
fn a_stop_ends_all_groups_by_term() {
    alone(|| {
        let (running, runs) = commands(Commands::new().kill_timeout(NEVER));
        let mut child = runs.run(sh("sleep 1000 & echo $!; wait"));
        let mut stdout = child.take_stdout().unwrap();
        let grandchild = Held::of(&block_on(stdout.line()).unwrap());
        let (mut out, outs) = lines();
        let (go, goes) = mpsc::channel();
        let polite = sh("trap 'seq 1000; exit 5' TERM; sh -c 'echo up; exec sleep 1000' & wait");
        let polite = runs.run(polite.on_stdout_line(move |line| {
            if line == "1" {
                // Anything after it arrives when all children have ended.
                goes.recv_timeout(SOON).unwrap();
            }
            out(line);
        }));
        assert_eq!(next(&outs), "up");
        let handle = running.handle();
        let watches = thread::spawn({
            let handle = handle.clone();
            move || {
                counted(&handle, "finished", 2);
                go.send(()).unwrap();
            }
        });
        let report = running.stop();
        watches.join().unwrap();
        assert_eq!((report.code, state_of(&report, "commands")), (0, State::Stopped));
        grandchild.ends();
        no_child_is_left();
        assert_eq!(outs.try_iter().count(), 1000, "the stop has waited for what it said");
        assert_eq!(block_on(child.status()).unwrap().signal(), Some(15));
        assert_eq!(block_on(polite.status()).unwrap().code(), Some(5));
        assert_eq!(handle.counters().get("commands.killed"), Some(Reading::Counter(0)));
    });
}

const DEAF: &str = "trap '' TERM; (echo $$; while :; do sleep 1000; done) & wait";

#[test]
fn a_child_that_does_not_end_is_killed_after_the_kill_timeout() {
    alone(|| {
        let mut service = Service::new("test");
        let commands = Commands::new().kill_timeout(NEVER);
        let runs = commands.handle();
        service.task_on::<Thread>("commands", commands).set("kill-timeout", "50ms").stop_timeout(NEVER);
        let running = up(service);
        let mut child = runs.run(sh(DEAF));
        let mut stdout = child.take_stdout().unwrap();
        let process = Held::of(&block_on(stdout.line()).unwrap());
        let report = running.stop();
        assert_eq!((report.code, state_of(&report, "commands")), (0, State::Stopped));
        process.ends();
        no_child_is_left();
        assert_eq!(block_on(child.status()).unwrap().signal(), Some(9));
    });
}

#[test]
fn a_child_is_killed_in_time_for_the_deadline() {
    alone(|| {
        let mut service = Service::new("test");
        let commands = Commands::new().kill_timeout(NEVER);
        let runs = commands.handle();
        service.task_on::<Thread>("commands", commands).stop_timeout(Duration::from_secs(4));
        let running = up(service);
        let mut child = runs.run(sh(DEAF));
        let mut stdout = child.take_stdout().unwrap();
        let process = Held::of(&block_on(stdout.line()).unwrap());
        let report = running.stop();
        assert_eq!((report.code, state_of(&report, "commands")), (0, State::Stopped));
        process.ends();
        no_child_is_left();
    });
}

/// Runs commands until the latch is open, then drops them in any state.
struct Dropped(Commands, Latch);

impl Task<Thread> for Dropped {
    type Options = CommandsOptions;

    async fn run(&mut self, cx: Context<Thread, CommandsOptions>) -> Result {
        {
            let (mut runs, mut dropped) = (pin!(Task::run(&mut self.0, cx.clone())), pin!(self.1.opened()));
            poll_fn(|poll| match runs.as_mut().poll(poll) {
                Poll::Ready(_) => panic!("it ends when it is dropped"),
                Poll::Pending => dropped.as_mut().poll(poll),
            })
            .await;
        }
        cx.until_shutdown().await;
        Ok(())
    }
}

#[test]
fn a_task_that_is_dropped_kills_its_groups_at_once() {
    alone(|| {
        let (mut service, drops) = (Service::new("test"), Latch::default());
        let commands = Commands::new().kill_timeout(NEVER);
        let runs = commands.handle();
        service.task("commands", Dropped(commands, drops.clone()));
        let running = up(service);
        let mut child = runs.run(sh(DEAF));
        let mut stdout = child.take_stdout().unwrap();
        let process = Held::of(&block_on(stdout.line()).unwrap());
        drops.open();
        process.ends();
        assert_eq!(block_on(child.status()).unwrap().signal(), Some(9));
        no_child_is_left();
        assert_eq!(running.stop().code, 0);
    });
}

// --- Starts and stops ---

#[test]
fn a_command_waits_for_the_start_and_is_told_of_the_end() {
    watched(|| {
        let mut service = Service::new("test");
        let commands = Commands::new();
        let runs = commands.handle();
        let (early, told) = (runs.run(sh("echo early; cat").stdin_piped()), runs.run("sleep"));
        told.kill();
        service.task_on::<Thread>("commands", commands);
        let running = up(service);
        assert_eq!(block_on(told.status()), Err(CommandError::Stopped));
        assert_eq!(output(early).stdout, b"early\n");
        assert_eq!(running.stop().code, 0);
        assert_eq!(runs.run("true").output_timeout(SOON), Err(CommandError::Stopped));
        assert_eq!(block_on(runs.run("true").started()), Err(CommandError::Stopped));
    });
}

#[test]
fn who_waits_for_a_task_that_never_starts_is_told() {
    watched(|| {
        let mut service = Service::new("test");
        let commands = Commands::new();
        let runs = commands.handle();
        let early = runs.run("true");
        service.task("bad", task_fn::<Thread>(async |_| Err(interloop::Error::new("no"))));
        service.task_on::<Thread>("commands", commands).requires("bad");
        assert_eq!(service.start().unwrap().join().code, 1);
        assert_eq!(early.output_timeout(SOON), Err(CommandError::Stopped));
    });
}

#[test]
fn nothing_is_started_once_the_stop_is_requested() {
    alone(|| {
        for _ in 0..20 {
            let (running, runs) = commands(Commands::new());
            let asks = thread::spawn(move || {
                let mut started = 0;
                loop {
                    match runs.run("true").output_timeout(SOON) {
                        Ok(_) => started += 1,
                        Err(error) => return (started, error),
                    }
                }
            });
            while counter(&running, "started") == 0 {
                thread::yield_now();
            }
            let handle = running.handle();
            running.stop();
            let (started, error) = asks.join().unwrap();
            assert_eq!(error, CommandError::Stopped);
            assert_eq!(handle.counters().get("commands.started"), Some(Reading::Counter(started)));
            no_child_is_left();
        }
    });
}

#[test]
fn a_restart_ends_children_and_keeps_what_waits() {
    alone(|| {
        let mut service = Service::new("test");
        let runs = CommandHandle::new();
        let of = runs.clone();
        let make = move || Commands::new().with_handle(&of).kill_timeout(NEVER);
        service.task_with::<Thread>("commands", make).offers(&runs).restart(RestartPolicy::on_failure());
        let running = up(service);
        let mut watch = running.watch();
        let child = runs.run(Command::new("sleep").arg("1000"));
        block_on(child.started()).unwrap();
        running.restart_task("commands").unwrap();
        assert_eq!(block_on(child.status()).unwrap().signal(), Some(15));
        // Between the two, or in the second.
        let (out, outs) = lines();
        let waits = runs.run(sh("echo again").on_stdout_line(out));
        reach(&mut watch, "commands", 2, State::Running);
        assert!(block_on(waits.status()).unwrap().success());
        assert_eq!(next(&outs), "again");
        assert_eq!(running.stop().code, 0);
        no_child_is_left();
    });
}

// --- A command as a task ---

fn one(command: Process) -> interloop::Report {
    let mut service = Service::new("test");
    service.task_on::<Thread>("one", command);
    service.start().unwrap().join()
}

#[test]
fn a_task_ends_as_its_program_does() {
    alone(|| {
        let report = one(Process::new("true"));
        assert_eq!((report.code, state_of(&report, "one")), (0, State::Stopped));
        let failed = |command| {
            let report = one(command);
            assert_eq!((report.code, state_of(&report, "one")), (1, State::Failed));
            match cause_of(&report, "one") {
                Cause::Error(said) => said.to_string(),
                cause => panic!("{cause:?}"),
            }
        };
        assert_eq!(failed(Process::new(sh("exit 3"))), "sh exited with 3");
        assert_eq!(failed(Process::new(sh("kill -9 $$"))), "sh was ended by signal 9");
        assert_eq!(failed(Process::new(sh("exit 143"))), "sh exited with 143");
        assert_eq!(failed(Process::new("no-such-program")), "can't run no-such-program: there is no such program");
        no_child_is_left();
    });
}

#[test]
fn a_program_runs_until_the_stop_and_its_lines_are_heard() {
    alone(|| {
        let (out, outs) = lines();
        let polite = sh("trap 'echo bye; exit 5' TERM; sh -c 'echo up; exec sleep 1000' & wait");
        let mut service = Service::new("test");
        service.task_on::<Thread>("one", Process::new(polite.on_stdout_line(out)).kill_timeout(NEVER));
        let running = up(service);
        assert_eq!(next(&outs), "up");
        let report = running.stop();
        assert_eq!((report.code, state_of(&report, "one")), (0, State::Stopped));
        assert_eq!(outs.try_iter().collect::<Vec<_>>(), ["bye"]);
        no_child_is_left();
    });
}

#[test]
fn a_program_that_fails_is_started_again() {
    alone(|| {
        let (says, said) = mpsc::channel();
        let make = move || {
            let says = says.clone();
            Process::new(sh("echo $$; read -r go; exec sleep 1000").on_stdout_line(move |line| {
                says.send(line.to_owned()).unwrap();
            }))
        };
        let mut service = Service::new("test");
        let policy = RestartPolicy::on_failure().backoff(Duration::from_millis(1), Duration::from_millis(1));
        service.task_with::<Thread>("one", make).restart(policy);
        let running = up(service);
        let mut watch = running.watch();
        let first = next(&said);
        assert!(rustix::process::kill_process(Pid::from_raw(first.parse().unwrap()).unwrap(), SIGKILL).is_ok());
        reach(&mut watch, "one", 2, State::Running);
        assert_ne!(next(&said), first);
        assert_eq!(running.stop().code, 0);
        no_child_is_left();
    });
}
