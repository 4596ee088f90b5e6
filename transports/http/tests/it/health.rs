//! The health checks, from the first start to the end.

use std::{sync::mpsc, time::Duration};

use crate::util::{PATIENCE, connect, eventually, watchdog};
use interloop::{Context, EventLoop, NoOptions, Result, Service, Task, Thread, task_fn};
use interloop_http::{Address, Addresses, Health, health};
use interloop_tokio::Tokio;

fn add(service: &mut Service, health: Health) -> Addresses {
    let addresses = health.addresses();
    service.event_loop("health", Tokio::default());
    service.task_on::<Tokio>("health", health).on("health").last();
    addresses
}

fn get(addresses: &Addresses, path: &str) -> (u16, String) {
    addresses.wait_timeout(PATIENCE).expect("it listens");
    let got = connect(addresses.tcp().expect("a port")).get(path);
    (got.status, got.body)
}

/// Ready at once, ends when asked to.
struct Idle;

impl<L: EventLoop> Task<L> for Idle {
    type Options = NoOptions;

    async fn run(&mut self, cx: Context<L>) -> Result {
        cx.until_shutdown().await;
        Ok(())
    }
}

#[test]
fn a_service_that_runs_is_alive_ready_and_started() {
    let _watchdog = watchdog();
    let mut service = Service::new("test");
    service.task_on::<Tokio>("idle", Idle);
    service.task_on::<Thread>("other", Idle);
    let addresses = add(&mut service, Health::new());
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started(PATIENCE));
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(get(&addresses, path), (200, "ok\n".into()), "{path}");
    }
    assert_eq!(get(&addresses, "/").0, 404);
    let mut client = connect(addresses.tcp().expect("a port"));
    client.send("POST /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.receive().status, 405);
    assert_eq!(running.stop().code, 0);
}

#[test]
fn while_a_task_starts_the_service_is_alive_but_not_ready() {
    let _watchdog = watchdog();
    let mut service = Service::new("test");
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    service.task(
        "slow",
        task_fn::<Tokio>(async move |cx| {
            let _ = wait.await;
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    let addresses = add(&mut service, Health::new());
    let running = service.start().expect("the configuration works");
    assert_eq!(get(&addresses, "/livez").0, 200);
    assert_eq!(get(&addresses, "/startupz"), (503, "starting\n".into()));
    eventually("the loop of the task is there", || {
        get(&addresses, "/readyz") == (503, "starting\ntask slow is starting\n".into())
    });
    go.send(()).expect("it waits");
    assert!(running.wait_started(PATIENCE));
    assert_eq!(get(&addresses, "/startupz").0, 200);
    assert_eq!(get(&addresses, "/readyz").0, 200);
    assert_eq!(running.stop().code, 0);
}

#[test]
fn a_loop_that_is_blocked_is_not_alive_and_named() {
    let _watchdog = watchdog();
    let mut service = Service::new("test");
    let (go, wait) = mpsc::channel::<()>();
    let (stuck, is_stuck) = mpsc::channel();
    service.task(
        "blocker",
        task_fn::<Thread>(async move |cx| {
            cx.ready();
            stuck.send(()).expect("the test waits");
            let _ = wait.recv();
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    service.task_on::<Tokio>("idle", Idle);
    let addresses = add(&mut service, Health::new().heartbeat_timeout(Duration::from_millis(100)));
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started(PATIENCE));
    is_stuck.recv_timeout(PATIENCE).expect("it blocks");
    assert_eq!(get(&addresses, "/livez"), (503, "loop blocker has not answered for 0.1 s\n".into()));
    // Ready and alive are two things.
    assert_eq!(get(&addresses, "/readyz").0, 200);
    drop(go);
    eventually("it has recovered", || get(&addresses, "/livez").0 == 200);
    assert_eq!(running.stop().code, 0);
}

#[test]
fn a_service_that_drains_is_alive_but_not_ready_until_the_end() {
    let _watchdog = watchdog();
    let mut service = Service::new("test");
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    service.task(
        "slow",
        task_fn::<Tokio>(async move |cx| {
            cx.until_shutdown().await;
            let _ = wait.await;
            Ok(())
        }),
    );
    let addresses = add(&mut service, Health::new());
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started(PATIENCE));
    assert_eq!(get(&addresses, "/readyz").0, 200);
    running.request_shutdown("a test");
    eventually("the task stops", || {
        get(&addresses, "/readyz") == (503, "stopping (a test)\ntask slow is stopping\n".into())
    });
    assert_eq!(get(&addresses, "/livez").0, 200);
    go.send(()).expect("it waits");
    assert_eq!(running.join().code, 0);
    assert_eq!(addresses.get(), []);
}

#[test]
fn the_helper_adds_it_with_its_options() {
    let _watchdog = watchdog();
    let mut service = Service::new("test");
    service.task_on::<Tokio>("idle", Idle);
    health(&mut service).set("port", 0);
    service.arguments(["--health-host", "127.0.0.2", "--health-heartbeat-timeout", "1s"]);
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started(PATIENCE));
    let status = running.status();
    let task = status.tasks.iter().find(|task| task.name == "health").expect("it is there");
    assert_eq!(task.event_loop, "health");
    let address = task.exports["address"].parse().expect("an address");
    assert!(task.exports["address"].starts_with("127.0.0.2:"));
    assert_eq!(connect(address).get("/livez").status, 200);
    assert_eq!(running.stop().code, 0);
}

#[test]
fn a_service_ends_when_only_its_health_is_left() {
    let _watchdog = watchdog();
    let mut service = Service::new("test");
    service.task("once", task_fn::<Thread>(async |_| Ok(())));
    health(&mut service);
    assert_eq!(service.start().expect("the configuration works").join().code, 0);
}

#[cfg(feature = "status")]
#[test]
fn the_status_is_json() {
    let _watchdog = watchdog();
    let mut service = Service::new("test");
    service.task_on::<Tokio>("idle", Idle);
    let addresses = add(&mut service, Health::new());
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started(PATIENCE));
    let (status, json) = get(&addresses, "/status");
    assert_eq!(status, 200);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["service"], &json["ready"]), (&"test".into(), &true.into()));
    assert_eq!(json["tasks"][0]["state"], "running");
    assert_eq!(json["tasks"][0]["loop"], "tokio");
    let Some(Address::Tcp(address)) = addresses.get().pop() else { panic!("a port") };
    assert_eq!(json["tasks"][1]["exports"]["address"], address.to_string());
    assert_eq!(running.stop().code, 0);
}
