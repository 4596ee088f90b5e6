//! Bad input to the examples: one line that names the cause, and the right code.

use interloop_e2e::{Example, watched};

#[test]
fn what_cannot_be_listened_on_is_named() {
    watched(|| {
        let cases: &[(&[&str], &str)] = &[
            (&["--http-host", "no.such.host.invalid"], "no.such.host.invalid"),
            (&["--http-host", "192.0.2.1"], "192.0.2.1"),
        ];
        for (arguments, said) in cases {
            let mut hello = Example::start("hello", arguments);
            assert_eq!(hello.wait(), 1, "{}", hello.whole_log());
            let log = hello.whole_log();
            assert!(log.contains("task http") && log.contains(said), "{log}");
        }
    });
}

#[test]
fn a_port_that_is_no_number_is_a_wrong_command_line() {
    watched(|| {
        let mut hello = Example::start("hello", &["--http-port", "many"]);
        assert_eq!(hello.wait(), 2);
        let log = hello.whole_log();
        assert!(log.contains("--http-port") && log.contains("many") && log.lines().count() == 1, "{log}");
    });
}

#[test]
fn a_privileged_port_is_refused_to_others_than_root() {
    watched(|| {
        // Only root, as the tests may be, can give up being root; any other user is refused the port anyway.
        let hello = interloop_e2e::binary("hello");
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("hello");
        std::fs::copy(hello, &copy).unwrap();
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = std::process::Command::new(copy);
        command.args(["--http-port", "1"]);
        if rustix::process::geteuid().is_root() {
            std::os::unix::process::CommandExt::uid(&mut command, 65534);
        }
        let ports = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
        let unprivileged = ports.trim().parse::<u32>().unwrap_or(1024);
        let mut hello = Example::run(&mut command);
        if unprivileged > 1 {
            assert_eq!(hello.wait(), 1);
            let log = hello.whole_log();
            assert!(log.contains("can't listen on 127.0.0.1:1: Permission denied"), "{log}");
        } else {
            // No port is privileged on this machine, so it works.
            hello.log("server started on 127.0.0.1:1");
        }
    });
}

#[test]
fn a_port_that_is_taken_is_one_error_and_the_exit_code() {
    watched(|| {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let mut hello = Example::start("hello", &["--http-port", &port]);
        assert_eq!(hello.wait(), 1);
        let log = hello.whole_log();
        let lines = log.lines().map(|line| line.split_once(' ').unwrap_or_default().1).collect::<Vec<_>>();
        let cause = format!(
            "ERROR hello.http: task http: can't listen on 127.0.0.1:{port}: Address already in use (os error 98)"
        );
        let end = "WARN  hello: stopped after a failure (task http failed), exit code 1";
        assert_eq!(lines, [&*cause, "INFO  hello: stopping: task http failed", end], "{log}");
    });
}

#[test]
fn a_variable_that_is_of_no_option_is_one_warning_at_the_start() {
    watched(|| {
        let mut command = std::process::Command::new(interloop_e2e::binary("hello"));
        command.env("HELLO__HTPT__PORT", "8000").env("HELLO__HTTP__PORT", "0").env("HELLO_PORT", "tcp://10.0.0.1:80");
        let mut hello = Example::run(&mut command);
        hello.log("all tasks started");
        hello.signal(interloop_e2e::Signal::TERM);
        assert_eq!(hello.wait(), 0);
        let log = hello.whole_log();
        let warned = log.lines().filter(|line| line.contains(" WARN ")).collect::<Vec<_>>();
        let said =
            "hello: environment variable HELLO__HTPT__PORT is not known to any option; did you mean HELLO__HTTP__PORT?";
        assert!(warned.len() == 1 && warned[0].ends_with(said), "{log}");
        // A dry run reports it too, on stdout.
        let mut dry = Example::run(command.arg("--dry-run"));
        assert_eq!(dry.wait(), 0);
        assert!(
            dry.whole_output().contains("# environment variable HELLO__HTPT__PORT is not"),
            "{}",
            dry.whole_output()
        );
    });
}
