//! Options of real processes: a file, HUP, a dry run.

use std::{fs, io::Write, path::Path, process::Command};

use interloop_e2e::{Example, Signal, binary, watched};

fn with_file(name: &str, path: &Path, arguments: &[&str]) -> Example {
    Example::run(Command::new(binary(name)).arg("--config").arg(path).args(arguments))
}

#[test]
fn a_hup_has_the_file_read_again_and_tells_the_task() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dns.toml");
        fs::write(&path, "[dns]\nhost = \"127.0.0.1\"\ninterval = \"1h\"\n").unwrap();
        let mut example = with_file("dns-checker", &path, &[]);
        example.log("the addresses are {127.0.0.1}");
        // The new interval, and the new host of the work, apply at once.
        fs::write(&path, "[dns]\nhost = \"127.0.0.2\"\ninterval = \"10ms\"\n").unwrap();
        example.signal(Signal::HUP);
        example.log("HUP received, reloaded: dns-interval: 1h -> 10ms (now)");
        example.log("HUP received, reloaded: dns-host: 127.0.0.1 -> 127.0.0.2 (now)");
        example.log("the addresses have changed from {127.0.0.1} to {127.0.0.2}");
        example.signal(Signal::TERM);
        assert_eq!(example.wait(), 0);
    });
}

#[test]
fn a_hup_with_a_wrong_file_changes_nothing_and_says_why() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let (path, log) = (folder.path().join("hello.toml"), folder.path().join("log"));
        let log_file = format!("log-file = {:?}\n", log.to_str().unwrap());
        fs::write(&path, format!("{log_file}[http]\nport = 0\n")).unwrap();
        let mut example = with_file("hello", &path, &[]);
        let lines = |text: &str| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect::<Vec<_>>()
        };
        let wait = |text: &str| {
            while lines(text).is_empty() {
                std::thread::yield_now();
            }
        };
        wait("all tasks started");
        fs::write(&path, format!("{log_file}log-level = \"debug\"\n[http]\nport = \"x\"\nprot = 1\n")).unwrap();
        // The log is reopened all the same.
        fs::rename(&log, folder.path().join("old")).unwrap();
        example.signal(Signal::HUP);
        wait("http.prot");
        let said = lines("HUP received, not reloaded: ");
        assert!(said.len() == 2 && said[0].contains("hello.toml:4: http.port: ") && said[1].contains("hello.toml:5: "));
        assert_eq!(lines("HUP received, log reopened").len(), 1);
        // A valid file applies at once.
        fs::write(&path, format!("{log_file}log-level = \"debug\"\n[http]\nport = 0\n")).unwrap();
        example.signal(Signal::HUP);
        wait("HUP received, reloaded: log-level: info -> debug (now)");
        example.signal(Signal::TERM);
        assert_eq!(example.wait(), 0);
        // Steps of tasks are logged at this level.
        assert!(!lines("task http (run 1): ").is_empty());
    });
}

#[test]
fn a_file_that_hangs_holds_up_one_thread_and_no_log() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let (path, log) = (folder.path().join("hello.toml"), folder.path().join("log"));
        let text = format!("log-file = {:?}\n[http]\nport = 0\n", log.to_str().unwrap());
        fs::write(&path, &text).unwrap();
        let mut example = with_file("hello", &path, &[]);
        let has = |text: &str| fs::read_to_string(&log).is_ok_and(|log| log.contains(text));
        let wait = |text: &str| {
            while !has(text) {
                std::thread::yield_now();
            }
        };
        wait("all tasks started");
        // Opening it waits for a writer.
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let threads = || {
            let threads = fs::read_dir(format!("/proc/{}/task", example.id())).unwrap();
            let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
            threads.flatten().map(name).filter(|name| name == "reload\n").count()
        };
        for n in 0..20 {
            fs::rename(&log, folder.path().join(format!("old-{n}"))).unwrap();
            example.signal(Signal::HUP);
            wait("HUP received, log reopened");
        }
        while threads() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(threads(), 1);
        // One reload for the first, and one, of a plain file, for all others.
        let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
        fs::write(folder.path().join("new"), &text).unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        drop(writer);
        let reloads = || fs::read_to_string(&log).unwrap().matches("reloaded: no option has changed").count();
        while reloads() < 2 {
            std::thread::yield_now();
        }
        example.signal(Signal::TERM);
        assert_eq!(example.wait(), 0);
        assert_eq!(reloads(), 2);
    });
}

