//! The main job: a glib loop and a tokio HTTP server in one process.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use interloop_e2e::{Example, SOON, Signal, get, post, watched};

fn start() -> (Example, SocketAddr) {
    let example = Example::start("side-by-side", &["--http-port", "0", "--health-port", "0"]);
    let address = example.address("http");
    (example, address)
}

#[test]
fn what_is_said_on_tokio_stands_on_the_board_on_glib() {
    watched(|| {
        let (mut example, address) = start();
        assert_eq!(post(address, "/say", b"hello").json()["number"], 1);
        assert_eq!(post(address, "/say", "grüße".as_bytes()).json()["number"], 2);
        let board = get(address, "/board").json();
        assert_eq!(board["messages"][1]["text"], "grüße");
        let page = get(address, "/").body;
        assert!(page.contains("<title>side-by-side</title>") && page.contains("= board.ticks;"), "{page}");
        example.signal(Signal::INT);
        assert_eq!(example.wait(), 0);
        assert!(example.whole_log().contains("stopped gracefully"), "{}", example.whole_log());
    });
}

#[test]
fn the_glib_loop_ticks_and_calls_back_into_tokio() {
    watched(|| {
        let (mut example, address) = start();
        for number in 1..=20 {
            assert_eq!(post(address, "/say", b"again").json()["number"], number);
        }
        example.log("10 messages were said");
        example.log("20 messages were said");
        let begun = Instant::now();
        while get(address, "/board").json()["ticks"].as_u64() < Some(1) {
            assert!(begun.elapsed() < SOON, "it does not tick");
        }
        example.signal(Signal::TERM);
        assert_eq!(example.wait(), 0);
    });
}

#[test]
fn the_board_keeps_the_last_twenty_messages() {
    watched(|| {
        let (mut example, address) = start();
        for number in 1..=25 {
            post(address, "/say", format!("message {number}").as_bytes());
        }
        let board = get(address, "/board").json();
        let messages = board["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 20);
        assert_eq!(messages[0]["text"], "message 6");
        assert_eq!(messages[19]["number"], 25);
        example.signal(Signal::TERM);
        assert_eq!(example.wait(), 0);
    });
}

#[test]
fn bad_messages_are_refused_with_the_reason() {
    watched(|| {
        let (mut example, address) = start();
        for (body, status, said) in [
            (&b""[..], 400, "empty"),
            (&[b'x'; 501], 400, "501 bytes"),
            (b"\xff\xfe", 400, "UTF-8"),
            (&[b'x'; 64 * 1024 + 1], 413, ""),
        ] {
            let answer = post(address, "/say", body);
            assert_eq!(answer.status, status, "{answer:?}");
            assert!(answer.body.contains(said), "{answer:?}");
        }
        assert_eq!(post(address, "/say", &[b'x'; 500]).status, 200);
        assert_eq!(post(address, "/say", b"x").json()["number"], 2);
        example.signal(Signal::TERM);
        assert_eq!(example.wait(), 0);
    });
}

#[test]
fn the_status_shows_tasks_and_loops() {
    watched(|| {
        let (mut example, address) = start();
        example.log("all tasks started");
        let status = get(address, "/status").json();
        assert_eq!(status["ready"], true);
        let tasks = status["tasks"].as_array().unwrap();
        let http = tasks.iter().find(|task| task["name"] == "http").unwrap();
        assert_eq!((http["state"].as_str(), http["loop"].as_str()), (Some("running"), Some("tokio")));
        assert_eq!(http["exports"]["address"], address.to_string());
        let loops = status["loops"].as_array().unwrap();
        assert!(loops.iter().any(|l| l["name"] == "glib" && l["running"] == true), "{status}");
        example.signal(Signal::TERM);
        assert_eq!(example.wait(), 0);
    });
}

#[test]
fn health_answers_on_its_own_address() {
    watched(|| {
        let (mut example, _) = start();
        example.log("all tasks started");
        let health = example.address("health");
        for path in ["/livez", "/readyz", "/startupz"] {
            assert_eq!(get(health, path).status, 200, "{path}");
        }
        example.signal(Signal::TERM);
        assert_eq!(example.wait(), 0);
    });
}

#[test]
fn tasks_stop_in_reverse_order() {
    watched(|| {
        let mut example =
            Example::start("side-by-side", &["--http-port", "0", "--health-port", "0", "--log-level", "debug"]);
        example.log("all tasks started");
        example.signal(Signal::INT);
        assert_eq!(example.wait(), 0);
        let log = example.whole_log();
        let place = |task: &str| {
            let step = format!("task {task} (run 1): stopping -> stopped");
            log.lines().position(|line| line.contains(&step)).unwrap_or_else(|| panic!("no {step:?} in\n{log}"))
        };
        assert!(place("http") < place("ticker"), "{log}");
        assert!(place("ticker") < place("herald"), "{log}");
        assert!(place("herald") < place("health"), "{log}");
    });
}

#[test]
fn a_port_in_use_is_one_line_and_stops_all_else() {
    watched(|| {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let begun = Instant::now();
        let mut example = Example::start("side-by-side", &["--http-port", &port, "--health-port", "0"]);
        assert_eq!(example.wait(), 1);
        assert!(begun.elapsed() < Duration::from_secs(5));
        let log = example.whole_log();
        assert!(log.contains(&format!("task http: can't listen on 127.0.0.1:{port}: Address already in use")), "{log}");
    });
}
