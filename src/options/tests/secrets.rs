//! Values in separate files, and values that must not be shown.

use std::fs;

use super::*;

#[derive(Args, Clone, Debug, PartialEq)]
struct Login {
    /// Lets in
    #[arg(long)]
    token: Option<Secret>,
    #[arg(long, default_value = "a-default")]
    key: Secret,
    #[arg(long)]
    port: Option<u16>,
}

#[test]
fn a_variable_may_name_a_file_with_the_value() {
    let folder = tempfile::tempdir().unwrap();
    for (text, expected) in [("abc\n", "abc"), ("abc\r\n", "abc"), ("abc", "abc"), ("a\n\n", "a\n"), ("", "")] {
        let path = folder.path().join("token");
        fs::write(&path, text).unwrap();
        let login = task::<Login>("http").env("HELLO__HTTP__TOKEN_FILE", &path).first::<Login>("").unwrap();
        assert_eq!(login.token.unwrap().expose(), expected);
    }
}

#[test]
fn a_value_and_a_file_with_it_are_one_too_many() {
    let hello = task::<Login>("http").env("HELLO__HTTP__TOKEN_FILE", "/x").env("HELLO__HTTP__TOKEN", "abc");
    let why = "hello: HELLO__HTTP__TOKEN: HELLO__HTTP__TOKEN_FILE is set too; only one of them can be";
    assert_eq!(hello.stop(""), config(why));
    // Stronger layers are not affected.
    assert_eq!(hello.first::<Login>("--http-token x").unwrap().token.unwrap().expose(), "x");
}

#[test]
fn a_file_with_a_value_that_cannot_be_read_is_named() {
    let hello = task::<Login>("http").env("HELLO__HTTP__TOKEN_FILE", "/no/such/file");
    let why = "hello: HELLO__HTTP__TOKEN_FILE: can't read /no/such/file: No such file or directory (os error 2)";
    assert_eq!(hello.stop(""), config(why));
}

#[test]
fn an_option_of_that_name_keeps_its_variable() {
    #[derive(Args, Debug)]
    struct Both {
        #[arg(long)]
        token: Option<String>,
        #[arg(long)]
        token_file: Option<String>,
    }
    let both = task::<Both>("http").env("HELLO__HTTP__TOKEN_FILE", "/no/such/file").first::<Both>("").unwrap();
    assert_eq!((both.token, both.token_file.as_deref()), (None, Some("/no/such/file")));
}

#[test]
fn credentials_stand_behind_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("http.token"), "abc\n").unwrap();
    fs::write(folder.path().join("shutdown-timeout"), "3s\n").unwrap();
    let hello = task::<Login>("http").env("CREDENTIALS_DIRECTORY", folder.path());
    assert_eq!(hello.first::<Login>("").unwrap().token.unwrap().expose(), "abc");
    assert_eq!(hello.parse([""; 0]).unwrap().core.shutdown_timeout, Duration::from_secs(3));
    let hello = hello.env("HELLO__HTTP__TOKEN", "def");
    assert_eq!(hello.first::<Login>("").unwrap().token.unwrap().expose(), "def");
}

#[test]
fn a_wrong_value_that_is_a_secret_is_not_in_the_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.port");
    fs::write(&path, "hunter2\n").unwrap();
    let by_variable = task::<Login>("http").env("HELLO__HTTP__PORT_FILE", &path).stop("");
    assert_eq!(by_variable, config("hello: HELLO__HTTP__PORT_FILE: invalid value *** for '--http-port'"));
    let by_credential = task::<Login>("http").env("CREDENTIALS_DIRECTORY", folder.path()).stop("");
    let place = format!("credential {}", path.display());
    assert_eq!(by_credential, config(&format!("hello: {place}: invalid value *** for '--http-port'")));
}

#[test]
fn a_secret_is_shown_nowhere() {
    let hello = task::<Login>("http").code("token", "hunter2");
    let help = hello.help();
    assert!(!help.contains("hunter2") && !help.contains("a-default"), "{help}");
    assert!(help.contains("Lets in [default: ***]"), "{help}");

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("port"), "4711").unwrap();
    let hello = hello.env("HELLO__HTTP__KEY", "hunter2").env("HELLO__HTTP__PORT_FILE", folder.path().join("port"));
    let parsed = hello.parse([""; 0]).unwrap();
    let shown = parsed.show();
    for line in [
        "# token = \"***\" # code",
        "# key = \"***\" # environment variable HELLO__HTTP__KEY",
        "# port = \"***\" # environment variable HELLO__HTTP__PORT_FILE",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{shown}");
    }
    let login = parsed.options::<Login>(0).unwrap();
    assert_eq!((login.key.expose(), login.port), ("hunter2", Some(4711)));
    assert!(!format!("{login:?} {}", login.key).contains("hunter2"));
}

/// Its owner parses it by hand, and its error shows the value.
#[derive(Clone, Debug)]
struct Talkative;

