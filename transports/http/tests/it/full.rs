//! What a server says when it has as many connections as it may have, and while its service is being made.

use std::{
    net::TcpStream,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use interloop::{Context, Service, Thread, net::Net};
use interloop_http::{HttpOptions, HttpServer};
use interloop_own_process::own_process;

use crate::util::{Client, eventually, hi, host, watchdog};

struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}: {}", record.level(), record.target(), record.args());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn flush(&self) {}
}

fn lines() -> Vec<String> {
    LINES.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn log_warnings() {
    log::set_logger(&LINES).expect("it is the only one");
    log::set_max_level(log::LevelFilter::Warn);
}

fn is_told_once<L: Net>() {
    own_process(|| {
        let _watchdog = watchdog();
        log_warnings();
        let hosting = host::<L, _>(HttpServer::new(hi()), &["--http-max-connections", "1"]);
        let connect = || TcpStream::connect(hosting.port()).expect("it listens");
        // One that is served, one that waits; then once more.
        let mut first = Client::new(connect());
        assert_eq!(first.get("/").body, "hi");
        let mut second = Client::new(connect());
        eventually("it is told", || !lines().is_empty());
        drop(first);
        assert_eq!(second.get("/").body, "hi");
        let mut third = Client::new(connect());
        drop(second);
        assert_eq!(third.get("/").body, "hi");
        assert_eq!(hosting.counter("times_full"), 3);
        let told = "WARN test.http: 1 connection is open, as many as may be (max-connections): further clients wait";
        assert_eq!(lines(), [told]);
        hosting.stop();
    });
}

#[test]
fn a_server_that_is_full_says_so_once_on_tokio() {
    is_told_once::<interloop_tokio::Tokio>();
}

#[test]
fn a_server_that_is_full_says_so_once_on_a_thread() {
    is_told_once::<Thread>();
}

#[test]
fn a_service_that_takes_too_long_to_make_is_what_a_failed_start_is_told_of() {
    own_process(|| {
        let _watchdog = watchdog();
        log_warnings();
        let server = HttpServer::from_fn(async |_: Context<Thread, HttpOptions>| {
            std::future::pending::<()>().await;
            Ok(Router::<()>::new())
        });
        let mut service = Service::new("test");
        service.task_on::<Thread>("http", server).start_timeout(Duration::from_millis(50));
        assert_eq!(service.start().expect("the configuration works").join().code, 1);
        let said = "ERROR test.http: task http: no cx.ready() within 50 ms: its service is still being made";
        assert!(lines().iter().any(|line| line == said), "{:?}", lines());
    });
}
