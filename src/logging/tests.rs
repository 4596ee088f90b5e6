//! What is logged, and in which format.

use std::{
    env,
    ffi::OsString,
    fmt, fs, io,
    process::{self, Command, Stdio},
    sync::Mutex,
    time::{Duration, SystemTime},
};

use log::{Level, Record};

mod queue;

use super::{
    sink::{Output, surroundings},
    *,
};

fn levels(text: &str) -> Levels {
    text.parse().unwrap()
}

/// A file in memory that can be read while it is written to.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Output for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// The whole logger of the service `hello`, except for its installation.
struct Bench {
    logger: Box<dyn Log>,
    filter: Arc<Filter>,
    memory: Memory,
}

fn bench(text: &str, format: Format, surroundings: Surroundings) -> Bench {
    let memory = Memory::default();
    let filter = Arc::new(Filter::new("hello".to_owned(), levels(text)));
    let logger = logger(&filter, format, Sink::new(memory.clone(), surroundings));
    Bench { logger, filter, memory }
}

/// Returns a logger, with its thread, that writes to this sink.
fn logger(filter: &Arc<Filter>, format: Format, sink: Sink) -> Box<dyn Log> {
    let (queue, style) = (Arc::new(Queue::new(sink.patience())), Style::new(format, sink.surroundings()));
    let logger = assemble(filter.clone(), style, queue.clone());
    Writer { queue, sink, style, filter: filter.clone(), unwritten: None }.start().unwrap();
    logger
}

impl Bench {
    fn log(&self, level: Level, target: &str, message: impl fmt::Display) {
        self.logger.log(&Record::builder().level(level).target(target).args(format_args!("{message}")).build());
        self.logger.flush();
    }

    /// Whether a record passes, and whether `enabled` says so.
    fn lets_through(&self, level: Level, target: &str) -> bool {
        let before = self.memory.text().len();
        self.log(level, target, "x");
        let is_through = self.memory.text().len() > before;
        let metadata = log::Metadata::builder().level(level).target(target).build();
        assert_eq!(self.logger.enabled(&metadata), is_through, "{level} {target}");
        is_through
    }
}

/// 2026-11-23T22:00:00.123Z
fn then() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_471_200_123)
}

fn rendered(format: Format, surroundings: Surroundings, level: Level, message: &str) -> String {
    let style = Style::new(format, surroundings);
    style.render_at(then(), &Record::builder().level(level).target("hello.http").build(), message)
}

#[test]
fn a_name_means_a_task_a_target_or_a_crate() {
    let bench = bench("info,http=debug,hyper=warn,own=trace", Format::Human, Surroundings::Plain);
    let cases = [
        ("hello.http", Level::Debug, Level::Trace),
        ("hello.http::pool", Level::Debug, Level::Trace),
        ("http", Level::Debug, Level::Trace),
        ("http::uri", Level::Debug, Level::Trace),
        ("hyper::proto::h1", Level::Warn, Level::Info),
        // Names are not prefixes of other names.
        ("hello.http-port", Level::Info, Level::Debug),
        ("httparse", Level::Info, Level::Debug),
        ("other.http", Level::Info, Level::Debug),
        ("hello", Level::Info, Level::Debug),
    ];
    for (target, most, too_much) in cases {
        assert!(bench.lets_through(most, target), "{target}");
        assert!(!bench.lets_through(too_much, target), "{target}");
    }
}

#[test]
fn the_most_specific_name_decides_in_any_order() {
    for text in ["off,hello=warn,http=debug,http::pool=error", "http::pool=error,http=debug,hello=warn,off"] {
        let bench = bench(text, Format::Human, Surroundings::Plain);
        assert!(bench.lets_through(Level::Warn, "hello") && !bench.lets_through(Level::Info, "hello"));
        assert!(bench.lets_through(Level::Warn, "hello.db") && !bench.lets_through(Level::Info, "hello.db"));
        assert!(bench.lets_through(Level::Debug, "hello.http"));
        assert!(!bench.lets_through(Level::Warn, "hello.http::pool"));
        assert!(!bench.lets_through(Level::Error, "hyper"));
    }
}

#[cfg(feature = "watch")]
#[test]
fn what_notify_warns_of_is_told_to_who_asks() {
    let plain = bench("debug", Format::Human, Surroundings::Plain);
    assert!(!plain.lets_through(Level::Warn, "notify::inotify") && plain.lets_through(Level::Error, "notify::inotify"));
    assert!(plain.lets_through(Level::Debug, "notifying"));
    let asked = bench("info,notify=trace", Format::Human, Surroundings::Plain);
    assert!(asked.lets_through(Level::Trace, "notify::inotify"));
}

