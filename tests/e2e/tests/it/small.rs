//! The small examples: hello, clock, dns-checker, empty.

use std::{
    io::{Read, Write},
    process::Command,
    time::{Duration, Instant},
};

use interloop_e2e::{Example, Signal, binary, get, watched};

#[test]
fn hello_answers_and_stops_on_int() {
    watched(|| {
        let mut hello = Example::start("hello", &["--http-port", "0"]);
        let address = hello.address("http");
        assert_eq!(get(address, "/").body.trim_end(), "Hello, world");
        hello.signal(Signal::INT);
        assert_eq!(hello.wait(), 0);
        let log = hello.whole_log();
        assert!(log.contains("INT received, stopping") && log.contains("stopped gracefully"), "{log}");
    });
}

#[test]
fn hello_has_a_classic_log() {
    watched(|| {
        let mut hello = Example::start("hello", &["--log-format", "classic"]);
        let line = hello.log("server started on 127.0.0.1:");
        assert!(line.starts_with("INFO:hello.http:server started on "), "{line}");
        hello.signal(Signal::TERM);
        assert_eq!(hello.wait(), 0);
    });
}

#[test]
fn hello_takes_its_port_from_the_environment() {
    watched(|| {
        let mut hello = Example::run(Command::new(binary("hello")).env("HELLO__HTTP__HOST", "127.0.0.2"));
        assert_eq!(hello.address("http").ip().to_string(), "127.0.0.2");
        hello.signal(Signal::TERM);
        assert_eq!(hello.wait(), 0);
    });
}

#[test]
fn the_shortest_programs_are_short() {
    for example in ["hello", "clock"] {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
        let of = |file| std::fs::read_to_string(format!("{folder}/{example}/src/{file}.rs")).unwrap();
        let source = of("lib") + &of("main");
        let lines = source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        assert!(lines <= 14, "{example} has {lines} lines of code");
    }
}

#[test]
fn a_second_of_the_clock_is_a_second() {
    watched(|| {
        let mut clock = Example::start("clock", &["--tick-interval", "200ms"]);
        clock.said("");
        let begun = Instant::now();
        while clock.whole_output().lines().count() < 6 {
            assert!(begun.elapsed() < Duration::from_secs(10), "{}", clock.whole_output());
            std::thread::yield_now();
        }
        // Five more ticks on a grid of 200 ms.
        assert!(begun.elapsed() >= Duration::from_millis(800), "{:?}", begun.elapsed());
        clock.signal(Signal::INT);
        let asked = Instant::now();
        assert_eq!(clock.wait(), 0);
        assert!(asked.elapsed() < Duration::from_millis(150), "it did not stop at once: {:?}", asked.elapsed());
    });
}

#[test]
fn the_addresses_of_a_host_are_told() {
    watched(|| {
        let mut dns = Example::start("dns-checker", &["--dns-host", "127.0.0.9"]);
        dns.log("the addresses are {127.0.0.9}");
        dns.signal(Signal::TERM);
        assert_eq!(dns.wait(), 0);
    });
}

#[test]
fn the_addresses_of_this_machine_are_found_by_default() {
    watched(|| {
        let mut dns = Example::start("dns-checker", &[]);
        let line = dns.log("the addresses are {");
        assert!(line.contains("127.0.0.1") || line.contains("::1"), "{line}");
        dns.signal(Signal::TERM);
        assert_eq!(dns.wait(), 0);
    });
}

#[test]
fn a_service_without_tasks_waits_to_be_asked() {
    watched(|| {
        let mut empty = Example::start("empty", &[]);
        empty.log("all tasks started");
        empty.signal(Signal::INT);
        assert_eq!(empty.wait(), 0);
        let log = empty.whole_log();
        assert!(log.contains("INT received, stopping") && log.contains("stopped gracefully"), "{log}");
    });
}

#[test]
fn a_thousand_terms_are_one() {
    watched(|| {
        let mut empty = Example::start("empty", &[]);
        empty.log("all tasks started");
        for _ in 0..1000 {
            empty.signal_if_there(Signal::TERM);
        }
        assert_eq!(empty.wait(), 0);
    });
}

#[test]
fn a_loop_of_ones_own_serves_and_stops() {
    watched(|| {
        let mut custom = Example::start("custom-loop", &["--alive-interval", "20ms"]);
        let address = custom.address("echo");
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
        custom.log("all is well");
        custom.signal(Signal::TERM);
        assert_eq!(custom.wait(), 0);
        assert_eq!(client.read(&mut answer).unwrap_or(0), 0, "the connection is closed");
    });
}

#[test]
fn a_server_with_a_poll_of_its_own_is_reached_and_stopped_by_the_others() {
    watched(|| {
        let mut raw = Example::start("raw-mio", &["--report-interval", "50ms"]);
        let line = raw.log("server started on ");
        let address = line.rsplit(' ').next().unwrap().trim();
        let mut clients: Vec<_> = (0..10).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        for client in &mut clients {
            client.write_all(b"hello\nworld\n").unwrap();
            let mut answer = [0; 12];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HELLO\nWORLD\n");
        }
        raw.log("20 lines shouted");
        // More than sockets hold: a client that doesn't read is not read from, and gets everything once it does.
        let mut greedy = clients.swap_remove(0);
        let mut writer = greedy.try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            let sent = writer.write_all(&vec![b'a'; 8 << 20]);
            writer.shutdown(std::net::Shutdown::Write).unwrap();
            sent
        });
        let mut answer = Vec::new();
        greedy.read_to_end(&mut answer).unwrap();
        writing.join().unwrap().unwrap();
        assert!(answer.len() == 8 << 20 && answer.iter().all(|&byte| byte == b'A'));
        raw.signal(Signal::TERM);
        assert_eq!(raw.wait(), 0);
    });
}
