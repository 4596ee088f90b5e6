//! The log of a process, including the case that nobody reads its lines.

use std::{
    fs::{self, File},
    io::{self, PipeReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use interloop_e2e::{Example, Signal, binary, watched};
use rustix::fs::{Mode, OFlags};

fn chatty(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("chatty"));
    command.args(arguments).args(["--shutdown-timeout", "2s"]);
    command
}

/// Starts it with a stderr that nobody reads yet.
fn unread(arguments: &[&str]) -> (Example, PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    (Example::logging_to(writer, &mut chatty(arguments)), reader)
}

/// Asks it to stop; returns how long that took.
fn stopped(service: &mut Example, code: i32) -> Duration {
    let begun = Instant::now();
    service.signal(Signal::TERM);
    assert_eq!(service.wait(), code);
    begun.elapsed()
}

/// Returns the number after these words in a line on stdout.
fn figure(service: &Example, words: &str) -> u64 {
    let line = service.said(words);
    let rest = line[line.find(words).unwrap() + words.len()..].trim();
    rest.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("no number behind {words:?} in {line:?}"))
}

/// Returns how many lines a log reports as lost.
fn told_as_lost(log: &str) -> u64 {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let lost = log.lines().map(words).filter(|words| words.ends_with(&["for".to_owned(), "them".to_owned()]));
    lost.map(|words| words[words.iter().position(|word| word.starts_with("line")).unwrap() - 1].parse::<u64>().unwrap())
        .sum()
}

/// Returns how many lines the service logged of its chat, and checks that each line came whole and in order.
fn chats(log: &str, words: &str) -> u64 {
    let mut last = None;
    let mut count = 0;
    for line in log.lines().filter(|line| line.contains(" chatty.chat: ")) {
        let said = line.split_once(": 0: line ").unwrap_or_else(|| panic!("{line}")).1;
        let (number, rest) = said.split_once(' ').unwrap();
        let number = number.parse::<u64>().unwrap();
        assert!(last < Some(number), "{line} comes behind {last:?}");
        assert_eq!(rest, words, "line {number} is not whole");
        last = Some(number);
        count += 1;
    }
    count
}

/// Waits until a pipe holds more than this.
fn await_fill(reader: &PipeReader, bytes: u64) {
    while rustix::io::ioctl_fionread(reader).unwrap() < bytes {
        thread::yield_now();
    }
}

/// Most of what a pipe holds: it may leave part of each of its pages empty.
const FULL: u64 = 40_000;
/// The deadline of the tasks is half a second later.
const AT_ONCE: Duration = Duration::from_millis(1500);

#[test]
fn a_service_whose_stderr_nobody_reads_ends_at_once_and_counts_what_is_lost() {
    watched(|| {
        let (mut service, reader) = unread(&["--chat-lines", "20000"]);
        await_fill(&reader, FULL);
        let lasted = figure(&service, "logged in ");
        let took = stopped(&mut service, 0);
        assert!(took < AT_ONCE, "{took:?}");
        assert!(figure(&service, "lost lines ") > 5_000, "{}", service.whole_output());
        // A full pipe isn't waited for 20,000 times.
        assert!(lasted < 5_000_000, "{lasted} us");
    });
}

#[test]
fn a_flood_into_an_unread_pipe_keeps_nothing_from_stopping() {
    watched(|| {
        let (mut service, reader) = unread(&["--chat-then", "flood", "--chat-lines", "20000"]);
        await_fill(&reader, FULL);
        figure(&service, "logged in ");
        let took = stopped(&mut service, 0);
        assert!(took < AT_ONCE, "{took:?}");
    });
}

#[test]
fn what_was_lost_is_told_once_somebody_reads_and_the_end_of_the_log_is_there() {
    watched(|| {
        let (mut service, mut reader) = unread(&["--chat-lines", "20000"]);
        await_fill(&reader, FULL);
        figure(&service, "logged in ");
        let reading = thread::spawn(move || {
            let mut log = String::new();
            reader.read_to_string(&mut log).map(|_| log).unwrap()
        });
        stopped(&mut service, 0);
        let log = reading.join().unwrap();
        let lost = figure(&service, "lost lines ");
        assert!(lost > 0);
        assert_eq!((chats(&log, &"x".repeat(20)) + lost, told_as_lost(&log)), (20_000, lost), "{lost}");
        let report = format!("INFO  chatty: stopped gracefully (TERM); lost lines of the log: {lost}\n");
        assert!(log.contains(&report), "{log}");
        assert!(log.ends_with("behind the end\n"));
    });
}