#[test]
fn levels_are_read_and_written_alike() {
    for text in ["info", "off,http=debug", "warn,a=trace,b::c=error"] {
        assert_eq!(levels(text).to_string(), text);
    }
    assert_eq!(levels(" INFO , http = Debug "), levels("info,http=debug"));
    assert_eq!(levels("http=debug"), levels("info,http=debug"));
    assert_eq!(Levels::default(), levels("info"));
    for text in ["", "loud", "info,", "http=", "=debug", "http=loud", "http", "info;http=debug"] {
        assert!(text.parse::<Levels>().is_err(), "{text}");
    }
    let error = "info,http=loud".parse::<Levels>().unwrap_err();
    assert_eq!(error, "'loud' is no level; expected off, error, warn, info, debug or trace");
}

#[test]
fn levels_can_be_changed_while_it_runs() {
    let bench = bench("off", Format::Human, Surroundings::Plain);
    assert!(!bench.lets_through(Level::Error, "hello"));
    bench.filter.set(levels("trace"));
    assert!(bench.lets_through(Level::Trace, "hello"));
    bench.filter.set(levels("warn"));
    assert!(!bench.lets_through(Level::Info, "hello"));
}

#[test]
fn the_most_that_may_be_logged_is_as_tight_as_the_levels() {
    let most = |text: &str| Filter::new("hello".to_owned(), levels(text)).most();
    assert_eq!(most("warn"), LevelFilter::Warn);
    assert_eq!(most("warn,http=debug"), LevelFilter::Debug);
    assert_eq!(most("info,http=off"), LevelFilter::Info);
    assert_eq!(most("off"), LevelFilter::Off);
}

#[test]
fn a_human_line_has_time_level_target_and_message() {
    let line = rendered(Format::Human, Surroundings::Plain, Level::Info, "server started on [::1]:80");
    assert_eq!(line, "2026-11-23T22:00:00.123Z INFO  hello.http: server started on [::1]:80");
    let line = rendered(Format::Human, Surroundings::Terminal, Level::Error, "gone");
    assert_eq!(line, "2026-11-23T22:00:00.123Z \x1b[31mERROR\x1b[0m hello.http: gone");
}

#[test]
fn the_lines_of_a_human_message_stay_lines_and_are_indented() {
    let text = rendered(Format::Human, Surroundings::Plain, Level::Info, "two\r\n\tlines\n");
    assert_eq!(text, "2026-11-23T22:00:00.123Z INFO  hello.http: two\n    \tlines");
}

#[test]
fn a_classic_line_is_level_target_and_message() {
    let line = rendered(Format::Classic, Surroundings::Terminal, Level::Info, "server started on :80");
    assert_eq!(line, "INFO:hello.http:server started on :80");
}

#[test]
fn a_message_can_neither_forge_a_line_nor_steer_a_terminal() {
    let evil = "hi\nERROR:hello:all is lost\r\x1b[2J\u{9b}\u{2028}";
    let line = rendered(Format::Classic, Surroundings::Plain, Level::Info, evil);
    assert_eq!(line, r"INFO:hello.http:hi\nERROR:hello:all is lost\r\u{1b}[2J\u{9b}\u{2028}");
    let human = rendered(Format::Human, Surroundings::Plain, Level::Info, evil);
    assert!(human.lines().skip(1).all(|line| line.starts_with("    ")), "{human}");
    assert!(!human.contains('\x1b') && !human.contains('\r'), "{human}");
    let json = rendered(Format::Json, Surroundings::Plain, Level::Info, evil);
    assert_eq!(json.lines().count(), 1, "{json}");
}

