//! The health checks, from the first start to the end.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    sync::mpsc,
    time::Duration,
};

use crate::util::{PATIENCE, connect, eventually, watchdog};
use interloop::{Context, EventLoop, NoOptions, Result, Running, Service, Task, Thread, net::Net, task_fn};
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

/// Ready at once; ends when asked to.
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
    assert!(running.wait_started_timeout(PATIENCE));
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(get(&addresses, path), (200, "ok\n".into()), "{path}");
    }
    assert_eq!(get(&addresses, "/").0, 404);
    for path in ["/livez", "/status", "/metrics"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
            let mut client = connect(addresses.tcp().expect("a port"));
            client.send(format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"));
            let got = client.receive();
            assert_eq!(got.status, 405, "{method}");
            assert!(got.head.contains("allow: get, head\r\n"), "{}", got.head);
        }
        let mut client = connect(addresses.tcp().expect("a port"));
        client.send(format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"));
        let answer = client.closed();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(answer.contains("content-length: ") && !answer.contains("content-length: 0\r\n"), "{answer}");
    }
    assert_eq!(asked(&addresses, "POST /nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0").0, 404);
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
    assert!(running.wait_started_timeout(PATIENCE));
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
    let blocker = service.task(
        "blocker",
        task_fn::<Thread>(async move |cx| {
            cx.ready();
            stuck.send(()).expect("the test waits");
            let _ = wait.recv();
            cx.until_shutdown().await;
            Ok(())
        }),
    );
    blocker.never_blocks();
    service.task_on::<Tokio>("idle", Idle);
    let addresses = add(&mut service, Health::new().heartbeat_timeout(Duration::from_millis(100)));
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started_timeout(PATIENCE));
    is_stuck.recv_timeout(PATIENCE).expect("it blocks");
    assert_eq!(get(&addresses, "/livez"), (503, "loop blocker has not answered for 0.1 s\n".into()));
    // Ready and alive are different.
    assert_eq!(get(&addresses, "/readyz").0, 200);
    drop(go);
    eventually("it has recovered", || get(&addresses, "/livez").0 == 200);
    assert_eq!(running.stop().code, 0);
}

#[test]
fn a_thread_that_its_only_task_blocks_is_alive() {
    let _watchdog = watchdog();
    let mut service = Service::new("test");
    let (go, wait) = mpsc::channel::<()>();
    let (stuck, is_stuck) = mpsc::channel();
    let blocker = task_fn::<Thread>(async move |cx| {
        cx.ready();
        stuck.send(()).expect("the test waits");
        let _ = wait.recv();
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("blocker", blocker);
    service.task_on::<Tokio>("idle", Idle);
    let addresses = add(&mut service, Health::new().heartbeat_timeout(Duration::from_millis(100)));
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started_timeout(PATIENCE));
    is_stuck.recv_timeout(PATIENCE).expect("it blocks");
    assert_eq!(get(&addresses, "/livez").0, 200);
    drop(go);
    assert_eq!(running.stop().code, 0);
}

#[test]
fn what_blocks_a_loop_is_named_once_it_has_for_a_second() {
    let _watchdog = watchdog();
    let mut service = Service::new("test");
    let (go, wait) = mpsc::channel::<()>();
    let (stuck, is_stuck) = mpsc::channel();
    let blocker = task_fn::<Tokio>(async move |cx| {
        cx.ready();
        stuck.send(()).expect("the test waits");
        let _ = wait.recv();
        cx.until_shutdown().await;
        Ok(())
    });
    service.task("blocker", blocker);
    let addresses = add(&mut service, Health::new().heartbeat_timeout(Duration::from_millis(1200)));
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started_timeout(PATIENCE));
    is_stuck.recv_timeout(PATIENCE).expect("it blocks");
    let (status, body) = get(&addresses, "/livez");
    let said = "loop tokio has not answered for 1.2 s\n\
                loop tokio is blocked: its thread has been in task blocker for 1.";
    assert!(status == 503 && body.starts_with(said), "{status} {body}");
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
    assert!(running.wait_started_timeout(PATIENCE));
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
    assert!(running.wait_started_timeout(PATIENCE));
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

/// Returns a running service with health checks and these arguments.
fn checked<L: Net>(health: Health, arguments: &[&str]) -> (Running, Addresses) {
    let addresses = health.addresses();
    let mut service = Service::new("test");
    service.event_loop("health", L::default());
    service.task_on::<L>("health", health).on("health").last();
    service.task_on::<Thread>("idle", Idle);
    service.arguments(arguments);
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started_timeout(PATIENCE));
    (running, addresses)
}