#[test]
fn a_slow_reader_gets_whole_lines_in_order_and_the_number_of_all_others() {
    watched(|| {
        for is_blocking in [true, false] {
            let (mut reader, writer) = io::pipe().unwrap();
            if !is_blocking {
                rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
            }
            let arguments = ["--chat-lines", "20000", "--chat-length", "300"];
            let mut service = Example::logging_to(writer, &mut chatty(&arguments));
            let reading = thread::spawn(move || {
                let (mut log, mut part) = (Vec::new(), [0; 4096]);
                loop {
                    match reader.read(&mut part).unwrap() {
                        0 => break String::from_utf8(log).unwrap(),
                        some => log.extend_from_slice(&part[..some]),
                    }
                    // This makes it slow.
                    thread::sleep(Duration::from_micros(200));
                }
            });
            figure(&service, "logged in ");
            // Its log must have arrived, so that the end of the process loses nothing.
            service.signal(Signal::TERM);
            assert_eq!(service.wait(), 0);
            let lost = figure(&service, "lost lines ");
            let log = reading.join().unwrap();
            let complete = log.contains("behind the end");
            if complete {
                assert_eq!(chats(&log, &"x".repeat(300)) + lost, 20_000);
                assert_eq!(told_as_lost(&log), lost);
            } else {
                assert!(chats(&log[..=log.rfind('\n').unwrap()], &"x".repeat(300)) > 1_000);
            }
        }
    });
}

#[test]
fn a_file_that_takes_all_gets_all() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let arguments = ["--log-file", file.to_str().unwrap(), "--chat-lines", "100000"];
        let mut service = Example::run(&mut chatty(&arguments));
        figure(&service, "logged in ");
        stopped(&mut service, 0);
        assert_eq!(figure(&service, "lost lines "), 0);
        let log = fs::read_to_string(&file).unwrap();
        assert_eq!(chats(&log, &"x".repeat(20)), 100_000);
        assert!(log.ends_with("behind the end\n"));
    });
}

#[test]
fn a_full_disk_costs_lines_which_are_counted() {
    watched(|| {
        let mut service = Example::run(&mut chatty(&["--log-file", "/dev/full", "--chat-lines", "500"]));
        figure(&service, "logged in ");
        let took = stopped(&mut service, 0);
        assert!(took < AT_ONCE, "{took:?}");
        assert!(figure(&service, "lost lines ") >= 500, "{}", service.whole_output());
        assert_eq!(service.whole_log(), "");
    });
}

#[test]
fn a_reader_that_has_gone_costs_lines_only() {
    watched(|| {
        let (mut service, reader) = unread(&["--chat-then", "flood"]);
        await_fill(&reader, 100);
        drop(reader);
        let took = stopped(&mut service, 0);
        assert!(took < AT_ONCE, "{took:?}");
    });
}

#[test]
fn a_terminal_that_is_stopped_by_its_user_holds_nothing_up() {
    watched(|| {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&pty).unwrap();
        unlockpt(&pty).unwrap();
        let name = ptsname(&pty, Vec::new()).unwrap().into_string().unwrap();
        let terminal = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let mut user = File::from(pty);
        // ^S
        user.write_all(b"\x13").unwrap();
        let mut service =
            Example::logging_to(Stdio::from(terminal), &mut chatty(&["--chat-then", "flood", "--chat-lines", "20000"]));
        figure(&service, "logged in ");
        let took = stopped(&mut service, 0);
        assert!(took < AT_ONCE, "{took:?}");
        assert!(figure(&service, "lost lines ") > 0);
    });
}

/// A service with a log of its own, and a task that writes to a full stderr.
fn writing_to_stderr(log: &Path) -> (Example, PipeReader) {
    let (service, reader) = unread(&["--chat-then", "print", "--log-file", log.to_str().unwrap()]);
    await_fill(&reader, FULL);
    (service, reader)
}

#[test]
fn a_task_that_writes_to_a_full_stderr_itself_is_left_behind_alone_and_named() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let (mut service, _reader) = writing_to_stderr(&log);
        let took = stopped(&mut service, 124);
        // Two seconds until its deadline, one for its thread.
        assert!(took < Duration::from_secs(5), "{took:?}");
        service.said("the bystander was asked");
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains("loop chat: it is stuck: thread chat has been in task chat for "), "{log}");
        assert!(log.contains("stopped past its deadline (TERM); loop chat stuck"), "{log}");
    });
}

#[test]
fn a_second_term_ends_a_service_whose_task_hangs_on_its_stderr() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let (mut service, _reader) = writing_to_stderr(&folder.path().join("log"));
        service.signal(Signal::TERM);
        service.said("the bystander was asked");
        // The same signal within 250 ms counts once.
        thread::sleep(Duration::from_millis(300));
        let took = stopped(&mut service, 143);
        assert!(took < Duration::from_secs(3), "{took:?}");
    });
}

#[test]
fn a_third_term_leaves_at_once_though_the_log_is_stuck() {
    watched(|| {
        let leaves = || {
            // A task that hangs on stderr itself, so that there is a third one; and a lot of output that nobody reads.
            let (mut service, reader) = unread(&["--chat-lines", "20000", "--chat-then", "print"]);
            await_fill(&reader, FULL);
            for _ in 0..2 {
                service.signal(Signal::TERM);
                // The same signal within 250 ms would count once.
                thread::sleep(Duration::from_millis(300));
            }
            let begun = Instant::now();
            service.signal(Signal::TERM);
            assert_eq!(service.wait(), 128 + 15);
            begun.elapsed()
        };
        // Waiting for the log takes 100 ms more, each time. On a busy machine any single end may take as long.
        let took = (0..8).map(|_| leaves()).find(|took| *took < Duration::from_millis(60));
        assert!(took.is_some(), "never at once");
    });
}

