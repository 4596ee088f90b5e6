//! Typed and set values, and the resulting options of their owners.

use std::{collections::HashMap, ffi::OsString, fmt::Debug, path::PathBuf, time::Duration};

use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum, error::ErrorKind};

use super::{
    flag::{Flag, Required},
    parse::common,
    plan::Plan,
    *,
};

#[cfg(feature = "config")]
mod file;
mod live;
mod secrets;

/// A service named `hello`, its sections, and an environment.
#[derive(Default)]
struct Hello {
    sections: Vec<Section>,
    defaults: Vec<(String, String)>,
    env: HashMap<String, OsString>,
}

fn task<A: Args>(name: &str) -> Hello {
    Hello::default().and::<A>(Owner::Task, name)
}

impl Hello {
    fn and<A: Args>(mut self, kind: Owner, name: &str) -> Self {
        let command = A::augment_args(Command::new("options"));
        self.sections.push(Section { kind, name: name.to_owned(), command, built: Vec::new(), defaults: Vec::new() });
        self
    }

    /// Sets a value in code, for the last section.
    fn code(mut self, option: &str, value: &str) -> Self {
        self.sections.last_mut().unwrap().defaults.push((option.to_owned(), value.to_owned()));
        self
    }

    /// Sets a value that the last section's owner itself has from code.
    fn built(mut self, option: &str, value: &str) -> Self {
        self.sections.last_mut().unwrap().built.push((option.to_owned(), value.to_owned()));
        self
    }

    fn core(mut self, option: &str, value: &str) -> Self {
        self.defaults.push((option.to_owned(), value.to_owned()));
        self
    }

    fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the file of `--config` in the environment.
    #[cfg(feature = "config")]
    fn file(self, path: &std::path::Path) -> Self {
        self.env("HELLO__CONFIG", path)
    }

    fn about() -> ServiceAbout {
        ServiceAbout {
            name: "hello".to_owned(),
            version: Some("1.2.3".to_owned()),
            about: Some("Says hello.".to_owned()),
            has_own_logger: false,
        }
    }

    fn parse<W: Into<OsString>>(&self, words: impl IntoIterator<Item = W>) -> Result<Parsed, Stop> {
        let words = words.into_iter().map(Into::into).collect();
        let env = self.env.clone();
        let env = std::sync::Arc::new(move |name: &str| env.get(name).cloned());
        parse(&Self::about(), self.sections.clone(), &self.defaults, words, env)
    }

    /// Returns the options of the first section.
    fn first<A: Args>(&self, words: &str) -> Result<A, Stop> {
        self.parse(words.split_whitespace())?.options(0)
    }

    fn stop(&self, words: &str) -> Stop {
        let parsed = self.parse(words.split_whitespace());
        let all = parsed.and_then(|parsed| (0..self.sections.len()).try_for_each(|n| parsed.matches(n).map(drop)));
        all.expect_err("it should have stopped")
    }

    fn help(&self) -> String {
        let Err(Stop::Asked(help)) = self.parse(["--help"]) else { panic!("no help") };
        help
    }
}

fn usage(text: &str) -> Stop {
    Stop::Usage(text.to_owned())
}

fn config(text: &str) -> Stop {
    Stop::Config(text.to_owned())
}

#[derive(Args, Clone, Debug, Default, PartialEq)]
struct Http {
    /// Where to listen
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Say more
    #[arg(long)]
    verbose: bool,
}

