//! docs/from-sparts.md must cover all of sparts: sparts_names.txt has every public name, `module:Class.member`, and
//! each must occur in its module's section.

const PAGE: &str = include_str!("../../docs/from-sparts.md");
const NAMES: &str = include_str!("sparts_names.txt");

/// Returns the sections, each with the words in backticks in its heading.
fn sections() -> Vec<(Vec<&'static str>, &'static str)> {
    let sections = PAGE.split("\n## ").skip(1);
    let parts = sections.map(|section| section.split_once('\n').expect("a heading, and what is below it"));
    parts.map(|(heading, text)| (heading.split('`').skip(1).step_by(2).collect(), text)).collect()
}

/// Returns whether a text in backticks here has this word.
fn has_word(text: &str, word: &str) -> bool {
    let code = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let words = code.flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.into_iter().any(|other| other == word)
}

#[test]
fn every_public_name_of_sparts_is_on_the_page() {
    let (sections, mut missing) = (sections(), Vec::new());
    for name in NAMES.lines() {
        // The version is the package's own, as `sparts.sparts` is its module of that name.
        let (module, path) = match name {
            "__version__" => ("sparts", name),
            _ => name.split_once(':').unwrap_or((name, "")),
        };
        let section = sections.iter().find(|(modules, _)| modules.contains(&module));
        let is_there =
            |(_, text): &(_, &str)| path.split('.').filter(|word| !word.is_empty()).all(|word| has_word(text, word));
        if !section.is_some_and(is_there) {
            missing.push(name);
        }
    }
    assert!(NAMES.lines().count() > 300 && missing.is_empty(), "not on the page: {missing:?}");
}

#[test]
fn no_module_has_two_sections() {
    let mut modules: Vec<_> = sections().into_iter().flat_map(|(modules, _)| modules).collect();
    let count = modules.len();
    modules.sort_unstable();
    modules.dedup();
    assert_eq!(modules.len(), count);
}
