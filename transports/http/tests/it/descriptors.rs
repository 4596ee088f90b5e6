//! A process that has run out of descriptors. In a separate binary: the limit and the log belong to the process.

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
        // It keeps trying, and has nothing new to report.
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

/// Health has kept a descriptor in reserve: for one connection after the other.
#[test]
fn without_descriptors_health_checks_are_answered() {
    own_process(|| {
        let _watchdog = watchdog();
        log::set_logger(&LINES).expect("it is the only one");
        log::set_max_level(log::LevelFilter::Error);
        let mut service = interloop::Service::new("test");
        let health = interloop_http::Health::new();
        let addresses = health.addresses();
        service.event_loop("health", interloop::Thread);
        service.task_on::<interloop::Thread>("health", health).on("health");
        let http = HttpServer::new(hi());
        let served = http.addresses();
        service.task_on::<interloop_tokio::Tokio>("http", http);
        let running = service.start().expect("the configuration works");
        let address = addresses.wait_timeout(PATIENCE).expect("it listens")[0].tcp().expect("a port");
        let served = served.wait_timeout(PATIENCE).expect("it listens")[0].tcp().expect("a port");
        let socket = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
            socket.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
            socket
        };
        let clients = [(); 5].map(|()| socket());
        let starved = socket();
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum: limit.maximum }).expect("it is lowered");
        let _hoard = std::iter::from_fn(|| starved.try_clone().ok()).collect::<Vec<_>>();
        // Otherwise somebody else would take the descriptors.
        starved.connect(&served.into()).expect("the system answers");
        eventually("it complains", || !LINES.0.lock().expect("no panic here").is_empty());
        let begin = std::time::Instant::now();
        for client in clients {
            client.connect(&address.into()).expect("the system answers");
            let mut client = Client::new(std::net::TcpStream::from(client));
            assert_eq!(client.get("/livez").body, "ok\n");
            // Its own end is kept: otherwise one more would be free.
            client.stream().shutdown(std::net::Shutdown::Both).expect("it is open");
            std::mem::forget(client);
        }
        // Each is taken back before anybody else gets it.
        assert!(begin.elapsed() < std::time::Duration::from_secs(8), "{:?}", begin.elapsed());
        drop(_hoard);
        assert_eq!(running.stop().code, 0);
    });
}