/// Returns the response to this head.
fn asked(addresses: &Addresses, head: &str) -> (u16, String) {
    let mut client = connect(addresses.tcp().expect("a port"));
    client.send(format!("{head}\r\nconnection: close\r\n\r\n"));
    let got = client.receive();
    (got.status, got.body)
}

fn what_tells_of_the_service_is_for_hosts_that_are_known<L: Net>() {
    let _watchdog = watchdog();
    let (running, addresses) = checked::<L>(
        Health::new(),
        &["--health-allow-host", "metrics.example,*.internal", "--health-allow-host", "my_app"],
    );
    let own = interloop_listen::machine_names();
    for path in ["/status", "/metrics"] {
        for host in
            ["127.0.0.1", "[::1]:80", "LOCALHOST:1", "x.localhost.", "metrics.example", "a.internal", "my_app:8001", ""]
                .into_iter()
                .chain(own.iter().map(String::as_str))
        {
            assert_eq!(asked(&addresses, &format!("GET {path} HTTP/1.1\r\nhost: {host}")).0, 200, "{host}");
        }
        for head in [
            format!("GET {path} HTTP/1.0"),
            format!("GET {path} HTTP/1.1"),
            format!("GET http://localhost{path} HTTP/1.1"),
        ] {
            assert_eq!(asked(&addresses, &head).0, 200, "{head}");
        }
        let refused = (
            421,
            "this service does not answer for the host evil.example: --health-allow-host evil.example\n".to_owned(),
        );
        for head in [
            format!("GET {path} HTTP/1.1\r\nhost: evil.example"),
            format!("GET {path} HTTP/1.1\r\nHOST: Evil.Example.:8001"),
            format!("GET {path} HTTP/1.0\r\nhost: evil.example"),
            format!("GET http://evil.example{path} HTTP/1.1\r\nhost: localhost"),
            format!("GET http://localhost{path} HTTP/1.1\r\nhost: evil.example"),
        ] {
            assert_eq!(asked(&addresses, &head), refused, "{head}");
        }
        for hosts in ["localhost\r\nhost: localhost", "user@localhost", "local host", "localhost:x"] {
            assert_eq!(asked(&addresses, &format!("GET {path} HTTP/1.1\r\nhost: {hosts}")).0, 400, "{hosts}");
        }
    }
    for path in ["/livez", "/readyz", "/startupz"] {
        let told = asked(&addresses, &format!("GET {path} HTTP/1.1\r\nhost: evil.example"));
        assert_eq!(told, (200, "ok\n".into()), "{path}");
    }
    assert_eq!(running.stop().code, 0);
}

fn every_host_can_be_allowed_by_the_code_and_by_an_option<L: Net>() {
    let _watchdog = watchdog();
    let evil = "GET /status HTTP/1.1\r\nhost: evil.example";
    for (health, arguments, status) in [
        (Health::new().allow_host("*"), &[][..], 200),
        (Health::new(), &["--health-allow-host", "*"], 200),
        (Health::new().allow_host("evil.example"), &[], 200),
        // The option overrides the code.
        (Health::new().allow_host("evil.example"), &["--health-allow-host", "good.example"], 421),
    ] {
        let (running, addresses) = checked::<L>(health, arguments);
        assert_eq!(asked(&addresses, evil).0, status);
        assert_eq!(running.stop().code, 0);
    }
}