impl FromArgMatches for Talkative {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let token = matches.get_one::<String>("token").map_or("none", String::as_str);
        Err(clap::Error::raw(ErrorKind::ValueValidation, format!("{token} is no good token")))
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        Ok(())
    }
}

impl Args for Talkative {
    fn augment_args(command: Command) -> Command {
        command.arg(clap::Arg::new("token").long("token"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[test]
fn what_an_owner_says_of_a_secret_is_told_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "hunter2\n").unwrap();
    let by_file = task::<Talkative>("http").env("HELLO__HTTP__TOKEN_FILE", &path).parse([""; 0]).unwrap();
    let check: Check = |matches| Talkative::from_arg_matches(matches).map(drop);
    assert_eq!(by_file.checked(0, check).unwrap_err(), config("hello: task http: *** is no good token"));
    // A value that is no secret is shown.
    let typed = task::<Talkative>("http").parse(["--http-token", "hunter2"]).unwrap();
    assert_eq!(typed.checked(0, check).unwrap_err(), config("hello: task http: hunter2 is no good token"));
}

#[test]
fn a_wrong_secret_is_not_repeated_to_who_typed_or_set_it() {
    fn token(text: &str) -> Result<Secret, String> {
        Err(format!("{text} is too short"))
    }
    #[derive(Args, Debug)]
    struct Picky {
        #[arg(long, value_parser = token)]
        _token: Option<Secret>,
    }
    let typed = task::<Picky>("http").parse(["--http-token", "hunter2"]).unwrap_err();
    assert_eq!(typed, usage("hello: invalid value *** for '--http-token'; try --help"));
    let set = task::<Picky>("http").code("token", "hunter2").parse([""; 0]).unwrap_err();
    assert_eq!(set, config("hello: task http: option token, set in code: invalid value ***"));
}

#[test]
fn a_wrong_secret_without_a_long_name_is_not_repeated() {
    fn token(text: &str) -> Result<Secret, String> {
        Err(format!("{text} is too short"))
    }
    #[derive(Args, Debug)]
    struct Own {
        #[arg(short, value_parser = token)]
        key: Option<Secret>,
        #[arg(value_name = "WORD", value_parser = token)]
        word: Option<Secret>,
    }
    let own = Hello::default().and::<Own>(Owner::Service, "");
    for (words, name) in [(&["-k", "hunter2"][..], "--key"), (&["-khunter2"], "--key"), (&["hunter2"], "word")] {
        let stop = own.parse(words.iter().copied()).unwrap_err();
        assert_eq!(stop, usage(&format!("hello: invalid value *** for '{name}'; try --help")));
    }
}

#[test]
fn what_an_owner_says_of_a_secret_of_several_lines_is_told_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let check: Check = |matches| Talkative::from_arg_matches(matches).map(drop);
    for secret in ["-----BEGIN KEY-----\nhunter2\n-----END KEY-----\n", "hunter2\tand \"more\"", "hunter2\n\nhunter3"] {
        fs::write(&path, secret).unwrap();
        let by_file = task::<Talkative>("http").env("HELLO__HTTP__TOKEN_FILE", &path).parse([""; 0]).unwrap();
        assert_eq!(
            by_file.checked(0, check).unwrap_err(),
            config("hello: task http: *** is no good token"),
            "{secret:?}"
        );
    }
}

#[test]
fn a_secret_that_is_part_of_another_one_leaves_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    fs::write(&one, "hunter").unwrap();
    fs::write(&two, "hunter2").unwrap();
    #[derive(Clone, Debug)]
    struct Two;
    impl FromArgMatches for Two {
        fn from_arg_matches(_: &ArgMatches) -> Result<Self, clap::Error> {
            Err(clap::Error::raw(ErrorKind::ValueValidation, "hunter2 is not hunter"))
        }

        fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
            Ok(())
        }
    }
    impl Args for Two {
        fn augment_args(command: Command) -> Command {
            command.arg(clap::Arg::new("one").long("one")).arg(clap::Arg::new("two").long("two"))
        }

        fn augment_args_for_update(command: Command) -> Command {
            Self::augment_args(command)
        }
    }
    let hello = task::<Two>("http").env("HELLO__HTTP__ONE_FILE", &one).env("HELLO__HTTP__TWO_FILE", &two);
    let check: Check = |matches| Two::from_arg_matches(matches).map(drop);
    let why = hello.parse([""; 0]).unwrap().checked(0, check).unwrap_err();
    assert_eq!(why, config("hello: task http: *** is not ***"));
}

#[test]
fn nothing_of_what_is_in_force_is_shown_by_debug() {
    let hello = task::<Login>("http").code("token", "hunter2").env("HELLO__HTTP__KEY", "hunter3");
    let parsed = hello.parse(["--http-port", "4711"]).unwrap();
    let shown = format!("{parsed:?}");
    assert!(!shown.contains("hunter") && !shown.contains("a-default"), "{shown}");
}
