//! Options that are set and reread while the service runs.

use std::{
    cell::Cell,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
};

use super::*;

#[derive(Args, Clone, Debug, PartialEq)]
struct Limits {
    #[arg(long, default_value_t = 1)]
    least: u8,
    #[arg(long, default_value_t = 5)]
    most: u8,
    #[arg(long, conflicts_with = "unlimited")]
    limit: Option<u8>,
    #[arg(long)]
    unlimited: bool,
    #[arg(long)]
    token: Option<Secret>,
}

/// Records what is applied to Interloop's own options.
#[derive(Default)]
struct Fake {
    applied: Cell<usize>,
    core: Mutex<Option<CoreOptions>>,
}

impl Host for Fake {
    fn can_log(&self) -> bool {
        false
    }

    fn apply(&self, core: &CoreOptions) {
        self.applied.set(self.applied.get() + 1);
        *self.core.lock().unwrap() = Some(core.clone());
    }
}

/// Returns live options with a cell for each section except the tasks that begin with "un".
fn live(hello: &Hello, words: &str) -> Live {
    let parsed = hello.parse(words.split_whitespace()).unwrap();
    let cells = hello.sections.iter().enumerate().map(|(n, section)| {
        let check: Check = |matches| Limits::from_arg_matches(matches).map(drop);
        let check: Check = if section.kind == Owner::Service { |_| Ok(()) } else { check };
        (!section.name.starts_with("un")).then(|| OptionCell::new(check, parsed.matches(n).unwrap()))
    });
    let cells = cells.collect();
    Live::new(parsed, cells)
}

fn service() -> Hello {
    Hello::default().and::<Http>(Owner::Service, "").and::<Limits>(Owner::Task, "http")
}

fn limits(live: &Live) -> Limits {
    Limits::from_arg_matches(&live.cell(1).unwrap().latest().1).unwrap()
}

fn value(live: &Live, name: &str) -> (Option<String>, Origin) {
    let option = live.list().into_iter().find(|option| option.name() == name).unwrap();
    (option.value().map(str::to_owned), option.origin().clone())
}

#[test]
fn the_list_has_the_options_of_all_owners_with_their_origins() {
    let live = live(&service().code("most", "7").env("HELLO__HTTP__LIMIT", "3"), "--http-token x --port 1");
    assert_eq!(value(&live, "http-least"), (Some("1".into()), Origin::Default));
    assert_eq!(value(&live, "http-most"), (Some("7".into()), Origin::Code));
    assert_eq!(value(&live, "http-limit"), (Some("3".into()), Origin::Environment("HELLO__HTTP__LIMIT".into())));
    assert_eq!(value(&live, "http-token"), (Some("***".into()), Origin::CommandLine));
    assert_eq!(value(&live, "http-unlimited"), (Some("false".into()), Origin::Default));
    assert_eq!(value(&live, "port"), (Some("1".into()), Origin::CommandLine));
    assert_eq!(value(&live, "tasks"), (None, Origin::Default));
    let owners: Vec<_> = live.list().iter().map(|option| option.owner().to_owned()).collect();
    assert!(owners.is_sorted_by_key(|owner| ["Interloop", "the service", "task http"].iter().position(|o| o == owner)));
    let secret = live.list().into_iter().find(OptionValue::is_secret).unwrap();
    assert_eq!(secret.name(), "http-token");
}

#[test]
fn an_option_tells_what_its_values_are() {
    #[derive(Args, Clone, Debug)]
    #[allow(dead_code)]
    struct Kinds {
        #[arg(long)]
        switch: bool,
        #[arg(long, action = clap::ArgAction::Set)]
        truth: Option<bool>,
        #[arg(long, action = clap::ArgAction::Count)]
        counts: u8,
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        ranged: Option<u16>,
        #[arg(long)]
        size: Option<usize>,
        #[arg(long)]
        share: Option<f64>,
        #[arg(long)]
        word: Option<String>,
        #[arg(long)]
        several: Vec<u8>,
        #[arg(long, num_args = 2)]
        pair: Option<Vec<u8>>,
        #[arg(long)]
        token: Option<Secret>,
    }
    let parsed = Hello::default().and::<Kinds>(Owner::Service, "").parse([""; 0]).unwrap();
    let live = Live::new(parsed, vec![None]);
    let list = live.list();
    let kind = |name: &str| list.iter().find(|option| option.name() == name).unwrap().kind();
    for (names, expected) in [
        ("switch truth", OptionKind::Truth),
        ("counts ranged size", OptionKind::Integer),
        ("share", OptionKind::Float),
        ("word several pair token log-level drain-delay", OptionKind::Text),
    ] {
        names.split(' ').for_each(|name| assert_eq!(kind(name), expected, "{name}"));
    }
}

