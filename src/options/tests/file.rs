//! The file of `--config`, the priority of the layers, and output that can be read again.

use std::{fs, path::PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// Creates a file with this text.
fn toml(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hello.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// Returns the messages about a file, which is called FILE in them.
fn said(hello: Hello, text: &str) -> Vec<String> {
    let (_folder, path) = toml(text);
    let Err(Stop::Config(said)) = hello.file(&path).parse([""; 0]) else { panic!("it was not refused") };
    said.replace(path.to_str().unwrap(), "FILE").lines().map(str::to_owned).collect()
}

#[derive(Args, Clone, Debug, PartialEq)]
struct Own {
    #[arg(long)]
    max_size: Option<u8>,
}

#[test]
fn a_file_has_a_section_for_each_task_and_loop_and_the_common_options_at_its_top() {
    let (_folder, path) = toml(
        "max-size = 3\nshutdown-timeout = \"3s\"\ndrain_delay = 1.5\n\
         [http]\nport = 81\nverbose = true\n[tokio]\nport = 0x52\n",
    );
    let hello = Hello::default()
        .and::<Http>(Owner::Task, "http")
        .and::<Http>(Owner::Loop, "tokio")
        .and::<Own>(Owner::Service, "");
    let parsed = hello.parse(["--config".into(), path.into_os_string()]).unwrap();
    assert_eq!(parsed.options::<Http>(0).unwrap(), Http { port: 81, verbose: true });
    assert_eq!(parsed.options::<Http>(1).unwrap(), Http { port: 82, verbose: false });
    assert_eq!(parsed.options::<Own>(2).unwrap().max_size, Some(3));
    let core = &parsed.core;
    assert_eq!((core.shutdown_timeout, core.drain_delay), (Duration::from_secs(3), Duration::from_millis(1500)));
}

#[test]
fn a_loop_of_the_name_of_its_task_shares_its_section() {
    let (_folder, path) = toml("[http]\nport = 81\nmax-size = 3\n");
    let hello = task::<Http>("http").and::<Own>(Owner::Loop, "http").file(&path);
    let parsed = hello.parse([""; 0]).unwrap();
    assert_eq!((parsed.options::<Http>(0).unwrap().port, parsed.options::<Own>(1).unwrap().max_size), (81, Some(3)));
}

#[test]
fn the_file_may_be_named_in_code_too() {
    let (_folder, path) = toml("[http]\nport = 81\n");
    assert_eq!(task::<Http>("http").core("config", path.to_str().unwrap()).first::<Http>("").unwrap().port, 81);
}

#[test]
fn underscores_do_for_dashes_unless_both_are_names() {
    #[derive(Args, Debug)]
    struct Both {
        #[arg(long = "a-b")]
        dash: Option<u8>,
        #[arg(long = "a_b", id = "under")]
        under: Option<u8>,
    }
    let (_folder, path) = toml("[web_ui]\nmax_size = 7\n[http]\na-b = 1\na_b = 2\n");
    // Their variables are the same, so only one of them can have a value: here they need not differ.
    let hello = Hello::default().and::<Own>(Owner::Task, "web-ui").file(&path);
    assert!(matches!(hello.parse([""; 0]), Err(Stop::Config(_))), "there is no section http");
    assert!(
        matches!(hello.and::<Both>(Owner::Task, "http").parse([""; 0]), Err(Stop::Config(why)) if why.contains("two things"))
    );

    let (_folder, path) = toml("[web_ui]\nmax_size = 7\n");
    assert_eq!(task::<Own>("web-ui").file(&path).first::<Own>("").unwrap().max_size, Some(7));
    assert_eq!(
        said(task::<Own>("web-ui"), "[web-ui]\nmax-size = 1\nmax_size = 2\n"),
        ["hello: FILE:3: web-ui.max_size is set twice: it is web-ui.max-size"]
    );
}

#[test]
fn every_shape_can_come_from_a_file() {
    let (_folder, path) = toml(
        r#"
        [http]
        on = true
        no-colour = true
        loud = 3
        peer = ["a", "b,c"]
        tags = ["a", "b"]
        words = "c,d"
        pair = [-1, 2]
        when = "never"
        level = []
        many = ["x", "y"]
        point = [[1, 2], [3]]
        mode = "SLOW"
        offset = -7
        raw = "--http-on"
        path = "/tmp/x"
        patience = "2min"
        tls = false
        no-cache = true
        command = ["ls", "-l"]
        "#,
    );
    let hello = task::<Shapes>("http").file(&path);
    let shapes = hello.first::<Shapes>("").unwrap();
    assert!(shapes.on && !shapes.colour && !shapes.tls && shapes.no_cache);
    assert_eq!((shapes.loud, shapes.pair, shapes.point), (3, vec![-1, 2], vec![1, 2, 3]));
    assert_eq!((shapes.peer, shapes.tags, shapes.words), (strings("a b,c"), strings("a b"), strings("c d")));
    assert_eq!((shapes.when.as_deref(), shapes.level, shapes.many), (Some("never"), Some(None), Some(strings("x y"))));
    assert_eq!((shapes.mode, shapes.offset, shapes.raw.as_deref()), (Some(Mode::Slow), Some(-7), Some("--http-on")));
    assert_eq!((shapes.path, shapes.patience), (Some("/tmp/x".into()), Duration::from_secs(120)));
    assert_eq!(shapes.command, strings("ls -l"));
}

#[test]
fn an_empty_array_is_none_of_the_values_set_in_code() {
    let (_folder, path) = toml("[http]\npeer = []\n");
    assert!(task::<Shapes>("http").code("peer", "a").file(&path).first::<Shapes>("").unwrap().peer.is_empty());
}

#[test]
fn all_that_is_wrong_with_a_file_is_said_at_once_with_its_line_and_key() {
    let text = "prot = 1\nconfig = \"x\"\n[http]\nverbose = \"maybe\"\nport = 99999\nhots = 2\n[htpp]\nport = 1\n\
                [http.tls]\ncert = 1\n[idle]\nx = 1\n";
    #[derive(Args, Debug)]
    struct Nothing {}
    let hello = task::<Http>("http").and::<Nothing>(Owner::Task, "idle");
    let lines = said(hello, text);
    let expected = [
        "hello: FILE:1: unknown key prot; there is ",
        "hello: FILE:2: config can't be set in a file",
        "hello: FILE:4: http.verbose: invalid value 'maybe': expected true or false",
        "hello: FILE:5: http.port: invalid value '99999' for '--http-port <PORT>': 99999 is not in 0..=65535",
        "hello: FILE:6: unknown key http.hots; there is port, verbose",
        "hello: FILE:7: unknown section [htpp]: no task or loop has this name; did you mean [http]?",
        "hello: FILE:9: unknown key http.tls; there is port, verbose",
        "hello: FILE:12: unknown key idle.x; there is none",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    let cases = [
        ("on = [1]", "http.on: takes no array"),
        ("loud = true", "http.loud: invalid value 'true': expected a number from 0 to 255"),
        ("pair = 1", "http.pair: --http-pair takes 2 values, and got 1"),
        ("pair = [1, 2, 3]", "http.pair: --http-pair takes 2 values, and got 3"),
        ("peer = {a = 1}", "http.peer: no option takes a table"),
        ("peer = [[[1]]]", "http.peer: an array of arrays of arrays is too much"),
    ];
    for (line, expected) in cases {
        assert_eq!(said(task::<Shapes>("http"), &format!("[http]\n{line}\n")), [format!("hello: FILE:2: {expected}")]);
    }
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_said_in_one_line() {
    let lines = said(task::<Http>("http"), "[http]\nport = \n");
    assert!(lines.len() == 1 && lines[0].starts_with("hello: FILE:2: "), "{lines:?}");
    let lines = said(task::<Http>("http"), "[http]\nport = 1\nport = 2\n");
    assert!(lines.len() == 1 && lines[0].starts_with("hello: FILE:3: ") && lines[0].contains("duplicate"), "{lines:?}");
    let missing = task::<Http>("http").stop("--config /no/such/file");
    assert_eq!(missing, config("hello: /no/such/file: can't be read: No such file or directory (os error 2)"));
}

#[test]
fn what_is_done_once_cannot_be_set_in_a_file_however_it_is_spelt() {
    let lines = said(task::<Http>("http"), "dry-run = true\ndry_run = true\nlist_tasks = true\n");
    let expected = ["FILE:1: dry-run", "FILE:2: dry_run", "FILE:3: list_tasks"];
    assert_eq!(lines, expected.map(|key| format!("hello: {key} can't be set in a file")));
}

#[test]
fn a_constraint_says_in_which_line_the_option_was_set() {
    #[derive(Args, Debug)]
    struct One {
        #[arg(long, conflicts_with = "b")]
        a: Option<u8>,
        #[arg(long)]
        b: Option<u8>,
    }
    let (_folder, path) = toml("[http]\na = 1\n");
    let hello = task::<One>("http").file(&path);
    let place = format!("http.a is set in {}:2", path.display());
    let conflict = "the argument '--http-a <A>' cannot be used with '--http-b <B>'";
    assert_eq!(hello.stop("--http-b 1"), config(&format!("hello: {conflict} ({place})")));
    let hello = hello.env("HELLO__HTTP__B", "1");
    let variable = "HELLO__HTTP__B is set in the environment";
    assert_eq!(hello.stop(""), config(&format!("hello: {conflict} ({variable}, {place})")));
}

#[test]
fn an_option_of_the_service_cannot_have_the_name_of_a_section() {
    #[derive(Args, Debug)]
    struct Mixed {
        #[arg(long)]
        http: Option<u8>,
    }
    let hello = task::<Http>("http").and::<Mixed>(Owner::Service, "");
    let why = "hello: http in a file would mean two things: option http of the service, and task http";
    assert_eq!(hello.stop(""), config(why));
}

#[test]
fn what_is_shown_can_be_read_again() {
    let cases = [
        "",
        "--http-on --http-no-colour --http-loud --http-loud",
        "--http-peer a --http-peer b,c",
        "--http-peer a",
        "--http-tags a,b --http-tags c",
        "--http-pair -1 2",
        "--http-when",
        "--http-level",
        "--http-many",
        "--http-many a b",
        "--http-point 1 2 --http-point 3",
        "--http-point 1 --http-point 3",
        "--http-raw=\"\\\n\u{7f}é --http-patience 1.5s --http-path 007",
        "--http-offset -5 --http-eq=true --http-mode slow",
        "--http-tls=false --http-last 1 --http-last 2 --http-no-cache",
        "--http-no-cache --http-cache",
        "--drain-delay 0.5 --shutdown-timeout 3",
    ];
    let hello = task::<Shapes>("http").code("peer", "x").code("loud", "1").core("drain-delay", "2s");
    for words in cases {
        let first = hello.parse(words.split(' ').filter(|word| !word.is_empty())).unwrap();
        let (_folder, path) = toml(&first.show());
        let second = hello.parse(["--config".into(), path.clone().into_os_string()]).unwrap_or_else(|stop| {
            panic!("{words}: {stop}\n{}", first.show());
        });
        assert_eq!(first.options::<Shapes>(0).unwrap(), second.options::<Shapes>(0).unwrap(), "{words}");
        assert_eq!(first.core.drain_delay, second.core.drain_delay);
        // For the same file at the same place, the origins are the same too.
        fs::write(&path, second.show()).unwrap();
        assert_eq!(hello.parse(["--config".into(), path.into_os_string()]).unwrap().show(), second.show());
    }
}

#[cfg(feature = "logging")]
#[test]
fn what_is_shown_says_where_each_value_comes_from() {
    let (_folder, path) = toml("[http]\nverbose = true\n");
    let hello = task::<Http>("http")
        .and::<Needy>(Owner::Task, "needy")
        .and::<Http>(Owner::Loop, "tokio")
        .code("port", "1")
        .env("HELLO__DRAIN_DELAY", "2s")
        .file(&path);
    let shown = hello.parse(["--http-port", "80"]).unwrap().show();
    let expected = r#"# What is in force of hello. What is commented out is a default, or not to be shown.
# tasks is not set
# log-level = "info" # default
# log-file is not set
# log-format = "human" # default
drain-delay = "2s" # environment variable HELLO__DRAIN_DELAY
# shutdown-timeout = "25s" # default
# stall-after = "0s" # default

[http]
port = 80 # command line
verbose = true # FILE:2

[needy]
# url is not set

[tokio]
# port = 1 # code
# verbose = false # default"#;
    assert_eq!(shown.replace(path.to_str().unwrap(), "FILE"), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The layers, the strongest first: command line, environment, credential, file, code.
    #[test]
    fn the_strongest_layer_that_has_an_option_decides_it(layers in prop::collection::vec([prop::bool::ANY; 5], 1..6)) {
        #[derive(Args, Debug)]
        struct Options {
            #[arg(long, default_value_t = 0)]
            value: usize,
        }
        let value = |task: usize, layer: usize| 10 * task + layer + 1;
        let (folder, path) = toml("");
        let mut hello = Hello::default().file(&path).env("CREDENTIALS_DIRECTORY", folder.path());
        let (mut words, mut text) = (Vec::new(), String::new());
        for (task, has) in layers.iter().enumerate() {
            let name = format!("t{task}");
            hello = hello.and::<Options>(Owner::Task, &name);
            if has[0] {
                words.push(format!("--{name}-value={}", value(task, 0)));
            }
            if has[1] {
                hello = hello.env(&format!("HELLO__T{task}__VALUE"), value(task, 1).to_string());
            }
            if has[2] {
                fs::write(folder.path().join(format!("{name}.value")), format!("{}\n", value(task, 2))).unwrap();
            }
            if has[3] {
                text += &format!("[{name}]\nvalue = {}\n", value(task, 3));
            }
            if has[4] {
                hello = hello.code("value", &value(task, 4).to_string());
            }
        }
        fs::write(&path, text).unwrap();
        let parsed = hello.parse(words).unwrap();
        for (task, has) in layers.iter().enumerate() {
            let expected = has.iter().position(|has| *has).map_or(0, |layer| value(task, layer));
            prop_assert_eq!(parsed.options::<Options>(task).unwrap().value, expected);
        }
    }
}

#[test]
fn a_file_at_the_edge_of_toml_is_read_or_told_with_its_line() {
    // Bytes, and the message about them; None if nothing is wrong.
    let cases: [(&[u8], Option<&str>); 16] = [
        (b"", None),
        (b"\n# nothing\n", None),
        (b"\xef\xbb\xbf[http]\nport = 81\n", None),
        (b"[http]\r\nport = 81\r\n", None),
        (b"http.port = 81\n", None),
        (b"[http]\nport = 0b101_0001\n", None),
        (b"[http]\n\nport = \xff\n", Some("3: not UTF-8")),
        (b"\xff\xfe[\0", Some("1: not UTF-8")),
        (b"[http]\nport = 1979-05-27T07:32:00Z\n", Some("2: http.port: invalid value '1979-05-27T07:32:00Z'")),
        (
            b"[http]\nport = 99999999999999999999999999999999999999999999999\n",
            Some("2: http.port: invalid value '9999"),
        ),
        (b"[http]\nport = -0xff\n", Some("2: ")),
        (b"[http]\nport = 1\nport = 2\n", Some("3: duplicate key")),
        (b"[http]\nport.a = 2\n", Some("2: http.port: no option takes a table")),
        (b"[[http]]\nport = 2\n", Some("1: http is a section, [http], and can have no value")),
        (b"http = 80\n", Some("1: http is a section, [http], and can have no value")),
        (b"[http]\n[[http.port]]\na = 2\n", Some("2: http.port: no option takes a table")),
    ];
    for (bytes, expected) in cases {
        let (_folder, path) = toml("");
        fs::write(&path, bytes).unwrap();
        let text = String::from_utf8_lossy(bytes);
        match (task::<Http>("http").file(&path).parse([""; 0]), expected) {
            (Ok(_), None) => {}
            (Err(Stop::Config(said)), Some(expected)) => {
                let said = said.replace(path.to_str().unwrap(), "FILE");
                assert!(
                    said.starts_with(&format!("hello: FILE:{expected}")) && said.lines().count() == 1,
                    "{text}: {said}"
                );
            }
            (other, _) => panic!("{text}: {other:?}"),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let expected = format!("hello: {}: can't be read: Is a directory (os error 21)", folder.path().display());
    assert_eq!(task::<Http>("http").file(folder.path()).stop(""), config(&expected));
}

#[test]
fn an_unknown_key_gets_the_nearest_one_and_one_at_the_wrong_level_its_place() {
    #[derive(Args, Debug)]
    struct Own {
        #[arg(long)]
        pool_size: Option<u8>,
    }
    let hello = || task::<Http>("http").and::<Http>(Owner::Loop, "http2").and::<Own>(Owner::Service, "");
    let lines = said(hello(), "pool-sise = 1\nport = 2\n[http]\nprot = 1\nzzz = 1\npool-size = 3\n[health]\nx = 1\n");
    let expected = [
        "hello: FILE:1: unknown key pool-sise; did you mean pool-size?",
        "hello: FILE:2: unknown key port; did you mean [http] port or [http2] port?",
        "hello: FILE:4: unknown key http.prot; did you mean port?",
        "hello: FILE:5: unknown key http.zzz; there is port, verbose",
        "hello: FILE:6: unknown key http.pool-size; did you mean pool-size at the top of the file?",
        "hello: FILE:7: unknown section [health]: no task or loop has this name; there is [http], [http2]",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_section_that_a_task_shares_with_its_loop_is_listed_once() {
    #[derive(Args, Debug)]
    struct Nothing {}
    let hello = task::<Http>("api").and::<Http>(Owner::Task, "web").and::<Nothing>(Owner::Loop, "api");
    assert_eq!(
        said(hello, "[zzz]\n"),
        ["hello: FILE:1: unknown section [zzz]: no task or loop has this name; there is [api], [web]"]
    );
}
