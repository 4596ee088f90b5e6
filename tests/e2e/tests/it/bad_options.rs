//! Bad input to the examples: one line that names the thing, and the right code.

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
        // Only root, as the tests may be, can give up being root; where one isn't, the port is refused as it is.
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
            // Here no port is privileged: then it works.
            hello.log("server started on 127.0.0.1:1");
        }
    });
}
