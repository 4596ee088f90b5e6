//! A server's log line about connections that its stop had to cut off.

use std::{
    io::Write,
    net::TcpStream,
    sync::{Mutex, PoisonError},
};

use axum::{Router, routing::get};
use interloop::{Service, Thread};
use interloop_http::HttpServer;
use interloop_own_process::own_process;

use crate::util::{PATIENCE, eventually, watchdog};

struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record.args().to_string());
    }

    fn flush(&self) {}
}

#[test]
fn who_is_cut_off_by_the_stop_is_said() {
    own_process(|| {
        let _watchdog = watchdog();
        log::set_logger(&LINES).expect("it is the only one");
        log::set_max_level(log::LevelFilter::Warn);
        let mut service = Service::new("test");
        let server = HttpServer::new(Router::new().route("/", get(async || std::future::pending::<()>().await)));
        let addresses = server.addresses();
        let stop_timeout = std::time::Duration::from_millis(200);
        service.task_on::<Thread>("http", server).stop_timeout(stop_timeout);
        let running = service.start().expect("the configuration works");
        assert!(running.wait_started_timeout(PATIENCE));
        let mut stream = TcpStream::connect(addresses.tcp().expect("it listens")).expect("it listens");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").expect("it is open");
        eventually("the request is there", || running.status().tasks[0].counters["requests"] == 1);
        let client = stream.local_addr().expect("it has one");
        assert_eq!(running.stop().code, 124);
        let lines = LINES.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said =
            format!("the stop cut off connections that were still open: 1 with a request; the first from {client}");
        assert!(lines.contains(&said), "{lines:?}");
    });
}
