//! A page in a browser: it opens a WebSocket and an EventSource, and shows what comes. Debian: chromium, by
//! scripts/setup.

use std::{
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use crate::util::{eventually, host, watchdog};
use axum::{
    Router,
    response::{Html, Response},
    routing::{get, post},
};
use interloop::net::Net;
use interloop_http::{Event, Events, HttpServer, WebSocketUpgrade};

/// A browser, which ends with this value, including all its processes.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        // It is not reaped yet, so the group still belongs to it.
        let _ = rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::KILL,
        );
        let _ = self.0.wait();
    }
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.protocols(&["old"]).on_upgrade(async |mut socket| {
        while let Some(message) = socket.next().await {
            if message == "close".into() {
                return socket.sender().close(4321, "as you like").expect("a code for applications");
            }
            let _ = socket.send(message).await;
        }
    })
}

/// Sends one number each time the browser connects.
async fn numbers(events: Events) -> Response {
    let number = events.last_id().and_then(|id| id.parse().ok()).map_or(0, |last: u32| last + 1);
    let event = Event::new(number.to_string()).id(number.to_string()).name("n");
    events.retry(Duration::from_millis(1)).respond(futures_util::stream::iter([event]))
}

fn a_page_talks_over_both<L: Net>() {
    let _watchdog = watchdog();
    let (send, shown) = mpsc::channel();
    let dom = move |text: String| async move {
        let _ = send.send(text);
    };
    let page = get(async || Html(include_str!("page.html")));
    let router = Router::new().route("/", page).route("/echo", get(echo)).route("/numbers", get(numbers));
    let hosting = host::<L, _>(HttpServer::new(router.route("/dom", post(dom))), &[]);
    let profile = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("chromium");
    command
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--remote-debugging-port=0", &format!("http://{}/", hosting.port())])
        .env("HOME", profile.path())
        .process_group(0);
    let log = profile.path().join("log");
    let errors = std::fs::File::create(&log).expect("a file");
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn();
    let browser = Browser(child.expect("chromium is there: scripts/setup installs it"));
    let Ok(text) = shown.recv_timeout(Duration::from_secs(50)) else {
        panic!("the page was not through: {}", std::fs::read_to_string(log).unwrap_or_default());
    };
    assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), "old; grüße; 4321 true; 0; 1; 2;");
    drop(browser);
    eventually("none is open", || {
        hosting.counter("open_websockets") == 0 && hosting.counter("open_event_streams") == 0
    });
    hosting.stop();
}

crate::util::on_each_loop! {
    a_page_talks_over_both,
}