/// Sends a request, and finishes right after it.
fn a_question_with_its_end_right_behind_it_is_answered<L: Net>() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().expect("there is room");
    let socket = folder.path().join("health");
    let (running, addresses) = checked::<L>(Health::new().host("127.0.0.1").port(0).unix(&socket), &[]);
    let port = addresses.tcp().expect("a port");
    for round in 0..50 {
        for path in ["/livez", "/readyz", "/status", "/metrics"] {
            let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            let (mut tcp, mut unix) = (String::new(), String::new());
            let mut stream = TcpStream::connect(port).expect("it listens");
            stream.write_all(head.as_bytes()).expect("it is open");
            stream.shutdown(Shutdown::Write).expect("it is open");
            stream.read_to_string(&mut tcp).expect("it is answered");
            let mut stream = UnixStream::connect(&socket).expect("it listens");
            stream.write_all(head.as_bytes()).expect("it is open");
            stream.shutdown(Shutdown::Write).expect("it is open");
            stream.read_to_string(&mut unix).expect("it is answered");
            for said in [tcp, unix] {
                assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "round {round}, {path}: {said}");
            }
        }
    }
    assert_eq!(running.stop().code, 0);
}

/// Runs curl with these arguments; returns the body and the status.
fn curl(arguments: &[&str]) -> String {
    let fixed = ["-sS", "--max-time", "20", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"];
    let ran = std::process::Command::new("curl").args(fixed).args(arguments).output().expect("it is installed");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("text")
}

fn curl_asks_over_http_2_and_a_unix_socket<L: Net>() {
    let _watchdog = watchdog();
    let (running, addresses) = checked::<L>(Health::new(), &[]);
    let port = addresses.tcp().expect("a port").port();
    for (host, status) in [("localhost", 200), ("evil.example", 421), ("127.0.0.1", 200)] {
        for (http, version) in [
            ("--http1.1", "1.1"),
            #[cfg(feature = "http2")]
            ("--http2-prior-knowledge", "2"),
        ] {
            let (resolve, url) = (format!("{host}:{port}:127.0.0.1"), format!("http://{host}:{port}/status"));
            assert_eq!(curl(&[http, "--resolve", &resolve, &url]), format!("{version} {status}"), "{host}");
        }
    }
    assert_eq!(running.stop().code, 0);
    let folder = tempfile::tempdir().expect("there is room");
    let socket = folder.path().join("health");
    for health in [Health::new().unix(&socket), Health::new()] {
        let path = socket.to_str().expect("it is ASCII");
        let (running, addresses) = checked::<L>(health, &["--health-unix", path]);
        assert_eq!(addresses.tcp(), None);
        assert_eq!(curl(&["--unix-socket", path, "http://evil.example/status"]), "1.1 200");
        assert_eq!(running.stop().code, 0);
    }
}

interloop_transport_tests::on_loops! {
    { on_tokio: interloop_tokio::Tokio, on_thread: interloop::Thread, on_glib: interloop_glib::Glib }
    {
        what_tells_of_the_service_is_for_hosts_that_are_known,
        every_host_can_be_allowed_by_the_code_and_by_an_option,
        curl_asks_over_http_2_and_a_unix_socket,
        a_question_with_its_end_right_behind_it_is_answered,
    }
}

#[test]
fn a_host_that_can_not_be_allowed_is_one_line() {
    let refused = |health: Health, arguments: &[&str]| {
        let mut service = Service::new("test");
        service.task_on::<Thread>("health", health);
        service.arguments(arguments);
        let error = service.start().expect_err("it can't work");
        (error.code(), error.to_string())
    };
    let (code, why) = refused(Health::new().allow_host("a b"), &[]);
    assert_eq!(code, 78);
    let said = "invalid value 'a b' for '--health-allow-host <HOST>': expected a host name, *.example.org or *";
    assert_eq!(why, format!("test: task health: option allow-host, set in code: {said}"));
    let (code, why) = refused(Health::new(), &["--health-allow-host", "http://x"]);
    assert!(code == 2 && why.contains("--health-allow-host"), "{why}");
}

#[cfg(feature = "status")]
#[test]
fn the_status_is_json() {
    let _watchdog = watchdog();
    let mut service = Service::new("test");
    service.task_on::<Tokio>("idle", Idle);
    let addresses = add(&mut service, Health::new());
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started_timeout(PATIENCE));
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