#[test]
fn a_dry_run_is_a_file_that_gives_the_same_dry_run() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello.toml");
        let dry_run = |example: &mut Example| {
            assert_eq!(example.wait(), 0, "{}", example.whole_log());
            let shown = example.whole_output();
            fs::write(&path, &shown).unwrap();
            shown
        };
        let mut first = Command::new(binary("hello"));
        first.args(["--dry-run", "--http-port", "8000"]).env("HELLO__DRAIN_DELAY", "1s");
        let first = dry_run(&mut Example::run(&mut first));
        assert!(first.contains("port = 8000 # command line"), "{first}");
        assert!(first.contains("drain-delay = \"1s\" # environment variable HELLO__DRAIN_DELAY"), "{first}");
        let second = dry_run(&mut with_file("hello", &path, &["--dry-run"]));
        let third = dry_run(&mut with_file("hello", &path, &["--dry-run"]));
        assert_eq!(second, third);
        let values = |text: &str| {
            text.lines().filter_map(|line| line.split(" # ").next().map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(values(&first), values(&second), "but for the origins");
    });
}

#[test]
fn a_dry_run_binds_no_port() {
    watched(|| {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let mut example = Example::start("hello", &["--dry-run", "--http-port", &port]);
        assert_eq!(example.wait(), 0, "{}", example.whole_log());
        assert_eq!(example.whole_log(), "");
    });
}

#[test]
fn all_that_is_wrong_with_a_file_is_said_and_it_is_a_wrong_configuration() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello.toml");
        fs::write(&path, "log-level = \"loud\"\n[http]\nport = 99999\nhots = \"::1\"\n[htpp]\n").unwrap();
        for arguments in [&[][..], &["--dry-run"]] {
            let mut example = with_file("hello", &path, arguments);
            assert_eq!(example.wait(), 78);
            let log = example.whole_log();
            let lines: Vec<&str> = log.lines().collect();
            assert_eq!(lines.len(), 4, "{log}");
            let expected =
                [(1, "log-level: "), (3, "http.port: "), (4, "unknown key http.hots"), (5, "unknown section [htpp]")];
            for (line, (number, what)) in lines.iter().zip(expected) {
                assert!(line.starts_with(&format!("hello: {}:{number}: {what}", path.display())), "{line}");
            }
        }
        fs::write(&path, "[http]\nport = 80 80\n").unwrap();
        let mut example = with_file("hello", &path, &[]);
        assert_eq!((example.wait(), example.whole_log().lines().count()), (78, 1), "{}", example.whole_log());
    });
}

#[test]
fn values_come_from_files_of_their_own_and_are_not_shown() {
    watched(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("http.port"), "4711\n").unwrap();
        fs::write(folder.path().join("host"), "127.0.0.9\n").unwrap();
        let mut command = Command::new(binary("hello"));
        command.env("CREDENTIALS_DIRECTORY", folder.path()).env("HELLO__HTTP__HOST_FILE", folder.path().join("host"));
        let mut example = Example::run(command.arg("--dry-run"));
        assert_eq!(example.wait(), 0, "{}", example.whole_log());
        let shown = example.whole_output();
        assert!(shown.contains("# host = \"***\" # environment variable HELLO__HTTP__HOST_FILE"), "{shown}");
        assert!(shown.contains("# port = \"***\" # credential "), "{shown}");
        assert!(!shown.contains("4711") && !shown.contains("127.0.0.9"), "{shown}");
        // Both a value and a file with it.
        let mut example = Example::run(command.env("HELLO__HTTP__HOST", "::1"));
        assert_eq!(example.wait(), 78);
        assert!(example.whole_log().contains("HELLO__HTTP__HOST_FILE is set too"), "{}", example.whole_log());
    });
}
