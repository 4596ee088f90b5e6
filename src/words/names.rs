//! Names in messages.

use std::fmt::Write as _;

/// How many names a list shows at most.
const MOST: usize = 12;
/// The similarity, from 0 to 1, from which a name counts as a misspelling of another. It is clap's threshold for
/// options.
const ALIKE: f64 = 0.7;

/// Lists the first names in order: `a, b and 7 more`.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names = names.into_iter().collect::<Vec<_>>();
    // If only one is left out, its name takes no more room than saying so.
    let shown = if names.len() > MOST + 1 { MOST } else { names.len() };
    let mut text = names[..shown].join(", ");
    if shown < names.len() {
        let _ = write!(text, " and {} more", names.len() - shown);
    }
    text
}

/// Returns the most similar name, if one is similar.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alike = known.into_iter().map(|known| (strsim::jaro(name, known), known));
    let alike = alike.filter(|(alike, _)| *alike > ALIKE);
    // If several are equally similar, the first.
    alike.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, known)| known)
}

/// Returns the existing names, with a suggestion: `there is a, b; did you mean b?`.
pub(crate) fn there_is<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known = known.into_iter().collect::<Vec<_>>();
    if known.is_empty() {
        return "there is none".to_owned();
    }
    let mut text = format!("there is {}", listed(known.iter().copied()));
    if let Some(nearest) = nearest(name, known.iter().copied()) {
        let _ = write!(text, "; did you mean {nearest}?");
    }
    text
}

/// Returns the name that is meant or, if none is similar, the existing ones: `did you mean b?`, `there is a, b`.
pub(crate) fn meant_or_all<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known = known.into_iter().collect::<Vec<_>>();
    let mut seen = std::collections::HashSet::new();
    known.retain(|name| seen.insert(*name));
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => there_is(name, known),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_says_by_how_much() {
        let names = (0..20).map(|number| number.to_string()).collect::<Vec<_>>();
        let listed = |count: usize| listed(names[..count].iter().map(String::as_str));
        assert_eq!(listed(0), "");
        assert_eq!(listed(2), "0, 1");
        assert_eq!(listed(13), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12");
        assert_eq!(listed(14), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more");
    }

    #[test]
    fn the_nearest_name_is_suggested_and_an_unlike_one_is_not() {
        assert_eq!(
            there_is("databse", ["http", "database", "data"]),
            "there is http, database, data; did you mean database?"
        );
        assert_eq!(there_is("x", ["http", "database"]), "there is http, database");
        assert_eq!(there_is("x", []), "there is none");
    }
}
