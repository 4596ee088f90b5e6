//! A service that an async function creates before the server listens.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use crate::util::{PATIENCE, connect, eventually, watchdog};
use axum::{Router, extract::State, routing::get};
use interloop::{Cause, Context, Error, RestartPolicy, Service, State as TaskState, Thread, net::Net};
use interloop_http::{HttpOptions, HttpServer};
use interloop_tokio::Tokio;

/// Returns a router that responds with its state.
fn router(state: impl Into<String>) -> Router {
    Router::new().route("/", get(async |State(state): State<String>| state)).with_state(state.into())
}

/// Reports when it is dropped.
struct Dropped(mpsc::Sender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

fn the_state_is_made_on_the_loop_before_the_socket_is_bound<L: Net>() {
    let _watchdog = watchdog();
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is room");
    let address = taken.local_addr().expect("it is bound");
    let server = HttpServer::from_fn(async move |cx: Context<L, HttpOptions>| {
        // It waits with the loop's own timers, and frees the port only then.
        cx.sleep(Duration::from_millis(1)).await;
        drop(taken);
        Ok(router(std::thread::current().name().unwrap_or_default()))
    });
    let hosting = crate::util::host::<L, _>(server.port(address.port()), &[]);
    assert_eq!(hosting.port(), address);
    assert_eq!(connect(address).get("/").body, L::NAME.replace("thread", "http"));
    hosting.stop();
}

fn its_failure_is_a_failed_start<L: Net>() {
    let _watchdog = watchdog();
    let server = HttpServer::from_fn(async |_: Context<L, HttpOptions>| {
        "no number".parse::<u32>()?;
        Ok(router("never"))
    });
    let said = crate::util::failure::<L, _>(server, &[]);
    assert_eq!(said, "invalid digit found in string");
}

fn a_stop_meanwhile_drops_what_it_waits_for<L: Net>() {
    let _watchdog = watchdog();
    let (begins, begun) = mpsc::channel();
    let (drops, dropped) = mpsc::channel();
    let server = HttpServer::from_fn(async move |_: Context<L, HttpOptions>| {
        let _dropped = Dropped(drops);
        begins.send(()).expect("the test waits");
        std::future::pending::<()>().await;
        Ok(router("never"))
    });
    let addresses = server.addresses();
    let mut service = Service::new("test");
    service.task_on::<L>("http", server).stop_timeout(PATIENCE);
    let running = service.start().expect("the configuration works");
    begun.recv_timeout(PATIENCE).expect("it begins");
    let report = running.stop();
    assert_eq!(report.code, 0, "{report}");
    dropped.try_recv().expect("it is dropped by then");
    assert_eq!(addresses.wait_timeout(PATIENCE), None);
}

/// Each incarnation has its own state; the second one fails once, and is tried again.
fn a_restart_makes_it_again<L: Net>() {
    let _watchdog = watchdog();
    let made = Arc::new(AtomicU32::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is room");
    let address = listener.local_addr().expect("it is bound");
    let listen = interloop_http::Listen::from(listener);
    let make = move || {
        let made = made.clone();
        let server =
            HttpServer::from_fn(async move |_: Context<L, HttpOptions>| match made.fetch_add(1, Ordering::Relaxed) {
                1 => Err(Error::new("the database is away")),
                number => Ok(router(number.to_string())),
            });
        server.listen(listen.clone())
    };
    let mut service = Service::new("test");
    let policy = RestartPolicy::on_failure().backoff(Duration::from_millis(1), Duration::from_millis(1));
    service.task_with::<L>("http", make).restart(policy);
    let running = service.start().expect("the configuration works");
    assert_eq!(connect(address).get("/").body, "0");
    running.restart_task("http").expect("it is there");
    eventually("it is made twice more", || {
        let status = running.status();
        status.tasks[0].incarnation == 3 && status.tasks[0].state == TaskState::Running
    });
    assert_eq!(connect(address).get("/").body, "2");
    assert_eq!(running.stop().code, 0);
}

#[test]
fn what_has_nothing_to_do_is_skipped() {
    let _watchdog = watchdog();
    let server = HttpServer::from_fn(async |_| Err::<Router, _>(Error::skip("switched off")));
    let mut service = Service::new("test");
    service.task_on::<Tokio>("http", server);
    let report = service.start().expect("the configuration works").join();
    assert_eq!((report.code, report.tasks[0].state), (0, TaskState::Skipped), "{report}");
}

#[test]
fn a_start_that_takes_too_long_fails() {
    let _watchdog = watchdog();
    let server = HttpServer::from_fn(async |_| {
        std::future::pending::<()>().await;
        Ok(router("never"))
    });
    let mut service = Service::new("test");
    service.task_on::<Thread>("http", server).start_timeout(Duration::from_millis(50));
    let report = service.start().expect("the configuration works").join();
    assert_eq!(report.code, 1, "{report}");
    assert_eq!(report.tasks[0].cause, Some(Cause::StartTimeout(Duration::from_millis(50))));
}

/// The task's type determines the loop, or the function's annotation does.
#[test]
fn its_loop_is_said_once() {
    let _watchdog = watchdog();
    let mut service = Service::new("test");
    let named = HttpServer::from_fn::<Tokio, _>(async |cx| {
        let handle: &tokio::runtime::Handle = cx.native();
        let number = handle.spawn(async { 7 }).await?;
        Ok(router(number.to_string()))
    });
    let addresses = named.addresses();
    service.task("named", named);
    service.task_on::<Tokio>("inferred", HttpServer::from_fn(async |cx| Ok(router(cx.name()))));
    let running = service.start().expect("the configuration works");
    addresses.wait_timeout(PATIENCE).expect("it listens");
    assert_eq!(connect(addresses.tcp().expect("a port")).get("/").body, "7");
    assert!(running.wait_started_timeout(PATIENCE));
    let inferred = running.addresses("inferred").expect("it is there")[0].tcp().expect("a port");
    assert_eq!(connect(inferred).get("/").body, "inferred");
    assert_eq!(running.stop().code, 0);
}

interloop_transport_tests::on_loops! {
    {
        on_tokio: interloop_tokio::Tokio,
        on_smol: interloop_smol::Smol,
        on_glib: interloop_glib::Glib,
        on_thread: interloop::Thread
    }
    {
        the_state_is_made_on_the_loop_before_the_socket_is_bound,
        its_failure_is_a_failed_start,
        a_stop_meanwhile_drops_what_it_waits_for,
        a_restart_makes_it_again,
    }
}

#[test]
fn its_values_set_in_code_are_told_as_those_of_any_server() {
    let server = HttpServer::from_fn(async |_: Context<Thread, HttpOptions>| Ok(router("")));
    let mut service = Service::new("test");
    service.task_on::<Thread>("http", server.port(8000).max_body_size(5)).set("max-connections", 3);
    service.arguments(["--dry-run"]);
    let shown = service.start().expect_err("a dry run starts nothing").to_string();
    for line in ["port = 8000 # code", "max-body-size = 5 # code", "max-connections = 3 # code"] {
        assert!(shown.contains(&format!("# {line}\n")), "{shown}");
    }
}
