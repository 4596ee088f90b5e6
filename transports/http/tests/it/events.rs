//! Server-sent events, by curl.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::util::{Hosting, eventually, host, variants, watchdog};
use axum::{Router, response::Response, routing::get};
use futures_util::{StreamExt, stream};
use interloop::net::Net;
use interloop_http::{Event, Events, HttpServer};

/// Sends three numbers, from the one after the last seen; then nothing, for ever.
async fn numbers(events: Events) -> Response {
    let begin = events.last_id().and_then(|id| id.parse().ok()).map_or(0, |last: u32| last + 1);
    let numbers =
        (begin..begin + 3).map(|number| Event::new(format!("{number}\nis it")).id(number.to_string()).name("n"));
    let events = events.retry(Duration::from_secs(2)).keep_alive(Duration::from_millis(50));
    events.respond(stream::iter(numbers).chain(stream::pending()))
}

/// Sends as many as are taken.
async fn pour(events: Events) -> Response {
    events.respond(stream::repeat_with(|| Event::new("x".repeat(10_000))))
}

fn hosting<L: Net>(arguments: &[&str]) -> Hosting {
    let router = Router::new().route("/numbers", get(numbers)).route("/pour", get(pour));
    host::<L, _>(HttpServer::new(router), arguments)
}

fn curl(hosting: &Hosting, arguments: &[&str]) -> (Child, impl Iterator<Item = String> + use<>) {
    let url = format!("http://{}/numbers", hosting.port());
    let mut curl = Command::new("curl");
    curl.args(["-sN", "--max-time", "40", &url]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut curl = curl.spawn().expect("there is a curl");
    let lines = BufReader::new(curl.stdout.take().expect("it is piped")).lines();
    (curl, lines.map_while(Result::ok))
}

fn events_come_and_end_with_the_server<L: Net>() {
    let _watchdog = watchdog();
    for arguments in variants::<L>() {
        let hosting = hosting::<L>(arguments);
        let (mut curl, mut lines) = curl(&hosting, &["-H", "last-event-id: 6"]);
        let said: Vec<_> = lines.by_ref().take_while(|line| line != ":").collect();
        let mut expected = "retry: 2000\n\n".to_owned();
        for number in 7..10 {
            expected += &format!("data: {number}\ndata: is it\nid: {number}\nevent: n\n\n");
        }
        assert_eq!(said.join("\n") + "\n", expected);
        // More than one sign of life.
        assert!(lines.by_ref().any(|line| line == ":"));
        assert_eq!(hosting.counter("open_event_streams"), 1);
        hosting.stop();
        assert!(curl.wait().expect("it is our child").success(), "the response is whole");
    }
}

fn who_leaves_is_noticed<L: Net>() {
    let _watchdog = watchdog();
    let hosting = hosting::<L>(&[]);
    let (mut curl, mut lines) = curl(&hosting, &[]);
    assert!(lines.any(|line| line == "data: 0"));
    curl.kill().expect("it is our child");
    curl.wait().expect("it is our child");
    eventually("none is open", || hosting.counter("open_event_streams") == 0);
    hosting.stop();
}

fn who_takes_nothing_is_dropped_and_others_are_served<L: Net>() {
    let _watchdog = watchdog();
    let hosting = hosting::<L>(&["--http-idle-timeout", "300ms"]);
    let mut greedy = crate::util::connect(hosting.port());
    greedy.send("GET /pour HTTP/1.1\r\nhost: x\r\n\r\n");
    eventually("it is sent some", || hosting.counter("sent_bytes") > 10_000);
    let (mut curl, mut lines) = curl(&hosting, &[]);
    assert!(lines.any(|line| line == "data: 0"));
    eventually("one is left", || hosting.counter("open_event_streams") == 1);
    // A client that merely gets nothing isn't a slow one.
    assert!(lines.any(|line| line == ":"));
    hosting.stop();
    assert!(curl.wait().expect("it is our child").success(), "the response is whole");
}

crate::util::on_each_loop! {
    who_takes_nothing_is_dropped_and_others_are_served,
    events_come_and_end_with_the_server,
    who_leaves_is_noticed,
}
