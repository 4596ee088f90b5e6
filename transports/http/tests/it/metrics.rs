//! The counters of a server, and their text at `/metrics`, validated by the parser of Prometheus' own Python client.
#![cfg(feature = "metrics")]

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use crate::util::{PATIENCE, connect, eventually, host, watchdog};
use interloop::{Service, Task, Thread, counters::Reading, net::Net, task_fn};
use interloop_http::{HttpServer, health};

/// Parses the text as Prometheus does; returns each sample as `name{label=value,..} value`, sorted, after each family's
/// `name: type unit`.
fn parsed(parser: &str, text: &str) -> Vec<String> {
    const PROGRAM: &str = "
import importlib, sys
text_string_to_metric_families = importlib.import_module(sys.argv[1]).text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    print(f'{family.name}: {family.type} {family.unit}'.rstrip())
    for sample in family.samples:
        labels = ','.join(f'{name}={value!r}' for name, value in sorted(sample.labels.items()))
        print(f'{sample.name}{{{labels}}} {float(sample.value)}')
";
    // Debian's, which scripts/setup has installed: another one earlier in the path has other packages.
    let python = if std::path::Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
    let mut child = Command::new(python)
        .args(["-c", PROGRAM, parser])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("there is a python3");
    child.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

#[track_caller]
fn has(lines: &[String], wanted: &str) {
    assert!(lines.iter().any(|line| line == wanted), "no {wanted} in\n{}", lines.join("\n"));
}

const HTTP: &str = "loop='http',service='web-shop',task='http'";
const TILL: &str = "loop='till',service='web-shop',task='till'";

/// Checks what OpenMetrics has of the shop.
#[track_caller]
fn is_all_there(lines: &[String]) {
    has(lines, "interloop_http_requests: counter");
    has(lines, &format!("interloop_http_requests_total{{{HTTP}}} 3.0"));
    has(lines, "interloop_http_responses: counter");
    let labels = "loop='http',service='web-shop',status='200',task='http'";
    has(lines, &format!("interloop_http_responses_total{{{labels}}} 3.0"));
    has(lines, "interloop_http_request_duration_seconds: summary seconds");
    has(lines, &format!("interloop_http_request_duration_seconds_count{{{HTTP}}} 3.0"));
    has(lines, "interloop_http_request_duration_window_seconds: gauge seconds");
    has(lines, "interloop_http_received_bytes: counter bytes");
    has(lines, &format!("interloop_http_open_connections{{{HTTP}}} 1.0"));
    has(lines, "interloop_loop_turns: counter");
    has(lines, "interloop_loop_latency_seconds: summary seconds");
    has(lines, "interloop_loop_running{kind='thread',loop='till',service='web-shop'} 1.0");
    has(lines, "interloop_task_restarts_total{loop='till',service='web-shop',task='till'} 0.0");
    has(lines, "interloop_ready{service='web-shop'} 1.0");
    has(lines, "web_shop_visitors{service='web-shop'} 2.5");
    has(lines, "interloop_warning{name='disk',service='web-shop'} 1.0");
    has(lines, r#"interloop_info{export_motto='a\\b "c"\nd',service='web-shop',version='1.2.3'} 1.0"#);

    // The odd ones.
    has(lines, "web_shop_orders: counter");
    has(
        lines,
        "web_shop_orders_total{exported_task='x',loop='till',service='web-shop',task='till',way='by \"mail\"\\n\\\\'} 7.0",
    );
    has(lines, &format!("web_shop_a_b_total{{{TILL}}} 1.0"));
    has(lines, &format!("web_shop_a_b_2_total{{{TILL}}} 2.0"));
    has(lines, "web_shop_taken: counter");
    has(lines, "web_shop_taken_2: gauge");
    has(lines, "web_shop_taken_total_2: gauge");
    has(lines, "web_shop_taken_count: gauge");
    assert!(!lines.iter().any(|line| line.starts_with("web_shop_broken{")), "it panicked: there is no number");
    has(lines, "web_shop_change_count{loop='till',service='web-shop',task='till'} 2.0");
}

#[test]
fn metrics_are_what_prometheus_reads() {
    let _watchdog = watchdog();
    let mut service = Service::new("web-shop");
    service.version("1.2.3");
    let server = HttpServer::new(crate::util::hi());
    let served = server.addresses();
    service.task_on::<Thread>("http", server);
    service.task("till", odd());
    health(&mut service);
    let running = service.start().expect("the configuration works");
    assert!(running.wait_started_timeout(PATIENCE));
    running.warn("disk", "\"91 %\"\nfull");
    running.export("motto", "a\\b \"c\"\nd");
    running.meter().gauge("visitors").set(2.5);
    let mut client = connect(served.tcp().expect("a port"));
    (0..3).for_each(|_| assert_eq!(client.get("/").status, 200));
    eventually(
        "all are through",
        || matches!(running.counters().get("http.request_duration"), Some(Reading::Histogram(one)) if one.count == 3),
    );

    let address = running.counters().exports()["health.address"].clone();
    let mut scraper = connect(address.parse().expect("an address"));
    let mut scrape = |accept: &str| {
        scraper.send(format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\n{accept}\r\n"));
        let got = scraper.receive();
        assert_eq!(got.status, 200);
        assert!(got.head.contains("\r\nvary: accept\r\n"), "{}", got.head);
        got
    };
    let prometheus = "accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
        text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
    let got = scrape(prometheus);
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(got.head.contains(kind), "{}", got.head);
    assert!(got.body.ends_with("# EOF\n"));
    let lines = parsed("prometheus_client.openmetrics.parser", &got.body);
    let openmetrics = got.body;

    is_all_there(&lines);

    // The same in Prometheus' own text.
    let kind = "content-type: text/plain; version=0.0.4; charset=utf-8\r\n";
    for accept in
        ["", "accept: */*\r\n", "accept: text/plain\r\n", "accept: text/plain;version=0.0.4;q=1,*/*;q=0.1\r\n"]
    {
        let got = scrape(accept);
        assert!(got.head.contains(kind), "{}", got.head);
        let lines = parsed("prometheus_client.parser", &got.body);
        has(&lines, "interloop_http_requests: counter");
        has(&lines, &format!("interloop_http_requests_total{{{HTTP}}} 3.0"));
        has(&lines, "interloop_http_request_duration_seconds: summary");
        has(&lines, &format!("interloop_http_request_duration_seconds_count{{{HTTP}}} 3.0"));
        has(&lines, r#"interloop_info{export_motto='a\\b "c"\nd',service='web-shop',version='1.2.3'} 1.0"#);
        has(&lines, &format!("web_shop_a_b_2_total{{{TILL}}} 2.0"));
        assert!(!lines.iter().any(|line| line.starts_with("web_shop_broken{")), "it panicked: there is no number");
        for line in [
            "# HELP web_shop_orders_total Orders: \"all\"\\nof them, \\\\ and more\n# TYPE web_shop_orders_total counter\n",
            "# TYPE interloop_info gauge\n",
            "# TYPE interloop_http_received_bytes_total counter\n",
            "# HELP web_shop_taken_total_2 No description.\n# TYPE web_shop_taken_total_2 gauge\n",
        ] {
            assert!(got.body.contains(line), "no {line} in\n{}", got.body);
        }
        assert!(!got.body.contains("# UNIT") && !got.body.contains("# EOF"));
        assert_eq!(names(&got.body), names(&openmetrics));
    }
    drop((client, scraper));
    assert_eq!(running.stop().code, 0);
}

/// Returns the samples without their values, except those that the scrapes themselves cause.
fn names(text: &str) -> Vec<&str> {
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.contains("task=\"health\""));
    samples.filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name).collect()
}

/// Counts with names and labels that are difficult for an exporter.
fn odd() -> impl Task<Thread, Options = interloop::NoOptions> {
    task_fn::<Thread>(async |cx| {
        let meter = cx.meter();
        meter.label("way", "by \"mail\"\n\\").label("task", "x").counter("orders_total").add(7);
        meter.describe("orders_total", "", "Orders: \"all\"\nof them, \\ and more");
        meter.counter("a.b").add(1);
        meter.counter("a_b").add(2);
        meter.counter("taken").add(1);
        meter.gauge("taken_total").set(1.0);
        meter.gauge("7 %").set(f64::NEG_INFINITY);
        meter.gauge("taken_count").set(1e300);
        meter.label("taken", "x").gauge("taken").set(1.0);
        cx.gauge_from("broken", || panic!("no number today"));
        let change = cx.histogram("change", &[Duration::from_secs(60)]);
        change.record(-3.0);
        change.record(1.0);
        cx.histogram("nothing", &[]);
        cx.histogram("nothing_yet", &[Duration::from_millis(1500)]);
        cx.until_shutdown().await;
        Ok(())
    })
}

fn counts_responses_bytes_and_durations<L: Net>() {
    let _watchdog = watchdog();
    for arguments in crate::util::variants::<L>() {
        let router = axum::Router::new()
            .route("/", axum::routing::post(async |body: String| body))
            .route("/bad", axum::routing::get(async || (http::StatusCode::IM_A_TEAPOT, "no")));
        let hosting = host::<L, _>(HttpServer::new(router), arguments);
        let mut client = connect(hosting.port());
        let (request, mut read) = ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody", 0);
        for _ in 0..3 {
            client.send(request);
            let got = client.receive();
            read += got.head.len() + got.body.len();
        }
        let bad = "GET /bad HTTP/1.1\r\nhost: x\r\n\r\n";
        client.send(bad);
        let got = client.receive();
        read += got.head.len() + got.body.len();
        assert_eq!(got.status, 418);
        assert_eq!(hosting.counter("responses{status=\"200\"}"), 3);
        assert_eq!(hosting.counter("responses{status=\"418\"}"), 1);
        assert_eq!(hosting.counter("received_bytes"), (3 * request.len() + bad.len()) as u64);
        // Written first, then counted.
        eventually("all is counted", || hosting.counter("sent_bytes") == read as u64);
        let duration = || match hosting.running.counters().get("http.request_duration") {
            Some(Reading::Histogram(duration)) => duration,
            other => panic!("{other:?}"),
        };
        eventually("all are through", || duration().count == 4);
        let max = duration().max.expect("there are some");
        assert!(max > 0.0 && max < PATIENCE.as_secs_f64(), "{max}");
        assert_eq!(duration().windows[0].count, 4);
        drop(client);
        hosting.stop();
    }
}

crate::util::on_each_loop! {
    counts_responses_bytes_and_durations,
}
