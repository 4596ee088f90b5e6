//! The same service on every loop, and with every task on another one: clients see the same, byte by byte.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use interloop_e2e::{Example, SOON, Signal, watched};

/// All loops that the example was built with.
const LOOPS: [&str; 8] = ["tokio", "async-std", "smol", "compio", "glib", "calloop", "mio", "thread"];

/// Starts the service with its tasks on these loops.
fn start(http: &str, lines: &str, files: &str) -> Example {
    let flags = [("--http-loop", http), ("--lines-loop", lines), ("--files-loop", files), ("--files-interval", "10ms")];
    let arguments: Vec<_> = flags.iter().flat_map(|(flag, value)| [*flag, *value]).collect();
    Example::start("migrate", &arguments)
}

/// A client that records everything that it sends and receives.
struct Client {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, SOON).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("it is a socket");
        Self { stream, heard: Vec::new() }
    }

    fn say(&mut self, text: &str) -> &mut Self {
        self.stream.write_all(text.as_bytes()).expect("it is open");
        self
    }

    /// Reads on until the input ends like this, ignoring the responses' dates.
    fn hear(&mut self, end: &str) -> String {
        let mut heard = String::new();
        while !heard.ends_with(end) {
            let mut bytes = [0; 4096];
            let read = self.stream.read(&mut bytes).unwrap_or_else(|error| panic!("{error} behind {heard:?}"));
            assert!(read > 0, "closed behind {heard:?}");
            self.heard.extend_from_slice(&bytes[..read]);
            heard = String::from_utf8_lossy(&self.heard).into_owned();
        }
        self.heard.clear();
        undated(&heard)
    }

    fn hear_all(&mut self) -> String {
        let mut bytes = std::mem::take(&mut self.heard);
        // A reset is an end too: bytes sent after a refused head are thrown away.
        let end = self.stream.read_to_end(&mut bytes).err().map(|error| error.kind());
        let end = end.filter(|kind| *kind != std::io::ErrorKind::ConnectionReset);
        format!(
            "{}{}",
            undated(&String::from_utf8_lossy(&bytes)),
            end.map_or_else(String::new, |kind| kind.to_string())
        )
    }
}

fn undated(text: &str) -> String {
    let line = |line: &str| if line.starts_with("date: ") { "date: *\r\n".to_owned() } else { line.to_owned() };
    text.split_inclusive('\n').map(line).collect()
}