#[test]
fn what_is_set_wins_over_all_layers_until_it_is_reset() {
    let live = live(&service(), "--http-most 9");
    assert_eq!(live.set("http-most", Some("8".into()), &Fake::default()), Ok(Applied::AtRestart));
    assert_eq!((limits(&live).most, value(&live, "http-most").1), (8, Origin::Set));
    assert_eq!(live.reload(&Fake::default()).unwrap(), Reloaded::default());
    assert_eq!(limits(&live).most, 8);
    assert_eq!(live.set("http-most", None, &Fake::default()), Ok(Applied::AtRestart));
    assert_eq!((limits(&live).most, value(&live, "http-most").1), (9, Origin::CommandLine));
}

#[test]
fn a_bad_value_is_refused_in_claps_words_and_changes_nothing() {
    let live = live(&service().env("HELLO__HTTP__LIMIT", "3"), "");
    let before = (limits(&live), live.list());
    let cases = [
        ("http-most", "many", "invalid value 'many' for '--http-most <MOST>': invalid digit found in string"),
        ("http-unlimited", "perhaps", "invalid value 'perhaps': expected true or false"),
        (
            "http-unlimited",
            "true",
            "the argument '--http-limit <LIMIT>' cannot be used with '--http-unlimited' (HELLO__HTTP__LIMIT is set in the \
             environment)",
        ),
        ("log-format", "json", "log-format can't be changed while running"),
        ("log-level", "debug", "log-level can't be changed: the log is not the service's own"),
        ("tasks", "http", "tasks can't be changed while running"),
    ];
    for (name, value, why) in cases {
        if cfg!(not(feature = "logging")) && name.starts_with("log") {
            continue;
        }
        let host = Fake::default();
        let error = live.set(name, Some(value.into()), &host).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.is_unknown(), host.applied.get()), (why, false, 0));
    }
    let error = live.set("http-moist", Some("1".into()), &Fake::default()).unwrap_err();
    assert!(
        error.is_unknown() && error.to_string().contains("no option http-moist; did you mean http-most?"),
        "{error}"
    );
    assert_eq!((limits(&live), live.list()), before);
}

#[test]
fn a_hand_written_reader_can_refuse_what_is_set() {
    #[derive(Debug)]
    struct Even;
    impl FromArgMatches for Even {
        fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
            match matches.get_one::<u8>("number") {
                Some(number) if number % 2 == 1 => {
                    Err(clap::Error::raw(ErrorKind::ValueValidation, format!("{number} is odd")))
                }
                Some(6) => panic!("not six"),
                _ => Ok(Self),
            }
        }
        fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
            Ok(())
        }
    }
    impl Args for Even {
        fn augment_args(command: Command) -> Command {
            command.arg(clap::Arg::new("number").long("number").value_parser(clap::value_parser!(u8)))
        }
        fn augment_args_for_update(command: Command) -> Command {
            Self::augment_args(command)
        }
    }
    let hello = task::<Even>("http");
    let parsed = hello.parse([""; 0]).unwrap();
    let cell = OptionCell::new(|matches| Even::from_arg_matches(matches).map(drop), parsed.matches(0).unwrap());
    let live = Live::new(parsed, vec![Some(cell)]);
    let set = |value: &str| live.set("http-number", Some(value.into()), &Fake::default()).map_err(|e| e.to_string());
    assert_eq!(set("3"), Err("3 is odd".into()));
    assert_eq!(set("6"), Err("the options of task http panicked: not six".into()));
    assert!(set("4").is_ok());
    assert_eq!(value(&live, "http-number"), (Some("4".into()), Origin::Set));
}

#[test]
fn how_a_stop_is_timed_can_be_set() {
    let (live, host) = (live(&service(), ""), Fake::default());
    assert_eq!(live.set("drain-delay", Some("3s".into()), &host), Ok(Applied::Now));
    assert_eq!(host.core.lock().unwrap().as_ref().unwrap().drain_delay, Duration::from_secs(3));
    // The same again changes nothing.
    assert_eq!(live.set("drain-delay", Some("3s".into()), &host), Ok(Applied::Now));
    assert_eq!(host.applied.get(), 1);
}

