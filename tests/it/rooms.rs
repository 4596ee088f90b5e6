//! Checks what scripts/rooms refuses and scripts/rooms-picture draws, for a small crate of three rooms: top may use
//! words, words may use kit.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

const CRATE: [(&str, &str); 7] = [
    ("lib.rs", "mod kit;\nmod top;\nmod words;\npub use crate::{top::high::High, words::Word};\n"),
    ("kit.rs", "//! Tools.\n//!\n//! May use: nothing of ours.\n\npub(crate) mod low;\npub(crate) mod other;\n"),
    ("kit/low.rs", ""),
    ("kit/other.rs", "pub(crate) struct Low;\n"),
    (
        "words/mod.rs",
        "//! May use: kit.\n\npub(crate) mod word;\npub(crate) use crate::kit::other::Low;\npub use word::Word;\n",
    ),
    ("words/word.rs", "pub struct Word(crate::kit::other::Low);\n"),
    ("top/high.rs", "use crate::words::{self, Word};\n\npub struct High(Word);\n"),
];
const TOP: (&str, &str) = ("top.rs", "//! May use: words.\n\npub(crate) mod high;\n");

/// Creates that crate, with these files in it.
fn a_crate(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().expect("there is a temporary folder");
    for (name, text) in CRATE.iter().chain(&[TOP]).chain(files) {
        let file = root.path().join("src").join(name);
        fs::create_dir_all(file.parent().expect("it is in src")).expect("the folder is our own");
        fs::write(file, text).expect("the folder is our own");
    }
    root
}

/// Returns a script's output about a crate; empty if it finds nothing wrong.
fn run(script: &str, root: &Path, words: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script);
    let output = Command::new(script).arg(root).args(words).output().expect("there is a python3");
    let said = String::from_utf8(output.stderr).expect("paths and names are UTF-8");
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

fn said(files: &[(&str, &str)]) -> String {
    run("rooms", a_crate(files).path(), &[])
}

#[track_caller]
fn assert_refused(files: &[(&str, &str)], line: &str) {
    let said = said(files);
    assert!(
        said.lines().count() == 1 && said.starts_with(line),
        "{files:?}\nis to be refused by {line}\nbut got: {said}"
    );
}

#[test]
fn an_arrow_upwards_is_refused_however_it_is_written() {
    for (code, arrow) in [
        ("\nuse crate::top::high::High;", "2: kit may not use top (crate::top::high::High): "),
        (
            "use std::fmt;\nuse crate::{kit::{other, low}, top::{high::{High as Tall}}};",
            "2: kit may not use top (crate::top::high::High): ",
        ),
        ("use crate::{\n    kit::other,\n    top::{self},\n};", "3: kit may not use top (crate::top::self): "),
        ("pub(crate) use crate::top::high as low_too;", "1: kit may not use top (crate::top::high): "),
        ("fn f() {\n    let s = \"//\"; crate::top::high::f(s)\n}", "2: kit may not use top (crate::top::high::f): "),
        ("fn f(of: &dyn crate::top::Trait<'static>) {}", "1: kit may not use top (crate::top::Trait): "),
        ("use super::super::top;", "1: kit may not use top (super::super::top): "),
        (
            "mod inner {\n    fn f() { super::super::super::top::f() }\n}",
            "2: kit may not use top (super::super::super::top::f): ",
        ),
        ("use crate::High;", "1: kit may not use top (crate::High): "),
        ("fn f() -> crate::Word { loop {} }", "1: kit may not use words (crate::Word): "),
        ("use crate as root;\nfn f() { root::top::f() }", "2: kit may not use top (root::top::f): "),
        ("macro_rules! m { () => { $crate::top::high::f() } }", "1: kit may not use top ($crate::top::high::f): "),
        ("use crate::*;", "1: kit may not use all of the crate (crate::*): "),
        ("/* a /* nested */ one */ use crate::top::f;", "1: kit may not use top (crate::top::f): "),
        ("const C: char = '\"'; use crate::top::f; const D: char = '\"';", "1: kit may not use top (crate::top::f): "),
        ("#[cfg(any(test, feature = \"testing\"))]\nuse crate::top::f;", "2: kit may not use top (crate::top::f): "),
        ("#[cfg(test)]\nmod tests {\n    fn f() {}\n}\nuse crate::top::f;", "5: kit may not use top (crate::top::f): "),
    ] {
        assert_refused(&[("kit/low.rs", code)], &format!("src/kit/low.rs:{arrow}"));
    }
    let facade = "mod kit;\nmod top;\nmod words;\npub mod face { pub use crate::top::high::*; }\n";
    let arrow = "src/kit/low.rs:1: kit may not use top (crate::face::High): ";
    assert_refused(&[("lib.rs", facade), ("kit/low.rs", "use crate::face::High;")], arrow);
}

#[test]
fn what_a_head_shows_of_another_room_is_that_rooms() {
    let arrow = "src/top/high.rs:1: top may not use kit (crate::words::Low): move what both need into a room that top may use, \
                 or let kit hand it in; or, if top is to stand on kit, add kit to the line in its head\n";
    assert_refused(&[("top/high.rs", "use crate::words::Low;\npub struct High(Low);")], arrow);
}