/// Returns the responses to a script of requests, to the service's end.
fn transcript(mut service: Example) -> String {
    let (http, lines) = (service.address("http"), service.address("lines"));
    let mut heard = Vec::new();

    let mut api = Client::connect(http);
    heard.push(api.say("GET /book HTTP/1.1\r\nhost: x\r\n\r\n").hear("\r\n\r\n"));
    heard.push(api.say("POST /say HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nfirst").hear("heard\n"));
    let chunked =
        "POST /say HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nsec\r\n3\r\nond\r\n0\r\n\r\n";
    heard.push(api.say(chunked).hear("heard\n"));
    heard.push(api.say("POST /say HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n\n").hear("\r\n\r\n"));
    heard.push(api.say("GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").hear("\r\n\r\n"));
    heard.push(api.say("DELETE /book HTTP/1.1\r\nhost: x\r\n\r\n").hear("\r\n\r\n"));
    let expects = "POST /say HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    heard.push(api.say(expects).hear("100 Continue\r\n\r\n"));
    heard.push(api.say("third").hear("heard\n"));

    let mut visit = Client::connect(lines);
    heard.push(visit.say("fourth, by the other door\n").hear("heard\n"));
    // One line in two pieces, and two in one.
    heard.push(visit.say("fif").say("th\nsixth\n").hear("heard\nheard\n"));
    // The job files it sooner or later.
    let begun = Instant::now();
    while visit.say("?\n").hear("lines\n") != "6 lines\n" {
        assert!(begun.elapsed() < SOON, "the job does not file");
    }
    heard.push(api.say("GET /book HTTP/1.1\r\nhost: x\r\n\r\n").hear("6 sixth\n"));
    heard.push(api.say("HEAD /book HTTP/1.1\r\nhost: x\r\n\r\n").hear("\r\n\r\n"));
    let old = "GET /book HTTP/1.0\r\n\r\n";
    heard.push(Client::connect(http).say(old).hear_all());
    heard.push(Client::connect(http).say("NO HTTP\r\n\r\n").hear_all());
    let large = format!("POST /say HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 4 << 20);
    heard.push(Client::connect(http).say(&large).hear("too long\n"));
    heard.push(Client::connect(lines).say("\n").hear_all());

    // One of each is idle at the stop: both are closed.
    service.signal(Signal::TERM);
    heard.push(api.hear_all());
    heard.push(visit.hear_all());
    heard.push(format!("exit code {}", service.wait()));
    heard.join("\n--\n")
}

#[test]
fn on_every_loop_clients_see_the_same() {
    watched(|| {
        let first = transcript(start("tokio", "tokio", "tokio"));
        assert!(first.contains("6 sixth\n") && first.ends_with("exit code 0"), "{first}");
        for name in &LOOPS[1..] {
            assert_eq!(transcript(start(name, name, name)), first, "all on {name}");
        }
    });
}

#[test]
fn with_every_task_on_another_loop_clients_see_the_same() {
    watched(|| {
        let first = transcript(start("tokio", "tokio", "tokio"));
        for index in 0..LOOPS.len() {
            let [http, lines, files] = [0, 1, 2].map(|offset| LOOPS[(index + offset) % LOOPS.len()]);
            let said = transcript(start(http, lines, files));
            assert_eq!(said, first, "http on {http}, lines on {lines}, files on {files}");
        }
    });
}

/// Waits until the process has threads with these names, in order. A thread that has just been started sets its name a
/// moment later.
fn has_threads(service: &Example, expected: &[&str]) {
    let begun = Instant::now();
    loop {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", service.id())).expect("it runs");
        // One that has ended meanwhile has no name any more.
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.expect("a thread").path().join("comm")).ok());
        let mut names: Vec<_> = names.map(|name| name.trim().to_owned()).collect();
        names.sort();
        if names == expected {
            return;
        }
        assert!(begun.elapsed() < SOON, "its threads are {names:?}");
        std::thread::yield_now();
    }
}

#[test]
fn only_the_loops_in_use_are_started() {
    watched(|| {
        let mut service = start("thread", "thread", "thread");
        service.address("lines");
        has_threads(&service, &["files", "http", "lines", "log", "migrate", "outside", "signals", "supervisor"]);
        service.signal(Signal::TERM);
        assert_eq!(service.wait(), 0);
    });
}

/// HTTP, TCP, timers and a channel: all of it on loops without a runtime.
#[test]
fn on_glib_mio_and_calloop_alone_no_runtime_has_a_thread() {
    watched(|| {
        let mut service = start("glib", "mio", "calloop");
        let (http, lines) = (service.address("http"), service.address("lines"));
        let mut visit = Client::connect(lines);
        visit.say("hello\n").hear("heard\n");
        let begun = Instant::now();
        while visit.say("?\n").hear("lines\n") != "1 lines\n" {
            assert!(begun.elapsed() < SOON, "the job does not file");
        }
        Client::connect(http).say("GET /book HTTP/1.1\r\nhost: x\r\n\r\n").hear("1 hello\n");
        has_threads(&service, &["calloop", "glib", "log", "migrate", "mio", "outside", "signals", "supervisor"]);
        service.signal(Signal::TERM);
        assert_eq!(service.wait(), 0);
    });
}

#[test]
fn a_loop_that_is_not_there_is_refused_with_those_that_are() {
    watched(|| {
        let mut service = Example::start("migrate", &["--http-loop", "twisted"]);
        assert_eq!(service.wait(), 2);
        let log = service.whole_log();
        for name in LOOPS {
            assert!(log.contains(name), "{log}");
        }
    });
}