#[derive(Args, Clone, Debug, PartialEq)]
struct Needy {
    #[arg(long)]
    url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Mode {
    Fast,
    /// Takes its time
    Slow,
}

/// One option of every shape.
#[derive(Args, Clone, Debug, PartialEq)]
struct Shapes {
    #[arg(long)]
    on: bool,
    #[arg(long = "no-colour", action = clap::ArgAction::SetFalse)]
    colour: bool,
    #[arg(long, action = clap::ArgAction::Count)]
    loud: u8,
    #[arg(long)]
    peer: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    tags: Vec<String>,
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    words: Vec<String>,
    #[arg(long, num_args = 2, allow_hyphen_values = true)]
    pair: Vec<i32>,
    #[arg(long, num_args = 0..=1, default_missing_value = "always")]
    when: Option<String>,
    #[arg(long)]
    level: Option<Option<u8>>,
    #[arg(long, num_args = 0..)]
    many: Option<Vec<String>>,
    #[arg(long, num_args = 1..=2, action = clap::ArgAction::Append)]
    point: Vec<u8>,
    #[arg(long, value_enum, ignore_case = true)]
    mode: Option<Mode>,
    #[arg(long, require_equals = true)]
    eq: Option<String>,
    #[arg(long, allow_negative_numbers = true)]
    offset: Option<i64>,
    #[arg(long, allow_hyphen_values = true)]
    raw: Option<String>,
    #[arg(long)]
    path: Option<PathBuf>,
    #[arg(long, value_parser = duration, default_value = "5s")]
    patience: Duration,
    #[arg(long, num_args = 0..=1, action = clap::ArgAction::SetTrue)]
    tls: bool,
    #[arg(long, alias = "old", visible_alias = "also")]
    new: Option<String>,
    #[arg(long, num_args = 1.., value_terminator = ";")]
    command: Vec<String>,
    #[arg(long, overrides_with = "no_cache")]
    cache: bool,
    #[arg(long, overrides_with = "cache")]
    no_cache: bool,
    #[arg(long, overrides_with = "last")]
    last: Option<u8>,
    #[arg(short = 'q')]
    only_short: Option<u8>,
}

/// Returns clap's own result for the words without a prefix.
fn plain<A: Args>(words: &[OsString]) -> Result<A, clap::Error> {
    let command = A::augment_args(Command::new("plain").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(words)?)
}

#[test]
fn a_task_gets_what_it_would_get_without_a_prefix() {
    let task = task::<Shapes>("http");
    let cases = [
        "",
        "--on",
        "--no-colour",
        "--loud --loud --on --loud",
        "--peer a --peer b",
        "--peer a,b",
        "--tags a,b --tags c",
        "--tags a,,b",
        "--tags=",
        "--words a b,c d --on",
        "--pair 1 2",
        "--pair -1 -2",
        "--when",
        "--when --on",
        "--when=never",
        "--when never",
        "--level",
        "--level 3",
        "--many",
        "--many a",
        "--many a b --on",
        "--point 1 2 --point 3",
        "--point=1 --on --point 2 3",
        "--mode fast",
        "--mode SLOW",
        "--eq=x",
        "--eq=",
        "--offset -5",
        "--offset=-5",
        "--raw --on",
        "--raw=--port",
        "--path /tmp/x",
        "--patience 1.5s",
        "--patience 250ms",
        "--tls",
        "--tls=false",
        "--old x",
        "--also x",
        "--command ls -- ; --on",
        "--command ls a ; --on",
        "--cache --no-cache",
        "--no-cache --cache",
        "--cache --no-cache --cache",
        "--last 1 --last 2",
        // Words that clap refuses must be refused.
        "--on --on",
        "--eq x",
        "--offset x",
        "--mode other",
        "--pair 1",
        "--point 1 2 3",
        "--point",
        "--patience soon",
        "--eq=a --eq=b",
        "--mode fast --mode slow",
    ];
    for words in cases {
        let words: Vec<OsString> = words.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect();
        let prefixed = words.iter().map(|word| {
            let word = word.to_str().unwrap();
            word.strip_prefix("--").filter(|name| !name.is_empty()).map_or(word.to_owned(), |name| {
                // `--raw --on`: the value must stay as it is.
                if words[0] == *"--raw" && name == "on" { word.to_owned() } else { format!("--http-{name}") }
            })
        });
        let ours = task.parse(prefixed).and_then(|parsed| parsed.options::<Shapes>(0));
        match (plain::<Shapes>(&words), ours) {
            (Ok(plain), Ok(ours)) => assert_eq!(plain, ours, "{words:?}"),
            (Err(error), Err(Stop::Usage(ours))) => {
                let plain = wording::one_line(&error).replace("--", "--http-").replace("--http- ", "-- ");
                assert_eq!(ours, format!("hello: {plain}; try --help"), "{words:?}");
            }
            (plain, ours) => panic!("{words:?}: {plain:?}, {ours:?}"),
        }
    }
}

#[test]
fn an_option_with_only_a_short_flag_gets_a_long_one_at_a_task() {
    let task = task::<Shapes>("http");
    assert_eq!(task.first::<Shapes>("--http-only-short 3").unwrap().only_short, Some(3));
    assert_eq!(task.stop("-q 3"), usage("hello: unexpected argument '-q' found; try --help"));
}

#[test]
fn each_owner_gets_its_own_options() {
    #[derive(Args, Debug)]
    struct Own {
        #[arg(long, short, visible_short_alias = 'w', short_alias = 'x')]
        name: Option<String>,
    }
    let hello = Hello::default()
        .and::<Http>(Owner::Task, "http")
        .and::<Http>(Owner::Loop, "tokio")
        .and::<Own>(Owner::Service, "")
        .and::<Http>(Owner::Task, "admin");
    let words = "-n you --admin-port 3 --tokio-port 2 --http-port 1 --http-verbose";
    let parsed = hello.parse(words.split(' ')).unwrap();
    assert_eq!(parsed.options::<Http>(0).unwrap(), Http { port: 1, verbose: true });
    assert_eq!(parsed.options::<Http>(1).unwrap(), Http { port: 2, verbose: false });
    assert_eq!(parsed.options::<Own>(2).unwrap().name.as_deref(), Some("you"));
    for short in ["-w", "-x"] {
        assert_eq!(hello.parse([short, "me"]).unwrap().options::<Own>(2).unwrap().name.as_deref(), Some("me"));
    }
    assert_eq!(parsed.options::<Http>(3).unwrap(), Http { port: 3, verbose: false });
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_code() {
    let code = task::<Http>("http").code("port", "1");
    assert_eq!(code.first::<Http>("").unwrap().port, 1);
    let env = code.env("HELLO__HTTP__PORT", "2");
    assert_eq!(env.first::<Http>("").unwrap().port, 2);
    assert_eq!(env.first::<Http>("--http-port 3").unwrap().port, 3);
}

#[test]
fn variables_have_two_underscores_between_levels() {
    #[derive(Args)]
    struct Sized {
        #[arg(long)]
        max_size: Option<u8>,
    }
    let command = Sized::augment_args(Command::new("options"));
    let mut section =
        Section { kind: Owner::Loop, name: "io-2".to_owned(), command, built: Vec::new(), defaults: Vec::new() };
    let variable = |section: &Section| Flag::all("side-by-side", Some(0), section).remove(0).variable;
    assert_eq!(variable(&section), "SIDE_BY_SIDE__IO_2__MAX_SIZE");
    section.kind = Owner::Service;
    assert_eq!(variable(&section), "SIDE_BY_SIDE__MAX_SIZE");
}

#[test]
fn layers_are_not_mixed_within_an_option() {
    let hello = task::<Shapes>("http").code("peer", "a").code("peer", "b");
    assert_eq!(hello.first::<Shapes>("").unwrap().peer, ["a", "b"]);
    let hello = hello.env("HELLO__HTTP__PEER", "c");
    assert_eq!(hello.first::<Shapes>("").unwrap().peer, ["c"]);
    assert_eq!(hello.first::<Shapes>("--http-peer d --http-peer e").unwrap().peer, ["d", "e"]);
}

#[test]
fn every_shape_can_come_from_the_environment() {
    let hello = task::<Shapes>("http")
        .env("HELLO__HTTP__ON", "yes")
        .env("HELLO__HTTP__NO_COLOUR", "1")
        .env("HELLO__HTTP__LOUD", "3")
        .env("HELLO__HTTP__PEER", "a,b")
        .env("HELLO__HTTP__TAGS", "a,b")
        .env("HELLO__HTTP__WORDS", "c,d")
        .env("HELLO__HTTP__PAIR", "-1,2")
        .env("HELLO__HTTP__WHEN", "never")
        .env("HELLO__HTTP__LEVEL", "4")
        .env("HELLO__HTTP__POINT", "9")
        .env("HELLO__HTTP__MODE", "Fast")
        .env("HELLO__HTTP__EQ", "")
        .env("HELLO__HTTP__OFFSET", "-7")
        .env("HELLO__HTTP__RAW", "--http-on")
        .env("HELLO__HTTP__PATIENCE", "2min")
        .env("HELLO__HTTP__TLS", "on")
        .env("HELLO__HTTP__NO_CACHE", "true");
    let shapes = hello.first::<Shapes>("").unwrap();
    assert!(shapes.on && !shapes.colour && shapes.tls && shapes.no_cache && !shapes.cache);
    assert_eq!((shapes.loud, shapes.pair, shapes.point), (3, vec![-1, 2], vec![9]));
    assert_eq!((shapes.peer, shapes.tags, shapes.words), (vec!["a,b".to_owned()], strings("a b"), strings("c d")));
    assert_eq!((shapes.when.as_deref(), shapes.level, shapes.mode), (Some("never"), Some(Some(4)), Some(Mode::Fast)));
    assert_eq!((shapes.eq.as_deref(), shapes.offset, shapes.raw.as_deref()), (Some(""), Some(-7), Some("--http-on")));
    assert_eq!(shapes.patience, Duration::from_secs(120));
    // Typed values override set ones.
    let shapes = hello.first::<Shapes>("--http-cache").unwrap();
    assert!(shapes.cache && !shapes.no_cache);
}

#[test]
fn every_shape_can_be_set_in_code() {
    let hello = task::<Shapes>("http")
        .code("on", "true")
        .code("no-colour", "true")
        .code("loud", "2")
        .code("tags", "a,b")
        .code("tags", "c")
        .code("pair", "1,2")
        .code("mode", "fast")
        .code("mode", "slow")
        .code("patience", "1.5s");
    let shapes = hello.first::<Shapes>("").unwrap();
    assert!(shapes.on && !shapes.colour);
    assert_eq!((shapes.loud, shapes.pair, shapes.mode), (2, vec![1, 2], Some(Mode::Slow)));
    assert_eq!(shapes.tags, strings("a b c"));
    assert_eq!(shapes.patience, Duration::from_millis(1500));
}

#[test]
fn the_environment_can_turn_off_what_code_turned_on() {
    for off in ["false", "0", "no", "OFF"] {
        let hello = task::<Shapes>("http").code("on", "true").code("loud", "2");
        let hello = hello.env("HELLO__HTTP__ON", off).env("HELLO__HTTP__LOUD", "0");
        let shapes = hello.first::<Shapes>("").unwrap();
        assert!(!shapes.on);
        assert_eq!(shapes.loud, 0);
    }
}

#[cfg(unix)]
#[test]
fn what_is_not_utf_8_survives() {
    use std::os::unix::ffi::OsStringExt;
    let odd = |prefix: &str| {
        let mut bytes = prefix.as_bytes().to_vec();
        bytes.extend([b'/', 0xff, 0xfe]);
        OsString::from_vec(bytes)
    };
    let hello = task::<Shapes>("http");
    let expected = Some(PathBuf::from(odd("")));
    let parsed = hello.parse(["--http-path".into(), odd("")]).unwrap();
    assert_eq!(parsed.options::<Shapes>(0).unwrap().path, expected);
    let parsed = hello.parse([odd("--http-path=")]).unwrap();
    assert_eq!(parsed.options::<Shapes>(0).unwrap().path, expected);
    let hello = hello.env("HELLO__HTTP__PATH", odd(""));
    assert_eq!(hello.first::<Shapes>("").unwrap().path, expected);

    let hello = task::<Shapes>("http").env("HELLO__HTTP__ON", odd(""));
    assert!(hello.stop("").to_string().starts_with("hello: HELLO__HTTP__ON: invalid value"));
    let hello = task::<Shapes>("http").env("HELLO__HTTP__MODE", odd(""));
    assert!(hello.stop("").to_string().starts_with("hello: HELLO__HTTP__MODE: invalid"), "{}", hello.stop(""));
}

#[test]
fn constraints_speak_of_the_prefixed_flags() {
    #[derive(Args, Debug)]
    #[group(required = true, multiple = false)]
    struct Source {
        #[arg(long)]
        file: Option<String>,
        #[arg(long)]
        url: Option<String>,
    }
    #[derive(Args, Debug)]
    struct Related {
        #[arg(long, requires = "key")]
        cert: Option<String>,
        #[arg(long, conflicts_with = "plain")]
        key: Option<String>,
        #[arg(long)]
        plain: bool,
        #[arg(long, required_if_eq("plain", "true"))]
        why: Option<String>,
        #[arg(long, default_value_if("plain", "true", "80"), default_value = "443")]
        port: u16,
        #[command(flatten)]
        source: Source,
    }
    let hello = task::<Related>("tls");
    let cases = [
        ("", "the following required arguments were not provided: <--tls-file <FILE>|--tls-url <URL>>"),
        ("--tls-file a --tls-url b", "the argument '--tls-file <FILE>' cannot be used with '--tls-url <URL>'"),
        ("--tls-file a --tls-cert b", "the following required arguments were not provided: --tls-key <KEY>"),
        (
            "--tls-file a --tls-key b --tls-plain --tls-why c",
            "the argument '--tls-key <KEY>' cannot be used with '--tls-plain'",
        ),
        ("--tls-file a --tls-plain", "the following required arguments were not provided: --tls-why <WHY>"),
    ];
    for (words, message) in cases {
        assert_eq!(hello.stop(words), usage(&format!("hello: {message}; try --help")), "{words}");
    }
    let options = hello.first::<Related>("--tls-file a --tls-plain --tls-why c").unwrap();
    assert_eq!((options.port, options.source.file.as_deref()), (80, Some("a")));

    let hello = hello.env("HELLO__TLS__URL", "b");
    assert_eq!(
        hello.stop("--tls-file a"),
        config(
            "hello: the argument '--tls-url <URL>' cannot be used with '--tls-file <FILE>' (HELLO__TLS__URL is set in the environment)"
        )
    );
}

#[test]
fn what_is_required_can_come_from_any_layer() {
    let hello = task::<Needy>("db");
    let missing = usage("hello: the following required arguments were not provided: --db-url <URL>; try --help");
    assert_eq!(hello.stop(""), missing);
    assert_eq!(hello.first::<Needy>("--db-url a").unwrap().url, "a");
    assert_eq!(task::<Needy>("db").code("url", "b").first::<Needy>("").unwrap().url, "b");
    assert_eq!(task::<Needy>("db").env("HELLO__DB__URL", "c").first::<Needy>("").unwrap().url, "c");
}

#[test]
fn a_section_that_is_not_asked_for_requires_nothing() {
    let hello = task::<Http>("http").and::<Needy>(Owner::Task, "db");
    let parsed = hello.parse(["--tasks", "http"]).unwrap();
    assert_eq!(parsed.options::<Http>(0).unwrap().port, 8080);
    assert!(parsed.matches(1).is_err());
}

#[test]
fn a_wrong_command_line_is_told_in_one_line() {
    let hello = task::<Http>("http").and::<Shapes>(Owner::Task, "all");
    let cases = [
        ("--foo", "unexpected argument '--foo' found"),
        ("--http-prot 1", "unexpected argument '--http-prot' found; a similar argument exists: '--http-port'"),
        ("--port 1", "unexpected argument '--port' found; a similar argument exists: '--http-port'"),
        ("stray", "unexpected argument 'stray' found"),
        ("--http-port", "a value is required for '--http-port <PORT>' but none was supplied"),
        ("--http-port x", "invalid value 'x' for '--http-port <PORT>': invalid digit found in string"),
        ("--http-port 1 --http-port 2", "the argument '--http-port <PORT>' cannot be used multiple times"),
        ("--http-verbose=1", "unexpected value '1' for '--http-verbose' found; no more were expected"),
        (
            "--all-mode fats",
            "invalid value 'fats' for '--all-mode <MODE>' [possible values: fast, slow]; a similar value exists: 'fast'",
        ),
        (
            "--all-patience soon",
            "invalid value 'soon' for '--all-patience <PATIENCE>': expected a duration such as 250ms, 1.5s or 2min: expected number at 0",
        ),
        ("--drain-delay -1s", "unexpected argument '-1' found"),
        ("--tasks=", "a value is required for '--tasks <TASKS>' but none was supplied"),
    ];
    for (words, message) in cases {
        assert_eq!(hello.stop(words), usage(&format!("hello: {message}; try --help")), "{words}");
    }
}

#[test]
fn a_value_cannot_add_lines_to_the_message() {
    let stop = task::<Http>("http").parse(["--http-port", "1\nhello: all is well"]).unwrap_err();
    assert_eq!(stop.to_string().lines().count(), 1, "{stop}");
}

#[test]
fn a_wrong_variable_is_told_with_its_name() {
    let cases = [
        ("PORT", "x", "invalid value 'x' for '--http-port <PORT>': invalid digit found in string"),
        ("PORT", "", "invalid value '' for '--http-port <PORT>': cannot parse integer from empty string"),
        ("VERBOSE", "maybe", "invalid value 'maybe': expected true or false"),
    ];
    for (name, value, message) in cases {
        let variable = format!("HELLO__HTTP__{name}");
        let hello = task::<Http>("http").env(&variable, value);
        assert_eq!(hello.stop(""), config(&format!("hello: {variable}: {message}")));
        // Typed values precede it.
        if name == "PORT" {
            assert!(hello.first::<Http>("--http-port 1").is_ok());
        }
    }
    let cases = [
        ("LOUD", "300", "invalid value '300': expected a number from 0 to 255"),
        ("PAIR", "1", "--http-pair takes 2 values, and got 1"),
        (
            "MODE",
            "fats",
            "invalid value 'fats' for '--http-mode <MODE>' [possible values: fast, slow]; a similar value exists: 'fast'",
        ),
    ];
    for (name, value, message) in cases {
        let variable = format!("HELLO__HTTP__{name}");
        let hello = task::<Shapes>("http").env(&variable, value);
        assert_eq!(hello.stop(""), config(&format!("hello: {variable}: {message}")));
    }
}

#[test]
fn help_and_version_come_before_what_is_wrong_elsewhere() {
    let hello = task::<Http>("http").env("HELLO__HTTP__PORT", "x").and::<Needy>(Owner::Task, "db");
    assert_eq!(hello.stop("--version"), Stop::Asked("hello 1.2.3".to_owned()));
    assert_eq!(hello.stop("-V"), Stop::Asked("hello 1.2.3".to_owned()));
    assert!(hello.help().contains("--http-port"));
}

#[cfg(all(feature = "config", feature = "logging"))]
#[test]
fn the_help_is_ordered_by_owner_and_shows_the_values_set_in_code() {
    #[derive(Args)]
    struct Own {
        /// Whom to greet
        #[arg(long, short)]
        name: Option<String>,
        #[arg(long, hide = true)]
        secret: Option<String>,
    }
    let hello = Hello::default()
        .and::<Http>(Owner::Task, "http")
        .code("port", "80")
        .code("verbose", "yes")
        .and::<Needy>(Owner::Loop, "tokio")
        .and::<Own>(Owner::Service, "")
        .core("drain-delay", "5s");
    let Stop::Asked(help) = hello.stop("-h") else { panic!("no help") };
    let expected = r#"Says hello.

Usage: hello [OPTIONS] --tokio-url <URL>

Options:
  -n, --name <NAME>                  Whom to greet
      --config <PATH>                Read options from this TOML file
      --tasks <TASKS>                Run only these tasks, and what they require
      --list-tasks                   List the tasks and exit
      --graph                        Print what requires what, as a graph for dot, and exit
      --dry-run                      Check everything, print the options in force, as a file for --config, and exit
      --init <WHEN>                  Whether PID 1 is an init that runs the service as its child [default: auto] [possible values: auto, no]
      --ready-fd <FD>                Write a line to this descriptor once all tasks have started, and close it
      --log-level <LEVELS>           What to log: a level, and levels for tasks or targets, as in "info,http=debug" [default: info]
      --log-file <PATH>              Log to this file, at its end, instead of stderr
      --log-format <FORMAT>          How a line of the log looks [default: human] [possible values: human, classic, json]
      --drain-delay <DURATION>       Go on serving for this long after a TERM, no longer ready, before tasks are stopped [default: 5s]
      --shutdown-timeout <DURATION>  How long stopping may take for all tasks together [default: 25s]
      --stall-after <DURATION>       Warn of a loop that takes no turn for this long, with what its thread is in; 0s: never [default: 0s]
  -h, --help                         Print help (see more with '--help')
  -V, --version                      Print version

Options of task http:
      --http-port <PORT>  Where to listen [default: 80]
      --http-verbose      Say more [default: true]

Options of loop tokio:
      --tokio-url <URL>  

Every option can be set in the environment, and in a file too: --http-port as HELLO__HTTP__PORT and http.port."#;
    assert_eq!(help, expected, "\n{help}");
}

#[test]
fn values_set_in_code_must_fit_an_option() {
    assert_eq!(
        task::<Http>("http").code("prot", "1").stop(""),
        config("hello: task http has no option prot, which is set in code; did you mean port?")
    );
    assert_eq!(
        task::<Http>("http").code("port", "many").stop(""),
        config(
            "hello: task http: option port, set in code: invalid value 'many' for '--http-port <PORT>': invalid digit found in string"
        )
    );
    assert_eq!(
        task::<Http>("http").code("verbose", "very").stop(""),
        config("hello: task http: option verbose, set in code: invalid value 'very': expected true or false")
    );
    assert!(
        matches!(task::<Http>("http").core("drain", "1s").stop(""), Stop::Config(text) if text.contains("Interloop has no option drain,"))
    );
    let hello = task::<Http>("http").core("drain-delay", "3");
    assert_eq!(hello.parse([""; 0]).unwrap().core.drain_delay, Duration::from_secs(3));
}

#[test]
fn a_name_that_two_options_claim_is_an_error_that_names_both() {
    #[derive(Args)]
    struct PortX {
        #[arg(long)]
        port_x: Option<u8>,
    }
    #[derive(Args)]
    struct X {
        #[arg(long)]
        x: Option<u8>,
    }
    #[derive(Args)]
    struct Graph {
        #[arg(long)]
        graph: bool,
    }
    #[derive(Args)]
    struct Host {
        #[arg(long, short = 'h')]
        host: Option<String>,
    }
    #[derive(Args)]
    struct Alias {
        #[arg(long, alias = "port")]
        door: Option<String>,
        #[arg(long)]
        port: Option<String>,
    }
    #[derive(Args)]
    struct Twins {
        #[arg(long = "a-b")]
        one: Option<String>,
        #[arg(long = "a_b")]
        two: Option<String>,
    }
    let cases = [
        (
            task::<PortX>("http").and::<X>(Owner::Task, "http-port"),
            "--http-port-x would mean two things: option port-x of task http, and option x of task http-port",
        ),
        (
            task::<X>("tokio").and::<X>(Owner::Loop, "tokio"),
            "HELLO__TOKIO__X would mean two things: option x of task tokio, and option x of loop tokio",
        ),
        (
            Hello::default().and::<Graph>(Owner::Service, ""),
            "HELLO__GRAPH would mean two things: option graph of the service, and option graph of Interloop",
        ),
        (
            Hello::default().and::<Host>(Owner::Service, ""),
            "-h would mean two things: option help of Interloop, and option host of the service",
        ),
        (task::<Twins>("t"), "HELLO__T__A_B would mean two things: option a-b of task t, and option a_b of task t"),
    ];
    for (hello, message) in cases {
        assert_eq!(hello.stop(""), config(&format!("hello: {message}")));
    }
    // Clap has the same view of one owner's names, and checks where debug assertions are on.
    if !cfg!(debug_assertions) {
        let message =
            "hello: --http-port would mean two things: option door of task http, and option port of task http";
        assert_eq!(task::<Alias>("http").stop(""), config(message));
    }
    assert!(task::<X>("http").and::<X>(Owner::Task, "http-port").parse([""; 0]).is_ok());
}

#[test]
fn positional_arguments_and_subcommands_are_refused() {
    #[derive(Args)]
    struct Positional {
        file: Option<String>,
    }
    #[derive(clap::Subcommand)]
    enum Verb {
        Run,
    }
    #[derive(Args)]
    struct Sub {
        #[command(subcommand)]
        verb: Option<Verb>,
    }
    assert_eq!(
        task::<Positional>("http").stop(""),
        config("hello: the options of task http can't have positional arguments: file")
    );
    assert_eq!(
        Hello::default().and::<Positional>(Owner::Loop, "tokio").stop(""),
        config("hello: the options of loop tokio can't have positional arguments: file")
    );
    for kind in [Owner::Task, Owner::Service] {
        let stop = Hello::default().and::<Sub>(kind, "http").stop("");
        assert!(matches!(stop, Stop::Config(text) if text.ends_with("can't have subcommands: run")));
    }
}

#[test]
fn the_service_may_have_positional_arguments() {
    #[derive(Args, Debug, PartialEq)]
    struct Files {
        first: PathBuf,
        #[arg(long)]
        flag: bool,
        others: Vec<String>,
        #[arg(last = true)]
        rest: Vec<String>,
    }
    let hello = Hello::default().and::<Files>(Owner::Service, "");
    for words in ["a", "a --flag b c", "a b --flag -- --x y", "a -- z"] {
        let split: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        assert_eq!(hello.first::<Files>(words).unwrap(), plain::<Files>(&split).unwrap(), "{words}");
    }
    let hello = hello.env("HELLO__FIRST", "e");
    assert_eq!(hello.first::<Files>("--flag").unwrap().first, PathBuf::from("e"));
    assert_eq!(
        hello.stop("-x"),
        usage("hello: unexpected argument '-x' found; to pass '-x' as a value, use '-- -x'; try --help")
    );
}

#[test]
fn core_options_have_defaults_and_can_be_typed_or_set() {
    let hello = task::<Http>("http");
    let parsed = hello.parse([""; 0]).unwrap();
    let core = &parsed.core;
    assert_eq!((&core.tasks, core.list_tasks, core.graph), (&None, false, false));
    assert_eq!((core.drain_delay, core.shutdown_timeout), (Duration::ZERO, Duration::from_secs(25)));

    let words = "--tasks a,b --list-tasks --graph --drain-delay 1.5s --shutdown-timeout 90";
    let parsed = hello.parse(words.split(' ')).unwrap();
    let core = &parsed.core;
    assert_eq!((core.tasks.clone().unwrap(), core.list_tasks, core.graph), (strings("a b"), true, true));
    assert_eq!((core.drain_delay, core.shutdown_timeout), (Duration::from_millis(1500), Duration::from_secs(90)));

    let hello = hello.env("HELLO__TASKS", "c,d").env("HELLO__SHUTDOWN_TIMEOUT", "1min");
    let parsed = hello.parse([""; 0]).unwrap();
    assert_eq!(parsed.core.tasks.clone().unwrap(), strings("c d"));
    assert_eq!(parsed.core.shutdown_timeout, Duration::from_secs(60));
}

#[cfg(feature = "logging")]
#[test]
fn core_options_steer_the_log() {
    use crate::logging::Format;
    let hello = task::<Http>("http");
    let parsed = hello.parse("--log-level warn,http=debug --log-file /tmp/x --log-format json".split(' ')).unwrap();
    let core = &parsed.core;
    assert_eq!(core.log_level.to_string(), "warn,http=debug");
    assert_eq!((core.log_file.clone(), core.log_format), (Some("/tmp/x".into()), Format::Json));

    let why = "'loud' is no level; expected off, error, warn, info, debug or trace";
    let wrong = format!("invalid value 'loud' for '--log-level <LEVELS>': {why}");
    assert_eq!(hello.stop("--log-level loud"), usage(&format!("hello: {wrong}; try --help")));
    let hello = hello.env("HELLO__LOG_LEVEL", "loud");
    assert_eq!(hello.stop(""), config(&format!("hello: HELLO__LOG_LEVEL: {wrong}")));
}

#[test]
fn what_a_hand_written_reader_says_becomes_one_line() {
    #[derive(Debug)]
    struct Picky;
    impl FromArgMatches for Picky {
        fn from_arg_matches(_: &ArgMatches) -> Result<Self, clap::Error> {
            Err(clap::Error::raw(ErrorKind::ValueValidation, "port and host\ndon't fit"))
        }
        fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
            Ok(())
        }
    }
    let stop = task::<Http>("http").parse([""; 0]).unwrap().options::<Picky>(0).unwrap_err();
    assert_eq!(stop, usage("hello: port and host don't fit; try --help"));
}

#[test]
fn the_common_command_is_sound_for_clap() {
    let hello =
        task::<Shapes>("http").code("tags", "a,b").and::<Http>(Owner::Service, "").and::<Needy>(Owner::Loop, "l");
    let core = CoreOptions::section(&Hello::about(), &[]);
    let sections = [(None, &core)].into_iter().chain((0..).map(Some).zip(&hello.sections));
    let plans: Vec<_> = sections.map(|(place, section)| Plan::new("hello", place, section.clone()).unwrap()).collect();
    for required in [Required::Never, Required::AsDeclared] {
        common(&Hello::about(), &plans, required).debug_assert();
    }
}

#[test]
fn durations_are_read_as_people_write_them() {
    let good = [
        ("250ms", 250),
        ("1.5s", 1500),
        ("2", 2000),
        ("0.25", 250),
        ("0", 0),
        ("0s", 0),
        ("2min 30s", 150_000),
        (" 1h ", 3_600_000),
    ];
    for (text, millis) in good {
        assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    for text in ["", "soon", "-1", "1.2.3", ".", "inf", "NaN", "1e3", "99999999999999999999999", "5 parsecs"] {
        let error = duration(text).expect_err(text);
        assert!(error.starts_with("expected a duration such as"), "{error}");
    }
}

fn strings(words: &str) -> Vec<String> {
    words.split(' ').map(str::to_owned).collect()
}

#[test]
fn variables_that_are_of_no_option_are_told_with_the_one_that_is_meant() {
    // As Kubernetes sets it.
    let hello = Hello::default().and::<Http>(Owner::Task, "http").env("HELLO_PORT", "tcp://10.0.0.1:80");
    let parsed = hello.parse([""; 0]).unwrap();
    let unknown = |names: &[&str]| parsed.unknown_variables(names.iter().map(OsString::from));
    let known =
        ["HELLO__HTTP__PORT", "HELLO__HTTP__PORT_FILE", "HELLO__HTTP__VERBOSE", "HELLO__LOG_LEVEL", "HELLO__TASKS"];
    assert_eq!(unknown(&known), [""; 0]);
    // Variables that shells, systemd, and container platforms set for a service with this name, or with another.
    let others =
        ["HELLO_PORT", "HELLO_SERVICE_HOST", "HELLO_HOME", "_", "PATH", "SYSTEMD_EXEC_PID", "OTHER__HTTP__PORT"];
    assert_eq!(unknown(&others), [""; 0]);
    assert_eq!(
        unknown(&[
            "HELLO__HTPT__PORT",
            "PATH",
            "HELLO__HTTP__PRT_FILE",
            "hello__http__port",
            "HELLO__X",
            "HELLO__HTTP__VERBOSE_FILE"
        ]),
        [
            "environment variable HELLO__HTPT__PORT is not known to any option; did you mean HELLO__HTTP__PORT?",
            "environment variable HELLO__HTTP__PRT_FILE is not known to any option; \
             did you mean HELLO__HTTP__PORT_FILE?",
            "environment variable HELLO__HTTP__VERBOSE_FILE is not known to any option; \
             did you mean HELLO__HTTP__VERBOSE?",
            "environment variable HELLO__X is not known to any option",
            "environment variable hello__http__port is not known to any option; did you mean HELLO__HTTP__PORT?",
        ]
    );
}

#[derive(Args, Clone, Debug, PartialEq)]
struct Told {
    /// Where to listen; 0 is any port (default: 8000)
    #[arg(long)]
    port: Option<u16>,
    /// For whom
    #[arg(long, value_delimiter = ',')]
    host: Vec<String>,
    /// How long to wait (default: 5s)
    #[arg(long)]
    patience: Option<String>,
}

#[test]
fn what_an_owner_has_from_code_is_a_default_that_help_and_dry_run_show() {
    let bare = || Hello::default().and::<Told>(Owner::Task, "http");
    let in_a_line = |help: String| help.split_whitespace().collect::<Vec<_>>().join(" ");
    let help = in_a_line(bare().help());
    assert!(help.contains("Where to listen; 0 is any port [default: 8000]"), "{help}");
    let hello = || bare().built("port", "8020").built("host", "a").built("host", "b");
    let help = in_a_line(hello().help());
    assert!(help.contains("Where to listen; 0 is any port [default: 8020]"), "{help}");
    assert!(help.contains("For whom [default: a b]") && help.contains("How long to wait [default: 5s]"), "{help}");
    let parsed = hello().parse([""; 0]).unwrap();
    let shown = parsed.show();
    assert!(shown.contains("# port = 8020 # code\n# host = [\"a\", \"b\"] # code\n# patience is not set"), "{shown}");
    let told: Told = parsed.options(0).unwrap();
    assert_eq!(told, Told { port: Some(8020), host: vec!["a".into(), "b".into()], patience: None });
    // Values set beside it replace it, lists too; and so does any stronger source.
    let told: Told = hello().code("host", "c").code("port", "1").first("--http-patience 1s").unwrap();
    assert_eq!(told, Told { port: Some(1), host: vec!["c".into()], patience: Some("1s".into()) });
    let told: Told = hello().first("--http-host d --http-port 2").unwrap();
    assert_eq!(told, Told { port: Some(2), host: vec!["d".into()], patience: None });
    let wrong = bare().built("port", "many").parse([""; 0]).unwrap_err();
    assert!(
        matches!(&wrong, Stop::Config(why) if why.contains("task http: option port, set in code: invalid value")),
        "{wrong:?}"
    );
}

#[test]
fn the_options_for_logging_are_not_there_where_the_program_has_a_logger() {
    let about = ServiceAbout { has_own_logger: true, ..Hello::about() };
    let parsed = |words: &[&str], defaults: &[(String, String)]| {
        let words = words.iter().map(OsString::from).collect();
        let env = std::sync::Arc::new(|name: &str| (name == "HELLO__LOG_LEVEL").then(|| "debug".into()));
        parse(&about, Vec::new(), defaults, words, env)
    };
    let Err(Stop::Asked(help)) = parsed(&["--help"], &[]) else { panic!("no help") };
    assert!(help.contains("--drain-delay") && !help.contains("--log-"), "{help}");
    let why = "it is not there, since the program has a logger of its own";
    for option in ["log-level", "log-file", "log-format"] {
        let typed = parsed(&[&format!("--{option}"), "x"], &[]).unwrap_err();
        assert_eq!(typed, usage(&format!("hello: --{option}: {why}")));
        let in_code = parsed(&[], &[(option.to_owned(), "x".to_owned())]).unwrap_err();
        assert_eq!(in_code, config(&format!("hello: option {option}, set in code: {why}")));
    }
    let told = parsed(&[], &[]).unwrap().unknown_variables([OsString::from("HELLO__LOG_LEVEL")]);
    assert_eq!(told, [format!("environment variable HELLO__LOG_LEVEL is of no option: {why}")]);
}

#[derive(Args, Clone, Debug, PartialEq)]
struct Early {
    #[arg(long, short, value_delimiter = ',')]
    greet: Vec<String>,
    #[arg(long)]
    loud: bool,
    #[arg(long, num_args = 2)]
    pair: Vec<u8>,
}

#[test]
fn the_service_s_own_options_are_read_among_words_that_are_not_known_yet() {
    let early = |words: &str, env: &[(&str, &str)]| {
        let command = Early::augment_args(Command::new("options"));
        let own =
            Section { kind: Owner::Service, name: String::new(), command, built: Vec::new(), defaults: Vec::new() };
        let words = words.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        let env = env.iter().map(|(name, value)| (name.to_string(), OsString::from(value))).collect::<HashMap<_, _>>();
        let env = std::sync::Arc::new(move |name: &str| env.get(name).cloned());
        let matches = parse_own(&Hello::about(), own, &[], &words, env)?;
        Ok(<Early as clap::FromArgMatches>::from_arg_matches(&matches).unwrap())
    };
    let is = |greet: &[&str], loud, pair: &[u8]| {
        Ok::<_, Stop>(Early { greet: greet.iter().map(|s| s.to_string()).collect(), loud, pair: pair.to_vec() })
    };
    assert_eq!(early("", &[]), is(&[], false, &[]));
    assert_eq!(
        early("--http-port 80 --greet a,b --http-loud --loud --drain-delay 1s", &[]),
        is(&["a", "b"], true, &[])
    );
    assert_eq!(early("--help -V --greet=a --http=1 --pair 1 2 --x", &[]), is(&["a"], false, &[1, 2]));
    assert_eq!(early("-ga -g b -- --loud", &[]), is(&["a", "b"], false, &[]));
    assert_eq!(early("--tasks x", &[("HELLO__GREET", "c"), ("HELLO__LOUD", "true")]), is(&["c"], true, &[]));
    let wrong: Result<Early, Stop> = early("--pair 1 x --http-port many", &[]);
    assert!(matches!(&wrong, Err(Stop::Usage(why)) if why.contains("--pair")), "{wrong:?}");
}

#[cfg(feature = "config")]
#[test]
fn the_service_s_own_options_are_read_from_a_file_that_has_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hello.toml");
    std::fs::write(&path, "greet = [\"tea\"]\nother = 1\n[http]\nport = 80\n").unwrap();
    let own = Section {
        kind: Owner::Service,
        name: String::new(),
        command: Early::augment_args(Command::new("options")),
        built: Vec::new(),
        defaults: Vec::new(),
    };
    let words = ["--http-x", "--config", path.to_str().unwrap()].map(OsString::from);
    let matches = parse_own(&Hello::about(), own, &[], &words, std::sync::Arc::new(|_: &str| None)).unwrap();
    assert_eq!(<Early as clap::FromArgMatches>::from_arg_matches(&matches).unwrap().greet, ["tea"]);
}

#[derive(Args, Clone, Debug, PartialEq)]
struct Moved {
    /// How many connections.
    #[arg(long, env = "POOL_SIZE", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pool_size: u16,
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database: Option<String>,
    #[arg(long, env = "HELLO__HTTP__LOUDLY")]
    loud: bool,
}

#[test]
fn an_option_s_own_variable_belongs_to_the_environment_and_is_the_weaker_one_there() {
    let size = |hello: Hello, words: &[&str]| hello.parse(words.iter().copied()).unwrap().options::<Moved>(0).unwrap();
    let moved = || task::<Moved>("http").code("pool-size", "3").env("POOL_SIZE", "4");
    assert_eq!(size(moved(), &[]).pool_size, 4);
    assert_eq!(size(moved().env("HELLO__HTTP__POOL_SIZE", "5"), &[]).pool_size, 5);
    assert_eq!(size(moved().env("HELLO__HTTP__POOL_SIZE", "5"), &["--http-pool-size", "6"]).pool_size, 6);
    assert!(size(moved().env("HELLO__HTTP__LOUDLY", "yes"), &[]).loud);

    let shown = moved().env("DATABASE_URL", "postgres://me:hush@db").parse([""; 0]).unwrap().show();
    assert!(shown.contains("\npool-size = 4 # environment variable POOL_SIZE\n"), "{shown}");
    assert!(
        shown.contains("# database = \"***\" # environment variable DATABASE_URL") && !shown.contains("hush"),
        "{shown}"
    );

    for wrong in ["0", "x"] {
        let stop = task::<Moved>("http").env("POOL_SIZE", wrong).parse([""; 0]).unwrap().matches(0).unwrap_err();
        assert!(matches!(&stop, Stop::Config(why) if why.starts_with("hello: POOL_SIZE: invalid value ")), "{stop:?}");
    }
    let Err(Stop::Asked(help)) = moved().parse(["--help"]) else { panic!("no help") };
    assert!(help.contains("How many connections [env: POOL_SIZE]") && help.contains("[default: 3]"), "{help}");
    let parsed = moved().parse([""; 0]).unwrap();
    let unknown = parsed.unknown_variables(["HELLO__HTTP__LOUDLY", "POOL_SIZE"].map(OsString::from));
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn an_option_s_own_variable_is_read_from_the_given_environment_alone() {
    // Cargo sets this one.
    #[derive(Args)]
    struct Ambient {
        #[arg(long, env = "CARGO_MANIFEST_DIR")]
        folder: Option<PathBuf>,
    }
    let folder = task::<Ambient>("http").parse([""; 0]).unwrap().options::<Ambient>(0).unwrap().folder;
    assert_eq!(folder, None);
}

#[derive(Args)]
struct Health {
    #[arg(long, default_value_t = 0)]
    port: u16,
    #[arg(long)]
    host: Option<String>,
}

#[test]
fn an_option_without_its_prefix_gets_the_names_of_all_that_may_be_meant() {
    let hello = || task::<Http>("http").and::<Health>(Owner::Task, "health");
    let wrong = |word: &str| match hello().parse([word]) {
        Err(Stop::Usage(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        wrong("--port=1"),
        "hello: unexpected argument '--port' found; some similar arguments exist: '--http-port', '--health-port'; \
         try --help"
    );
    assert_eq!(
        wrong("--host"),
        "hello: unexpected argument '--host' found; a similar argument exists: '--health-host'; try --help"
    );
}

#[test]
fn a_variable_of_an_older_program_that_looks_like_an_option_is_named_with_the_variable_that_counts() {
    let hello = task::<Http>("http").and::<Health>(Owner::Task, "health").and::<Moved>(Owner::Service, "");
    let unknown = |hello: &Hello, names: &[&str]| {
        hello.parse([""; 0]).unwrap().unknown_variables(names.iter().map(OsString::from))
    };
    assert_eq!(
        unknown(&hello, &["HELLO_PORT", "HELLO_HOST", "HELLO_HTTP_PORT", "HELLO_POOL_SIZE", "HELLO_HOME", "HELLO_"]),
        [
            "environment variable HELLO_HOST has no effect; did you mean HELLO__HEALTH__HOST?",
            "environment variable HELLO_HTTP_PORT has no effect; did you mean HELLO__HTTP__PORT?",
            "environment variable HELLO_POOL_SIZE has no effect; did you mean HELLO__POOL_SIZE?",
            "environment variable HELLO_PORT has no effect; did you mean HELLO__HTTP__PORT or HELLO__HEALTH__PORT?",
        ]
    );
    // Kubernetes and Docker set such variables for a service of this name.
    let hello = hello.env("HELLO_PORT", "tcp://10.0.0.1:80");
    assert_eq!(unknown(&hello, &["HELLO_PORT", "HELLO_SERVICE_HOST", "HELLO_SERVICE_PORT"]), [""; 0]);
    #[derive(Args)]
    struct Claims {
        #[arg(long, env = "HELLO_HOST")]
        host: Option<String>,
    }
    let claimed = task::<Claims>("http").env("HELLO_HOST", "::");
    assert_eq!(unknown(&claimed, &["HELLO_HOST"]), [""; 0]);
}

#[cfg(feature = "logging")]
#[test]
fn a_variable_for_another_logger_is_named_where_nothing_sets_the_log_level() {
    let note = |hello: &Hello, words: &[&str]| {
        hello.parse(words.iter().copied()).unwrap().unused_log_variable(&["RUST_LOG", "PATH"].map(OsString::from))
    };
    let hello = task::<Http>("http").core("log-level", "warn");
    let said = "environment variable RUST_LOG has no effect: this log's variable is HELLO__LOG_LEVEL";
    assert_eq!(note(&hello, &[]).as_deref(), Some(said));
    assert_eq!(note(&hello, &["--log-level", "debug"]), None);
    let parsed = hello.parse([""; 0]).unwrap();
    assert_eq!(parsed.unused_log_variable(&[OsString::from("PATH")]), None);
    let about = ServiceAbout { has_own_logger: true, ..Hello::about() };
    let foreign = parse(&about, Vec::new(), &[], Vec::new(), std::sync::Arc::new(|_: &str| None)).unwrap();
    assert_eq!(foreign.unused_log_variable(&[OsString::from("RUST_LOG")]), None);
}