#[test]
fn a_room_without_its_line_a_module_in_no_room_and_a_circle_are_refused() {
    assert_refused(&[("top.rs", "//! Everything.\n\nmod high;\n")], "src/top.rs:1: top doesn't say what it may use: ");
    let homeless = "mod kit;\nmod top;\nmod words;\nmod lonely;\n";
    assert_refused(&[("lib.rs", homeless), ("lonely.rs", "")], "src/lonely.rs:1: lonely is in no room: ");
    let inline = "mod kit;\nmod top;\nmod words;\nmod lonely { fn f() {} }\n";
    assert_refused(&[("lib.rs", inline)], "src/lib.rs:1: lonely is in no room: ");
    let circle = "//! May use: top.\n\npub(crate) mod low;\npub(crate) mod other;\n";
    let said = said(&[("kit.rs", circle)]);
    assert!(said.lines().count() == 1 && said.contains(":1: a circle: ") && said.contains("kit may use top"), "{said}");
    let unknown = "//! May use: words, attic.\n\npub(crate) mod high;\n";
    assert_refused(&[("top.rs", unknown)], "src/top.rs:1: top may use attic, which is no room: ");
}

#[test]
fn a_circle_within_a_room_is_refused_unless_its_head_tells_of_it() {
    let (low, other) =
        (("kit/low.rs", "use super::other::Low;"), ("kit/other.rs", "use crate::kit::low;\npub(crate) struct Low;\n"));
    assert_refused(&[low, other], "src/kit.rs:1: low, other use each other in a circle: ");
    let head =
        "//! `low` and `other` are a circle: a test.\n//!\n//! May use: nothing of ours.\n\nmod low;\nmod other;\n";
    assert_eq!(said(&[low, other, ("kit.rs", head)]), "");
    let elsewhere = "//! `low` and `other` are tools.\n//!\n//! `low` is in a circle.\n//!\n//! May use: nothing of ours.\n\nmod low;\nmod other;\n";
    assert_refused(&[low, other, ("kit.rs", elsewhere)], "src/kit.rs:1: low, other use each other in a circle: ");
    // A module that uses its own child, which uses it, is one.
    let (parent, child) = (("kit/low.rs", "mod child;\nuse child::f;"), ("kit/low/child.rs", "use super::*;"));
    assert_eq!(said(&[parent, child]), "");
}

#[test]
fn arrows_down_comments_strings_and_tests_are_let_through() {
    let low = "//! [`crate::top::High`]\n// use crate::top::High;\n/* crate::top /* crate::top */ crate::top */\n\
               const A: &str = \"use crate::top\\\"::High\"; const B: &str = r#\"\"crate::top\"#;\n\
               const C: char = '\"'; fn f<'a>(s: &'a str) -> &'a str { super::other::f(crate::kit::other::Low, s) }\n\
               #[cfg(all(test, not(loom)))]\nmod tests;\n#[cfg(test)]\nmod more {\n    use crate::{top::High, *};\n}\n";
    let tests = "use crate::top::High;\n";
    let alone = ("alone.rs", "//! A room in one file.\n//!\n//! May use: top.\n\nuse crate::top::high::High;\n");
    let lib = "mod alone;\nmod kit;\nmod top;\nmod words;\npub mod face { pub use crate::top::high::High; }\n";
    assert_eq!(said(&[("kit/low.rs", low), ("kit/low/tests.rs", tests), alone, ("lib.rs", lib)]), "");
}

#[test]
fn the_picture_and_the_page_are_current_until_the_code_changes() {
    let root = a_crate(&[]);
    let (docs, page) = (root.path().join("docs"), root.path().join("docs/architecture.md"));
    fs::create_dir(&docs).expect("the folder is our own");
    let marks = "Above.\n<!-- The heads of the rooms, by scripts/rooms-picture -->\n<!-- Up to here -->\nBelow.\n";
    fs::write(&page, marks).expect("the folder is our own");
    let is_not_current =
        |said: &str| said.contains("rooms.svg is not what") && said.contains("architecture.md is not what");
    let check = || run("rooms-picture", root.path(), &["--check"]);
    assert!(is_not_current(&check()));
    assert_eq!(run("rooms-picture", root.path(), &[]), "");
    assert_eq!(check(), "");
    let text = fs::read_to_string(&page).expect("it was written");
    assert!(text.starts_with("Above.\n") && text.ends_with("\nBelow.\n"), "{text}");
    assert!(text.contains("### kit\n\nTools.\n\nMay use: nothing of ours.\n\n### words\n"), "{text}");
    // top stands on words and words on kit; a third arrow, from top to kit, is implied by words.
    let svg = || fs::read_to_string(docs.join("rooms.svg")).expect("it was written");
    let arrows = || svg().matches("marker-end").count();
    assert_eq!((svg().matches("<rect").count(), arrows()), (3, 2));
    let kit = ("top.rs", "//! May use: kit, words.\n\nuse crate::kit::low;\npub(crate) mod high;\n");
    fs::write(root.path().join("src").join(kit.0), kit.1).expect("the folder is our own");
    assert!(check().contains("architecture.md is not what"));
    run("rooms-picture", root.path(), &[]);
    assert_eq!(arrows(), 2);
    fs::write(root.path().join("src/words/word.rs"), "pub struct Word;\n").expect("the folder is our own");
    fs::write(root.path().join("src/words/mod.rs"), "//! May use: kit.\n\npub(crate) mod word;\npub use word::Word;\n")
        .expect("the folder is our own");
    assert!(check().contains("rooms.svg is not what"));
}
