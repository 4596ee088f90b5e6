//! A service whose HTTP server is recreated at each restart: for the tests of passed descriptors. `/restart` restarts
//! it, `/incarnation` says which one answers.
//!
//! The environment says what else it does. `NAME`: the server names this socket in code. `RUNS`: the
//! number of services, one after the other. `/descriptors` lists those of a child process.

use std::{
    env,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::{Router, routing::get};
use interloop::Service;
use interloop_http::HttpServer;
use interloop_tokio::Tokio;

fn run() -> ExitCode {
    let mut service = Service::new("inherits");
    let (handle, made) = (service.handle(), Arc::new(AtomicU32::new(0)));
    let restart =
        get(async move || handle.restart_task("http").map_or_else(|error| error.to_string(), |()| "ok".into()));
    let descriptors = get(async || {
        let listed = Command::new("ls").args(["-l", "/proc/self/fd"]).output();
        listed.map_or_else(|error| error.to_string(), |listed| String::from_utf8_lossy(&listed.stdout).into_owned())
    });
    let server = move || {
        let incarnation = made.fetch_add(1, Ordering::SeqCst) + 1;
        let router = Router::new()
            .route("/restart", restart.clone())
            .route("/descriptors", descriptors.clone())
            .route("/incarnation", get(async move || incarnation.to_string()));
        HttpServer::new(router).port(1)
    };
    match env::var("NAME") {
        // Its value exists at the start, so the name is known in time.
        Ok(name) => service.task_on::<Tokio>("http", server().inherited(name).port(0)),
        Err(_) => service.task_with::<Tokio>("http", server),
    };
    service.run()
}

fn main() -> ExitCode {
    let runs = env::var("RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(1);
    (0..runs).fold(ExitCode::FAILURE, |_, _| run())
}