#[test]
fn options_of_a_task_that_is_not_selected_are_checked_one_by_one() {
    let hello = service().and::<Needy>(Owner::Task, "unused").and::<Http>(Owner::Task, "un-http");
    let live = live(&hello, "");
    assert_eq!(live.set("un-http-port", Some("1".into()), &Fake::default()), Ok(Applied::AtRestart));
    assert!(live.set("un-http-port", Some("x".into()), &Fake::default()).is_err());
    assert_eq!(value(&live, "un-http-port").0.as_deref(), Some("1"));
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn who_listens_is_woken_and_gets_the_latest_of_several_changes() {
    let live = live(&service(), "");
    let set = |value: &str| live.set("http-most", Some(value.into()), &Fake::default()).unwrap();
    let cell = live.cell(1).unwrap().clone();
    let (version, _) = cell.latest();
    // Between the start and the first check.
    assert_eq!(set("2"), Applied::AtRestart);
    let mut changes = OptionChanges::<Limits>::new(cell, version);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let poll = |changes: &mut OptionChanges<Limits>| {
        pin!(changes.next()).as_mut().poll(&mut Context::from_waker(&waker)).map(|limits| limits.most)
    };
    assert_eq!((poll(&mut changes), poll(&mut changes)), (Poll::Ready(2), Poll::Pending));
    assert_eq!((set("3"), set("4")), (Applied::Now, Applied::Now));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    assert_eq!((poll(&mut changes), poll(&mut changes)), (Poll::Ready(4), Poll::Pending));
    drop(changes);
    assert_eq!(set("5"), Applied::AtRestart);
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
}

#[test]
fn a_secret_file_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "one").unwrap();
    let live = live(&service().env("HELLO__HTTP__TOKEN_FILE", &path), "");
    std::fs::write(&path, "two").unwrap();
    let reloaded = live.reload(&Fake::default()).unwrap();
    assert_eq!(reloaded.to_string(), "http-token: *** -> *** (at its next start)");
    assert_eq!(limits(&live).token.unwrap().expose(), "two");
    std::fs::remove_file(&path).unwrap();
    let error = live.reload(&Fake::default()).unwrap_err().to_string();
    assert!(error.starts_with("HELLO__HTTP__TOKEN_FILE: can't read "), "{error}");
    assert_eq!(limits(&live).token.unwrap().expose(), "two");
}

#[cfg(feature = "config")]
mod reload {
    use std::{fs, path::Path};

    use super::*;

    fn begun(text: &str) -> (tempfile::TempDir, std::path::PathBuf, Live) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello.toml");
        fs::write(&path, text).unwrap();
        let live = live(&service().file(&path), "");
        (folder, path, live)
    }

    fn refused(live: &Live, path: &Path, text: &str) -> Vec<String> {
        fs::write(path, text).unwrap();
        let before = (limits(live), live.list());
        let host = Fake::default();
        let error = live.reload(&host).unwrap_err();
        assert_eq!(((limits(live), live.list()), host.applied.get()), (before, 0), "nothing has changed");
        error.lines().iter().map(|line| line.replace(path.to_str().unwrap(), "FILE")).collect()
    }

    #[test]
    fn says_what_has_changed_and_when_it_takes_effect() {
        let (_folder, path, live) = begun("port = 1\n[http]\nleast = 2\nmost = 6\n");
        fs::write(&path, "drain-delay = \"1s\"\n[http]\n\nmost = 6\nlimit = 7\n").unwrap();
        let host = Fake::default();
        let changes = OptionChanges::<Limits>::new(live.cell(1).unwrap().clone(), 0);
        let reloaded = live.reload(&host).unwrap();
        let said: Vec<String> = reloaded.changes().iter().map(ToString::to_string).collect();
        let expected = [
            "drain-delay: 0s -> 1s (now)",
            "port: 1 -> 8080 (now)",
            "http-least: 2 -> 1 (now)",
            "http-limit: (not set) -> 7 (now)",
        ];
        assert_eq!(said, expected);
        assert_eq!((limits(&live).least, limits(&live).most, limits(&live).limit), (1, 6, Some(7)));
        // An unchanged value has a new line.
        assert_eq!(value(&live, "http-most").1, Origin::File { path, line: 4 });
        drop(changes);
        assert_eq!(live.reload(&host).unwrap().to_string(), "no option has changed");
        assert_eq!(host.applied.get(), 1);
    }

    #[test]
    fn is_all_or_nothing() {
        let (_folder, path, live) = begun("[http]\nleast = 2\n");
        let lines = refused(&live, &path, "drain-delay = \"1s\"\n[http]\nleast = 3\nmost = 999\nmots = 1\n");
        assert!(lines.len() == 2 && lines[0].starts_with("FILE:4: http.most: ") && lines[1].starts_with("FILE:5: "));
        let lines =
            refused(&live, &path, "drain-delay = \"1s\"\ntasks = \"http\"\n[http]\nlimit = 1\nunlimited = true\n");
        assert_eq!(lines[0], "tasks can't be changed while running");
        assert!(lines.len() == 2 && lines[1].contains("cannot be used with"), "{lines:?}");
        let lines = refused(&live, &path, "[http\n");
        assert!(lines.len() == 1 && lines[0].starts_with("FILE:1: "), "{lines:?}");
    }
}