#[test]
fn a_json_line_is_one_object_with_members_in_order() {
    let line = rendered(Format::Json, Surroundings::Terminal, Level::Warn, "say \"hi\"\n\\");
    let thread = std::thread::current();
    let expected = format!(
        r#"{{"ts":"2026-11-23T22:00:00.123Z","level":"WARN","target":"hello.http","message":"say \"hi\"\n\\","thread":"{}"}}"#,
        thread.name().unwrap()
    );
    assert_eq!(line, expected);
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["message"], "say \"hi\"\n\\");
    // A thread without a name has a number.
    let line = std::thread::spawn(|| rendered(Format::Json, Surroundings::Plain, Level::Warn, "x")).join().unwrap();
    assert!(line.contains(r#""thread":"ThreadId("#), "{line}");
}

#[test]
fn json_of_every_character_is_what_serde_json_writes() {
    let every = (char::MIN..=char::MAX).collect::<String>();
    let quoted = lines::quoted(&every);
    // Not by assert_eq, which would print megabytes.
    assert!(quoted == serde_json::to_string(&every).unwrap());
    assert!(serde_json::from_str::<String>(&quoted).unwrap() == every);
}

#[test]
fn under_journald_every_line_has_a_priority_and_none_the_time() {
    let text = rendered(Format::Human, Surroundings::Journal, Level::Warn, "two\nlines");
    assert_eq!(text, "<4>WARN  hello.http: two\n<4>    lines");
    let priorities = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace].map(|level| {
        let line = rendered(Format::Classic, Surroundings::Journal, level, "x");
        line.split_once('>').unwrap().0.to_owned()
    });
    assert_eq!(priorities, ["<3", "<4", "<6", "<7", "<7"]);
}

#[test]
fn colours_are_for_terminals_and_can_be_refused() {
    let seen = |is_terminal, variables: &[(&str, &str)]| {
        surroundings(is_terminal, Some("8:42".to_owned()), &|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        })
    };
    assert_eq!(seen(true, &[]), Surroundings::Terminal);
    assert_eq!(seen(false, &[]), Surroundings::Plain);
    assert_eq!(seen(true, &[("NO_COLOR", "1")]), Surroundings::Plain);
    assert_eq!(seen(true, &[("NO_COLOR", "")]), Surroundings::Terminal);
    assert_eq!(seen(true, &[("TERM", "dumb")]), Surroundings::Plain);
    assert_eq!(seen(false, &[("JOURNAL_STREAM", "8:42")]), Surroundings::Journal);
    // Inherited from a parent with another stderr.
    assert_eq!(seen(true, &[("JOURNAL_STREAM", "8:43")]), Surroundings::Terminal);
    assert_eq!(surroundings(false, None, &|_| None), Surroundings::Plain);
}

#[test]
fn a_message_may_log_while_it_is_formatted() {
    struct Nested(Arc<Bench>);
    impl fmt::Display for Nested {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.log(Level::Info, "hello", "inner");
            f.write_str("outer")
        }
    }
    let bench = Arc::new(bench("info", Format::Classic, Surroundings::Plain));
    bench.log(Level::Info, "hello", Nested(bench.clone()));
    assert_eq!(bench.memory.text(), "INFO:hello:inner\nINFO:hello:outer\n");
}

#[test]
fn a_sink_that_fails_costs_the_line_only() {
    struct Broken;
    impl Output for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let filter = Arc::new(Filter::new("hello".to_owned(), levels("info")));
    let logger = logger(&filter, Format::Human, Sink::new(Broken, Surroundings::Plain));
    logger.log(&Record::builder().level(Level::Error).target("hello").args(format_args!("lost")).build());
    logger.flush();
}

#[test]
fn a_log_file_that_cannot_be_opened_is_an_error_that_names_it() {
    let file = Some(PathBuf::from("/nonexistent/hello.log"));
    let error = init(LogSettings { file, ..LogSettings::default() }).unwrap_err();
    assert!(error.starts_with("can't open the log file /nonexistent/hello.log: "), "{error}");
}

