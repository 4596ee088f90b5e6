//! A process that has run out of descriptors. In a binary of its own: the limit, and the log, are the process's.

use interloop_own_process::own_process;
use std::sync::Mutex;

use crate::util::{Client, PATIENCE, eventually, hi, host, watchdog};
use interloop_http::HttpServer;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

struct Lines(Mutex<Vec<String>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.level() <= log::Level::Error {
            self.0.lock().expect("no panic here").push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

static LINES: Lines = Lines(Mutex::new(Vec::new()));

#[test]
fn without_descriptors_it_says_so_once_and_goes_on_when_there_are_some() {
    own_process(|| {
        let _watchdog = watchdog();
        log::set_logger(&LINES).expect("it is the only one");
        log::set_max_level(log::LevelFilter::Error);
        let hosting = host::<interloop_tokio::Tokio, _>(HttpServer::new(hi()), &[]);
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
        client.set_read_timeout(Some(PATIENCE)).expect("it is a socket");

        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum: limit.maximum }).expect("it is lowered");
        let hoard = std::iter::from_fn(|| client.try_clone().ok()).collect::<Vec<_>>();
        client.connect(&hosting.port().into()).expect("the system answers");
        let complaints = || LINES.0.lock().expect("no panic here").clone();
        eventually("it complains", || !complaints().is_empty());
        // It tries again, after growing pauses, and has nothing new to say.
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(hoard);

        let mut client = Client::new(std::net::TcpStream::from(client));
        assert_eq!(client.get("/").body, "hi");
        let complaints = complaints();
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].starts_with("can't accept connections, trying again: "), "{complaints:?}");
        hosting.stop();
    });
}