/// Their parser panics at 13; at 7 it runs the test's closure.
mod parsers {
    use std::sync::{OnceLock, mpsc};

    use super::*;

    static DOES: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

    #[derive(Args, Clone, Debug)]
    struct Lucky {
        #[arg(long, value_parser = lucky)]
        number: Option<u8>,
    }

    fn lucky(text: &str) -> Result<u8, String> {
        if text == "13" {
            panic!("not 13");
        }
        if text == "7"
            && let Some(does) = DOES.get()
        {
            does();
        }
        text.parse().map_err(|_| "no number".to_owned())
    }

    fn begun(hello: &Hello) -> Live {
        let parsed = hello.parse([""; 0]).unwrap();
        let check: Check = |matches| Lucky::from_arg_matches(matches).map(drop);
        let cell = OptionCell::new(check, parsed.matches(0).unwrap());
        Live::new(parsed, vec![Some(cell)])
    }

    #[test]
    fn a_panic_of_a_parser_is_an_error_that_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let live = begun(&task::<Lucky>("http").env("HELLO__HTTP__NUMBER_FILE", &path));
        let error = live.set("http-number", Some("13".into()), &Fake::default()).unwrap_err();
        assert_eq!(error.lines(), ["the parser of '--http-number' panicked: not 13"]);
        std::fs::write(&path, "13").unwrap();
        let error = live.reload(&Fake::default()).unwrap_err();
        assert_eq!(error.lines(), ["HELLO__HTTP__NUMBER_FILE: invalid value *** for '--http-number'"]);
        assert_eq!(value(&live, "http-number").0.as_deref(), Some("***"));
        // Nor is anything wrong with the next value.
        assert!(live.set("http-number", Some("3".into()), &Fake::default()).is_ok());
    }

    #[cfg(feature = "config")]
    #[test]
    fn a_panic_of_a_parser_is_a_line_of_the_reload() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello.toml");
        std::fs::write(&path, "[http]\nnumber = 1\n").unwrap();
        let live = begun(&task::<Lucky>("http").file(&path));
        std::fs::write(&path, "[http]\nnumber = 13\nother = 1\n").unwrap();
        let error = live.reload(&Fake::default()).unwrap_err();
        let why = "http.number: the parser of '--http-number' panicked: not 13";
        assert_eq!(error.lines()[0], format!("{}:2: {why}", path.display()));
        assert_eq!(error.lines().len(), 2);
    }

    #[test]
    fn a_parser_can_look_at_the_options_and_change_none() {
        let (says, said) = mpsc::channel();
        let live = Arc::new(begun(&task::<Lucky>("http")));
        let does = {
            let (live, says) = (live.clone(), Mutex::new(says));
            move || {
                let set = live.set("http-number", Some("5".into()), &Fake::default());
                let reloaded = live.reload(&Fake::default()).map(drop);
                says.lock().unwrap().send((value(&live, "http-number").0, set.map(drop), reloaded)).unwrap();
            }
        };
        assert!(DOES.set(Box::new(does)).is_ok());
        let setter = {
            let live = live.clone();
            std::thread::spawn(move || live.set("http-number", Some("7".into()), &Fake::default()))
        };
        let (seen, set, reloaded) = said.recv_timeout(Duration::from_secs(60)).unwrap();
        let why = "options can't be set or reloaded by what reads an option";
        assert_eq!((seen, set.unwrap_err().to_string().as_str()), (None, why));
        assert_eq!(reloaded.unwrap_err().to_string(), why);
        assert!(setter.join().unwrap().is_ok());
        assert_eq!(value(&live, "http-number").0.as_deref(), Some("7"));
    }
}