fn fifo(folder: &Path) -> String {
    let path = folder.join("fifo").to_str().unwrap().to_owned();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[test]
fn a_fifo_that_nobody_reads_is_no_log_file() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let fifo = fifo(folder.path());
        let begun = Instant::now();
        let mut service = Example::run(&mut chatty(&["--log-file", &fifo]));
        assert_eq!(service.wait(), 78);
        assert_eq!(service.whole_log(), format!("chatty: can't open the log file {fifo}: nobody reads this FIFO\n"));
        assert!(begun.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn a_log_that_is_stuck_is_opened_anew_once_it_moves_again_and_nobody_waits_for_it() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = fifo(folder.path());
        let reader = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        rustix::fs::fcntl_setfl(&reader, OFlags::empty()).unwrap();
        let mut reader = File::from(reader);
        let mut service = Example::run(&mut chatty(&["--log-file", &path, "--chat-lines", "20000"]));
        figure(&service, "logged in ");
        fs::rename(&path, folder.path().join("old")).unwrap();
        for n in 1..=3 {
            service.signal(Signal::HUP);
            // One that is heard later, once the log moves, reopens it again.
            service.said(&format!("reread {n}"));
        }
        let (mut old, mut part) = (String::new(), [0; 65536]);
        while !Path::new(&path).exists() {
            let read = reader.read(&mut part).unwrap();
            old.push_str(std::str::from_utf8(&part[..read]).unwrap());
        }
        let took = stopped(&mut service, 0);
        assert!(took < AT_ONCE, "{took:?}");
        reader.read_to_string(&mut old).unwrap();
        let new = fs::read_to_string(&path).unwrap();
        assert!(new.lines().next().unwrap().contains("HUP received, log reopened"), "{new}");
        assert_eq!(new.matches("log reopened").count(), 1, "{new}");
        assert!(new.contains("HUP received, reloaded: ") && new.ends_with("behind the end\n"), "{new}");
        let lost = figure(&service, "lost lines ");
        assert_eq!((chats(&old, &"x".repeat(20)) + lost, told_as_lost(&(old + &new))), (20_000, lost));
    });
}

#[test]
fn hup_and_term_are_heard_while_the_log_is_stuck() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = fifo(folder.path());
        let _reader = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        let mut service = Example::run(&mut chatty(&["--log-file", &path, "--chat-lines", "20000"]));
        figure(&service, "logged in ");
        service.signal(Signal::HUP);
        let took = stopped(&mut service, 0);
        assert!(took < AT_ONCE, "{took:?}");
    });
}

/// `process::exit` leaves while other threads run: lines logged before are written all the same.
#[test]
fn what_was_logged_before_an_exit_or_a_panic_is_written() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        for (then, code, end) in [("exit", 3, "line 4999 "), ("panic", 1, "stopped after a failure")] {
            let file = folder.path().join(then);
            let arguments = ["--log-file", file.to_str().unwrap(), "--chat-lines", "5000", "--chat-then", then];
            let mut service = Example::run(&mut chatty(&arguments));
            assert_eq!(service.wait(), code);
            let log = fs::read_to_string(&file).unwrap();
            assert!(log.contains(end), "{then}: {}", log.lines().last().unwrap_or_default());
        }
    });
}

#[test]
fn an_exit_gives_a_slow_reader_half_a_second() {
    watched(|| {
        let (mut service, mut reader) = unread(&["--chat-lines", "3000", "--chat-then", "exit"]);
        figure(&service, "logged in ");
        let mut log = String::new();
        reader.read_to_string(&mut log).unwrap();
        assert_eq!(service.wait(), 3);
        assert_eq!(chats(&log, &"x".repeat(20)), 3_000);
    });
}

/// Measures waits of milliseconds.
mod quiet {
    use super::*;

    #[test]
    fn a_task_that_logs_a_thousand_lines_a_second_beside_an_unread_pipe_keeps_its_timers() {
        watched(|| {
            let (mut service, reader) = unread(&["--chat-lines", "20000", "--chat-then", "tick"]);
            await_fill(&reader, FULL);
            figure(&service, "logged in ");
            // The time is what is measured.
            thread::sleep(Duration::from_secs(2));
            stopped(&mut service, 0);
            assert!(figure(&service, "lost lines ") > 1_000);
            // On a machine that does other work too, the worst case says little. A log that waits makes all of them
            // late.
            let late = figure(&service, "half are late by less than ");
            assert!(late < 5_000, "{}", service.whole_output());
        });
    }
}