/// Runs one of the tests below again, alone in a separate process, because the logger belongs to the process.
fn alone(test: &str, file: &str) -> Command {
    let module = module_path!().split_once("::").map_or("", |(_, path)| path);
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", &format!("{module}::{test}"), "--nocapture"]).env(ALONE, file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Set in such a process; the value is the log file, if the test has one.
const ALONE: &str = "INTERLOOP_TEST_ALONE";

#[test]
fn an_installed_logger_appends_to_its_file_and_takes_new_levels() {
    let test = "an_installed_logger_appends_to_its_file_and_takes_new_levels";
    let Some(file) = env::var_os(ALONE).map(PathBuf::from) else {
        let file = env::temp_dir().join(format!("interloop-{}-{test}.log", process::id()));
        fs::write(&file, "before\n").unwrap();
        let output = alone(test, file.to_str().unwrap()).output().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(text, "before\nINFO:hello:one\nTRACE:hello.http:two\nINFO:hello:three\n");
        return;
    };
    let settings = LogSettings {
        service: "hello".to_owned(),
        levels: Levels::default(),
        file: Some(file),
        format: Format::Classic,
    };
    let logger = init(settings.clone()).unwrap();
    assert_eq!((logger.is_ours(), log::max_level()), (true, LevelFilter::Info));
    log::info!(target: "hello", "one");
    log::trace!(target: "hello.http", "not yet");
    logger.set_levels(levels("warn,http=trace"));
    assert_eq!((logger.levels(), log::max_level()), (levels("warn,http=trace"), LevelFilter::Trace));
    log::trace!(target: "hello.http", "two");
    log::info!(target: "hello", "no more");
    logger.set_levels(levels("info"));

    // A second one finds the first installed, and leaves it alone.
    let second = init(LogSettings { file: None, levels: levels("trace"), ..settings }).unwrap();
    assert!(!second.is_ours());
    second.set_levels(levels("off"));
    assert_eq!(log::max_level(), LevelFilter::Info);
    log::info!(target: "hello", "three");
    second.flush();
    logger.flush();
}

#[test]
fn a_closed_stderr_does_not_matter() {
    let test = "a_closed_stderr_does_not_matter";
    if env::var_os(ALONE).is_none() {
        let mut child = alone(test, "").spawn().unwrap();
        drop(child.stderr.take());
        assert!(child.wait().unwrap().success());
        return;
    }
    let logger = init(LogSettings { service: "hello".to_owned(), ..LogSettings::default() }).unwrap();
    // Until the parent has closed its end, and beyond.
    let mut stderr = io::stderr();
    while io::Write::write_all(&mut stderr, b"still open\n").is_ok() {
        std::thread::yield_now();
    }
    for n in 0..100 {
        log::error!(target: "hello", "line {n}");
    }
    logger.flush();
}

#[cfg(unix)]
#[test]
fn stdout_and_stderr_are_log_files_also_where_they_are_sockets_or_pipes() {
    use std::{
        io::Read,
        os::{fd::OwnedFd, unix::net::UnixStream},
    };

    let test = "stdout_and_stderr_are_log_files_also_where_they_are_sockets_or_pipes";
    if let Some(file) = env::var_os(ALONE) {
        let file = Some(PathBuf::from(file));
        let settings =
            LogSettings { service: "hello".to_owned(), file, format: Format::Classic, ..LogSettings::default() };
        let logger = init(settings).unwrap();
        log::info!(target: "hello", "one");
        // As a HUP does.
        logger.reopen("HUP received");
        log::info!(target: "hello", "two");
        logger.flush();
        return;
    }
    for name in ["/dev/stdout", "/dev/stderr", "/dev/fd/1", "/proc/self/fd/2"] {
        let is_stdout = name.ends_with(['t', '1']);
        let socket = || UnixStream::pair().map(|(ours, theirs)| (OwnedFd::from(ours), OwnedFd::from(theirs))).unwrap();
        let pipe = || io::pipe().map(|(ours, theirs)| (OwnedFd::from(ours), OwnedFd::from(theirs))).unwrap();
        for (kind, (ours, theirs)) in [("a socket", socket()), ("a pipe", pipe())] {
            let mut command = alone(test, name);
            command.stderr(Stdio::null());
            let mut child = if is_stdout { command.stdout(theirs) } else { command.stderr(theirs) }.spawn().unwrap();
            // With this process's copy of the other end.
            drop(command);
            let mut said = String::new();
            fs::File::from(ours).read_to_string(&mut said).unwrap();
            assert!(child.wait().unwrap().success(), "{name}, {kind}: {said}");
            assert!(said.contains("INFO:hello:one\n") && said.contains("INFO:hello:two\n"), "{name}, {kind}: {said}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_socket_is_no_log_file_and_is_called_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&file).unwrap();
    let error = init(LogSettings { file: Some(file.clone()), ..LogSettings::default() }).unwrap_err();
    assert_eq!(error, format!("can't open the log file {}: it is a socket", file.display()));
}

#[cfg(target_os = "linux")]
#[test]
fn stderr_is_recognised_as_the_journal_s_by_its_inode() {
    let ours = sink::stderr_inode().unwrap();
    let (device, inode) = ours.split_once(':').unwrap();
    assert!(device.parse::<u64>().is_ok() && inode.parse::<u64>().is_ok(), "{ours}");
    assert_eq!(surroundings(false, Some(ours.clone()), &|_| Some(ours.clone().into())), Surroundings::Journal);
}
